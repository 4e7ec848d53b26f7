"""Compares the pitch tracker with Praat's on recordings: frames of 10 ms, the same constants.

  pip install praat-parselmouth
  python benchmarks/pitch.py so762/dev.jsonl kerstin/dev.jsonl --most 40

Of each manifest, at most `--most` recordings at even distances are read. Praat is GPL-3, and so no
dependency of audiopalm: it only judges here.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import parselmouth
import score

from audiopalm import config as c
from audiopalm.audio import f0, waveform
from audiopalm.data import records

LOW_HZ, HIGH_HZ = 65.0, 500.0
OCTAVE_CENTS = 1_200
GROSS = 0.2  # an error over 20 %


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("manifest", nargs="+", help="JSON lines with recordings")
  parser.add_argument("--most", type=int, default=40, help="recordings of a manifest (default: 40)")
  parser.add_argument("--language", default="en", help="of lines that do not name one")
  parser.add_argument("--name", default="pitch", help="of the result (default: pitch)")
  arguments = parser.parse_args()
  result = {
    "command": f"python benchmarks/pitch.py {' '.join(map(short, arguments.manifest))} "
    f"--most {arguments.most}",
    **score.conditions(("numpy", "scipy", "praat-parselmouth")),
    "praat": parselmouth.PRAAT_VERSION,
    "manifests": {
      short(manifest): compare(list(waves(manifest, arguments.language, arguments.most)))
      for manifest in arguments.manifest
    },
  }
  score.write(arguments.name, result)
  for manifest, figures in result["manifests"].items():
    print(manifest, figures)


def short(manifest: str) -> str:
  """Returns the last two parts of a manifest's path, which name it without its place."""
  return "/".join(manifest.split("/")[-2:])


def waves(manifest: str, language: str, most: int) -> Iterator[np.ndarray]:
  """Yields up to `most` waves of the sources of a manifest, at 16 kHz."""
  corpus = c.corpora.manifest(manifest, language=language)
  count = records.count(corpus, "train")
  for number in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)):
    (record,) = records.read(corpus, "train", int(number), int(number) + 1)
    yield record.utterances["source"].wave_S


def compare(waves_NS: list[np.ndarray]) -> dict[str, Any]:
  """Returns how the pitch of both trackers differs, and the time that each took."""
  agreement, cents = [], []
  ours_s, praat_s = 0.0, 0.0
  for wave_S in waves_NS:
    start_s = time.perf_counter()
    ours_T = f0.track(wave_S, LOW_HZ, HIGH_HZ)
    middle_s = time.perf_counter()
    praat_T = praat(wave_S, len(ours_T))
    ours_s += middle_s - start_s
    praat_s += time.perf_counter() - middle_s
    voiced_T = (ours_T > 0) & (praat_T > 0)
    agreement.append((ours_T > 0) == (praat_T > 0))
    cents.append(OCTAVE_CENTS * np.abs(np.log2(ours_T[voiced_T] / praat_T[voiced_T])))
  all_cents = np.concatenate(cents)
  audio_s = sum(map(len, waves_NS)) / waveform.RATE_HZ
  gross_cents = OCTAVE_CENTS * np.log2(1 + GROSS)
  return {
    "recordings": len(waves_NS),
    "seconds": round(audio_s, 1),
    "same_voicing_percent": round(100 * float(np.concatenate(agreement).mean()), 2),
    "median_cents": round(float(np.median(all_cents)), 2),
    "95th_percentile_cents": round(float(np.quantile(all_cents, 0.95)), 2),
    "gross_errors_percent": round(100 * float((all_cents > gross_cents).mean()), 2),
    "time_of_real_time": round(ours_s / audio_s, 4),
    "praat_time_of_real_time": round(praat_s / audio_s, 4),
  }


def praat(wave_S: np.ndarray, frames: int) -> np.ndarray:
  """Returns Praat's pitch_T in Hz in the middle of frames of 10 ms, 0 where it is not voiced."""
  pitch = parselmouth.Sound(wave_S.astype(float), waveform.RATE_HZ).to_pitch_ac(
    time_step=0.01, pitch_floor=LOW_HZ, pitch_ceiling=HIGH_HZ, silence_threshold=f0.SILENCE,
    voicing_threshold=f0.VOICING, octave_cost=f0.OCTAVE_COST, octave_jump_cost=f0.JUMP_COST,
    voiced_unvoiced_cost=f0.VOICE_COST,
  )  # fmt: skip
  times_T = (np.arange(frames) + 0.5) * 0.01
  return np.nan_to_num(np.array([pitch.get_value_at_time(time_s) for time_s in times_T]))


if __name__ == "__main__":
  main()
