"""Compares the times that `audiopalm align` estimates with those of espeak-ng.

  audiopalm train configs/systems/aligner.py --workdir runs/aligner
  python benchmarks/alignment.py --workdir runs/aligner --json benchmarks/results/alignment.json

Recordings are the sources of the run's corpus, with its pauses and noise, in the splits test
(training voices) and held_out_voices, both with new sentences. A word starts with its first phone
and ends with its last; words that espeak-ng merges have one start and one end. Recordings in which
the voice merges other words than espeak-ng's default voice of the language are counted, but not
measured. Errors are in ms.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import score

from audiopalm import session
from audiopalm.audio import waveform
from audiopalm.data import records
from audiopalm.errors import RecordError
from audiopalm.inference import alignment
from audiopalm.types import Phone, Utterance

SPLITS = ("test", "held_out_voices")


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--workdir", type=Path, required=True, help="a run of the config")
  parser.add_argument("--json", type=Path, help="where to write the results")
  arguments = parser.parse_args()
  run = session.load(arguments.workdir)
  aligner = alignment.aligner(run)
  (corpus,) = run.experiment.corpora
  result = {
    "command": "python benchmarks/alignment.py --workdir runs/aligner",
    **score.conditions(("jax", "numpy", "espeakng-loader")),
    "config": "configs/systems/aligner.py",
    "steps": run.step,
    "seed": run.experiment.seed,
    "splits": {split: measure(aligner, corpus, split) for split in SPLITS},
  }
  print(json.dumps(result, indent=1))
  if arguments.json is not None:
    arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(aligner: alignment.Aligner, corpus: Any, split: str) -> dict[str, Any]:
  """Returns the errors of a split's word and phone times."""
  errors = {"word_start": [], "word_end": [], "phone_start": []}
  by_voice: dict[str, list[float]] = {}
  recordings, failed, otherwise, confidence, audio_s, spent_s = 0, 0, 0, [], 0.0, 0.0
  for record in records.read(corpus, split, 0, records.count(corpus, split)):
    utterance = record.utterances["source"]
    recordings += 1
    targets = alignment.targets(utterance, aligner.tokenizer)
    start_s = time.perf_counter()
    try:
      aligned = aligner.align(utterance.wave_S, targets)
    except RecordError:
      failed += 1
      continue
    spent_s += time.perf_counter() - start_s
    audio_s += len(utterance.wave_S) / waveform.RATE_HZ
    confidence.append(aligned.confidence)
    own = by_voice.setdefault(utterance.speaker, [])
    words, phones = list(groups(aligned, targets)), list(spoken(utterance))
    if len(words) != len(phones):
      otherwise += 1
      continue
    for right, (begin_s, end_s) in zip(phones, words, strict=True):
      starts, ends = begin_s - right[0].start_s, end_s - right[-1].end_s
      errors["word_start"].append(starts)
      errors["word_end"].append(ends)
      own += [starts, ends]
    if [phone.text for phone in aligned.phones] == [phone.text for phone in utterance.phones]:
      pairs = zip(aligned.phones, utterance.phones, strict=True)
      errors["phone_start"] += [phone.start_s - right.start_s for phone, right in pairs]
  return {
    "recordings": recordings,
    "not_aligned": failed,
    "joined_otherwise": otherwise,
    "confidence": round(float(np.mean(confidence)), 3),
    "times_real_time": round(audio_s / spent_s, 1),
    **{name: figures(values) for name, values in errors.items()},
    "word_median_by_voice": {
      voice: round(1000 * float(np.median(np.abs(values))), 1)
      for voice, values in sorted(by_voice.items())
    },
  }


def spoken(utterance: Utterance) -> Iterator[list[Phone]]:
  """Yields the phones of each word, or of merged words."""
  starts = [word.start_s for word in utterance.words if word.phonemes]
  for start_s, stop_s in zip(starts, [*starts[1:], np.inf], strict=True):
    inside = [
      phone for phone in utterance.phones if start_s - 1e-6 <= phone.start_s < stop_s - 1e-6
    ]
    if inside:
      yield inside


def groups(
  aligned: alignment.Aligned, targets: alignment.SpokenText
) -> Iterator[tuple[float, float]]:
  """Yields (start, end) of each word, or of merged words."""
  place = 0
  for word in targets.words:
    last = place + len(word.texts) - 1
    yield aligned.words[place].start_s, aligned.words[last].end_s
    place = last + 1


def figures(errors_s: list[float]) -> dict[str, float]:
  """Returns statistics of errors in ms: of their absolute values, and `bias`, their median."""
  sizes_ms = 1000 * np.abs(errors_s)
  return {
    "count": len(errors_s),
    "median": round(float(np.median(sizes_ms)), 1),
    "p95": round(float(np.quantile(sizes_ms, 0.95)), 1),
    "bias": round(1000 * float(np.median(errors_s)), 1),
  }


if __name__ == "__main__":
  main()
