"""All that a config is written with, in one place.

    from audiopalm import config as c

`corpora`, `mixtures`, `models`, `optim`, `synthesizers` and `tokenizers` are modules of builders.
`Chain`, `Interleaving` and `Infilling` are rules from task to layout; a `Rule` of your own puts the
parts in `layouts` together.
"""

from audiopalm import layouts
from audiopalm.data.clips import Clips
from audiopalm.data.packed import Packed
from audiopalm.data.takes import Takes
from audiopalm.experiment import Experiment
from audiopalm.layouts import Chain, Infilling, Interleaving, Rule
from audiopalm.nn.lora import Lora
from audiopalm.objectives.base import Player
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.contrastive import Contrastive
from audiopalm.objectives.ctc import CTC
from audiopalm.objectives.masked_units import MaskedUnits
from audiopalm.objectives.mixing import Mixing
from audiopalm.objectives.next_token import NextToken
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.objectives.spans import Spans
from audiopalm.parts import corpora, mixtures, models, optim, synthesizers, tokenizers
from audiopalm.parts.models import Codes, Labels, Quantizer, Transcript
from audiopalm.settings import Evaluation, Machine, WarmStart
from audiopalm.types import Task

__all__ = [
  "CTC",
  "Chain",
  "ClipLosses",
  "Clips",
  "Codes",
  "Contrastive",
  "Evaluation",
  "Experiment",
  "Infilling",
  "Interleaving",
  "Labels",
  "Lora",
  "Machine",
  "MaskedUnits",
  "Mixing",
  "NextToken",
  "Packed",
  "Player",
  "Quantizer",
  "RandomProjection",
  "Rule",
  "Spans",
  "Takes",
  "Task",
  "Transcript",
  "WarmStart",
  "corpora",
  "layouts",
  "mixtures",
  "models",
  "optim",
  "synthesizers",
  "tokenizers",
]
