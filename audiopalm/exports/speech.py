"""Speech tokenizers as a file of arrays, which an exported folder runs without audiopalm, and back.

Every kind that can be exported has a row in `SPEECH`. Lyra's has none: its networks are programs of
LiteRT.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from audiopalm.tokenizers import base
from audiopalm.tokenizers.mel_rvq import FittedMelRVQ, MelRVQ
from audiopalm.tokenizers.units import FittedUnits, KMeansUnits
from audiopalm.tokenizers.voices import Voices

NAME = "speech_tokenizer"
UNITS_ARRAYS = ("spread_E", "centroids_VE", "durations_V")
VOICE_ARRAYS = ("log_mel_NVPM", "log_pitch_NV", "voicing_NV")

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Speech:
  """How one kind is exported: `packed` gives (arrays, JSON) of a fitted tokenizer, `unpacked` the
  fitted tokenizer of (settings, arrays, JSON)."""

  packed: Callable[[Any], tuple[Arrays, dict[str, Any]]]
  unpacked: Callable[[Any, Mapping[str, np.ndarray], Mapping[str, Any]], Any]


def names(tokenizers: tuple[base.Tokenizer, ...]) -> dict[str, str]:
  """Returns {stream: name of its files} of the speech tokenizers."""
  streams = [tokenizer.stream for tokenizer in tokenizers if type(tokenizer) in SPEECH]
  return {stream: NAME if len(streams) == 1 else f"{NAME}_{stream}" for stream in streams}


def pack(fitted: base.Fitted) -> tuple[Arrays, dict[str, str]]:
  """Returns (arrays, texts) of a fitted speech tokenizer. Inverse: `unpack`."""
  settings = fitted.settings
  arrays, more = SPEECH[type(settings)].packed(fitted)
  about = {
    "kind": type(settings).__name__,
    "rule": base.rule(settings),
    "settings": dataclasses.asdict(settings),
    **more,
  }
  # One text: safetensors writes several in any order.
  return arrays, {"about": json.dumps(about, sort_keys=True)}


def settings_of(texts: Mapping[str, str]) -> base.Tokenizer:
  """Returns the settings of the tokenizer that `pack` wrote."""
  about = json.loads(texts["about"])
  kinds = {kind.__name__: kind for kind in SPEECH}
  return kinds[about["kind"]](**about["settings"])


def unpack(
  settings: base.Tokenizer, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> base.Fitted:
  """Returns the fitted tokenizer of these settings; TokenSpaceError if it has another rule."""
  about = json.loads(texts["about"])
  base.check_rule(settings, about.get("rule", 1), "the exported folder")
  return SPEECH[type(settings)].unpacked(settings, arrays, about)


def _packed_units(fitted: FittedUnits) -> tuple[Arrays, dict[str, Any]]:
  sounds = fitted.sounds
  arrays = {name: getattr(fitted, name) for name in UNITS_ARRAYS}
  arrays |= {name: getattr(sounds, name) for name in VOICE_ARRAYS}
  arrays["variance"] = np.array([fitted.variance])
  return arrays, {"voices": sounds.names, "voice": sounds.most_heard}


def _unpacked_units(
  settings: KMeansUnits, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> FittedUnits:
  names, voice = tuple(about["voices"]), about["voice"]
  sounds = Voices(names, voice, *(arrays[name] for name in VOICE_ARRAYS))
  spread_E, centroids_VE, durations_V = (arrays[name] for name in UNITS_ARRAYS)
  variance = float(arrays["variance"][0])
  return FittedUnits(settings, spread_E, centroids_VE, variance, durations_V, sounds)


def _packed_codes(fitted: FittedMelRVQ) -> tuple[Arrays, dict[str, Any]]:
  return {"centroids_QVE": fitted.centroids_QVE}, {}


def _unpacked_codes(
  settings: MelRVQ, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]
) -> FittedMelRVQ:
  return FittedMelRVQ(settings, arrays["centroids_QVE"])


SPEECH = {
  KMeansUnits: Speech(_packed_units, _unpacked_units),
  MelRVQ: Speech(_packed_codes, _unpacked_codes),
}
