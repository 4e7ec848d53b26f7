"""What the committed configs learn, for real: minutes of training each, so `make test-long`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import audiopalm
from audiopalm.audio import waveform

pytestmark = pytest.mark.long

# The least that `make quickstart` must reach; README has what it does reach.
FLOORS = {
  ("asr", "wer"): 0.08,
  ("held_out_voices", "asr", "wer"): 0.20,
  ("mt", "bleu"): 90,
  ("ast", "bleu"): 75,
  ("tts", "wer"): 0.30,
  ("s2st", "asr_bleu"): 35,
}


def scores(config, workdir, *settings):
  """Trains a config as a user does, and returns its scores."""
  own = [part for setting in settings for part in ("--set", setting)]
  for command in (["train", config, *own], ["evaluate", "--json", str(workdir / "scores.json")]):
    line = [sys.executable, "-m", "audiopalm", *command, "--workdir", str(workdir)]
    # Without what the test run sets: it makes programs quick to compile and slow to run.
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "NPROC")}
    subprocess.run(line, check=True, env=environment)
  return json.loads((workdir / "scores.json").read_text())


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
  """(the workdir of a quickstart that was trained, its scores)."""
  workdir = tmp_path_factory.mktemp("quickstart")
  return workdir, scores("quickstart", workdir)


def test_quickstart_reaches_its_floors(quickstart):
  _, found = quickstart
  reached = {}
  for path in FLOORS:
    reached[path] = found
    for name in path:
      reached[path] = reached[path][name]
  errors = [path for path in FLOORS if path[-1] == "wer" and reached[path] > FLOORS[path]]
  scored = [path for path in FLOORS if path[-1] != "wer" and reached[path] < FLOORS[path]]
  assert not errors + scored, reached


@pytest.mark.torch
def test_the_exported_quickstart_transcribes_and_translates_in_pytorch_alone(quickstart, tmp_path):
  """By the script in docs, in a process that can import neither JAX nor audiopalm."""
  run = audiopalm.load(quickstart[0])
  run.export(tmp_path / "out")
  root = Path(__file__).parent
  program = [sys.executable, root / "export" / "without_jax.py"]
  program += [root.parent / "docs" / "torch_only.py", tmp_path / "out"]

  def asked(*line):
    return subprocess.run([*program, *line], check=True, capture_output=True, text=True).stdout

  entries = run.prepared.entries(run.experiment.tasks[0], "test")
  spoken = [entries[number].utterances["source"] for number in range(6)]
  for number, said in enumerate(spoken):
    wave = tmp_path / f"{number}.wav"
    waveform.write(wave, *waveform.from_flac(said.wave_flac))
    (ours,) = run.generate("asr", audio=wave, language=said.language)
    text = asked("asr", "--audio", wave, "--source", said.language).strip()
    assert text == ours.text
    assert len(set(text.split()) & set(said.text.split())) >= 3
  translated = asked("mt", "--text", "the blue car costs twelve euros", "--source", "en",
                     "--target", "fr")  # fmt: skip
  assert translated.strip() == "la voiture bleue coûte douze euros"


@pytest.mark.skipif(
  "TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR does not say where spoken_digit is"
)
def test_digits_of_a_speaker_never_heard_are_understood(tmp_path):
  """One of five hold-outs; benchmarks/score.py runs them all."""
  settings = (f"data_dir={os.environ['TFDS_DATA_DIR']}", "held_out_speaker=theo")
  found = scores("spoken_digit", tmp_path, *settings)
  assert found["held_out_voices"]["asr"]["exact"] >= 0.8
