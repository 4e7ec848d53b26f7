"""Text models of others, in the folders that `transformers` writes.

`pretrained.open(folder)` gives a Source: settings of a decoder, and its parameters on a mesh.
"""

from audiopalm.pretrained.source import Source, open

__all__ = ["Source", "open"]
