"""One example of a task: an entry's streams laid out on a grid, whole or a piece of it."""

import zlib
from typing import Any

import numpy as np

from audiopalm import layouts
from audiopalm.data.cache import Entry
from audiopalm.errors import DataError
from audiopalm.metrics import text
from audiopalm.types import HOLE, Grid, StreamSpec, Task

WHOLE = -1  # the start of an example that is not cut


def key_of(seed: int, record_id: str, epoch: int) -> tuple[int, int, int]:
  """Returns the key from which a random layout draws for one record in one epoch."""
  return (seed, zlib.crc32(record_id.encode()), epoch)


def example(task: Task, layout: Any, space: Any, entry: Entry, seed: int, epoch: int = 0) -> Grid:
  """Returns the grid of an entry under a task."""
  key = key_of(seed, entry.id, epoch)
  tag = layouts.tag_of(task, entry.languages, _drawn(task, key))
  return laid_out(layout, space, entry, tag, key)


def laid_out(layout: Any, space: Any, entry: Entry, tag: str, key: tuple[int, int, int]) -> Grid:
  """Returns the grid of an entry under a tag; `key` is what a random layout draws from."""
  ends = word_ends(layout, space, entry)
  return layouts.realize(layout, entry.streams, tag, space, key, word_ends=ends)


def word_ends(layout: Any, space: Any, entry: Entry) -> dict[str, np.ndarray]:
  """Returns where words end in each stream that the layout may cut between words, {} for most.

  DataError for an entry of which nobody knows.
  """
  ends = {}
  for name in layout.word_streams():
    role, stream = name.split(".")
    said = entry.utterances[role]
    if stream not in said.word_ends:
      raise DataError(_no_word_ends(entry, role, space.streams[stream]))
    ends[name] = np.asarray(said.word_ends[stream], np.int32)
  return ends


def _no_word_ends(entry: Entry, role: str, spec: StreamSpec) -> str:
  said = entry.utterances[role]
  name = f"{role}.{spec.name}"
  start = f"The layout cuts {name!r} between words, but record {entry.id}"
  if not said.packed_words:
    return (
      f"{start} has no word times. Give its corpus some (`words` in a manifest; the synthesizer "
      "espeak tells them), or leave out the tasks that interleave."
    )
  if said.packed_word_ends is None:
    return (
      f"{start} was tokenized by a version that did not keep where they end. Delete the streams "
      "cache of its corpus and run `audiopalm prepare` again."
    )
  if spec.modality == "text":
    spoken = " ".join(word.text for word in said.words)
    return (
      f"{start} reads {said.text!r}, and its words with times are {spoken!r}. Spell them as in the "
      "text, in its order, or leave the record out."
    )
  return (
    f"{start} has frames of no fixed length there. Let the tokenizer {spec.name!r} keep them all "
    "(collapse=False), and let the layout collapse them."
  )


def _drawn(task: Task, key: tuple[int, int, int]) -> int:
  """Returns by which of its templates a task is asked for, drawn evenly by the key."""
  if not task.paraphrases:
    return 0
  return zlib.crc32(repr((task.name, key)).encode()) % len(layouts.templates(task))


def has_unseen_word(task: Task, entry: Entry) -> bool:
  """Returns whether a text of the entry, in a role of the task, holds a word of
  `task.unseen_words`."""
  said = (entry.utterances[role] for role in {role for role, _ in task.sides})
  return any(text.has_word(one.text, task.unseen_words, one.language) for one in said)


def piece(grid: Grid, start: int, length: int) -> Grid:
  """Returns `length` rows of a grid: its prompt, then its predicted rows from `start` on.

  For a grid longer than a row. The prompt is every row before the first predicted one, so each
  piece knows its task; only the last holds the stop.

      grid  T a b c d e #     piece(grid, 0, 4)  T a b c
                              piece(grid, 3, 4)  T d e #
  """
  if start == WHOLE:
    return grid
  prompt = prompt_rows(grid)
  rows = np.r_[0:prompt, prompt + start : start + length]
  return Grid(grid.tokens_LK[rows], grid.weights_LK[rows], grid.visible_L[rows])


def prompt_rows(grid: Grid) -> int:
  """Returns how many rows come before the first predicted one."""
  return int(np.argmax((grid.weights_LK > 0).any(axis=1)))


def count_tokens(grid: Grid) -> int:
  """Returns how many cells of a grid are not holes."""
  return int(np.count_nonzero(grid.tokens_LK != HOLE))
