"""What the committed configs learn, for real: minutes of training each, so `make test-long`."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

# The least that `make quickstart` must reach; README has what it does reach.
FLOORS = {
  ("asr", "wer"): 0.10,
  ("held_out_voices", "asr", "wer"): 0.30,
  ("mt", "bleu"): 85,
  ("ast", "bleu"): 65,
  ("tts", "wer"): 0.60,
  ("s2st", "asr_bleu"): 20,
}


def scores(config, workdir, *settings):
  """Trains a config as a user does, and returns its scores."""
  own = [part for setting in settings for part in ("--set", setting)]
  for command in (["train", config, *own], ["evaluate", "--json", str(workdir / "scores.json")]):
    line = [sys.executable, "-m", "audiopalm", *command, "--workdir", str(workdir)]
    # Without the flags of the test run, which make programs quick to compile and slow to run.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    subprocess.run(line, check=True, env=environment)
  return json.loads((workdir / "scores.json").read_text())


def test_quickstart_reaches_its_floors(tmp_path):
  found = scores("quickstart", tmp_path)
  reached = {}
  for path in FLOORS:
    reached[path] = found
    for name in path:
      reached[path] = reached[path][name]
  errors = [path for path in FLOORS if path[-1] == "wer" and reached[path] > FLOORS[path]]
  scored = [path for path in FLOORS if path[-1] != "wer" and reached[path] < FLOORS[path]]
  assert not errors + scored, reached


@pytest.mark.skipif(
  "TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR does not say where spoken_digit is"
)
def test_digits_of_a_speaker_never_heard_are_understood(tmp_path):
  """One of five hold-outs; benchmarks/score.py runs them all."""
  settings = (f"data_dir={os.environ['TFDS_DATA_DIR']}", "held_out_speaker=theo")
  found = scores("spoken_digit", tmp_path, *settings)
  assert found["held_out_voices"]["asr"]["exact"] >= 0.8
