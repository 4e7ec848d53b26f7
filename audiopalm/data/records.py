"""Where the records of a corpus come from: the importable name of what makes or reads them."""

import dataclasses
import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from audiopalm.errors import DataError
from audiopalm.types import Record


@dataclasses.dataclass(frozen=True)
class Source:
  """The module that serves a corpus: Source("data_pipelines.synthetic").

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
    return self._imported(settings).records(settings, split, start, stop)

  def _imported(self, settings: Any) -> ModuleType:
    try:
      return importlib.import_module(self.module)
    except ImportError as error:
      raise DataError(
        f"Corpus {settings.name!r} is served by {self.module}, which cannot be imported: {error}. "
        "Install what reads corpora: pip install 'audiopalm[data]'."
      ) from error
