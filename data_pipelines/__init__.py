"""Records of the corpora: a module or package per corpus, with `count` and `records`."""
