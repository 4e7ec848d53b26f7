"""Fits the tokenizers of an experiment on a sample of its training records, once per workdir."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm import system, values
from audiopalm.data import files, streams
from audiopalm.data.executors import Local
from audiopalm.data.records import Source
from audiopalm.errors import AudiopalmError, DataError, RecordError, TokenSpaceError
from audiopalm.types import Utterance

AUDIO_S = 2400.0  # speech that is enough for a few hundred units and the sound of each voice
RECORDS = 20_000  # at most, of each corpus: what bounds text alone
JOB_RECORDS = 16
# Not the experiment's: runs that differ in their seed share one streams cache.
SEED = 0


@dataclasses.dataclass(frozen=True)
class SampleJob:
  """Training records to read for fitting."""

  corpus: Any
  source: Source
  numbers: tuple[int, ...]


def fit(
  tokenizers: Sequence[Any],
  sources: Mapping[Any, Source],
  folder: Path,
  executor: Local,
  shared: Path | None = None,
) -> dict[str, Any]:
  """Returns {stream: fitted tokenizer}, read from `folder` where it holds these, else fitted.

  `sources` maps each corpus to what serves it. Only training records are read, sound ones, in an
  order that is the same for any number of workers, and only once every tokenizer has found what
  else it needs. Nothing is written into `folder`: see `save`. In `shared` lies each tokenizer that
  other runs fitted on the same corpora, and those of this run are added.
  """
  earlier = load(tokenizers, tuple(sources), folder)
  if earlier is not None:
    return earlier
  for tokenizer in tokenizers:
    tokenizer.check()
  places = [_place(tokenizer, tuple(sources), shared) for tokenizer in tokenizers]
  missing = [number for number, place in enumerate(places) if place is None or not place.is_dir()]
  newly_fitted = {}
  if missing:
    utterances = sample(sources, executor)
    jobs = [(tokenizers[number], utterances) for number in missing]
    newly_fitted = dict(zip(missing, executor.map(_fit_one, jobs), strict=True))
  fitted = {}
  for number, (tokenizer, place) in enumerate(zip(tokenizers, places, strict=True)):
    fitted[tokenizer.stream] = (
      newly_fitted[number] if number in newly_fitted else tokenizer.load(place)
    )
    if number in newly_fitted and place is not None:
      with files.replacing(place) as part:
        newly_fitted[number].save(part)
  return fitted


def _place(tokenizer: Any, corpora: Sequence[Any], shared: Path | None) -> Path | None:
  """Returns where runs that share tokenizers keep this one of these corpora, if they do."""
  return shared and shared / f"{tokenizer.stream}-{key_of([tokenizer], corpora)}"


def load(tokenizers: Sequence[Any], corpora: Sequence[Any], folder: Path) -> dict[str, Any] | None:
  """Returns {stream: fitted tokenizer} if `folder` holds those of these settings and corpora."""
  try:
    record = files.read_json(folder / "fit.json")
    if record["key"] != key_of(tokenizers, corpora):
      return None
    fitted = {
      tokenizer.stream: tokenizer.load(folder / tokenizer.stream) for tokenizer in tokenizers
    }
    prints = {name: tokenizer.spec.fingerprint for name, tokenizer in fitted.items()}
    return fitted if prints == record["fingerprints"] else None
  except (DataError, TokenSpaceError):
    return None
  except (AudiopalmError, ImportError, MemoryError):
    raise
  except Exception as error:  # damaged files show up as any kind of error of their readers
    if isinstance(error, OSError) and error.errno and not system.is_of_path(error):
      raise  # of the device: what is fitted again could not be written there either
  return None  # absent, damaged or half replaced: fitted again, which gives the same


def save(
  fitted: Mapping[str, Any], tokenizers: Sequence[Any], corpora: Sequence[Any], folder: Path
) -> None:
  """Writes fitted tokenizers into `folder`, in place of what it holds."""
  if load(tokenizers, corpora, folder) is not None:
    return
  (folder / "fit.json").unlink(missing_ok=True)  # until all are there, none is
  for name, tokenizer in fitted.items():
    with files.replacing(folder / name) as part:
      tokenizer.save(part)
  prints = {name: tokenizer.spec.fingerprint for name, tokenizer in fitted.items()}
  key = key_of(tokenizers, corpora)
  files.write_json(folder / "fit.json", {"key": key, "fingerprints": prints})


def key_of(tokenizers: Sequence[Any], corpora: Sequence[Any]) -> str:
  """Returns what fitted tokenizers depend on, as 16 hex digits."""
  prints = [corpus.fingerprint for corpus in corpora]
  text = json.dumps(
    [list(map(values.stable_repr, tokenizers)), prints, AUDIO_S, RECORDS, JOB_RECORDS, SEED]
  )
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def sample(sources: Mapping[Any, Source], executor: Local) -> list[Utterance]:
  """Returns training utterances of all corpora, shuffled.

  Corpora share AUDIO_S of speech evenly; text alone is taken up to RECORDS of each. DataError for a
  corpus of which no record can be used.
  """
  random = np.random.default_rng(SEED)
  utterances: list[Utterance] = []
  for corpus, source in sources.items():
    numbers = random.permutation(source.count(corpus, "train"))[:RECORDS].tolist()
    jobs = [
      SampleJob(corpus, source, tuple(numbers[start : start + JOB_RECORDS]))
      for start in range(0, len(numbers), JOB_RECORDS)
    ]
    before, heard_s, faults = len(utterances), 0.0, []
    results = executor.map(read, jobs)
    for sound, reasons in results:
      utterances += sound
      faults += reasons
      heard_s += sum(len(u.wave_S) / u.rate_hz for u in sound if u.wave_S is not None)
      if heard_s >= AUDIO_S / len(sources):
        results.close()
        break
    if len(utterances) == before:
      first = faults[0] if faults else "It holds none."
      raise DataError(
        f"Corpus {corpus.name!r} has no training record that can be used; {len(faults)} were "
        f"tried. The first: {first}"
      )
  return [utterances[number] for number in random.permutation(len(utterances))]


def _fit_one(job: tuple[Any, list[Utterance]]) -> Any:
  tokenizer, utterances = job
  return tokenizer.fit(utterances, SEED)


def read(job: SampleJob) -> tuple[list[Utterance], list[str]]:
  """Returns the utterances of sound records among a job's, and what is wrong with the others."""
  utterances, faults = [], []
  for number in job.numbers:
    try:
      for record in job.source.records(job.corpus, "train", number, number + 1):
        streams.check(record, job.corpus)
        utterances += streams.at_working_rate(record).utterances.values()
    except RecordError as error:
      faults.append(str(error))
  return utterances, faults
