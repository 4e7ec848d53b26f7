"""Text as SentencePiece ids, which decode to exactly the same string."""

import dataclasses
import functools
import io
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy.typing as npt
import sentencepiece

from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

BYTES = 256  # pieces <0x00> to <0xFF>, for characters without a piece
SPACE = "\u2581"  # represents a space in pieces
PRIVATE_USE = range(0xF0000, 0xFFFFE)  # private-use characters, which have no assigned meaning


@dataclasses.dataclass(frozen=True)
class SentencePieceText:
  """A unigram SentencePiece model with byte fallback, fitted on the `text` of utterances.

  `size` is the largest number of ids, including 256 bytes and "unknown" (which is never returned);
  a small corpus has fewer. Each of `words`, those of tags, is a single piece even if no text has
  it. With `fitted_in`, a folder that `save` wrote with the same settings, the tokenizer is loaded
  from there: configs of earlier versions have it in place of `kept.KeptTokenizer`. Source: Kudo,
  arXiv:1804.10959; SentencePiece, arXiv:1808.06226.
  """

  file: ClassVar[str] = "text.model"  # in the folder of a fitted tokenizer

  stream: str = "text"
  size: int = 512
  words: tuple[str, ...] = ()
  fitted_in: str | None = None

  def __post_init__(self):
    for word in self.words:
      if not word or any(map(str.isspace, word)) or SPACE in word:
        raise ConfigError(
          f"Text stream {self.stream!r} has {word!r} among its words, expected text without "
          "spaces, because each word is one piece. List the words one by one."
        )
    if self.size <= BYTES + 1:
      raise ConfigError(
        f"Text stream {self.stream!r} has size={self.size}, expected more than {BYTES + 1}: "
        f"{BYTES} bytes and 1 unknown take ids before any piece. Set size=512 or more."
      )

  @property
  def largest(self) -> StreamSpec:
    return StreamSpec(self.stream, "text", (self.size,), None, "")

  def check(self) -> None:
    """Raises TokenSpaceError if `fitted_in` has no tokenizer with these settings."""
    if self.fitted_in is not None:
      base.check_settings(self._without_folder, Path(self.fitted_in))

  @property
  def _without_folder(self) -> "SentencePieceText":
    """The settings on which ids depend: all but `fitted_in`."""
    return dataclasses.replace(self, fitted_in=None)

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedText":
    """Returns the tokenizer fitted on all texts in their order; the seed has no effect."""
    if self.fitted_in is not None:
      self.check()
      return self.fitted((Path(self.fitted_in) / self.file).read_bytes())
    texts = [utterance.text for utterance in utterances if utterance.text.strip()]
    if not texts:
      raise DataError(
        f"No text to fit the text stream {self.stream!r} on: no utterance of the training split "
        "has a text. Use a corpus with transcripts."
      )
    letters = len(set("".join(texts).replace(" ", SPACE)) | {SPACE})
    if self.size < BYTES + 1 + letters + len(self.words):
      raise ConfigError(
        f"Text stream {self.stream!r} has size={self.size}, but its training texts have {letters} "
        f"different characters, besides {BYTES} bytes, {len(self.words)} words and 1 unknown. "
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
      # Lossless: no Unicode normalization, and no space is merged or dropped.
      normalization_rule_name="identity",
      remove_extra_whitespaces=False,
      allow_whitespace_only_pieces=True,
      add_dummy_prefix=True,
      # No control ids: the grid has a stop id of its own, and its holes are -1.
      unk_id=0,
      bos_id=-1,
      eos_id=-1,
      pad_id=-1,
      max_sentence_length=1 << 20,
      shuffle_input_sentence=False,
      num_threads=1,  # the pieces depend on the order of sums
      minloglevel=2,
    )
    return self.fitted(model.getvalue())

  def load(self, folder: Path) -> "FittedText":
    base.check_settings(self._without_folder, folder)
    return self.fitted((Path(folder) / self.file).read_bytes())

  def fitted(self, content: bytes) -> "FittedText":
    """Returns the tokenizer of a SentencePiece file that was fitted with these settings."""
    return FittedText(self._without_folder, content)


class FittedText(base.FittedFile):
  """A lossless SentencePiece model."""

  @functools.cached_property
  def spec(self) -> StreamSpec:
    fingerprint = base.fingerprint(self.settings, {"model": self.content})
    sizes = (len(self._pieces),)
    return dataclasses.replace(self.settings.largest, sizes=sizes, fingerprint=fingerprint)

  def encode_text(self, text: str) -> list[int]:
    """Returns ids whose `decode` is exactly `text`."""
    base.check_text(text)
    if SPACE not in text:
      return self._processor.encode(text)
    # SentencePiece reads U+2581 as a space: encode an unused character, then replace its bytes.
    unused = next(c for c in map(chr, PRIVATE_USE) if c not in text and c not in self._letters)
    ids = self._processor.encode(text.replace(SPACE, unused))
    # As a str of ids, because `str.replace` replaces sequences.
    return [ord(c) for c in _str(ids).replace(self._bytes(unused), self._bytes(SPACE))]

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> str:
    """Returns the text of any ids; bytes that are not UTF-8 become U+FFFD."""
    data = b"".join(self._pieces[id_] for id_ in base.check_ids(ids, self.spec).tolist())
    text = data.decode(errors="replace")
    return text[1:] if text.startswith(" ") else text

  @functools.cached_property
  def _processor(self) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=self.content)

  def _bytes(self, text: str) -> str:
    return _str(self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in text.encode())

  @functools.cached_property
  def _pieces(self) -> tuple[bytes, ...]:
    """The bytes of each id."""
    return tuple(map(self._bytes_of, range(len(self._processor))))

  def _bytes_of(self, id_: int) -> bytes:
    piece = self._processor.id_to_piece(id_)
    if self._processor.is_unknown(id_):
      return "\ufffd".encode()
    if self._processor.is_byte(id_):
      return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE, " ").encode()

  @functools.cached_property
  def _letters(self) -> frozenset[str]:
    return frozenset("".join(map(self._processor.id_to_piece, range(len(self._processor)))))


def _str(ids: Iterable[int]) -> str:
  return "".join(map(chr, ids))
