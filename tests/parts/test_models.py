import types

from audiopalm.models import decoder
from audiopalm.parts import models


def test_tiny_has_three_million_parameters():
  space = types.SimpleNamespace(padded=(0,))
  assert 3.0e6 < decoder.parameters(models.tiny(), space) < 3.3e6


def test_tiny_takes_width_layers_and_dropout():
  tiny = models.tiny(width=128, layers=2, dropout=0.1)
  assert (tiny.width, tiny.heads, tiny.layers, tiny.dropout) == (128, 2, 2, 0.1)
