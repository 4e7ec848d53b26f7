"""Where the records of a corpus come from: the importable name of what makes or reads them."""

import dataclasses
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from audiopalm import orthography
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance


@dataclasses.dataclass(frozen=True)
class Source:
  """The module that serves a corpus: Source("audiopalm.data_pipelines.synthetic").

  A name and not functions, so that every worker process imports it for itself. The module has

      count(settings, split) -> int
      records(settings, split, start, stop) -> Iterator[Record]    # the same wherever it runs

  A RecordError while it gives records is a fault of the next one, which is left out. Any other
  error, as for a library that is missing, ends `prepare`.
  """

  module: str

  def count(self, settings: Any, split: str) -> int:
    return self._imported(settings).count(settings, split)

  def records(self, settings: Any, split: str, start: int, stop: int) -> Iterator[Record]:
    """Returns records `start` to `stop` - 1 of a split; texts as `orthography.plain` has them."""
    return map(_plain, self._imported(settings).records(settings, split, start, stop))

  def _imported(self, settings: Any) -> ModuleType:
    try:
      return importlib.import_module(self.module)
    except ImportError as error:
      raise DataError(
        f"Corpus {settings.name!r} is served by {self.module}, which cannot be imported: {error}. "
        "Install what reads corpora: pip install 'audiopalm[data]'."
      ) from error


def _plain(record: Record) -> Record:
  return dataclasses.replace(
    record, utterances={role: _plainly(said) for role, said in record.utterances.items()}
  )


def _plainly(said: Utterance) -> Utterance:
  words = (dataclasses.replace(word, text=orthography.plain(word.text)) for word in said.words)
  text, speaker = orthography.plain(said.text), orthography.plain(said.speaker)
  return dataclasses.replace(said, text=text, speaker=speaker, words=tuple(words))
