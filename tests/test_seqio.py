"""The SeqIO tasks of a run are registered by its workdir, and the program in docs/seqio.md runs."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from audiopalm import config as c
from audiopalm import experiment as experiments
from audiopalm.data import prepare
from audiopalm.errors import ConfigError, DataError

seqio = pytest.importorskip("seqio", reason="SeqIO comes with audiopalm[data]")

import audiopalm  # noqa: E402

PAGE = Path(__file__).parents[1] / "docs" / "seqio.md"
ROW_LENGTH = 128


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A prepared run of text alone, which takes a second."""
  texts = c.corpora.SyntheticTranslations(
    languages=("en", "fr"), topics=("times",), train_records=16, validation_records=4,
    test_records=4,
  )  # fmt: skip
  made = c.Experiment(
    name="texts",
    tokenizers=(c.tokenizers.text(size=400),),
    mixture=c.mixtures.blend((c.mixtures.mt(texts), 0.7), (c.mixtures.text(texts), 0.3)),
    model=c.models.tiny(),
    data=c.Packed(row_length=ROW_LENGTH),
  )
  folder = tmp_path_factory.mktemp("texts")
  prepare.prepare(made, folder, workers=0)
  with experiments.replacing_config(folder, made.to_json()):
    pass
  return folder


def test_the_program_on_the_page_runs(workdir, tmp_path, monkeypatch, capsys):
  program = re.search(r"```python\n# seqio_run.py\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
  assert 20 <= len([line for line in program.splitlines() if line]) <= 30
  path = tmp_path / "seqio_run.py"
  path.write_text(program)
  monkeypatch.setattr(sys, "argv", [str(path), str(workdir), str(ROW_LENGTH)])
  runpy.run_path(str(path), run_name="__main__")
  lines = capsys.readouterr().out.splitlines()
  assert re.fullmatch(rf"step 1: \(4, {ROW_LENGTH}, 1\) [1-9]\d* to predict", lines[0])
  scores = re.fullmatch(r"audiopalm_mt_\w+ \{'bleu': (\S+), 'chrf': (\S+)\}", lines[2])
  assert all(0 < float(score) < 100 for score in scores.groups())
  assert len(lines) == 3  # plain text has no metric


def test_a_workdir_is_registered_once_with_the_tasks_of_its_mixture(workdir):
  name = audiopalm.seqio.register(workdir)
  assert audiopalm.seqio.register(str(workdir)) == name
  mixture = seqio.get_mixture_or_task(name)
  assert [task.name.split("_")[1] for task in mixture.tasks] == ["mt", "text"]
  example = next(iter(mixture.get_dataset(None, "train", shuffle=False).as_numpy_iterator()))
  assert set(example) == {"tokens", "weights", "visible"}  # SeqIO keeps no others in a mixture


def test_the_converter_pads_with_holes_that_weigh_nothing(workdir):
  name = audiopalm.seqio.register(workdir)
  task = name.replace("audiopalm_", "audiopalm_mt_")
  options = {"dataset_split": "test", "shuffle": False}
  plain = seqio.get_mixture_or_task(task).get_dataset(None, "test", shuffle=False)
  lengths = dict.fromkeys(("tokens", "weights", "visible"), ROW_LENGTH)
  padded = seqio.get_dataset(
    task, lengths, feature_converter=audiopalm.seqio.GridConverter(), **options
  )
  assert padded.element_spec["tokens"].shape == (ROW_LENGTH, 1)
  for before, after in zip(plain.as_numpy_iterator(), padded.as_numpy_iterator(), strict=True):
    rows = len(before["tokens"])
    assert rows < ROW_LENGTH
    for key, hole in (("tokens", -1), ("weights", 0), ("visible", 0)):
      np.testing.assert_array_equal(after[key][:rows], before[key])
      assert (after[key][rows:] == hole).all()
    assert (after["id"], after["reference"]) == (before["id"], before["reference"])


def test_a_workdir_that_cannot_be_registered_says_what_to_do(workdir, tmp_path):
  with pytest.raises(ConfigError, match="There is no run in .*: it holds no config.json"):
    audiopalm.seqio.register(tmp_path)
  made = experiments.of_run(workdir)
  (tmp_path / "config.json").write_text(made.to_json())
  with pytest.raises(DataError) as error:
    audiopalm.seqio.register(tmp_path)
  assert f"Run audiopalm prepare {tmp_path}/config.json --workdir {tmp_path}" in str(error.value)
