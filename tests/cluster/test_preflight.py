import dataclasses
import os
import shutil
import time
import types

import pytest

from audiopalm.cli import config, main
from audiopalm.cluster import preflight
from audiopalm.data import files, lock
from audiopalm.errors import DataError
from audiopalm.parts import machines
from audiopalm.planning import plan as plans

LARGE = config.load("audiopalm_8b")
SMALL = config.load("quickstart")


def checked(experiment, workdir, machine="cpu", devices=1, topology=None, processes=1):
  """Returns {check: (state, text)}."""
  target = preflight.TargetHardware(machines.named(machine), devices, processes, topology)
  checks = preflight.checks(experiment, target, workdir)
  return {check.name: (check.state, check.text) for check in checks}


def test_a_new_run_gets_notes_about_what_comes_first(tmp_path):
  lines = checked(SMALL, tmp_path / "new")
  assert list(lines) == ["code", "config", "mesh", "memory", "workdir", "data", "checkpoint"]
  assert lines["config"] == (
    "ok",
    f"quickstart, digest {SMALL.digest}: {SMALL.steps:,} steps of 8 rows of 384",
  )
  assert lines["mesh"][1].startswith("machine cpu, 1 devices: 2,")
  assert lines["data"][0] == "note" and "nothing is prepared" in lines["data"][1]
  assert (
    lines["checkpoint"][0] == "ok" and "training starts at its first step" in lines["checkpoint"][1]
  )
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  ("machine", "devices", "message"),
  [
    ("v5e", 3, "batch_rows=256 cannot be split over data x fsdp = 3 devices"),
    ("cpu8", 4, "asks for a mesh data=1, fsdp=4, context=1, tensor=2, but there are 4 devices"),
  ],
)
def test_a_mesh_that_does_not_divide_is_wrong(tmp_path, machine, devices, message):
  state, text = checked(LARGE, tmp_path, machine, devices)["mesh"]
  assert state == "wrong" and message in text


def test_a_mesh_must_contain_all_processes(tmp_path):
  state, text = checked(SMALL, tmp_path, devices=2, processes=2)["mesh"]
  assert state == "wrong" and "Machine 'cpu' asks for a mesh data=1" in text
  assert checked(SMALL, tmp_path, devices=2)["mesh"][0] == "ok"


def test_without_a_workdir_only_code_config_and_mesh_are_checked():
  assert list(checked(LARGE, None, "v5e", 256)) == ["code", "config", "mesh"]


def test_a_model_of_8b_is_checked_in_seconds(tmp_path):
  begun = time.monotonic()
  lines = checked(LARGE, tmp_path, "v5e", 256)
  assert "fsdp=256: 8,636,731,392 parameters" in lines["mesh"][1]
  assert time.monotonic() - begun < 10


def test_room_for_two_checkpoints_is_required(tmp_path, monkeypatch):
  usage = shutil.disk_usage(tmp_path)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=180 * 2**30))
  state, text = checked(LARGE, tmp_path, "v5e", 256)["workdir"]
  assert state == "wrong" and "a checkpoint takes 96.5 GiB, and two must fit" in text


def test_a_workdir_that_cannot_be_written_is_wrong(tmp_path):
  (tmp_path / "file").write_text("")
  state, text = checked(SMALL, tmp_path / "file" / "run")["workdir"]
  assert state == "wrong" and "is not a writable folder" in text


def test_a_workdir_that_is_in_use_is_wrong(tmp_path):
  with lock.held(tmp_path, "train"):
    state, text = checked(SMALL, tmp_path)["workdir"]
  assert state == "wrong" and f"process {os.getpid()} on " in text
  assert checked(SMALL, tmp_path)["workdir"][0] == "ok"


def test_the_plan_in_the_workdir_decides_whether_it_fits(tmp_path):
  machine = machines.named("v5e")

  def memory(**changes):
    plan = {
      "digest": LARGE.digest, "machine": dataclasses.asdict(machine), "memory_limit": 16 * 2**30,
      "fits": True, "memory": {"peak": 10.5 * 2**30},
    }  # fmt: skip
    files.write_json(plans.path_in(tmp_path, "v5e:16x16", machine), {**plan, **changes})
    return checked(LARGE, tmp_path, "v5e", 256, "v5e:16x16")["memory"]

  state, text = checked(LARGE, tmp_path, "v5e", 256, "v5e:16x16")["memory"]
  assert state == "note" and "no plan in" in text
  assert f"audiopalm plan CONFIG --topology v5e:16x16 --workdir {tmp_path}, with the same" in text
  assert memory()[0] == "ok" and "10.5 GiB of the 16.0 GiB of a device" in memory()[1]
  state, text = memory(digest="old")
  assert state == "note" and "is for another config (digest old, now " in text
  state, text = memory(machine={**dataclasses.asdict(machine), "remat": "full"})
  assert state == "note" and "is for a machine with another remat: audiopalm plan" in text
  state, text = memory(fits=False, over=3 * 2**30)
  assert state == "wrong" and "3.0 GiB more than the 16.0 GiB of a device" in text


def test_damaged_data_and_checkpoints_are_named(tmp_path, monkeypatch):
  (tmp_path / "prepare.json").write_text("{}")

  def damaged(experiment, workdir):
    raise DataError("train-00003: missing or not finished.")

  monkeypatch.setattr(preflight.prepare, "open_prepared", damaged)
  (tmp_path / "checkpoints" / "12").mkdir(parents=True)
  lines = checked(SMALL, tmp_path)
  assert lines["data"] == ("wrong", "train-00003: missing or not finished.")
  assert lines["checkpoint"][0] == "wrong" and "None of the 1 checkpoints" in lines["checkpoint"][1]


def test_a_resumed_run_names_the_step_of_its_checkpoint(tmp_path, monkeypatch):
  meta = types.SimpleNamespace(step=12, manifest={})
  monkeypatch.setattr(preflight.runs, "steps", lambda workdir: [6, 12])
  monkeypatch.setattr(preflight.checkpoint, "latest", lambda workdir, say: meta)
  state, text = checked(SMALL, tmp_path)["checkpoint"]
  assert state == "ok" and text.startswith("training resumes after step 12 of")


def test_the_command_prints_a_line_per_check_and_ends_with_2_where_one_is_wrong(tmp_path, capsys):
  command = ["preflight", "audiopalm_8b", "--workdir", str(tmp_path)]
  assert main.main([*command, "--machine", "v5e", "--devices", "3"]) == 2
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines][:3] == ["ok", "ok", "wrong"] and len(lines) == 7
  assert main.main(["preflight", "quickstart", *command[2:], "--devices", "1"]) == 0
  assert main.main([*command, "--topology", "v5e:16x16", "--devices", "8"]) == 2
  assert "--topology v5e:16x16 has 256 devices, not 8." in capsys.readouterr().err
  for option in ("--devices", "--num-processes"):
    with pytest.raises(SystemExit) as stop:
      main.main([*command, option, "0"])
    assert stop.value.code == 2
    text = f"argument {option}: expected an integer of at least 1, not 0\n"
    assert capsys.readouterr().err.endswith(text)
  assert main.main([*command, "--topology", "v5e"]) == 2
  assert (
    "--topology takes KIND:SHAPE, as in v5e:16x16 or cpu:8, not 'v5e'" in capsys.readouterr().err
  )
