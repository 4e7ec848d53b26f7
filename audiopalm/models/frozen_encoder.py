"""An encoder that is used and not trained: its states of recordings, wherever its arrays lie."""

import abc
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from audiopalm.models import encoder_windows
from audiopalm.models.base import Params
from audiopalm.models.encoder import Encoder, StateModel


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenEncoder(abc.ABC):
  """An encoder whose states after `layer` layers are asked for, and the folder that holds it."""

  folder: Path
  settings: Encoder
  layer: int

  @property
  def layers(self) -> int:
    """The number of layers of the whole encoder."""
    return self.settings.block.layers

  @property
  def width(self) -> int:
    """The size of a state."""
    return self.settings.block.width

  @property
  def rate_hz(self) -> float:
    """States per second."""
    return self.settings.rate_hz

  @property
  def license_note(self) -> str | None:
    """What the folder says about its license; None where it says nothing."""
    return None

  def frames(self, samples: int) -> int:
    """Returns how many states a clip of so many samples has."""
    return int(self.settings.front.frames(samples))

  def encode(self, wave_S: np.ndarray, products: str | None = None) -> np.ndarray:
    """Returns hidden_TD, float32, of a 16 kHz wave of any length: T = `frames(S)` states.

    A wave of more than one window is encoded in windows that overlap (models/encoder_windows.py).
    `products` is as in `nn.layers`.
    """
    pieces = list(self.pieces(wave_S, products))
    return np.concatenate([np.zeros((0, self.width), np.float32), *pieces])

  def pieces(self, wave_S: np.ndarray, products: str | None = None) -> Iterator[np.ndarray]:
    """Yields the states that `encode` returns, window by window: memory for an hour of them."""
    yield from encoder_windows.pieces(self.model, self.params, wave_S, self.layer, products)

  def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns what `encode` returns for each wave, within the rounding of float32: short ones are
    computed together."""
    return encoder_windows.batch(self.model, self.params, waves, self.layer)

  @functools.cached_property
  def model(self) -> StateModel:
    """Its pure functions, for batches."""
    return self.settings.build()

  @functools.cached_property
  @abc.abstractmethod
  def params(self) -> Params:
    """The parameters that the states depend on, as float32 on the default device. Layers are a
    tuple, which `StateModel` takes too."""

  @functools.cached_property
  @abc.abstractmethod
  def fingerprint(self) -> str:
    """SHA-256 of all that the states depend on."""

  @abc.abstractmethod
  def save(self, folder: Path) -> None:
    """Writes what the states depend on, and what `folder` says about its license."""
