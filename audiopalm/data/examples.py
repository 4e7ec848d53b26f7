"""The examples of a task: entries of its corpus laid out on grids, whole or in pieces."""

import dataclasses
import zlib

import numpy as np

from audiopalm import layouts
from audiopalm.data.cache import Entries, Entry
from audiopalm.errors import DataError
from audiopalm.layouts.cells import Part
from audiopalm.metrics import text
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Grid, Task

WHOLE = -1  # the start of an example that is not cut
LEFT_OUT = -1  # the length of an entry that a task does not train on


def key_of(seed: int, record_id: str, epoch: int) -> tuple[int, int, int]:
  """Returns the random key of a record in an epoch, for layouts that draw at random."""
  return (seed, zlib.crc32(record_id.encode()), epoch)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """The entries of a split as a task sees them under a layout."""

  task: Task
  layout: Part
  space: TokenSpace
  entries: Entries

  def grid(self, entry: Entry, seed: int = 0, epoch: int = 0, template: int | None = None) -> Grid:
    """Returns the grid of an entry. Random layouts draw by (seed, record, epoch).

    So is the tag drawn, uniformly from the task's templates, unless `template` is its index.
    """
    key = key_of(seed, entry.id, epoch)
    if template is None and self.task.paraphrases:
      draw = zlib.crc32(repr((self.task.name, key)).encode())
      template = draw % len(layouts.templates(self.task))
    tag = layouts.tag_of(self.task, entry.languages, template or 0)
    ends = self.word_ends(entry)
    return layouts.realize(self.layout, entry.streams, tag, self.space, key, word_ends=ends)

  def word_ends(self, entry: Entry) -> dict[str, np.ndarray]:
    """Returns the word ends of each stream that the layout cuts between words, {} for most layouts.

    Raises DataError for an entry without them.
    """
    ends = {}
    for name in self.layout.word_streams():
      role, stream = name.split(".")
      if stream not in entry.utterances[role].word_ends:
        raise DataError(self._no_word_ends(entry, role, stream))
      ends[name] = np.asarray(entry.utterances[role].word_ends[stream], np.int32)
    return ends

  def _no_word_ends(self, entry: Entry, role: str, stream: str) -> str:
    utterance = entry.utterances[role]
    if not utterance.packed_words:
      reason = (
        "has no word times. Add them to its corpus (`words` in a manifest; synthesizer espeak has "
        "them), or remove the tasks that interleave."
      )
    elif utterance.packed_word_ends is None:
      reason = (
        "was tokenized by a version that did not save word ends. Delete the streams cache of its "
        "corpus and run `audiopalm prepare` again."
      )
    elif self.space.streams[stream].modality == "text":
      spoken = " ".join(word.text for word in utterance.words)
      reason = (
        f"has the text {utterance.text!r}, but its words with times are {spoken!r}. Spell them as "
        "in the text, in its order, or remove the record."
      )
    else:
      reason = (
        f"has no fixed frame rate there. Set collapse=False in the tokenizer {stream!r}, and let "
        "the layout collapse its ids."
      )
    return f"The layout cuts '{role}.{stream}' between words, but record {entry.id} {reason}"

  def having(self) -> np.ndarray:
    """Returns bool [N]: which entries have all streams of the task.

    Raises DataError if an entry lacks a stream of a role that is not optional in its corpus.
    """
    having_N = np.ones(len(self.entries), bool)
    for name in layouts.stream_names(self.layout) if len(self.entries) else ():
      present_N = self.entries.lengths[name] >= 0
      if not present_N.all() and name.split(".")[0] not in self.task.corpus.optional_roles:
        raise DataError(
          f"Task {self.task.name!r} needs the stream {name!r}, which record "
          f"{self.entries[int(np.argmin(present_N))].id} does not have. A text corpus has no "
          "speech streams: use another corpus in the task."
        )
      having_N &= present_N
    return having_N

  def pairs(self) -> np.ndarray:
    """Returns str [N]: the languages of each entry in the roles `task.from_to`, such as "de-fr"."""
    first_N, last_N = (self.entries.languages[role] for role in self.task.from_to)
    return np.char.add(np.char.add(first_N, "-"), last_N)

  def lengths(self) -> np.ndarray:
    """Returns int64 [N]: the maximum number of grid rows of each entry over all random draws.

    Only the lengths of streams are used, except by layouts that cut between words, which need the
    entries. It is LEFT_OUT for an entry that lacks a stream (see `having`).
    """
    lengths_N, having_N = np.full(len(self.entries), LEFT_OUT, np.int64), self.having()
    if not having_N.any():
      return lengths_N
    languages, frames_of = self.entries.languages, self.entries.lengths
    codes_NR = np.stack(list(languages.values()), axis=1)
    for codes in np.unique(codes_NR[having_N], axis=0):
      numbers = np.flatnonzero((codes_NR == codes).all(axis=1) & having_N)
      known = {role: str(code) for role, code in zip(languages, codes, strict=True) if code}
      templates = range(len(layouts.templates(self.task)))
      tags = [layouts.tag_of(self.task, known, template) for template in templates]
      frames = {name: frames_of[name][numbers] for name in layouts.stream_names(self.layout)}
      if self.layout.word_streams():
        for place, number in enumerate(numbers.tolist()):
          ends = self.word_ends(self.entries[number])
          own = {name: int(frames[name][place]) for name in frames}
          lengths_N[number] = max(
            layouts.rows(self.layout, own, tag, self.space, word_ends=ends) for tag in tags
          )
      else:
        rows = [layouts.rows(self.layout, frames, tag, self.space) for tag in tags]
        lengths_N[numbers] = np.max(rows, axis=0)
    return lengths_N


def has_unseen_word(task: Task, entry: Entry) -> bool:
  """Returns whether a text of the entry, in a role of the task, has one of `task.unseen_words`."""
  utterances = (entry.utterances[role] for role in task.roles)
  return any(text.has_word(u.text, task.unseen_words, u.language) for u in utterances)


def piece(grid: Grid, start: int, length: int) -> Grid:
  """Returns `length` rows of a grid: its prompt, then its predicted rows from `start` on.

  This is for grids longer than a row. The prompt is every row before the first predicted one, so
  each piece has the tag of its task; only the last has the stop token.

      grid  T a b c d e #     piece(grid, 0, 4)  T a b c
                              piece(grid, 3, 4)  T d e #
  """
  if start == WHOLE:
    return grid
  prompt = grid.prompt_rows
  rows = np.r_[0:prompt, prompt + start : start + length]
  return Grid(grid.tokens_LK[rows], grid.weights_LK[rows], grid.visible_L[rows], prompt)


def count_tokens(grid: Grid) -> int:
  """Returns how many cells of a grid are not holes."""
  return int(np.count_nonzero(grid.tokens_LK != HOLE))
