"""Byte-pair encoding over the ids of a unit tokenizer, for shorter sequences.

units of 40 ms    17 17 17 203 203 5 9        each unit is a character to SentencePiece
pieces            [17 17] [17] [203 203] [5 9]
"""

import dataclasses
import functools
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import sentencepiece

from audiopalm.errors import ConfigError, RecordError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

FIRST, MOST = 0xF0000, 0xFFFE  # first and number of the private-use characters of plane 15
LONGEST = 4_096  # units per training sequence; SentencePiece supports 65,535 at most


@dataclasses.dataclass(frozen=True)
class UnitBPE:
  """Pieces of frequent sequences of the ids of `units`, a speech tokenizer with one codebook.

  `size` is the largest number of ids; little training speech gives fewer. Each unit is also a
  piece, so any sequence of units can be encoded and restored. `units` are fitted first, and decode
  to sound in their voices; their own stream may but need not be in the experiment too. Source: BASE
  TTS, arXiv:2402.08093, section 2.1; SUTLM, arXiv:2310.08715, section 2.
  """

  file: ClassVar[str] = "pieces.model"  # in the folder of a fitted tokenizer
  below: ClassVar[str] = "units"  # the folder beside it with the fitted `units`

  units: base.Tokenizer
  size: int = 1_000
  stream: str = "units"

  def __post_init__(self):
    spec = self.units.largest
    if spec.modality != "speech" or spec.codebooks != 1:
      raise ConfigError(
        f"Stream {self.stream!r} merges units of {type(self.units).__name__}, which encodes "
        f"{spec.modality} with {spec.codebooks} codebooks, expected speech with 1. Give it the "
        "settings of a unit tokenizer, such as tokenizers.units()."
      )
    if not spec.sizes[0] < self.size or spec.sizes[0] > MOST:
      raise ConfigError(
        f"Stream {self.stream!r} has size={self.size} over {spec.sizes[0]} units, expected more "
        f"pieces than units, because each unit is a piece, and at most {MOST} units. Set "
        f"size={4 * spec.sizes[0]}."
      )

  @property
  def largest(self) -> StreamSpec:
    return StreamSpec(self.stream, "speech", (self.size,), None, "")

  @property
  def sample_s(self) -> float:
    """Seconds of speech that fitting `units` needs, 0 if they do not state it."""
    return getattr(self.units, "sample_s", 0.0)

  def check(self) -> None:
    """Raises ConfigError if anything that `units` need for fitting is missing."""
    self.units.check()

  def source_digest(self) -> str:
    """Returns the digest of the files that `units` are read from, "none" if there are none."""
    digest = getattr(self.units, "source_digest", None)
    return digest() if digest else "none"

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedUnitBPE":
    """Returns the tokenizer fitted on these utterances: `units`, then pieces of all their ids."""
    utterances = list(utterances)
    units = self.units.fit(utterances, seed)
    spoken = [utterance for utterance in utterances if utterance.wave_S is not None]
    encoded = base.encode_batch(units, spoken)
    ids = [ids_T for ids_T in encoded if not isinstance(ids_T, RecordError)]
    return FittedUnitBPE(self, units, self._learned(ids, units.spec.sizes[0]))

  def _learned(self, utterances: Sequence[np.ndarray], units: int) -> bytes:
    """Returns a SentencePiece model fitted on sequences of ids below `units`."""
    spans = (
      ids_T[start : start + LONGEST]
      for ids_T in utterances
      for start in range(0, len(ids_T), LONGEST)
    )
    # Adds each unit by itself, so that all are pieces, even those that do not occur.
    sequences = [*np.arange(units)[:, None], *spans]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=map(_characters, sequences),
      model_writer=model,
      model_type="bpe",
      vocab_size=self.size + 1,
      hard_vocab_limit=False,
      character_coverage=1.0,
      normalization_rule_name="identity",
      remove_extra_whitespaces=False,
      add_dummy_prefix=False,
      split_by_unicode_script=False,
      split_by_number=False,
      split_by_whitespace=False,
      unk_id=0,
      bos_id=-1,
      eos_id=-1,
      pad_id=-1,
      max_sentence_length=1 << 20,
      shuffle_input_sentence=False,
      num_threads=1,
      minloglevel=2,
    )
    return model.getvalue()

  def load(self, folder: Path) -> "FittedUnitBPE":
    base.check_settings(self, folder)
    units = self.units.load(Path(folder) / self.below)
    return FittedUnitBPE(self, units, (Path(folder) / self.file).read_bytes())


@dataclasses.dataclass(frozen=True, eq=False)
class FittedUnitBPE:
  """The fitted units, and a SentencePiece model over them without its unknown piece, id 0."""

  settings: UnitBPE
  units: base.Fitted
  content: bytes

  def __reduce__(self):
    return type(self), (self.settings, self.units, self.content)

  @functools.cached_property
  def spec(self) -> StreamSpec:
    # `units` are hashed by their own fingerprint, which does not depend on folders.
    hashed = base.fingerprint(
      self.settings, {"pieces": self.content, "units": self.units.spec.fingerprint.encode()},
      without=("units",),
    )  # fmt: skip
    sizes = (len(self._pieces),)
    return dataclasses.replace(self.settings.largest, sizes=sizes, fingerprint=hashed)

  @property
  def voices(self) -> tuple[str, ...]:
    return self.units.voices

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns the pieces of the utterance's units."""
    return self.merged(self.units.encode(utterance))

  def encode_batch(self, utterances: Sequence[Utterance]) -> list[np.ndarray | RecordError]:
    """Returns what `encode` returns or raises for each."""
    encoded = base.encode_batch(self.units, utterances)
    return [ids if isinstance(ids, RecordError) else self.merged(ids) for ids in encoded]

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz of the units in these pieces."""
    return self.units.decode(self.split(ids), voice=voice)

  def merged(self, ids: npt.ArrayLike) -> np.ndarray:
    """Returns the int32 ids of the pieces that encode unit ids. Inverse: `split`."""
    ids_T = base.check_ids(ids, self.units.spec)
    return np.array(self._processor.encode(_characters(ids_T)), np.int32) - 1

  def split(self, ids: npt.ArrayLike) -> np.ndarray:
    """Returns the int32 unit ids that pieces encode."""
    pieces = [self._pieces[id_] for id_ in base.check_ids(ids, self.spec)]
    return np.concatenate([np.zeros(0, np.int32), *pieces])

  def save(self, folder: Path) -> None:
    """Writes settings, pieces, and the fitted units in a folder of their own."""
    folder = Path(folder)
    base.write_settings(self.settings, folder)
    (folder / self.settings.file).write_bytes(self.content)
    self.units.save(folder / self.settings.below)

  @functools.cached_property
  def _processor(self) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=self.content)

  @functools.cached_property
  def _pieces(self) -> tuple[np.ndarray, ...]:
    """The units of each id."""
    texts = map(self._processor.id_to_piece, range(1, len(self._processor)))
    return tuple(np.array([ord(c) - FIRST for c in text], np.int32) for text in texts)


def _characters(ids_T: np.ndarray) -> str:
  return "".join(chr(FIRST + id_) for id_ in ids_T.tolist())
