"""What runs a model in PyTorch is in a table for ours, and in the class itself for a user's."""

import dataclasses

import pytest

from audiopalm.errors import ConfigError
from audiopalm.models.pytorch.exported import Exported
from audiopalm.parts import models, pytorch


@dataclasses.dataclass(frozen=True)
class Mine:
  def pytorch(self, space):
    return f"mine over {space}"


def test_a_model_says_what_runs_it_where_the_table_does_not():
  assert isinstance(pytorch.of(models.tiny(), None), Exported)
  assert pytorch.of(Mine(), "ids") == "mine over ids"


def test_a_model_that_nothing_runs_is_refused_with_what_would():
  for call in (pytorch.check, lambda settings: pytorch.of(settings, None)):
    with pytest.raises(ConfigError) as error:
      call(models.speech_encoder())
    assert (
      "for a model of class SpeechEncoder; it exists for Decoder, and for classes with a"
      in str(error.value)
    )
