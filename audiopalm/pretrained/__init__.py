"""Reads text models from the folders that `transformers` writes.

`pretrained.open(folder)` returns the settings of a decoder and its parameters on a mesh.
"""

from audiopalm.pretrained.source import PretrainedModel, open

__all__ = ["PretrainedModel", "open"]
