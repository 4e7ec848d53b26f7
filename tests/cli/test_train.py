import pytest

from audiopalm.cli import main, train
from audiopalm.data import lock
from audiopalm.errors import EXIT_USER

CONFIG = """

from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers

def experiment():
  corpus = Synthetic(languages=("en",))
  return Experiment(
    name="no way out",
    tokenizers=(tokenizers.text(), tokenizers.lyra("nowhere")),
    mixture=mixtures.blend((mixtures.tts(corpus, speech="codes"), 1.0)),
    model=models.tiny(),
  )
"""


@pytest.fixture
def line(tmp_path):
  (tmp_path / "config.py").write_text(CONFIG)
  return ["train", str(tmp_path / "config.py"), "--workdir", str(tmp_path / "run")]


def test_what_could_not_be_exported_is_refused_before_anything_is_prepared(line, tmp_path, capsys):
  assert main.main(line) == EXIT_USER
  said = capsys.readouterr().err
  assert "ConfigError: No PyTorch export exists for the tokenizer 'codes' (Lyra)" in said
  assert "give the experiment export=None to train without" in said
  assert not (tmp_path / "run").exists()


def test_a_time_to_hang_below_0_is_refused(line, capsys):
  assert main.main([*line, "--hang-s", "-1"]) == EXIT_USER
  assert "--hang-s takes seconds, 0 for any time, not -1." in capsys.readouterr().err
  assert main.main([*line, "--recheck-every", "-1"]) == EXIT_USER
  assert "--recheck-every takes steps, 0 for never, not -1." in capsys.readouterr().err


def test_a_second_run_in_a_workdir_is_refused(line, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(train, "_prepare", lambda args: pytest.fail("it began"))
  with lock.held(tmp_path / "run", "train"):
    assert main.main([*line, "--set", "export=none"]) == EXIT_USER
  said = capsys.readouterr().err
  assert "run is in use: process" in said and "choose another --workdir" in said


def test_it_is_trained_where_the_experiment_says_that_it_stays(line, monkeypatch):
  monkeypatch.setattr(train.prepare, "needed", lambda experiment, workdir: True)
  monkeypatch.setattr(train, "_prepare", lambda args: 75)
  assert main.main([*line, "--set", "export=none"]) == 75
