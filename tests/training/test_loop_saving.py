"""What a run does about its checkpoints: full and damaged devices, and which settings are kept."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from audiopalm import errors, runs
from audiopalm import experiment as experiments
from audiopalm.training import saving, verification

PROGRAM = Path(__file__).with_name("tiny.py")
ROOT = Path(__file__).parents[2]


def no_room(monkeypatch, path):
  """Makes the device seem full, and returns what makes it as it was."""
  usage = shutil.disk_usage(path)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
  return lambda: monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_run_whose_device_is_full_goes_on_and_saves_when_there_is_room(
  tiny, straight, tmp_path, monkeypatch
):
  free, said = no_room(monkeypatch, tmp_path), io.StringIO()
  tiny.at_batch(monkeypatch, 4, free)  # made while step 4 computes: step 3 was to be saved
  tiny.run(tmp_path, said=said)
  assert runs.steps(tmp_path)[-1] == 6 and 3 not in runs.steps(tmp_path)
  shown = " ".join(said.getvalue().split())
  assert "No space left on the device" in shown and "There is no checkpoint yet." in shown
  assert "The run continues and tries again after step 4." in shown
  tiny.assert_same_run(straight[0], tmp_path)


def test_the_last_checkpoint_waits_for_room(tiny, straight, tmp_path, monkeypatch):
  free, pauses = no_room(monkeypatch, tmp_path), []

  def pause(seconds):
    pauses.append(seconds)
    if len(pauses) == 3:
      free()

  monkeypatch.setattr(saving, "time", types.SimpleNamespace(sleep=pause))
  tiny.run(tmp_path)
  assert runs.steps(tmp_path) == [6] and len(pauses) == 3
  tiny.assert_same_run(straight[0], tmp_path)


def test_a_device_that_stays_full_ends_the_run_and_the_earlier_checkpoint_stays(
  tiny, straight, tmp_path, monkeypatch
):
  monkeypatch.setattr(saving, "LAST_S", 0)
  with monkeypatch.context() as patch:
    tiny.at_batch(patch, 5, lambda: no_room(patch, tmp_path))
    with pytest.raises(errors.FullDevice) as error:
      tiny.run(tmp_path)
  assert error.value.exit_code == 2
  assert "No space left on the device" in str(error.value)
  assert "The checkpoint of step 3 is intact" in str(error.value)
  assert "resumes with the same command" in str(error.value)
  assert runs.steps(tmp_path) == [3]


def test_a_run_on_a_really_full_device_goes_on_and_loses_no_line(
  tiny, straight, small_device, monkeypatch
):
  place = small_device.path
  small_device.resize("6m")

  def fill():
    with contextlib.suppress(OSError), (place / "filler").open("wb") as file:
      while True:
        file.write(bytes(4096))

  tiny.at_batch(monkeypatch, 2, fill)
  tiny.at_batch(monkeypatch, 5, (place / "filler").unlink)
  said = io.StringIO()
  tiny.run(place / "run", said=said)
  shown = " ".join(said.getvalue().split())
  assert "metrics.jsonl: new lines are kept in memory" in shown
  assert "The run continues and tries again after step 4." in shown
  assert "metrics.jsonl is complete." in shown
  tiny.assert_same_run(straight[0], place / "run")


def damaged(monkeypatch, *times):
  """Damages the checkpoints that are opened again for the first, second, ... time."""
  fault, opened = verification.fault, []

  def damage(folder, *rest):
    opened.append(folder)
    if len(opened) in times:
      shutil.rmtree(folder / "rest")
    return fault(folder, *rest)

  monkeypatch.setattr(verification, "fault", damage)


def test_a_run_whose_checkpoint_is_damaged_says_so_and_saves_again(
  tiny, straight, tmp_path, monkeypatch
):
  damaged(monkeypatch, 1, 2)  # of step 3, and of step 6, the last
  said = io.StringIO()
  tiny.run(tmp_path, said=said)
  shown = " ".join(said.getvalue().split())
  assert "The checkpoint of step 3 is not what was saved, as it was opened again: " in shown
  assert "There is no checkpoint yet. The run continues, and saves again now." in shown
  assert "The checkpoint of step 6 is not what was saved" in shown and "It is saved again." in shown
  assert runs.steps(tmp_path) == [6]
  assert sorted(path.name for path in (tmp_path / "damaged_checkpoints").iterdir()) == ["3", "6"]
  tiny.assert_same_run(straight[0], tmp_path)


def test_a_run_none_of_whose_checkpoints_can_be_read_again_ends_and_keeps_the_good_one(
  tiny, tmp_path, monkeypatch
):
  damaged(monkeypatch, 2, 3, 4)
  with pytest.raises(errors.CheckpointError, match="It is the last of 3 in a row: what writes to"):
    tiny.run(tmp_path)
  assert runs.steps(tmp_path) == [3]


def settings_of(workdir):
  """Returns the steps that the newest checkpoint, the readers and config.json say, each."""
  text = runs.newest(workdir)["experiment"]
  return (
    json.loads(text)["steps"],
    experiments.of_run(workdir).steps,
    json.loads((workdir / "config.json").read_text())["steps"],
  )


def test_config_says_what_the_newest_checkpoint_says_after_each_kind_of_end(
  tiny, straight, tmp_path, monkeypatch
):
  shutil.copytree(straight[0], tmp_path / "run")
  workdir = tmp_path / "run"

  def fail():
    assert settings_of(workdir) == (6, 6, 6)  # while another start trains with 9
    raise RuntimeError("the machine fell over")

  with monkeypatch.context() as patch, pytest.raises(RuntimeError):
    tiny.at_batch(patch, 7, fail)
    tiny.run(workdir, tiny.experiment(steps=9, checkpoint_every_steps=9))
  assert settings_of(workdir) == (6, 6, 6)
  with monkeypatch.context() as patch, pytest.raises(errors.Requeue):
    tiny.at_batch(patch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tiny.run(workdir, tiny.experiment(steps=10, checkpoint_every_steps=9))
  assert settings_of(workdir) == (10, 10, 10)
  last = runs.steps(workdir)[-1]
  shutil.rmtree(workdir / "checkpoints" / str(last) / "rest")
  tiny.run(workdir, tiny.experiment(steps=7))  # from the one of step 6
  assert settings_of(workdir) == (7, 7, 7)
  tiny.run(workdir, tiny.experiment(steps=7, keep_checkpoints=1))  # does nothing, saves nothing
  assert experiments.of_run(workdir).keep_checkpoints == 2


@pytest.mark.long
@pytest.mark.parametrize(
  ("where", "counts"),
  [
    ("before it was opened", False),
    ("before it has its name", False),
    ("before config.json", True),
    ("before older ones go", True),
  ],
)
def test_killed_where_a_checkpoint_comes_to_count_the_readers_agree(
  tiny, straight, tmp_path, where, counts
):
  shutil.copytree(straight[0], tmp_path / "run")
  workdir = tmp_path / "run"
  command = [sys.executable, str(PROGRAM), str(workdir), "9"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  options = {"env": environment, "capture_output": True, "text": True, "timeout": 600}
  ended = subprocess.run([*command, "--killed", where], **options)
  assert ended.returncode == -signal.SIGKILL, ended.stderr
  newest, read, written = settings_of(workdir)
  assert newest == read == (9 if counts else 6)
  assert written == (9 if where == "before older ones go" else 6)  # a copy, for people
  again = subprocess.run(command, **options)
  assert again.returncode == 0, again.stderr
  assert "resuming after step 9" in again.stdout and settings_of(workdir) == (9, 9, 9)
