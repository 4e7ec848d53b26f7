"""Words every other file uses: axis letters, recordings, streams, grids and tasks.

Axis letters (the only table); arrays of rank >= 2 wear them: `tokens_BLK`, `kernel_DNH`.

    B batch       L row         J key row     K column      T frame           Q codebook
    S sample      M mel bin     E feature     D model       N query head      G key/value head
    H head width  F hidden      V vocabulary  W window      C channel, or class of ids
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

HOLE = -1  # a cell without a token: zero embedding, no loss. Id 0 is a real token.


@dataclasses.dataclass(frozen=True)
class Word:
  """One spoken word: where it lies in its recording, and its phonemes ('' where not known)."""

  text: str
  start_s: float
  end_s: float
  phonemes: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Utterance:
  """What one speaker says once. `wave_S` is mono float32 in [-1, 1], None where there is text.

  `text` is "" where nobody wrote down what a recording says. `notes` tell how a wave was read where
  that may surprise: channels left out, files joined.
  """

  wave_S: np.ndarray | None
  rate_hz: int
  text: str
  language: str
  speaker: str
  words: tuple[Word, ...] = ()
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
  """One row of a corpus: utterances by role ('source', 'target', ...)."""

  id: str
  utterances: Mapping[str, Utterance]


Modality = Literal["text", "speech"]


@dataclasses.dataclass(frozen=True)
class StreamSpec:
  """What a fitted tokenizer gives: a stream of ids, one range of ids per codebook.

  A stream with one codebook is an int32 array [T]; with more, [T, Q]. `rate_hz` is frames per
  second, None where frames have no fixed length (text, collapsed units).
  """

  name: str
  modality: Modality
  sizes: tuple[int, ...]
  rate_hz: float | None
  fingerprint: str

  @property
  def codebooks(self) -> int:
    return len(self.sizes)


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
  """L rows in time order, K columns: the one unit that carries every token system.

  `tokens_LK` int32, ids local to their column, HOLE where there is none. `weights_LK` float32: the
  weight of predicting the cell from all rows before it, 0 where it is given or a hole. `visible_L`
  int32: 0 for a row that sees its past only, n > 0 for the rows of the n-th both-ways block, which
  also see each other.
  """

  tokens_LK: np.ndarray
  weights_LK: np.ndarray
  visible_L: np.ndarray

  def __len__(self) -> int:
    return len(self.tokens_LK)


Side = tuple[str, str]  # (role, stream), as in ("source", "units")


@dataclasses.dataclass(frozen=True)
class Task:
  """One thing to learn: from these streams of a record, those.

  `tag` is a template over roles, filled with the language names of their utterances:
  "[AST {source} {target}]" becomes "[AST English French]". With `paraphrases`, other templates over
  the same roles, training draws one of all for each record and epoch ("Translate this {source}
  speech into {target}."); evaluation asks by the tag. `corpus` is one of the settings in
  `audiopalm.data.corpora`. Left out of the training of this task, not of others, are records in
  whose texts one of `unseen_words` (lower case) occurs, and those of `unseen_pairs` of languages,
  "de-fr", from the first role to the last; evaluation scores them apart.
  """

  name: str
  corpus: Any
  tag: str
  inputs: tuple[Side, ...]
  outputs: tuple[Side, ...]
  loss_on_inputs: bool = False
  unseen_words: tuple[str, ...] = ()
  unseen_pairs: tuple[str, ...] = ()
  paraphrases: tuple[str, ...] = ()

  @property
  def sides(self) -> tuple[Side, ...]:
    return self.inputs + self.outputs

  @property
  def roles(self) -> tuple[str, ...]:
    """The roles of its sides, each once, inputs first."""
    return tuple(dict.fromkeys(role for role, _ in self.sides))

  @property
  def from_to(self) -> tuple[str, str]:
    """The first role and the last one, whose languages `unseen_pairs` names."""
    return self.sides[0][0], self.outputs[-1][0]
