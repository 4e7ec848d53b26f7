"""Which models PyTorch runs, and how: what `export` asks.

Ours are in a table here, because their PyTorch code reads the settings it belongs to and would
import them in a circle. A class of the user's says it itself: `pytorch(space)` of its settings
returns the `PyTorchModel`.
"""

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
  if type(settings) not in TWINS and not hasattr(settings, "pytorch"):
    kind = type(settings).__name__
    raise ConfigError(
      f"No PyTorch export exists for a model of class {kind}; it exists for "
      f"{', '.join(known.__name__ for known in TWINS)}, and for classes with a method "
      "pytorch(space). Give the experiment export=None to train without."
    )


def of(settings: ModelSettings, space: TokenSpace) -> PyTorchModel:
  """Returns the model over a token space as PyTorch runs it; ConfigError where nothing does."""
  check(settings)
  twin = TWINS.get(type(settings))
  return settings.pytorch(space) if twin is None else twin(settings, space)
