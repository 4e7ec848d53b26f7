import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from audiopalm import bits, errors, runs
from audiopalm.data import loader
from audiopalm.data import schedule as schedules
from audiopalm.models import decoder
from audiopalm.settings import Evaluation, Machine
from audiopalm.training import (
  checkpoint,
  guard,
  held_out,
  metrics,
  record,
)

PROGRAM = Path(__file__).with_name("tiny.py")
ROOT = Path(__file__).parents[2]


def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(
  tiny, straight, tmp_path, monkeypatch
):
  tiny.at_batch(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
  said = io.StringIO()
  with pytest.raises(errors.Requeue) as stopped:
    tiny.run(tmp_path)
  assert stopped.value.exit_code == 75
  assert "Stopped by SIGTERM after step" in str(stopped.value)
  assert "Run the same command again" in str(stopped.value)
  assert 0 < checkpoint.latest(tmp_path).step < 6
  tiny.run(tmp_path, said=said)
  assert f"resuming after step {runs.steps(tmp_path)[0]}" in said.getvalue()
  tiny.assert_same_run(straight[0], tmp_path)


def test_stopped_where_held_out_losses_were_due_measures_them_when_resumed(
  tiny, straight, tmp_path, monkeypatch
):
  add = record.Recorder.add

  def stopped_after(self, number, *rest):
    add(self, number, *rest)
    if number == 3:  # seen after step 4, at which they are due
      os.kill(os.getpid(), signal.SIGTERM)

  monkeypatch.setattr(record.Recorder, "add", stopped_after)
  with pytest.raises(errors.Requeue):
    tiny.run(tmp_path)
  assert runs.steps(tmp_path)[-1] == 4
  monkeypatch.setattr(record.Recorder, "add", add)
  tiny.run(tmp_path)
  tiny.assert_same_run(straight[0], tmp_path)


def test_run_that_broke_off_goes_on_from_its_checkpoint_and_equals_uninterrupted(
  tiny, straight, tmp_path, monkeypatch
):
  def fail():
    raise RuntimeError("the machine fell over")

  tiny.at_batch(monkeypatch, 5, fail)
  with pytest.raises(RuntimeError, match="fell over"):
    tiny.run(tmp_path)
  assert runs.steps(tmp_path) == [3]
  before = [line["step"] for line in metrics.read(tmp_path)]
  assert before[-1] > 3  # work that is lost
  tiny.run(tmp_path)
  tiny.assert_same_run(straight[0], tmp_path)
  last = json.loads((tmp_path / "goodput.jsonl").read_text().splitlines()[-1])
  assert last["lost_steps"] == len({step for step in before if step > 3})
  assert last["total"]["lost work"] > 0


@pytest.mark.long
def test_sigterm_ends_the_process_with_75_and_a_restart_completes(tiny, straight, tmp_path):
  command = [sys.executable, str(PROGRAM), str(tmp_path), "6"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  with subprocess.Popen(
    [*command, "--slow"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  ) as process:
    while process.poll() is None and len(list(metrics.read(tmp_path))) < 1:
      time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=600)
  assert process.returncode == 75, complaint
  assert complaint.startswith("Requeue: Stopped by SIGTERM after step")
  assert len(complaint.strip().splitlines()) == 1
  again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
  assert again.returncode == 0, again.stderr
  assert "resuming after step" in again.stdout
  tiny.assert_same_run(straight[0], tmp_path)
  # This environment has TensorFlow: nothing that trains, logs or saves may load it.
  assert "tensorflow loaded: False" in again.stdout


@pytest.mark.long
def test_a_run_that_hangs_ends_with_70_and_a_restart_completes(tiny, straight, tmp_path):
  command = [sys.executable, str(PROGRAM), str(tmp_path), "6"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  hung = subprocess.run(
    [*command, "--hangs-at", "4"], env=environment, capture_output=True, text=True, timeout=600
  )
  assert hung.returncode == 70, hung.stderr
  assert "The run hangs: " in hung.stderr and "s in one data wait" in hung.stderr
  assert " in slow" in (tmp_path / "heartbeats" / "0.stacks.txt").read_text()
  again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
  assert again.returncode == 0, again.stderr
  assert "resuming after step 3" in again.stdout
  tiny.assert_same_run(straight[0], tmp_path)


@pytest.mark.long  # tests/cli/test_train_run.py goes on on another mesh, too
def test_run_begun_on_eight_devices_goes_on_on_one(tiny, tmp_path, monkeypatch):
  monkeypatch.setattr(decoder.DecoderModel, "init", lambda self, key, mesh: tiny.params(self, mesh))
  expected = tiny.run(tmp_path / "one")
  tiny.at_batch(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
  with pytest.raises(errors.Requeue):
    tiny.run(tmp_path / "eight", machine=Machine(name="eight", data=1, fsdp=4, tensor=2))
  resumed = tiny.run(tmp_path / "eight")
  for task, values in expected.held_out.items():
    np.testing.assert_allclose(resumed.held_out[task]["loss"], values["loss"], rtol=1e-4)


def test_finished_run_only_measures_and_sums_up_again(tiny, straight, tmp_path):
  shutil.copytree(straight[0], tmp_path / "run")
  again = tiny.run(tmp_path / "run")
  assert again.held_out == straight[1].held_out
  assert again.seen == straight[1].seen
  assert runs.steps(tmp_path / "run") == runs.steps(straight[0]) == [3, 6]


def test_summary_and_lines_say_what_happened_and_what_comes_next(straight):
  workdir, summary, said = straight
  mesh = "data=1, fsdp=1, context=1, tensor=1"
  assert f"machine one: 1 x cpu, mesh {mesh}, float32, xla attention" in said
  assert "step 4 | held-out loss: asr " in said
  assert "step 6/6 | loss text " in said
  assert f"next: audiopalm evaluate --workdir {workdir}" in said
  assert set(summary.held_out) == {"asr", "mt"} and summary.held_out["asr"]["loss"] > 0
  assert summary.step == 6 and summary.mfu == "unknown" and summary.skipped == 0
  assert summary.seen["asr"]["rows"] + summary.seen["mt"]["rows"] == 48
  assert set(summary.seconds) == {
    "init", "compile", "data wait", "step", "lost work", "checkpoint", "evaluation",
  }  # fmt: skip


def test_every_step_has_a_line_and_an_event(straight):
  lines = list(metrics.read(straight[0]))
  assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
  assert [line["step"] for line in lines if "held_out" in line] == [4, 6]
  assert {"nll_text", "accuracy_text", "grad_norm", "lr", "tokens", "mfu"} <= set(lines[0])
  assert lines[-1]["seen"]["asr"]["tokens"] > 0
  assert list((straight[0] / "events").glob("events.out.tfevents.*"))


def test_settings_changed_at_a_resume_are_printed(tiny, straight, tmp_path):
  shutil.copytree(straight[0], tmp_path / "run")
  said = io.StringIO()
  tiny.run(tmp_path / "run", tiny.experiment(keep_checkpoints=1), said=said)
  assert "changed since that checkpoint: keep_checkpoints: 2 became 1" in said.getvalue()


def test_checkpoint_waits_for_a_finite_step(tiny, tmp_path, monkeypatch):
  tiny.changed_batches(
    monkeypatch, lambda step, batch: tiny.not_finite(batch) if step == 2 else batch
  )
  summary = tiny.run(tmp_path)
  assert runs.steps(tmp_path) == [4, 6]  # due after step 3, which was not finite
  assert summary.skipped == 1
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tiny.saved(tmp_path)))
  third = [line for line in metrics.read(tmp_path) if line["step"] == 3][0]
  assert third["loss"] is None and third["skipped"] == 1


def test_too_many_bad_steps_in_a_row_end_the_run_and_save_nothing(tiny, tmp_path, monkeypatch):
  tiny.changed_batches(
    monkeypatch, lambda step, batch: tiny.not_finite(batch) if step >= 3 else batch
  )
  made = tiny.experiment(steps=40)
  with pytest.raises(errors.BadSteps, match="The last 20 steps up to step 23"):
    tiny.run(tmp_path, made)
  assert runs.steps(tmp_path) == [3]
  given = json.loads((tmp_path / "bad_steps.json").read_text())
  assert [each["step"] for each in given] == list(range(4, 24))
  places = loader.Loader(tiny.Prepared(made), made).places_at(3)
  rows = [place.row for place in places]
  ids = [f"made/{number:03d}" for row in rows for number in (2 * row, 2 * row + 1)]
  assert [each["id"] for each in given[0]["records"]] == ids


def test_a_gradient_that_spikes_is_skipped(tiny, tmp_path, monkeypatch):
  # Its few weighted cells are wrong ones: rows of another model's making.
  def spiking(step, batch):
    if step != 3:
      return batch
    return dataclasses.replace(batch, tokens_BLK=np.where(batch.tokens_BLK >= 0, 1, -1))

  tiny.changed_batches(monkeypatch, spiking)
  tiny.run(tmp_path / "taken")
  norms = [line["grad_norm"] for line in step_lines(tmp_path / "taken")]
  usual = max(norms[:3])
  assert norms[3] > 1.2 * usual
  optimizer = dataclasses.replace(
    tiny.experiment().optimizer, spike=1.1 * max(norms[:3]) / min(norms[:3])
  )
  tiny.run(tmp_path / "skipped", tiny.experiment(optimizer=optimizer))
  lines = step_lines(tmp_path / "skipped")
  assert [line["skipped"] for line in lines[:5]] == [0, 0, 0, 1, 1]


def step_lines(workdir):
  return [line for line in metrics.read(workdir) if "loss" in line]


def test_a_step_computed_twice_changes_nothing(tiny, straight, tmp_path):
  tiny.run(tmp_path, recheck_every=2)
  tiny.assert_same_run(straight[0], tmp_path)


def test_a_device_that_gives_other_bits_ends_the_run(tiny, tmp_path, monkeypatch):
  sums, calls = bits.sums, []

  def flawed(tree):
    calls.append(tree)
    found = sums(tree)
    return {**found, "step": -1} if len(calls) == 2 else found

  monkeypatch.setattr(guard.bits, "sums", flawed)
  with pytest.raises(errors.HardwareFault) as error:
    tiny.run(tmp_path, recheck_every=2)
  assert error.value.exit_code == 72
  assert "Step 2, computed twice, differs in 1 arrays (step)" in str(error.value)


def test_the_best_checkpoint_stays_and_is_known_again_after_a_restart(tiny, tmp_path, monkeypatch):
  made = tiny.experiment(
    steps=9, checkpoint_every_steps=1, keep_checkpoints=1, keep_best="asr/loss",
    evaluation=Evaluation(every_steps=2, held_out_batch_rows=8),
  )  # fmt: skip
  losses = iter([3.0, 1.0, 2.0, 2.0, 4.0])

  def measured(self, params, variables):
    return {"asr": {"loss": next(losses)}, "mt": {"loss": 1.0}}

  monkeypatch.setattr(held_out.HeldOut, "measure", measured)
  tiny.at_batch(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
  with pytest.raises(errors.Requeue):
    tiny.run(tmp_path, made)
  assert runs.steps(tmp_path)[0] == 4
  assert "best by asr/loss: step 4 (1.0000)" in tiny.run(tmp_path, made).best
  assert runs.steps(tmp_path) == [4, 9]


def test_a_metric_that_is_not_measured_is_refused_before_the_first_step(tiny, tmp_path):
  made = tiny.experiment(checkpoint_every_steps=2, keep_best="asr/wer")
  with pytest.raises(errors.ConfigError, match="asr is measured by loss, accuracy_speech, "):
    tiny.run(tmp_path, made)


def test_run_without_a_finite_step_is_an_error(tiny, tmp_path, monkeypatch):
  tiny.changed_batches(monkeypatch, lambda step, batch: tiny.not_finite(batch))
  with pytest.raises(errors.BadSteps, match="No step of this run up to the last, 6, had a finite"):
    tiny.run(tmp_path)
  assert runs.steps(tmp_path) == []


def test_checkpoint_of_another_shape_lists_the_arrays(tiny, straight):
  wider = dataclasses.replace(tiny.experiment().model, hidden=48)
  with pytest.raises(errors.CheckpointError) as error:
    tiny.run(straight[0], tiny.experiment(model=wider))
  assert "layers/mlp/down: saved float32 (2, 32, 16), expected float32 (2, 48, 16)" in str(
    error.value
  )


def test_checkpoint_of_another_manifest_prints_the_difference(tiny, straight, monkeypatch):
  text, units = tiny.SPECS
  monkeypatch.setattr(tiny, "SPECS", (text, dataclasses.replace(units, fingerprint="other")))
  with pytest.raises(errors.TokenSpaceError) as error:
    tiny.run(straight[0])
  assert 'streams / units / fingerprint: "other" became "made-up units"' in str(error.value)


def test_rows_that_do_not_divide_are_refused_before_anything_is_made(tiny, tmp_path):
  with pytest.raises(errors.ConfigError, match="batch_rows=8 cannot be split"):
    tiny.run(tmp_path / "run", machine=dataclasses.replace(tiny.ONE, data=3))
  assert not (tmp_path / "run" / "checkpoints").exists()


def test_other_batch_rows_and_rates_at_a_resume_go_on_where_the_data_was(tiny, tmp_path):
  blend = lambda asr, mt: dataclasses.replace(  # noqa: E731
    tiny.experiment().mixture,
    tasks=tuple(zip(tiny.experiment().tasks, (asr, mt), strict=True)),
  )
  starts = [
    tiny.experiment(steps=3),
    tiny.experiment(steps=5, batch_rows=4),
    tiny.experiment(steps=6, batch_rows=16),
    tiny.experiment(steps=8, batch_rows=16, mixture=blend(1.0, 1.0)),
  ]
  said = io.StringIO()
  for made in starts:
    summary = tiny.run(tmp_path, made, said=said)
  shown = " ".join(said.getvalue().split())
  assert "changed since that checkpoint: data / batch_rows: 8 became 4" in shown
  assert "changed since that checkpoint: mixture / tasks / asr / rate: 2.0 became 1.0" in shown
  saved = runs.newest(tmp_path)
  schedule = schedules.from_json(saved["position"]["schedule"])
  assert [(each.step, each.batch_rows) for each in schedule] == [(0, 8), (3, 4), (5, 16), (6, 16)]
  # Up to the changed rates: the rows, in their order, of a run whose batch_rows never changed.
  last = loader.Loader(tiny.Prepared(starts[-1]), starts[-1], schedule=schedule)
  ones = loader.Loader(tiny.Prepared(starts[0]), starts[0], batch_rows=1)
  places = [place for step in range(6) for place in last.places_at(step)]
  assert places == [ones.places_at(row)[0] for row in range(3 * 8 + 2 * 4 + 16)]
  written = {line["step"]: line["batch"] for line in step_lines(tmp_path)}
  assert written == {step + 1: last.batch_at(step).digest() for step in range(8)}
  counts = schedules.at(schedule, 8).counts(8)
  assert {task: values["rows"] for task, values in summary.seen.items()} == counts


def test_a_checkpoint_of_before_there_were_schedules_goes_on_in_rows_too(
  tiny, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(schedules, "to_json", lambda schedule: None)
    tiny.run(tmp_path, tiny.experiment(steps=3))
  tiny.run(tmp_path, tiny.experiment(steps=5, batch_rows=4))
  found = runs.newest(tmp_path)["position"]["schedule"]
  assert [(each["step"], each["row"], each["batch_rows"]) for each in found] == [
    (0, 0, 8), (3, 24, 4)
  ]  # fmt: skip


def test_a_workdir_with_the_characters_of_patterns_is_trained_in_and_resumed(
  tiny, straight, tmp_path
):
  workdir, said = tmp_path / "a[b]*c?{d,e}" / "run", io.StringIO()
  tiny.run(workdir, tiny.experiment(steps=3))
  tiny.run(workdir, said=said)
  assert "resuming after step 3" in said.getvalue()
  jax.tree.map(np.testing.assert_array_equal, tiny.saved(straight[0]), tiny.saved(workdir))
