import dataclasses
import json

import pytest

from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.data import fitting
from audiopalm.data.corpora import SyntheticText
from audiopalm.errors import ConfigError, DataError
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.types import Utterance


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
  with pytest.raises(DataError, match="fit.json: no such file. Run `audiopalm prepare`"):
    tokenizers.pretrained(str(workdir))
  text = fit(workdir)
  taken = tokenizers.pretrained(str(workdir))
  assert taken == tokenizers.fitted(str(workdir), stream="text")
  assert taken.settings == tokenizers.text(300, ("en",))
  assert taken.fit((), seed=1).encode_text("two words") == text.encode_text("two words")


def fit(workdir):
  """Returns the text tokenizer of the run, fitted as `audiopalm prepare` does."""
  settings = experiments.of_run(workdir).tokenizers
  text = settings[0].fit([Utterance(None, 0, "two words", "en", "")], seed=0)
  fitting.save({"text": text}, settings, (), workdir / "tokenizers")
  return text


def test_the_text_of_a_run_that_took_its_own_is_that_of_the_first(workdir, tmp_path):
  text = fit(workdir)
  spec = text.spec
  earlier = dataclasses.replace(text.settings, fitted_in=str(workdir / "tokenizers" / "text"))
  for number, settings in enumerate((tokenizers.pretrained(str(workdir)), earlier)):
    second = tmp_path / f"second {number}"
    made = dataclasses.replace(experiments.of_run(workdir), tokenizers=(settings,))
    assert experiments.from_json(made.to_json()) == made
    second.mkdir()
    (second / "config.json").write_text(made.to_json())
    fitting.save({"text": settings.fit((), seed=1)}, (settings,), (), second / "tokenizers")
    third = tokenizers.pretrained(str(second))
    third.check()
    assert third.fit((), seed=2).spec == spec


def test_a_folder_without_a_run_says_so(tmp_path):
  with pytest.raises(ConfigError, match=r"There is no model in .*config.json is missing. Give"):
    models.pretrained(str(tmp_path))


def test_a_run_without_that_stream_is_refused(workdir):
  fit(workdir)
  with pytest.raises(ConfigError, match="Expected the stream 'words' in .*, which has text. Name"):
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
