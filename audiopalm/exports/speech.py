"""Speech tokenizers to a file of arrays, with which an exported folder runs them, and back.

Lyra is not supported: its networks are LiteRT programs.
"""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np

from audiopalm.tokenizers import base
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.tokenizers.units import KMeansUnits

NAME = "speech_tokenizer"
KINDS = (KMeansUnits, MelRVQ)
# Parameters that are text, which safetensors cannot store as arrays: their names in its metadata.
TEXTS = {"names": "voices", "most_heard": "voice"}


def names(tokenizers: tuple[base.Tokenizer, ...]) -> dict[str, str]:
  """Returns {stream: file name without extension} of the speech tokenizers."""
  streams = [tokenizer.stream for tokenizer in tokenizers if type(tokenizer) in KINDS]
  return {stream: NAME if len(streams) == 1 else f"{NAME}_{stream}" for stream in streams}


def pack(fitted: base.FittedArrays) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns (arrays, texts) of a fitted speech tokenizer. Inverse: `unpack`."""
  settings, parameters = fitted.settings, fitted.parameters()
  about = {TEXTS[name]: parameters.pop(name).tolist() for name in TEXTS if name in parameters}
  about |= {
    "kind": type(settings).__name__,
    "rule": base.rule(settings),
    "settings": dataclasses.asdict(settings),
  }
  # One entry, because safetensors writes several in any order.
  return parameters, {"about": json.dumps(about, sort_keys=True)}


def settings_of(texts: Mapping[str, str]) -> base.ArraySettings:
  """Returns the settings of the tokenizer that `pack` wrote."""
  about = json.loads(texts["about"])
  kinds = {kind.__name__: kind for kind in KINDS}
  return kinds[about["kind"]](**about["settings"])


def unpack(
  settings: base.ArraySettings, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]
) -> base.FittedArrays:
  """Returns the fitted tokenizer with these settings; TokenSpaceError if its rule is another."""
  about = json.loads(texts["about"])
  base.check_rule(settings, about.get("rule", 1), "the exported folder")
  strings = {name: np.array(about[key]) for name, key in TEXTS.items() if key in about}
  return settings.fitted({**arrays, **strings})
