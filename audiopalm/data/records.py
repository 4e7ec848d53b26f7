"""The records of a corpus, from the module that its settings name as `served_by`.

    count(settings, split) -> int
    records(settings, split, start, stop) -> Iterator[Record]    # the same on every machine

The module is named, so that each worker process can import it. A RecordError of the iterator is a
fault of the next record, which is then left out; any other error ends `prepare`.
"""

import dataclasses
import importlib
from collections.abc import Iterator
from types import ModuleType

from audiopalm import orthography
from audiopalm.errors import DataError
from audiopalm.types import CorpusSettings, Record, Utterance


def count(corpus: CorpusSettings, split: str) -> int:
  """Returns the number of records in a split."""
  return _server(corpus, split).count(corpus, split)


def read(corpus: CorpusSettings, split: str, start: int, stop: int) -> Iterator[Record]:
  """Returns records `start` to `stop` - 1 of a split, with texts made `orthography.plain`."""
  return map(_plain, _server(corpus, split).records(corpus, split, start, stop))


def _server(corpus: CorpusSettings, split: str) -> ModuleType:
  if split not in corpus.splits:
    raise DataError(
      f"Corpus {corpus.name!r} has no split {split!r}: it has {', '.join(corpus.splits)}."
    )
  try:
    return importlib.import_module(corpus.served_by)
  except ImportError as error:
    raise DataError(
      f"Corpus {corpus.name!r} is served by {corpus.served_by}, which cannot be imported: {error}. "
      "Install the readers of corpora: pip install 'audiopalm[data]'; if it is your own module, "
      "install it or add its folder to PYTHONPATH."
    ) from error


def _plain(record: Record) -> Record:
  utterances = {role: _plain_utterance(spoken) for role, spoken in record.utterances.items()}
  return dataclasses.replace(record, utterances=utterances)


def _plain_utterance(utterance: Utterance) -> Utterance:
  return dataclasses.replace(
    utterance,
    text=orthography.plain(utterance.text),
    speaker=orthography.plain(utterance.speaker),
    words=tuple(
      dataclasses.replace(word, text=orthography.plain(word.text)) for word in utterance.words
    ),
  )
