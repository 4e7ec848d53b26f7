"""Sentences of a file as a synthesizer says them: records of a corpus to train on."""

import functools
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

from audiopalm import orthography
from audiopalm.data import corpora
from audiopalm.data_pipelines.speech import saying
from audiopalm.errors import DataError
from audiopalm.metrics import text
from audiopalm.types import Record


def count(settings: corpora.SpokenSentences, split: str) -> int:
  """Returns the number of records in a split: none but in train."""
  return settings.train_records if split == "train" else 0


def records(
  settings: corpora.SpokenSentences, split: str, start: int, stop: int
) -> Iterator[Record]:
  """Yields records `start` to `stop` - 1 of a split, the same bytes on every machine."""
  assert 0 <= start <= stop <= count(settings, split), (split, start, stop)
  sentences = _sentences(settings.file, settings.digest, settings.plain)
  voices = settings.train_voices(settings.language)
  for number in range(start, stop):
    rounds, line = divmod(number, len(sentences))
    voice = voices[(line + rounds) % len(voices)]
    name = f"{settings.name}/{split}/{number:06d}"
    utterance = saying.say(
      settings, sentences[line], settings.language, voice, record=name, role="source"
    )
    yield Record(name, {"source": utterance})


@functools.lru_cache(maxsize=4)
def _sentences(file: str, digest: str, plain: bool) -> tuple[str, ...]:
  """Returns the sentences of a file that has this digest; DataError for any other file."""
  try:
    data = Path(file).expanduser().read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
      raise DataError(
        f"{file} has changed since the config was read. Prepared data is kept: run the same "
        "command again."
      )
    lines = (gzip.decompress(data) if file.endswith(".gz") else data).decode("utf-8").split("\n")
  except (OSError, ValueError) as error:  # also gzip's and Unicode's
    raise DataError(
      f"{file}: expected UTF-8 text with one sentence a line, compressed if its name ends with "
      f".gz, but {error}."
    ) from error
  form = text.normalize if plain else orthography.plain
  sentences = tuple(filter(None, map(form, lines)))
  if not sentences:
    raise DataError(f"{file} holds no sentence: expected text with one sentence a line.")
  return sentences
