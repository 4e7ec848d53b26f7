"""Text models of others, in the folders that `transformers` writes.

pretrained.open(folder) gives a Source: its settings, its parameters on a mesh, its tokenizer.
"""

from audiopalm.pretrained.source import Source, open

__all__ = ["Source", "open"]
