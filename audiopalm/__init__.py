"""Speech-text language models in JAX.

    import audiopalm

    audiopalm.train("quickstart", "runs/quickstart", {"optimizer.peak_lr": 2e-3})
    audiopalm.load("runs/quickstart").generate("asr", audio=["a.wav"])[0].text

`audiopalm.config` has what a config is written with, `audiopalm.seqio` the SeqIO tasks of a run.
"""

import importlib
from typing import TYPE_CHECKING, Any

from audiopalm.version import VERSION as __version__

if TYPE_CHECKING:  # what editors read
  from audiopalm import config, seqio
  from audiopalm.commands import evaluate, export, generate, prepare, train
  from audiopalm.experiment import Experiment
  from audiopalm.session import load

__all__ = [
  "Experiment",
  "__version__",
  "config",
  "evaluate",
  "export",
  "generate",
  "load",
  "prepare",
  "seqio",
  "train",
]

# Lazy: importing one module of the package must not import JAX or TensorFlow.
_MODULES = ("config", "seqio")
_NAMES = {
  "Experiment": "audiopalm.experiment",
  "load": "audiopalm.session",
  **dict.fromkeys(("evaluate", "export", "generate", "prepare", "train"), "audiopalm.commands"),
}


def __getattr__(name: str) -> Any:
  if name in _MODULES:
    return importlib.import_module(f"audiopalm.{name}")
  if name in _NAMES:
    return getattr(importlib.import_module(_NAMES[name]), name)
  raise AttributeError(f"module 'audiopalm' has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
