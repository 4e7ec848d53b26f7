"""The script in docs, in a process without JAX and without us."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

import audiopalm
from audiopalm.audio import waveform
from audiopalm.cli import main

pytestmark = pytest.mark.torch
HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "docs" / "torch_only.py"
SPOKEN = (("fr", None), ("en", None), ("fr", "en-anna"))  # language, and the voice asked for


@pytest.fixture(scope="module")
def made(run, small, tmp_path_factory):
  """(a session of the small run, its exported folder)."""
  folder = tmp_path_factory.mktemp("torch_only")
  head = run[0].params["head"]["table"].copy()
  # Random bytes are no UTF-8, of which two decoders make two things: here none is likely.
  head[: 257 + len(run[0].tokenizers["text"].settings.words)] = 0
  likely = dataclasses.replace(run[0], params=run[0].params | {"head": {"table": head}})
  small.folder.write(folder / "out", likely, run[1])
  main.main(["import", "--from", str(folder / "out"), "--workdir", str(folder / "run")])
  return audiopalm.load(folder / "run", small.ONE), folder / "out"


def asked(*arguments):
  line = [sys.executable, str(HERE / "without_jax.py"), str(SCRIPT), *map(str, arguments)]
  found = subprocess.run(line, capture_output=True, text=True)
  assert found.returncode == 0, found.stderr
  return found.stdout.splitlines()


def test_it_transcribes_a_wav_as_we_do(made, small, tmp_path):
  session, folder = made
  waveform.write(tmp_path / "a.wav", small.said(2).wave_S)
  (ours,) = session.generate("asr", audio=tmp_path / "a.wav", language="fr")
  (text,) = asked(folder, "asr", "--audio", tmp_path / "a.wav", "--source", "fr")
  assert text.strip() == ours.text


def test_it_translates_a_text_as_we_do(made):
  session, folder = made
  (ours,) = session.generate("mt", text="good morning", source="en", target="de")
  line = ("--text", "good morning", "--source", "en", "--target", "de")
  assert asked(folder, "mt", *line)[0].strip() == ours.text


@pytest.mark.parametrize("language, voice", SPOKEN)
def test_it_speaks_a_text_as_we_do(made, tmp_path, language, voice):
  session, folder = made
  line = ("--text", "bonjour", "--target", language, "--out", tmp_path / "o.wav")
  line += ("--voice", voice) if voice else ()
  assert asked(folder, "tts", *line) == [str(tmp_path / "o.wav")]
  (ours,) = session.generate("tts", text="bonjour", language=language, voice=voice)
  waveform.write(tmp_path / "ours.wav", ours.wave_S)
  found_S, wanted_S = (soundfile.read(tmp_path / name)[0] for name in ("o.wav", "ours.wav"))
  assert abs(found_S - wanted_S).max() < 1e-3
