"""Records of a SeqIO Task or Mixture that others registered: its texts, in its own order."""

import functools
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.errors import ConfigError, DataError
from audiopalm.types import Record, Utterance

READABLE = "_pretokenized"  # what seqio.preprocessors.tokenize calls the text it tokenized


def count(settings: corpora.SeqioText, split: str) -> int:
  """Returns how many records a split has by its settings."""
  _check_split(settings, split)
  return getattr(settings, f"{split}_records")


def records(settings: corpora.SeqioText, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields the records number `start` to `stop` - 1 of a split: the same bytes wherever it runs.

  A task is read from its beginning; a process that asks for later records goes on reading.
  ConfigError for a task, split or feature that is not there, DataError where it has too few
  examples.
  """
  assert 0 <= start <= stop <= count(settings, split), (split, start, stop)
  reader = _reader(settings, split)
  for number in range(start, stop):
    utterances = {
      role: Utterance(None, waveform.RATE_HZ, text, language, speaker="")
      for (role, language), text in zip(
        settings.pairs(settings.roles)[0].items(), reader.example(number), strict=True
      )
    }
    yield Record(f"{settings.name}/{split}/{number:06d}", utterances)


class _Reader:
  """The texts of one split, which can only be read onwards."""

  def __init__(self, settings: corpora.SeqioText, split: str):
    self._settings, self._split = settings, split
    self._task = _task(settings)
    self._known = getattr(settings, f"{split}_split")
    if self._known not in self._task.splits:
      raise ConfigError(
        f"SeqIO has the splits {', '.join(map(str, self._task.splits))} of {settings.task!r}, not "
        f"{self._known!r}. Name one by {split}_split, or ask for no records of it: "
        f"{split}_records=0."
      )
    self._begin()

  def example(self, number: int) -> tuple[str, ...]:
    """Returns the texts of an example, by role."""
    if number < self._next:
      self._begin()
    while True:
      example = next(self._examples, None)
      if example is None:
        raise DataError(
          f"{self._settings.task!r} has {self._next} examples in its split {self._known!r}, but "
          f"{self._split}_records={count(self._settings, self._split)}. Ask for at most "
          f"{self._next}."
        )
      self._next += 1
      if self._next > number:
        names = (self._settings.source, self._settings.target)
        return tuple(self._text(example, name) for name in names if name is not None)

  def _begin(self) -> None:
    # Always from one seed: what a task draws at random is then the same in every process.
    kept = {} if hasattr(self._task, "preprocessors") else {"copy_pretokenized": True}  # a mixture
    found = self._task.get_dataset(
      sequence_length=None, split=self._known, shuffle=False, seed=0, num_epochs=1, **kept
    )
    self._next, self._examples = 0, found.as_numpy_iterator()

  def _text(self, example: Mapping[str, Any], name: str) -> str:
    for feature in (f"{name}{READABLE}", name):
      if isinstance(example.get(feature), bytes):
        return example[feature].decode()
    if name not in example:
      raise ConfigError(
        f"Examples of {self._settings.task!r} have the features {', '.join(sorted(example))}, not "
        f"{name!r}. Name one of these as source or target."
      )
    feature = self._task.output_features.get(name)
    text = None if feature is None else feature.vocabulary.decode(example[name].tolist())
    if not isinstance(text, str):
      raise ConfigError(
        f"Feature {name!r} of {self._settings.task!r} cannot be read as text: expected a string, "
        f"ids beside {name + READABLE!r}, or ids of a vocabulary that decodes them."
      )
    return text


@functools.lru_cache(maxsize=6)  # of a few corpora the splits that a process is reading
def _reader(settings: corpora.SeqioText, split: str) -> _Reader:
  return _Reader(settings, split)


def _task(settings: corpora.SeqioText) -> Any:
  """Returns the SeqIO Task or Mixture, after importing what registers it."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  # Loading TensorFlow takes seconds: only when records are wanted.
  import seqio
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")  # it would take all memory of an accelerator
  try:
    importlib.import_module(settings.module)
  except ImportError as error:
    raise ConfigError(
      f"Corpus {settings.name!r}: module={settings.module!r} cannot be imported: {error}. Install "
      "what registers its task, or add its folder to PYTHONPATH."
    ) from error
  try:
    return seqio.get_mixture_or_task(settings.task)
  except ValueError as error:
    raise ConfigError(
      f"Corpus {settings.name!r}: after importing {settings.module} SeqIO knows no Task or Mixture "
      f"{settings.task!r}. {error}"
    ) from error


def _check_split(settings: corpora.SeqioText, split: str) -> None:
  if split not in settings.splits:
    raise DataError(
      f"Corpus {settings.name!r} has no split {split!r}: it has {', '.join(settings.splits)}."
    )
