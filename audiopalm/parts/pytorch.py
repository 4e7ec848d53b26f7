"""Which models PyTorch runs, and how: what `export` asks."""

from collections.abc import Callable, Mapping

from audiopalm.errors import ConfigError
from audiopalm.models.base import ModelSettings, PyTorchModel
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch.exported import Exported
from audiopalm.tokens.space import TokenSpace

Twin = Callable[[ModelSettings, TokenSpace], PyTorchModel]

# By the class of the settings.
TWINS: Mapping[type, Twin] = {Decoder: Exported}


def check(settings: ModelSettings) -> None:
  """Raises ConfigError for a model that no PyTorch code runs."""
  _twin(settings)


def of(settings: ModelSettings, space: TokenSpace) -> PyTorchModel:
  """Returns the model over a token space as PyTorch runs it; ConfigError where nothing does."""
  return _twin(settings)(settings, space)


def _twin(settings: ModelSettings) -> Twin:
  kind = type(settings)
  if kind not in TWINS:
    raise ConfigError(
      f"No PyTorch export exists for a model of class {kind.__name__}; it exists for "
      f"{', '.join(known.__name__ for known in TWINS)}. Give the experiment export=None to train "
      "without."
    )
  return TWINS[kind]
