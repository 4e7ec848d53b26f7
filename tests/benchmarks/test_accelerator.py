"""The script for an accelerator, with a mock of Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "accelerator.sh"
PARTS = ("tests", "step", "speed_tiny", "decode")
SHELLCHECK = shutil.which(
  "shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
PYTHON = """#!/bin/bash
[[ $1 == -c ]] && exit "${LACKING:-0}"
case "$*" in
  *pytest*) exit "${TESTS:-0}" ;;
  *accelerator_step*) sleep "${STEP:-0}" ;;
  *accelerator_speed*) echo "{${SPEED:-}}" > "$RESULTS/speed.json" ;;
esac
"""


def run(tmp_path, **environment):
  python = tmp_path / "python"
  python.write_text(PYTHON)
  python.chmod(0o755)
  process = subprocess.run(
    [SCRIPT, tmp_path / "out"],
    env={**os.environ, "PYTHON": str(python), "SIZE": "tiny", "COMMIT": "abc", **environment},
    capture_output=True,
    text=True,
    timeout=60,
  )
  summary = tmp_path / "out" / "summary.txt"
  return process, summary.read_text().splitlines() if summary.exists() else []


def test_each_part_has_a_folder_and_a_line_and_success_is_0(tmp_path):
  process, lines = run(tmp_path)
  assert process.returncode == 0, process.stderr
  assert [line.split(": done in")[0] for line in lines] == list(PARTS)
  assert (tmp_path / "out" / "speed_tiny" / "speed.json").read_text() == "{}\n"
  assert all((tmp_path / "out" / part / "log.txt").exists() for part in PARTS)


def test_a_failed_part_does_not_stop_the_next_and_the_exit_code_is_1(tmp_path):
  process, lines = run(tmp_path, TESTS="3", SPEED='"failed": "no room"')
  assert process.returncode == 1
  assert lines[0].startswith("tests: FAILED with 3 after ")
  assert lines[0].endswith(", see tests/log.txt")
  assert lines[1].startswith("step: done") and lines[3].startswith("decode: done")
  assert lines[2].startswith("speed_tiny: FAILED in part after ")


def test_a_part_that_exceeds_its_time_is_stopped_and_later_parts_run(tmp_path):
  process, lines = run(tmp_path, STEP="30", STEP_S="1")
  assert process.returncode == 1
  assert lines[1] == "step: FAILED, more than 1 s"
  assert lines[2].startswith("speed_tiny: done")


def test_a_missing_package_stops_the_script_before_any_part(tmp_path):
  process, lines = run(tmp_path, LACKING="1")
  assert process.returncode == 1 and not lines
  assert "== tests" not in process.stdout


@pytest.mark.skipif(SHELLCHECK is None, reason="needs shellcheck")
def test_shellcheck_accepts_the_script():
  process = subprocess.run([SHELLCHECK, SCRIPT], capture_output=True, text=True)
  assert process.returncode == 0, process.stdout


def test_the_parts_of_a_whole_run_fit_nine_minutes():
  text = SCRIPT.read_text().partition("\nelse\n")[2]
  limits = [int(line.split()[2]) for line in text.splitlines() if line.startswith("  part ")]
  assert len(limits) == 5 and sum(limits) <= 530
