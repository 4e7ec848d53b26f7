"""Measures word error rates of a run's ASR on clean and on degraded test recordings.

  python benchmarks/robustness.py quickstart_espeak --workdir runs/espeak

Transcribes each language's recordings of the test split unchanged; with 0.4 s of zeros, or of faint
noise, at both ends; with a constant of 0.03 added; and concatenated to one file of at least
`--sentences`. Also counts how many damaged copies of files have the same transcript as the
originals. The figures are in benchmarks/results/robustness-NAME.json.
"""

import io
import struct
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import jiwer
import numpy as np
import score
import soundfile

import audiopalm as ap
from audiopalm.audio import waveform
from audiopalm.metrics import text

if TYPE_CHECKING:
  from audiopalm.session import Session

RATE_HZ = waveform.RATE_HZ
PAUSE_S = 0.7  # between the sentences of the long file
NOISE = 1e-3  # of full scale
DAMAGED = 8  # recordings per language that get every kind of damage


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("name", help="name of the result")
  parser.add_argument("--workdir", type=Path, required=True, help="a run with the task asr")
  parser.add_argument("--sentences", type=int, default=200, help="minimum for the long file")
  arguments = parser.parse_args()
  run = ap.load(arguments.workdir)
  conditions = score.conditions()
  languages = {}
  for language, (waves, texts) in recordings(run).items():
    print(f"{language}: {len(waves)} recordings", flush=True)
    languages[language] = {
      "recordings": len(waves),
      "wer": word_error_rates(run, language, waves, texts, arguments.sentences),
      "damaged": damaged_copies(run, language, waves[:DAMAGED]),
    }
  result = {
    "command": score.command(__file__),
    **conditions,
    "step": run.step,
    "languages": languages,
  }
  score.write(f"robustness-{arguments.name}", result)


def recordings(run: "Session") -> dict[str, tuple[list[np.ndarray], list[str]]]:
  """Returns {language: (waves, texts)} of the test split."""
  by_language: dict[str, tuple[list[np.ndarray], list[str]]] = {}
  prepared = run.prepared
  for entry in prepared.entries(prepared.task("asr"), "test"):
    utterance = entry.utterances["source"]
    wave_S, rate_hz = waveform.from_flac(utterance.wave_flac)
    waves, texts = by_language.setdefault(utterance.language, ([], []))
    waves.append(waveform.resample(wave_S, rate_hz, RATE_HZ))
    texts.append(utterance.text)
  return by_language


def word_error_rates(
  run: "Session", language: str, waves: list[np.ndarray], texts: list[str], sentences: int
) -> dict[str, float]:
  """Returns the word error rate in % for each change of the recordings."""
  random = np.random.default_rng(0)
  silence_S = np.zeros(round(0.4 * RATE_HZ), np.float32)

  def with_noise(wave_S: np.ndarray) -> np.ndarray:
    ends = random.normal(0, NOISE, (2, len(silence_S))).astype(np.float32)
    return np.concatenate([ends[0], wave_S, ends[1]])

  changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "alone": lambda wave_S: wave_S,
    "0.4 s of zeros at both ends": lambda wave_S: np.concatenate([silence_S, wave_S, silence_S]),
    "0.4 s of noise at both ends": with_noise,
    "offset of 0.03": lambda wave_S: wave_S + np.float32(0.03),
    "offset of -0.03": lambda wave_S: wave_S - np.float32(0.03),
  }
  rates = {}
  for name, change in changes.items():
    rates[name] = error_rate(transcripts(run, language, map(change, waves)), texts)
    print(f"  {name}: {rates[name]:.1f} % WER", flush=True)
  pause_S = np.zeros(round(PAUSE_S * RATE_HZ), np.float32)
  order = [number % len(waves) for number in range(max(sentences, len(waves)))]
  whole_S = np.concatenate([part for number in order for part in (waves[number], pause_S)])
  started_s = time.perf_counter()
  (transcript,) = transcripts(run, language, [whole_S])
  took_s = time.perf_counter() - started_s
  name = f"{len(order)} sentences in one file"
  rates[name] = error_rate([transcript], [" ".join(texts[number] for number in order)])
  rates["of its sentences alone"] = error_rate(
    transcripts(run, language, (waves[number] for number in order)),
    [texts[number] for number in order],
  )
  length_s = len(whole_S) / RATE_HZ
  print(
    f"  {name}, {length_s / 60:.1f} minutes, done in {took_s:.0f} s: {rates[name]:.1f} % WER, "
    f"alone {rates['of its sentences alone']:.1f} %",
    flush=True,
  )
  return {name: round(value, 2) for name, value in rates.items()}


def damaged_copies(run: "Session", language: str, waves: list[np.ndarray]) -> dict[str, str]:
  """Returns by damage how many copies have the transcript of the original, "8 of 8"."""
  counts = {}
  for encode, damages in ((wav, WAV_DAMAGES), (mp3, MP3_DAMAGES)):
    files = [encode(wave_S) for wave_S in waves]
    expected = transcripts(run, language, files)
    for name, damage in damages.items():
      equal = equal_count(transcripts(run, language, map(damage, files)), expected)
      counts[f"{encode.__name__}, {name}"] = f"{equal} of {len(files)}"
  expected = transcripts(run, language, map(wav, waves))
  for name, mix in CHANNELS.items():
    equal = equal_count(transcripts(run, language, (wav(mix(w_S)) for w_S in waves)), expected)
    counts[f"channels, {name}"] = f"{equal} of {len(waves)}"
  for name, count in counts.items():
    print(f"  {name}: {count} have the transcript of the original", flush=True)
  return counts


def equal_count(transcripts: list[str], expected: list[str]) -> int:
  return sum(a == b for a, b in zip(transcripts, expected, strict=True))


def transcripts(run: "Session", language: str, audio: Iterable[np.ndarray | bytes]) -> list[str]:
  return [result.text for result in run.generate("asr", audio=list(audio), language=language)]


def error_rate(transcripts: list[str], texts: list[str]) -> float:
  """Returns the word error rate in % of texts normalized as in evaluations."""
  return 100 * jiwer.wer([*map(text.normalize, texts)], [*map(text.normalize, transcripts)])


def wav(wave: np.ndarray) -> bytes:
  return encoded(wave, format="WAV", subtype="PCM_16" if np.isfinite(wave).all() else "FLOAT")


def mp3(wave_S: np.ndarray) -> bytes:
  return encoded(wave_S, format="MP3")


def encoded(wave: np.ndarray, **kind: str) -> bytes:
  file = io.BytesIO()
  soundfile.write(file, wave, RATE_HZ, **kind)
  return file.getvalue()


def with_sizes(data: bytes, size: int) -> bytes:
  """Returns a WAV whose header has this size for the file and for its samples."""
  offset = data.index(b"data")
  size_bytes = struct.pack("<I", size)
  return data[:4] + size_bytes + data[8 : offset + 4] + size_bytes + data[offset + 8 :]


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
