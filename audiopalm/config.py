"""All that a config is written with, in one place.

    from audiopalm.config import Experiment, Packed, corpora, mixtures, models, optim, tokenizers

`corpora`, `mixtures`, `models`, `optim`, `synthesizers` and `tokenizers` are modules of builders.
"""

from audiopalm import layouts
from audiopalm.data.clips import Clips
from audiopalm.data.packed import Packed
from audiopalm.data.takes import Takes
from audiopalm.experiment import Experiment
from audiopalm.layouts import Chain
from audiopalm.nn.lora import Lora
from audiopalm.objectives.base import Player
from audiopalm.objectives.next_token import NextToken
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.parts import corpora, mixtures, models, optim, synthesizers, tokenizers
from audiopalm.settings import Evaluation, Machine, WarmStart
from audiopalm.types import Task

__all__ = [
  "Chain",
  "Clips",
  "Evaluation",
  "Experiment",
  "Lora",
  "Machine",
  "NextToken",
  "Packed",
  "Player",
  "RandomProjection",
  "Takes",
  "Task",
  "WarmStart",
  "corpora",
  "layouts",
  "mixtures",
  "models",
  "optim",
  "synthesizers",
  "tokenizers",
]
