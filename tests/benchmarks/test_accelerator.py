"""The script for an accelerator, with a program in the place of Python that does as it is told."""

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
  ended = subprocess.run(
    [SCRIPT, tmp_path / "out"],
    env={**os.environ, "PYTHON": str(python), "SIZE": "tiny", "COMMIT": "abc", **environment},
    capture_output=True,
    text=True,
    timeout=60,
  )
  summary = tmp_path / "out" / "summary.txt"
  return ended, summary.read_text().splitlines() if summary.exists() else []


def test_each_part_has_a_folder_and_a_line_and_all_done_is_0(tmp_path):
  ended, lines = run(tmp_path)
  assert ended.returncode == 0, ended.stderr
  assert [line.split(": done in")[0] for line in lines] == list(PARTS)
  assert (tmp_path / "out" / "speed_tiny" / "speed.json").read_text() == "{}\n"
  assert all((tmp_path / "out" / part / "log.txt").exists() for part in PARTS)


def test_what_fails_does_not_stop_the_next_and_the_end_is_1(tmp_path):
  ended, lines = run(tmp_path, TESTS="3", SPEED='"failed": "no room"')
  assert ended.returncode == 1
  assert lines[0].startswith("tests: FAILED with 3 after ")
  assert lines[0].endswith(", see tests/log.txt")
  assert lines[1].startswith("step: done") and lines[3].startswith("decode: done")
  assert lines[2].startswith("speed_tiny: FAILED in part after ")


def test_a_part_that_takes_too_long_is_ended_and_those_after_it_keep_their_time(tmp_path):
  ended, lines = run(tmp_path, STEP="30", STEP_S="1")
  assert ended.returncode == 1
  assert lines[1] == "step: FAILED, more than 1 s"
  assert lines[2].startswith("speed_tiny: done")


def test_what_python_lacks_ends_it_before_any_part(tmp_path):
  ended, lines = run(tmp_path, LACKING="1")
  assert ended.returncode == 1 and not lines
  assert "== tests" not in ended.stdout


@pytest.mark.skipif(SHELLCHECK is None, reason="needs shellcheck")
def test_shellcheck_finds_no_fault():
  found = subprocess.run([SHELLCHECK, SCRIPT], capture_output=True, text=True)
  assert found.returncode == 0, found.stdout


def test_the_parts_of_a_whole_run_fit_nine_minutes():
  text = SCRIPT.read_text().partition("\nelse\n")[2]
  limits = [int(line.split()[2]) for line in text.splitlines() if line.startswith("  part ")]
  assert len(limits) == 5 and sum(limits) <= 530
