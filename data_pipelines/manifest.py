"""Records of a manifest: one for each line, or for each direction of a pair."""

import re
from collections.abc import Iterator, Sequence

from audiopalm.data.manifest import corpus, recordings
from audiopalm.data.manifest.lines import ManifestLine
from audiopalm.errors import RecordError
from audiopalm.types import Record, Utterance

LONGEST_ID = 60  # most characters of a line's id in the id of its record


def count(settings: corpus.Manifest, split: str) -> int:
  """Returns the number of records in a split."""
  return len(corpus.records(settings, split))


def records(settings: corpus.Manifest, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields records `start` to `stop` - 1 of a split, the same bytes on every machine.

  Their ids end with those of their lines, in characters that are valid in file names. Raises
  DataError if this machine has none of the recordings.
  """
  pairs = corpus.records(settings, split)
  assert 0 <= start <= stop <= len(pairs), (split, start, stop)
  for number in range(start, stop):
    source, target = pairs[number]
    line_id = re.sub(r"[^\w.=-]+", "_", source.id)[-LONGEST_ID:]
    first, second = settings.reading.roles
    utterances = {first: _utterance(source, pairs)}
    if target is not None:
      utterances[second] = _utterance(target, pairs)
    yield Record(f"{settings.name}/{split}/{number:06d}-{line_id}", utterances)


def _utterance(line: ManifestLine, pairs: Sequence[corpus.Pair]) -> Utterance:
  try:
    return recordings.utterance(line)
  except RecordError:
    recordings.check_machine(line, [source for source, _ in pairs])
    raise
