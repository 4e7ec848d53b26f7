"""The PyTorch model of each class of models, for `export`.

Those of audiopalm are in a table here, because their PyTorch code imports the settings, so settings
that named it would be a circular import. Settings of a user's own class have a method
`pytorch(space)` that returns the `PyTorchModel`.
"""

from collections.abc import Callable, Mapping

from audiopalm.errors import ConfigError
from audiopalm.models.base import ModelSettings, PyTorchModel
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch.exported import Exported
from audiopalm.tokens.space import TokenSpace

Twin = Callable[[ModelSettings, TokenSpace], PyTorchModel]

# {class of the settings: function that returns the PyTorch model}
TWINS: Mapping[type, Twin] = {Decoder: Exported}


def check(settings: ModelSettings) -> None:
  """Raises ConfigError for a model without a PyTorch model."""
  if type(settings) not in TWINS and not hasattr(settings, "pytorch"):
    kind = type(settings).__name__
    raise ConfigError(
      f"No PyTorch export exists for a model of class {kind}; it exists for "
      f"{', '.join(known.__name__ for known in TWINS)}, and for classes with a method "
      "pytorch(space). Give the experiment export=None to train without."
    )


def of(settings: ModelSettings, space: TokenSpace) -> PyTorchModel:
  """Returns the PyTorch model over a token space; ConfigError if there is none."""
  check(settings)
  twin = TWINS.get(type(settings))
  return settings.pytorch(space) if twin is None else twin(settings, space)
