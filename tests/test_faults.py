"""Real runs of the command line that are killed, and what became of them.

The runs are of a small corpus and model: what is tested is that a run that was killed at any
instant, started again until it is done, ends with the bits of one that was not.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent import futures

import pytest

from audiopalm import runs
from audiopalm.training import checkpoint, metrics

pytestmark = pytest.mark.long

CONFIG = """
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

def experiment():
  corpus = Synthetic(languages=("en", "fr"), topics=("weather",), train_records=64,
                     validation_records=8, test_records=8, voices=2, held_out_voices=1)
  tasks = (mixtures.asr, mixtures.tts, mixtures.mt)
  return Experiment(
    name="killed",
    tokenizers=(tokenizers.text(size=400), tokenizers.units(size=32, rate_hz=25)),
    mixture=mixtures.blend(*((task(corpus), 1.0) for task in tasks)),
    model=models.tiny(width=64, layers=1),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=2),
    evaluation=Evaluation(every_steps=10, held_out_batch_rows=2),
    data=Packed(row_length=384, batch_rows=2),
    steps=24,
    checkpoint_every_steps=2,
  )
"""
RUNS, INSIDE_A_SAVE = 20, 7  # how many are killed, and how many of them while they save
AT_ONCE = 2


class Killed:
  """A command of its own process in a workdir, which may be killed."""

  def __init__(self, folder, *line):
    self.process = subprocess.Popen(
      [sys.executable, "-m", "audiopalm", *map(str, line)],
      cwd=folder,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,
    )

  def kill_when(self, is_time):
    """Kills the process and all it has started as soon as is_time(); False if it ended before."""
    while not is_time():
      if self.process.poll() is not None:
        return False
      time.sleep(0.0005)
    os.killpg(self.process.pid, signal.SIGKILL)
    self.process.wait()
    return True

  def ended(self):
    """Returns what it printed, once it has ended as it should."""
    said, _ = self.process.communicate(timeout=600)
    assert self.process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with the config, a prepared workdir, and a whole run that nobody killed."""
  folder = tmp_path_factory.mktemp("faults")
  (folder / "killed.py").write_text(CONFIG)
  Killed(folder, "prepare", "killed.py", "--workdir", "prepared").ended()
  shutil.copytree(folder / "prepared", folder / "straight")
  Killed(folder, "train", "killed.py", "--workdir", "straight").ended()
  return folder


def outcome(workdir):
  """Returns what must be the same: sums over all bits of the last state, and every metric."""
  step = runs.steps(workdir)[-1]
  meta = json.loads((workdir / runs.CHECKPOINTS / str(step) / "meta" / "metadata").read_text())
  timed = ("tokens_per_s", "mfu")
  lines = [{k: v for k, v in line.items() if k not in timed} for line in metrics.read(workdir)]
  return step, meta["sums"], meta["position"], lines


def half_saved(workdir):
  return any((workdir / runs.CHECKPOINTS).glob(f"*{checkpoint.UNFINISHED}*"))


def killed_and_restarted(folder, number):
  """Returns (kills, kills inside a save) of one run, which has ended like the straight one."""
  chance, workdir = random.Random(number), folder / f"run{number}"
  shutil.copytree(folder / "prepared", workdir)
  line = ("train", "killed.py", "--workdir", workdir.name)
  kills = inside = 0
  for _ in range(20):
    run = Killed(folder, *line)
    begun = len(list(metrics.read(workdir)))
    done = begun + chance.randrange(0, 12)
    if number < INSIDE_A_SAVE and not inside:
      fell = run.kill_when(lambda done=done: steps_of(workdir) >= done and half_saved(workdir))
      inside += fell and half_saved(workdir)
    elif not kills:
      due = time.monotonic() + chance.uniform(0, 3) * chance.randrange(2)
      fell = run.kill_when(
        lambda done=done, due=due: steps_of(workdir) >= done and time.monotonic() > due
      )
    else:
      said = run.ended()
      assert "damaged or half written" not in said
      break
    kills += fell
    if not fell:  # it was too quick for us
      run.ended()
      break
  assert outcome(workdir) == outcome(folder / "straight")
  shutil.rmtree(workdir)
  return kills, inside


def steps_of(workdir):
  return len(list(metrics.read(workdir)))


def test_runs_killed_at_any_instant_end_with_the_bits_of_one_that_was_not(folder):
  with futures.ThreadPoolExecutor(AT_ONCE) as pool:
    found = list(pool.map(lambda number: killed_and_restarted(folder, number), range(RUNS)))
  print(
    f"\n{RUNS} runs: {sum(k for k, _ in found)} kills, {sum(i for _, i in found)} inside a save"
  )
  assert all(kills for kills, _ in found)
  assert sum(inside for _, inside in found) >= 5


def test_an_export_that_is_killed_leaves_nothing_under_its_name(folder):
  line = ("export", "--workdir", "straight", "--out", "exported")
  parts = lambda: list(folder.glob(".exported.*"))  # noqa: E731
  assert Killed(folder, *line).kill_when(parts)
  assert not (folder / "exported").exists()
  Killed(folder, *line).ended()
  assert (folder / "exported" / "config.json").is_file()
