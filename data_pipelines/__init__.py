"""Corpora as records: one module or package per corpus, with `count` and `records`."""
