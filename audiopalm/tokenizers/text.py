"""Text as SentencePiece ids: any string goes in, the same string comes out."""

import dataclasses
import functools
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import sentencepiece

from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

MODEL = "text.model"
BYTES = 256  # pieces <0x00> to <0xFF>, which spell what no other piece does
SPACE = "\u2581"  # how a piece writes a space
STAND_INS = range(0xF0000, 0xFFFFE)  # private use: no text means anything by them


@dataclasses.dataclass(frozen=True)
class SentencePieceText:
  """A unigram SentencePiece model with byte fallback, fitted on the `text` of utterances.

  `size` counts all ids, the 257 of bytes and of "unknown" (never given) too. It is a ceiling: a
  small corpus has fewer pieces to offer. Each of `words` is one piece wherever it occurs, even if
  no text has it: what tags are made of. With `fitted_in`, a folder that `save` wrote, it is the
  tokenizer found there, which had the same settings, instead of one of these texts. Exported,
  `text.model` is an ordinary SentencePiece file.
  Source: Kudo, arXiv:1804.10959; SentencePiece, arXiv:1808.06226.
  """

  stream: str = "text"
  size: int = 512
  words: tuple[str, ...] = ()
  fitted_in: str | None = None

  def __post_init__(self):
    for word in self.words:
      if not word or any(map(str.isspace, word)) or SPACE in word:
        raise ConfigError(
          f"Text stream {self.stream!r} has {word!r} among its words, expected text without "
          "spaces: a piece spells one word. Write each word on its own."
        )
    if self.size <= BYTES + 1:
      raise ConfigError(
        f"Text stream {self.stream!r} has size={self.size}, expected more than {BYTES + 1}: "
        f"{BYTES} bytes and 1 unknown come before any piece. Set size=512 or more."
      )

  @property
  def largest(self) -> StreamSpec:
    """A small corpus has fewer pieces to offer."""
    return StreamSpec(self.stream, "text", (self.size,), None, "")

  def check(self) -> None:
    """Raises ManifestError where `fitted_in` holds no tokenizer of these settings."""
    if self.fitted_in is not None:
      base.check_settings(self._own, Path(self.fitted_in))

  def kept_in(self, folder: str) -> "SentencePieceText":
    """Returns the settings of the tokenizer that `save` wrote into a folder, to keep its ids."""
    return dataclasses.replace(self, fitted_in=folder)

  @property
  def _own(self) -> "SentencePieceText":
    """What the ids depend on: the settings, wherever the pieces came from."""
    return dataclasses.replace(self, fitted_in=None)

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedText":
    """Returns the tokenizer of these texts, in this order; there is no chance in it, so no seed."""
    if self.fitted_in is not None:
      self.check()
      return self.fitted((Path(self.fitted_in) / MODEL).read_bytes())
    texts = [utterance.text for utterance in utterances if utterance.text.strip()]
    if not texts:
      raise DataError(
        f"Nothing to fit the text stream {self.stream!r} on: no utterance of the training split "
        "has a text. Use a corpus with transcripts."
      )
    letters = len(set("".join(texts).replace(" ", SPACE)) | {SPACE})
    if self.size < BYTES + 1 + letters + len(self.words):
      raise ConfigError(
        f"Text stream {self.stream!r} has size={self.size}, but its training texts hold {letters} "
        f"different characters beside {BYTES} bytes, {len(self.words)} words and 1 unknown. "
        f"Set size={2 ** (BYTES + letters + len(self.words)).bit_length()} or more."
      )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(texts),
      model_writer=model,
      model_type="unigram",
      vocab_size=self.size,
      hard_vocab_limit=False,
      byte_fallback=True,
      user_defined_symbols=list(self.words),
      character_coverage=1.0,
      split_digits=True,
      # Identity both ways: no Unicode folding, and no space is merged or dropped.
      normalization_rule_name="identity",
      remove_extra_whitespaces=False,
      allow_whitespace_only_pieces=True,
      add_dummy_prefix=True,
      # The grid has its own stop, and its holes are -1: no control ids.
      unk_id=0,
      bos_id=-1,
      eos_id=-1,
      pad_id=-1,
      max_sentence_length=1 << 20,
      shuffle_input_sentence=False,
      num_threads=1,  # the order of sums, and so the pieces, depend on it
      minloglevel=2,
    )
    return self.fitted(model.getvalue())

  def load(self, folder: Path) -> "FittedText":
    base.check_settings(self._own, folder)
    return self.fitted((Path(folder) / MODEL).read_bytes())

  def fitted(self, content: bytes) -> "FittedText":
    """Returns the tokenizer of a SentencePiece file that was fitted with these settings."""
    return FittedText(self._own, content)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedText:
  """A SentencePiece model that never loses a character."""

  settings: SentencePieceText
  content: bytes  # of a SentencePiece file

  def __reduce__(self):
    return FittedText, (self.settings, self.content)

  @property
  def voices(self) -> tuple[str, ...]:
    return ()

  @functools.cached_property
  def spec(self) -> StreamSpec:
    fingerprint = base.fingerprint(self.settings, {"model": self.content})
    sizes = (len(self._pieces),)
    return dataclasses.replace(self.settings.largest, sizes=sizes, fingerprint=fingerprint)

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns the ids of the utterance's text; none for an empty one."""
    return np.array(self.encode_text(utterance.text), np.int32)

  def encode_text(self, text: str) -> list[int]:
    """Returns ids whose `decode` is exactly `text`."""
    base.check_text(text)
    if SPACE not in text:
      return self._processor.encode(text)
    # SentencePiece reads this one character as a space: carry it past as another, then spell it.
    stand_in = next(c for c in map(chr, STAND_INS) if c not in text and c not in self._letters)
    spelt = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in stand_in.encode()]
    wanted = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]
    return _replaced(self._processor.encode(text.replace(SPACE, stand_in)), spelt, wanted)

  def decode(self, ids: Sequence[int] | np.ndarray, *, voice: str | None = None) -> str:
    """Returns the text of any ids; bytes that are no UTF-8 come out as U+FFFD."""
    data = b"".join(self._pieces[int(id_)] for id_ in ids)
    text = data.decode(errors="replace")
    return text[1:] if text.startswith(" ") else text

  def save(self, folder: Path) -> None:
    base.write_settings(self.settings, Path(folder))
    (Path(folder) / MODEL).write_bytes(self.content)

  @functools.cached_property
  def _processor(self) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=self.content)

  @functools.cached_property
  def _pieces(self) -> tuple[bytes, ...]:
    """What each id spells."""
    processor = self._processor
    return tuple(
      "\ufffd".encode()
      if processor.is_unknown(id_)
      else bytes([int(processor.id_to_piece(id_)[3:5], 16)])
      if processor.is_byte(id_)
      else processor.id_to_piece(id_).replace(SPACE, " ").encode()
      for id_ in range(len(processor))
    )

  @functools.cached_property
  def _letters(self) -> frozenset[str]:
    return frozenset("".join(map(self._processor.id_to_piece, range(len(self._processor)))))


def _replaced(ids: list[int], old: list[int], new: list[int]) -> list[int]:
  """Returns `ids` with each run `old` as `new`."""
  result, place = [], 0
  while place < len(ids):
    if ids[place : place + len(old)] == old:
      result += new
      place += len(old)
    else:
      result.append(ids[place])
      place += 1
  return result
