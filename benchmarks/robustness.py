"""Word error rates of a run's ASR on its test recordings, as they are and as users bring them.

  python benchmarks/robustness.py quickstart_espeak --workdir runs/espeak

Each language's recordings of the test split are heard alone; with 0.4 s of zeros, or of faint
noise, at both ends; with a constant of 0.03 added; and all in one file of at least `--sentences`.
Damaged copies of some are to be heard as the undamaged files are. The figures are in
benchmarks/results/robustness-NAME.json.
"""

import argparse
import io
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import score
import soundfile

import audiopalm as ap
from audiopalm.audio import waveform
from audiopalm.metrics import text

RATE_HZ = waveform.RATE_HZ
PAUSE_S = 0.7  # between the sentences of a long file
HISS = 1e-3  # of full scale
DAMAGED = 8  # recordings of each language that are damaged in every way


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("name", help="of the result")
  parser.add_argument("--workdir", type=Path, required=True, help="of a run that has the task asr")
  parser.add_argument("--sentences", type=int, default=200, help="of the long file, at least")
  arguments = parser.parse_args()
  run = ap.load(arguments.workdir)
  here = score.conditions()
  languages = {}
  for language, (waves, texts) in recordings(run).items():
    print(f"{language}: {len(waves)} recordings", flush=True)
    languages[language] = {
      "recordings": len(waves),
      "wer": word_error_rates(run, language, waves, texts, arguments.sentences),
      "damaged": damaged_copies(run, language, waves[:DAMAGED]),
    }
  result = {"command": score.command(__file__), **here, "step": run.step, "languages": languages}
  score.write(f"robustness-{arguments.name}", result)


def recordings(run: Any) -> dict[str, tuple[list[np.ndarray], list[str]]]:
  """Returns {language: (waves, texts)} of the test split."""
  found: dict[str, tuple[list[np.ndarray], list[str]]] = {}
  prepared = run.prepared
  for entry in prepared.entries(prepared.task("asr"), "test"):
    said = entry.utterances["source"]
    wave_S, rate_hz = waveform.from_flac(said.wave_flac)
    waves, texts = found.setdefault(said.language, ([], []))
    waves.append(waveform.resample(wave_S, rate_hz, RATE_HZ))
    texts.append(said.text)
  return found


def word_error_rates(
  run: Any, language: str, waves: list[np.ndarray], texts: list[str], sentences: int
) -> dict[str, float]:
  """Returns the word error rate in % of each way of hearing the recordings."""
  random = np.random.default_rng(0)
  quiet_S = np.zeros(round(0.4 * RATE_HZ), np.float32)

  def hissing(wave_S: np.ndarray) -> np.ndarray:
    ends = random.normal(0, HISS, (2, len(quiet_S))).astype(np.float32)
    return np.concatenate([ends[0], wave_S, ends[1]])

  ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "alone": lambda wave_S: wave_S,
    "0.4 s of zeros at both ends": lambda wave_S: np.concatenate([quiet_S, wave_S, quiet_S]),
    "0.4 s of noise at both ends": hissing,
    "offset of 0.03": lambda wave_S: wave_S + np.float32(0.03),
    "offset of -0.03": lambda wave_S: wave_S - np.float32(0.03),
  }
  found = {}
  for name, way in ways.items():
    found[name] = error_rate(heard(run, language, map(way, waves)), texts)
    print(f"  {name}: {found[name]:.1f} % WER", flush=True)
  pause_S = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
  order = [place % len(waves) for place in range(max(sentences, len(waves)))]
  whole_S = np.concatenate([part for place in order for part in (waves[place], pause_S)])
  started_s = time.perf_counter()
  (answer,) = heard(run, language, [whole_S])
  took_s = time.perf_counter() - started_s
  name = f"{len(order)} sentences in one file"
  found[name] = error_rate([answer], [" ".join(texts[place] for place in order)])
  found["of its sentences alone"] = error_rate(
    heard(run, language, (waves[place] for place in order)), [texts[place] for place in order]
  )
  length_s = len(whole_S) / RATE_HZ
  print(
    f"  {name}, {length_s / 60:.1f} minutes, heard in {took_s:.0f} s: {found[name]:.1f} % WER, "
    f"alone {found['of its sentences alone']:.1f} %",
    flush=True,
  )
  return {name: round(value, 2) for name, value in found.items()}


def damaged_copies(run: Any, language: str, waves: list[np.ndarray]) -> dict[str, str]:
  """Returns by damage how many copies are heard as the sound file is, "8 of 8"."""
  found = {}
  for make, damages in ((wav, WAV_DAMAGES), (mp3, MP3_DAMAGES)):
    files = [make(wave_S) for wave_S in waves]
    sound = heard(run, language, files)
    for name, damage in damages.items():
      answers = heard(run, language, map(damage, files))
      same = sum(a == b for a, b in zip(answers, sound, strict=True))
      found[f"{make.__name__}, {name}"] = f"{same} of {len(files)}"
  sound = heard(run, language, map(wav, waves))
  for name, mix in CHANNELS.items():
    answers = heard(run, language, (wav(mix(wave_S)) for wave_S in waves))
    same = sum(a == b for a, b in zip(answers, sound, strict=True))
    found[f"channels, {name}"] = f"{same} of {len(waves)}"
  for name, same in found.items():
    print(f"  {name}: {same} as the sound recording", flush=True)
  return found


def heard(run: Any, language: str, audio: Any) -> list[str]:
  return [result.text for result in run.generate("asr", audio=list(audio), language=language)]


def error_rate(answers: list[str], texts: list[str]) -> float:
  """Returns the word error rate in %, of texts normalized as in evaluations."""
  return 100 * jiwer.wer([*map(text.normalize, texts)], [*map(text.normalize, answers)])


def wav(wave: np.ndarray) -> bytes:
  return written(wave, format="WAV", subtype="PCM_16" if np.isfinite(wave).all() else "FLOAT")


def mp3(wave_S: np.ndarray) -> bytes:
  return written(wave_S, format="MP3")


def written(wave: np.ndarray, **kind: str) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, wave, RATE_HZ, **kind)
  return file.getvalue()


def with_sizes(data: bytes, size: int) -> bytes:
  """Returns a WAV whose header holds another size of the file and of its samples."""
  at = data.index(b"data")
  size_bytes = struct.pack("<I", size)
  return data[:4] + size_bytes + data[8 : at + 4] + size_bytes + data[at + 8 :]


WAV_DAMAGES = {
  "sizes of 0xFFFFFFFF, as pipes leave them": lambda data: with_sizes(data, 0xFFFFFFFF),
  "sizes of 0x7FFFF000": lambda data: with_sizes(data, 0x7FFFF000),
  "16 bytes behind its end": lambda data: data + bytes(range(16)),
  "44 bytes more promised": lambda data: with_sizes(data, len(data)),
}
MP3_DAMAGES = {
  "4 KiB of zeros before it": lambda data: bytes(4096) + data,
  "an empty ID3 tag before it": lambda data: b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + data,
  "text behind it": lambda data: data + b"trailing text, no audio " * 8,
  "its last frame cut": lambda data: data[:-20],
}
CHANNELS = {
  "the right one alone": lambda wave_S: np.stack([np.zeros_like(wave_S), wave_S], axis=1),
  "of opposite sign": lambda wave_S: np.stack([wave_S, -wave_S], axis=1),
  "one not a number": lambda wave_S: np.stack([np.full_like(wave_S, np.nan), wave_S], axis=1),
}

if __name__ == "__main__":
  sys.exit(main())
