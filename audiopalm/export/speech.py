"""Tokenizers of an experiment as files that stand alone, and back.

Every kind of speech tokenizer that can be exported has a row in `SPEECH`: the file that runs it
without audiopalm, and how its arrays go into that file's `.safetensors` and come back.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.errors import ConfigError
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import FittedUnits, KMeansUnits
from audiopalm.tokenizers.voices import Voices

NAME = "speech_tokenizer"
UNITS_ARRAYS = ("spread_E", "centroids_VE", "durations_V")
VOICE_ARRAYS = ("log_mel_NVPM", "log_pitch_NV", "voicing_NV")

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Speech:
  """How one kind of speech tokenizer is exported: `packed` gives (arrays, texts), `unpacked` the
  fitted tokenizer of (settings, arrays, texts)."""

  source: Path
  packed: Callable[[Any], tuple[Arrays, dict[str, str]]]
  unpacked: Callable[[Any, Mapping[str, np.ndarray], Mapping[str, str]], Any]


def check(tokenizers: tuple[Any, ...]) -> None:
  """Raises ConfigError for tokenizers that no exported folder could carry."""
  known = (SentencePieceText, *SPEECH)
  for tokenizer in tokenizers:
    if type(tokenizer) not in known:
      raise ConfigError(
        f"No PyTorch export exists for the tokenizer {tokenizer.stream!r} "
        f"({type(tokenizer).__name__}): an exported folder carries its tokenizers, which may be "
        f"{', '.join(kind.__name__ for kind in known)}. Use one of these, or give the experiment "
        "export=None to train without."
      )


def names(tokenizers: tuple[Any, ...]) -> dict[str, str]:
  """Returns {stream: name of its files} of the speech tokenizers."""
  streams = [tokenizer.stream for tokenizer in tokenizers if type(tokenizer) in SPEECH]
  return {stream: NAME if len(streams) == 1 else f"{NAME}_{stream}" for stream in streams}


def _packed_units(fitted: FittedUnits) -> tuple[Arrays, dict[str, str]]:
  sounds = fitted.sounds
  arrays = {name: getattr(fitted, name) for name in UNITS_ARRAYS}
  arrays |= {name: getattr(sounds, name) for name in VOICE_ARRAYS}
  arrays["variance"] = np.array([fitted.variance])
  texts = {
    "settings": json.dumps(dataclasses.asdict(fitted.settings), sort_keys=True),
    "voices": json.dumps(sounds.names),
    "voice": sounds.most_heard,
  }
  return arrays, texts


def _unpacked_units(
  settings: KMeansUnits, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> FittedUnits:
  sounds = Voices(
    tuple(json.loads(texts["voices"])), texts["voice"], *(arrays[name] for name in VOICE_ARRAYS)
  )
  spread_E, centroids_VE, durations_V = (arrays[name] for name in UNITS_ARRAYS)
  variance = float(arrays["variance"][0])
  return FittedUnits(settings, spread_E, centroids_VE, variance, durations_V, sounds)


SPEECH = {
  KMeansUnits: Speech(Path(__file__).with_name("numpy_units.py"), _packed_units, _unpacked_units)
}
