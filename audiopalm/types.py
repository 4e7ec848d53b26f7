"""Shared types, and the axis letters in the names of arrays of rank >= 2 (`tokens_BLK`):

B batch       L row         J key row     K column      T frame           Q codebook
S sample      M mel bin     E feature     D model       N query head      G key/value head
H head width  F hidden      V vocabulary  W window      C channel, or class of ids
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

HOLE = -1  # a cell without a token: zero embedding, no loss. Id 0 is a real token.
WAVE = "wave"  # the stream of a task that is a recording itself


@dataclasses.dataclass(frozen=True)
class Word:
  """A spoken word or phone, its time in the recording, and its phonemes ('' if not known)."""

  text: str
  start_s: float
  end_s: float
  phonemes: str = ""


@dataclasses.dataclass(frozen=True)
class Phone:
  """A sound of speech as a symbol of the IPA, and its time in the recording."""

  text: str
  start_s: float
  end_s: float


@dataclasses.dataclass(frozen=True, eq=False)
class Utterance:
  """An utterance of one speaker. `wave_S` is mono float32 in [-1, 1], None if it is text only.

  `text` is "" without a transcript. `phones` are its phones where their times are known. `notes`
  say how the wave was read: channels left out, files joined.
  """

  wave_S: np.ndarray | None
  rate_hz: int
  text: str
  language: str
  speaker: str
  words: tuple[Word, ...] = ()
  notes: tuple[str, ...] = ()
  phones: tuple[Phone, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
  """A record of a corpus: utterances by role ('source', 'target', ...)."""

  id: str
  utterances: Mapping[str, Utterance]


Modality = Literal["text", "speech"]


@dataclasses.dataclass(frozen=True)
class StreamSpec:
  """The output of a fitted tokenizer: ids int32 [T], or [T, Q] with several codebooks, one range of
  ids each. `rate_hz` is None if frames have no fixed duration (text, collapsed units)."""

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
  """A grid of tokens, L rows in time order by K columns: the format of every token system.

  `tokens_LK` int32: ids local to their column, or HOLE. `weights_LK` float32: loss weights of the
  cells, 0 for a given cell or a hole. `visible_L` int32: 0 for a row that attends to its past only,
  n > 0 for the rows of both-ways block n, which attend to each other. `prompt_rows` come before
  the first predicted block.
  """

  tokens_LK: np.ndarray
  weights_LK: np.ndarray
  visible_L: np.ndarray
  prompt_rows: int = 0

  def __len__(self) -> int:
    return len(self.tokens_LK)

  def first(self, rows: int) -> "Grid":
    """Returns its first rows."""
    arrays = self.tokens_LK[:rows], self.weights_LK[:rows], self.visible_L[:rows]
    return Grid(*arrays, min(self.prompt_rows, rows))


Side = tuple[str, str]  # (role, stream), as in ("source", "units")


class CorpusSettings(Protocol):
  """What a config names as a corpus: a frozen dataclass, ours or a user's.

  One whose fields name modules that are imported for its records has `imports` too, their names:
  the user who prepares it must trust them.
  """

  name: str
  """What its records and its cache are called: lowercase letters, digits and _."""

  roles: tuple[str, ...]
  """The utterances that a record holds: ("source", "target")."""

  optional_roles: tuple[str, ...]
  """Those that a record may lack: tasks that need them leave it out."""

  splits: tuple[str, ...]
  """train, validation, test and held_out_voices, or the first of these."""

  languages: tuple[str, ...]
  """The codes of the languages that occur."""

  variants: int
  """Copies of each training record that `prepare` makes: the first is the record as it is, each
  further one is played at another speed."""

  served_by: str
  """The module that gives the records, by the name it is imported by (`data.records`)."""

  @property
  def fingerprint(self) -> str:
    """Hex digits that differ where records do: of the settings, and of a version of the code."""

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    """Returns every {role: language code} that these roles can have in one record, in a fixed
    order, for tags: [AST English French]."""

  def train_voices(self, language: str) -> tuple[str, ...]:
    """Returns the speakers of a language that training hears, the canonical voice first."""


@dataclasses.dataclass(frozen=True)
class Task:
  """A task: predict the output streams of a record from its input streams.

  `tag` is a template over roles for the language names of their utterances: "[AST {source}
  {target}]" becomes "[AST English French]". `paraphrases` are other templates, such as "Translate
  this {source} speech into {target}."; training samples one of all templates for each record and
  epoch, evaluation uses the tag. Records with one of
  `unseen_words` (lowercase) in a text, or of `unseen_pairs` of languages ("de-fr", first role to
  last), are not used to train this task; evaluation scores them separately.
  """

  name: str
  corpus: CorpusSettings
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
