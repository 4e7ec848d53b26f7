"""Fits the tokenizers of an experiment on a sample of its training records, once per workdir."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from audiopalm import system, values
from audiopalm.data import files, records, streams
from audiopalm.data.executors import Local
from audiopalm.errors import AudiopalmError, DataError, RecordError, TokenSpaceError
from audiopalm.tokenizers.base import Fitted, Tokenizer
from audiopalm.types import CorpusSettings, Utterance

AUDIO_S = 2400.0  # speech that is enough to fit a few hundred units and the sound of each voice
RECORDS = 20_000  # at most, of each corpus; the limit for text corpora
JOB_RECORDS = 16
# Not the experiment's seed: runs that differ only in that share a streams cache.
SEED = 0


def fit(
  tokenizers: Sequence[Tokenizer],
  corpora: Sequence[CorpusSettings],
  executor: Local,
  shared: Path | None = None,
) -> dict[str, Fitted]:
  """Returns {stream: fitted tokenizer}.

  Only valid training records are used, in the same order for any number of workers. Each tokenizer
  is checked before any record is read. A tokenizer that another run fitted on the same corpora is
  loaded from the folder `shared` instead, and those fitted here are saved there.
  """
  for tokenizer in tokenizers:
    tokenizer.check()
  audio_s = sample_s(tokenizers)
  places = [
    shared
    and shared / f"{tokenizer.stream}-{_key([tokenizer], corpora, audio_s)}{_source(tokenizer)}"
    for tokenizer in tokenizers
  ]
  fitted = {
    tokenizer.stream: tokenizer.load(place) if place and place.is_dir() else None
    for tokenizer, place in zip(tokenizers, places, strict=True)
  }
  missing = [t for t in tokenizers if fitted[t.stream] is None]
  if missing:
    utterances = sample(corpora, executor, audio_s)
    jobs = [(tokenizer, utterances) for tokenizer in missing]
    newly_fitted = executor.map(fit_one, jobs)
    fitted |= zip((tokenizer.stream for tokenizer in missing), newly_fitted, strict=True)
  for tokenizer, place in zip(tokenizers, places, strict=True):
    if tokenizer in missing and place:
      with files.replacing(place) as part:
        fitted[tokenizer.stream].save(part)
  return fitted


def load(
  tokenizers: Sequence[Tokenizer], corpora: Sequence[CorpusSettings], folder: Path
) -> dict[str, Fitted] | None:
  """Returns {stream: fitted tokenizer} from `folder`, None if it has others, or damaged ones."""
  try:
    record = files.read_json(folder / "fit.json")
    if record["key"] != key_of(tokenizers, corpora):
      return None
    fitted = {
      tokenizer.stream: tokenizer.load(folder / tokenizer.stream) for tokenizer in tokenizers
    }
    return fitted if _fingerprints(fitted) == record["fingerprints"] else None
  except (DataError, TokenSpaceError):
    return None
  except (AudiopalmError, ImportError, MemoryError):
    raise
  except Exception as error:  # readers of damaged files raise errors of any kind
    if isinstance(error, OSError) and error.errno and not system.is_of_path(error):
      raise  # an error of the device, to which refitted tokenizers could not be written either
  return None  # damaged or partly replaced: fitting again gives the same


def save(
  fitted: Mapping[str, Fitted],
  tokenizers: Sequence[Tokenizer],
  corpora: Sequence[CorpusSettings],
  folder: Path,
) -> None:
  """Writes fitted tokenizers into `folder`, replacing older ones."""
  (folder / "fit.json").unlink(missing_ok=True)  # written last: without it `load` uses none
  for name, tokenizer in fitted.items():
    with files.replacing(folder / name) as part:
      tokenizer.save(part)
  key = key_of(tokenizers, corpora)
  files.write_json(folder / "fit.json", {"key": key, "fingerprints": _fingerprints(fitted)})


def key_of(tokenizers: Sequence[Tokenizer], corpora: Sequence[CorpusSettings]) -> str:
  """Returns 16 hex digits that identify all that fitted tokenizers depend on."""
  return _key(tokenizers, corpora, sample_s(tokenizers))


def sample_s(tokenizers: Sequence[Tokenizer]) -> float:
  """Returns the seconds of speech to fit tokenizers on: AUDIO_S, or the largest `sample_s`."""
  return max([AUDIO_S, *(getattr(tokenizer, "sample_s", 0.0) for tokenizer in tokenizers)])


def sample(corpora: Sequence[CorpusSettings], executor: Local, audio_s: float) -> list[Utterance]:
  """Returns training utterances of all corpora, shuffled.

  Each corpus gives an equal share of `audio_s` of speech, and at most RECORDS records. Raises
  DataError for a corpus of which no record can be used.
  """
  random = np.random.default_rng(SEED)
  utterances: list[Utterance] = []
  for corpus in corpora:
    numbers = random.permutation(records.count(corpus, "train"))[:RECORDS].tolist()
    starts = range(0, len(numbers), JOB_RECORDS)
    results = executor.map(
      _read, [(corpus, numbers[start : start + JOB_RECORDS]) for start in starts]
    )
    count, taken_s, faults = len(utterances), 0.0, []
    for valid, reasons in results:
      utterances += valid
      faults += reasons
      taken_s += sum(len(u.wave_S) / u.rate_hz for u in valid if u.wave_S is not None)
      if taken_s >= audio_s / len(corpora):
        results.close()
        break
    if len(utterances) == count:
      raise DataError(
        f"Corpus {corpus.name!r} has no training record that can be used; {len(faults)} were "
        f"tried. The first: {faults[0] if faults else 'It has none.'}"
      )
  return [utterances[number] for number in random.permutation(len(utterances))]


def _key(tokenizers: Sequence[Tokenizer], corpora: Sequence[CorpusSettings], audio_s: float) -> str:
  prints = [corpus.fingerprint for corpus in corpora]
  settings = list(map(values.stable_repr, tokenizers))
  text = json.dumps([settings, prints, audio_s, RECORDS, JOB_RECORDS, SEED])
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fingerprints(fitted: Mapping[str, Fitted]) -> dict[str, str]:
  return {name: tokenizer.spec.fingerprint for name, tokenizer in fitted.items()}


def _source(tokenizer: Tokenizer) -> str:
  """Returns a suffix that distinguishes tokenizers made from different files at the same path."""
  digest = getattr(tokenizer, "source_digest", None)
  return f"-{digest()[:16]}" if digest else ""


def fit_one(job: tuple[Tokenizer, list[Utterance]]) -> Fitted:
  """Returns the tokenizer fitted on a sample."""
  tokenizer, utterances = job
  return tokenizer.fit(utterances, SEED)


def _read(job: tuple[CorpusSettings, list[int]]) -> tuple[list[Utterance], list[str]]:
  """Returns the utterances of the valid records of a job, and the faults of the others."""
  corpus, numbers = job
  utterances, faults = [], []
  for number in numbers:
    try:
      for record in records.read(corpus, "train", number, number + 1):
        streams.check(record, corpus)
        utterances += streams.at_working_rate(record).utterances.values()
    except RecordError as error:
      faults.append(str(error))
  return utterances, faults
