"""The user's own recordings, one record for each line or direction of a pair that files list."""

import re
from collections.abc import Iterator, Sequence

from audiopalm.data.manifest import corpus, recordings
from audiopalm.data.manifest.lines import ManifestLine
from audiopalm.errors import RecordError
from audiopalm.types import Record, Utterance

LONGEST_ID = 60  # letters of a line's own id that its record's id repeats


def count(settings: corpus.Manifest, split: str) -> int:
  """Returns how many records a split has."""
  return len(corpus.records(settings, split))


def records(settings: corpus.Manifest, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields the records number `start` to `stop` - 1 of a split: the same bytes wherever it runs.

  Their ids end with those of their lines, in letters that a file name may have. DataError where
  this machine has none of the recordings.
  """
  found = corpus.records(settings, split)
  assert 0 <= start <= stop <= len(found), (split, start, stop)
  for number in range(start, stop):
    source, target = found[number]
    own = re.sub(r"[^\w.=-]+", "_", source.id)[-LONGEST_ID:]
    utterances = {"source": _utterance(source, found)}
    if target is not None:
      utterances["target"] = _utterance(target, found)
    yield Record(f"{settings.name}/{split}/{number:06d}-{own}", utterances)


def _utterance(line: ManifestLine, pairs: Sequence[corpus.Pair]) -> Utterance:
  try:
    return recordings.utterance(line)
  except RecordError:
    recordings.check_machine(line, [source for source, _ in pairs])
    raise
