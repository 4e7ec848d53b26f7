"""A trained model with all it takes to use it, in one value."""

import dataclasses
from typing import cast

from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models.base import LanguageModel, Model, Params
from audiopalm.settings import Machine


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """What a run is after `step` steps: settings, prepared data, arrays, and the hardware to use.

  `params` are the model's arrays, `variables` those of its objective that no gradient reaches.
  """

  experiment: Experiment
  prepared: Prepared
  model: Model
  params: Params
  variables: Params
  machine: Machine
  step: int

  @property
  def language_model(self) -> LanguageModel:
    """The model as generation and evaluation use it; ConfigError as `check_answers`."""
    self.check_answers()
    return cast(LanguageModel, self.model)

  def check_answers(self) -> None:
    """Raises ConfigError where the model cannot generate and its answers cannot be scored."""
    if not self.experiment.data.answers:
      raise ConfigError(
        "generate and evaluate need a language model; this run's model is "
        f"{self.experiment.model.title}. Its held-out losses are in metrics.jsonl."
      )
