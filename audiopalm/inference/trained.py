"""A trained model with everything needed to use it."""

import dataclasses
from typing import cast

from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models.base import LanguageModel, Model, Params
from audiopalm.settings import Machine


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
  """A run after `step` steps: its settings, prepared data and arrays, and the hardware to use.

  `params` are the model's arrays, `variables` those of its objective that get no gradients.
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
    """The model with the type that decoding needs; ConfigError as in `check_answers`."""
    self.check_answers()
    return cast(LanguageModel, self.model)

  def check_answers(self) -> None:
    """Raises ConfigError if the model cannot generate, so that there are no answers to score."""
    if not self.experiment.data.answers:
      raise ConfigError(
        "generate and evaluate need a language model; this run's model is "
        f"{self.experiment.model.title}. Its held-out losses are in metrics.jsonl."
      )
