"""A trained model with all it takes to use it, in one value."""

import dataclasses
from typing import Any

from audiopalm.data.prepared import Prepared
from audiopalm.experiment import Experiment
from audiopalm.models.base import LanguageModel, Params
from audiopalm.settings import Machine


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """What a run is after `step` steps: settings, prepared data, arrays, and the hardware to use.

  `params` are the model's arrays, `variables` those of its objective that no gradient reaches.
  """

  experiment: Experiment
  prepared: Prepared
  model: LanguageModel
  params: Params
  variables: dict[str, Any]
  machine: Machine
  step: int
