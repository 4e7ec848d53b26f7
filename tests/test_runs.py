import dataclasses
import json

import pytest

from audiopalm import experiment as experiments
from audiopalm import runs
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


def saved(workdir, step, experiment):
  """Writes what a checkpoint of a step says of itself."""
  fields = {"experiment": experiment.to_json(), "position": {"step": step}}
  path = workdir / "checkpoints" / str(step) / "meta" / "metadata"
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps({**fields, "digest": runs.digest(fields)}))
  return path


def test_settings_are_those_of_the_newest_checkpoint_that_can_be_read(workdir, capsys):
  made = experiments.of_run(workdir)
  older, newer = (dataclasses.replace(made, steps=steps) for steps in (7, 8))
  saved(workdir, 5, older)
  (workdir / "checkpoints" / "9.unverified").mkdir()
  assert experiments.of_run(workdir) == older != made and runs.steps(workdir) == [5]
  path = saved(workdir, 20, newer)
  assert experiments.of_run(workdir) == newer and runs.newest(workdir)["step"] == 20
  path.write_text(path.read_text().replace("steps", "stops"))
  assert capsys.readouterr() == ("", "")
  assert experiments.of_run(workdir) == older
  assert "checkpoints/20: meta is not what was saved. It is damaged" in capsys.readouterr().err


def test_config_is_written_again_only_where_it_says_something_else(workdir):
  made = experiments.of_run(workdir)
  before = (workdir / "config.json").stat().st_ino
  with experiments.replacing_config(workdir, made.to_json()):
    pass
  assert (workdir / "config.json").stat().st_ino == before
  with experiments.replacing_config(workdir, dataclasses.replace(made, steps=7).to_json()):
    assert experiments.of_run(workdir) == made  # until the block is done
  assert experiments.of_run(workdir).steps == 7


def test_a_workdir_without_config_or_checkpoint_is_no_run(tmp_path):
  with pytest.raises(ConfigError, match="it holds no config.json, which `audiopalm train` writes"):
    runs.config(tmp_path)
