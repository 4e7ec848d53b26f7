"""Records of a registered SeqIO Task or Mixture: its texts, in its own order."""

import functools
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.errors import ConfigError, DataError
from audiopalm.types import Record, Utterance

PRETOKENIZED = "_pretokenized"  # suffix of seqio.preprocessors.tokenize for the text of a feature


def count(settings: corpora.SeqioText, split: str) -> int:
  """Returns the number of records in a split, which is a setting."""
  return getattr(settings, f"{split}_records")


def records(settings: corpora.SeqioText, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields records `start` to `stop` - 1 of a split, the same bytes on every machine.

  A task is read from its start; later records continue the same read in a process. Raises
  ConfigError for an unknown task, split or feature, DataError if there are too few examples.
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
  """Reads the texts of a split sequentially."""

  def __init__(self, settings: corpora.SeqioText, split: str):
    self._settings, self._split = settings, split
    self._task = _task(settings)
    self._seqio_split = getattr(settings, f"{split}_split")
    if self._seqio_split not in self._task.splits:
      raise ConfigError(
        f"The SeqIO task {settings.task!r} has the splits "
        f"{', '.join(map(str, self._task.splits))}, not {self._seqio_split!r}. Name one by "
        f"{split}_split, or use no records of it: {split}_records=0."
      )
    self._restart()

  def example(self, number: int) -> tuple[str, ...]:
    """Returns the texts of an example, by role."""
    if number < self._next:
      self._restart()
    while True:
      example = next(self._examples, None)
      if example is None:
        raise DataError(
          f"{self._settings.task!r} has {self._next} examples in its split "
          f"{self._seqio_split!r}, but {self._split}_records="
          f"{count(self._settings, self._split)}. Set at most {self._next}."
        )
      self._next += 1
      if self._next > number:
        names = (self._settings.source, self._settings.target)
        return tuple(self._text(example, name) for name in names if name is not None)

  def _restart(self) -> None:
    # A fixed seed: what a task samples is the same in every process.
    mixture = not hasattr(self._task, "preprocessors")
    options = {"copy_pretokenized": True} if mixture else {}
    dataset = self._task.get_dataset(
      sequence_length=None, split=self._seqio_split, shuffle=False, seed=0, num_epochs=1, **options
    )
    self._next, self._examples = 0, dataset.as_numpy_iterator()

  def _text(self, example: Mapping[str, Any], name: str) -> str:
    for feature in (f"{name}{PRETOKENIZED}", name):
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
        f"a feature {name + PRETOKENIZED!r}, or ids of a vocabulary that decodes them."
      )
    return text


_reader = functools.lru_cache(maxsize=6)(_Reader)  # the splits of the few corpora of a process


def _task(settings: corpora.SeqioText) -> Any:
  """Returns the SeqIO Task or Mixture, after importing the module that registers it."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  # Loading TensorFlow takes seconds, so it is imported only if records are read.
  import seqio
  import tensorflow as tf

  tf.config.set_visible_devices([], "GPU")  # or it reserves all memory of an accelerator
  try:
    importlib.import_module(settings.module)
  except ImportError as error:
    raise ConfigError(
      f"Corpus {settings.name!r}: module={settings.module!r} cannot be imported: {error}. Install "
      "the package that registers the task, or add its folder to PYTHONPATH."
    ) from error
  try:
    return seqio.get_mixture_or_task(settings.task)
  except ValueError as error:
    raise ConfigError(
      f"Corpus {settings.name!r}: after importing {settings.module} SeqIO has no Task or Mixture "
      f"{settings.task!r}. {error}"
    ) from error
