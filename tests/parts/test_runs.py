import dataclasses

import pytest

from audiopalm.data.corpora import SyntheticText
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers


@pytest.fixture
def workdir(tmp_path):
  """Returns the workdir of a run of text alone, of which only the settings are there."""
  made = Experiment(
    name="text",
    tokenizers=(tokenizers.text(size=300, languages=("en",)),),
    mixture=mixtures.blend((mixtures.text(SyntheticText(languages=("en",))), 1.0)),
    model=models.tiny(width=64, dropout=0.1),
  )
  (tmp_path / "config.json").write_text(made.to_json())
  return tmp_path


def test_the_model_and_the_text_of_an_earlier_run_are_taken(workdir):
  assert models.pretrained(str(workdir)) == models.tiny(width=64)
  assert models.pretrained(str(workdir), dropout=0.2).dropout == 0.2
  taken = tokenizers.pretrained(str(workdir))
  assert taken.fitted_in == str(workdir / "tokenizers" / "text")
  assert dataclasses.replace(taken, fitted_in=None) == tokenizers.text(300, ("en",))


def test_a_folder_without_a_run_says_so(tmp_path):
  with pytest.raises(ConfigError, match=r"There is no model in .*config.json is missing. Give"):
    models.pretrained(str(tmp_path))


def test_a_run_without_that_stream_is_refused(workdir):
  with pytest.raises(ConfigError, match="has no text tokenizer of the stream 'words'"):
    tokenizers.pretrained(str(workdir), stream="words")
