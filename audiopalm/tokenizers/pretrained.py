"""The text tokenizer of a pretrained model, as the files of its folder give it.

    folder/tokenizer.json     read with the package tokenizers, whatever its kind
    folder/tokenizer.model    read with SentencePiece, where there is no tokenizer.json

A fitted tokenizer holds the file itself, so a workdir needs its folder only once.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from audiopalm.errors import ConfigError, DataError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

FILES = JSON, MODEL = "tokenizer.json", "tokenizer.model"


@dataclasses.dataclass(frozen=True)
class PretrainedText:
  """The tokenizer in `file` of `folder`, of which `digest` is the sha256 in hex.

  `size` counts the rows of the model it belongs to, which may be more than it has pieces. Special
  tokens and those beyond the rows are never given; added tokens that are not special are text like
  any other. Nothing is put before or after a text. Of two folders with the same file ids and
  fingerprint are the same. `in_folder` fills the fields in.
  """

  folder: str
  size: int
  digest: str
  stream: str = "text"
  file: str = JSON

  def __post_init__(self):
    if self.file not in FILES:
      raise ConfigError(
        f"Text stream {self.stream!r} has file={self.file!r}, expected {' or '.join(FILES)}."
      )

  @property
  def largest(self) -> StreamSpec:
    """Its spec, which fitting does not change."""
    return StreamSpec(self.stream, "text", (self.size,), None, "")

  def check(self) -> None:
    """Raises ConfigError where the file or what reads it is not there, or is another."""
    self.fit((), 0)

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedPretrainedText":
    """Returns the tokenizer of the folder: nothing is learnt from the utterances."""
    fitted = self.read()
    fitted.check()
    return fitted

  def read(self) -> "FittedPretrainedText":
    """Returns the tokenizer of the folder without a look at what is in its file."""
    content = _content(self.folder, self.file)
    if _digest(content) != self.digest:
      raise ConfigError(
        f"{path_of(self)} is not the file that text stream {self.stream!r} was set "
        f"to: expected sha256 {self.digest[:12]}, found {_digest(content)[:12]}. Put that file "
        "back, or start a new workdir with this one."
      )
    return self.fitted(content)

  def kept_in(self, folder: str) -> "PretrainedText":
    """Returns the settings of the tokenizer that `save` wrote into a folder, to keep its ids."""
    return dataclasses.replace(self, folder=folder)

  def load(self, folder: Path) -> "FittedPretrainedText":
    base.check_settings(self, folder)
    return self.fitted((Path(folder) / self.file).read_bytes())

  def fitted(self, content: bytes) -> "FittedPretrainedText":
    """Returns the tokenizer of a file."""
    return FittedPretrainedText(self, content)


def in_folder(folder: str | Path, size: int, stream: str = "text") -> PretrainedText:
  """Returns the settings of the tokenizer in a folder, for a model of `size` rows; ConfigError
  where there is none."""
  file = next((name for name in FILES if (Path(folder) / name).is_file()), JSON)
  return PretrainedText(str(folder), size, _digest(_content(folder, file)), stream, file)


@dataclasses.dataclass(frozen=True, eq=False)
class FittedPretrainedText:
  """The file of a tokenizer.

  What comes back from `decode` is what the tokenizer itself guarantees. Byte-level ones (Llama 3,
  Qwen) lose nothing unless they normalize Unicode (Qwen: NFC). Those with pieces from SentencePiece
  may fold characters and spaces, lose one that leads, and give U+2581 back as a space.
  """

  settings: PretrainedText
  content: bytes
  voices: tuple[str, ...] = ()

  def __reduce__(self):
    return FittedPretrainedText, (self.settings, self.content)

  @functools.cached_property
  def spec(self) -> StreamSpec:
    anywhere = dataclasses.replace(self.settings, folder="")  # the file counts, not where it lies
    fingerprint = base.fingerprint(anywhere, {self.settings.file: self.content})
    return dataclasses.replace(self.settings.largest, fingerprint=fingerprint)

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns the ids of the utterance's text; none for an empty one."""
    return np.array(self.encode_text(utterance.text), np.int32)

  def encode_text(self, text: str) -> list[int]:
    """Returns the ids of a text, which spells special tokens with others."""
    base.check_text(text)
    return self._reader.encode(text)

  def decode(self, ids: Sequence[int] | np.ndarray, *, voice: str | None = None) -> str:
    """Returns the text of any ids; special tokens and rows without a piece give none."""
    ids = np.asarray(ids, np.int64)
    if ids.size and not 0 <= ids.min() <= ids.max() < self.settings.size:
      raise DataError(
        f"Expected ids of the stream {self.settings.stream!r} from 0 to {self.settings.size - 1}, "
        f"got {ids.min()} to {ids.max()}. Give the ids of this stream alone, as `encode` does."
      )
    return self._reader.decode(ids.tolist())

  def save(self, folder: Path) -> None:
    base.write_settings(self.settings, Path(folder))
    (Path(folder) / self.settings.file).write_bytes(self.content)

  def check(self) -> None:
    """Raises ConfigError for a file that is no tokenizer, or one of a larger model."""
    if self._reader.pieces > self.settings.size:
      raise ConfigError(
        f"{path_of(self.settings)} has {self._reader.pieces} pieces, but text stream "
        f"{self.settings.stream!r} is of a model with {self.settings.size} rows (vocab_size). They "
        "do not belong together: copy the folder again."
      )

  @functools.cached_property
  def _reader(self) -> Any:
    return READERS[self.settings.file](self.content, self.settings)


class _Json:
  """tokenizer.json through the package tokenizers.

  Special tokens that a text spells are cut into others (`encode_special_tokens`). A model that has
  them among its pieces, as unigrams have, would find them all the same: such a text is read again,
  with a cut behind the first character of each.
  """

  def __init__(self, content: bytes, settings: PretrainedText):
    self._content, self._settings = content, settings
    source = self._described()
    self.pieces = max(pieces(source), default=-1) + 1
    added = source["added_tokens"]
    self._special = {token["id"]: token["content"] for token in added if token["special"]}
    self._plain = read(source, settings)

  def encode(self, text: str) -> list[int]:
    ids = self._plain.encode(text, add_special_tokens=False).ids
    if self._special.keys().isdisjoint(ids):
      return ids
    return self._cut.encode(text, add_special_tokens=False).ids

  def decode(self, ids: list[int]) -> str:
    return self._plain.decode(ids, skip_special_tokens=True)

  @functools.cached_property
  def _cut(self) -> Any:
    cuts = (f"{re.escape(spelt[0])}(?={re.escape(spelt[1:])})" for spelt in self._special.values())
    pattern = {"Regex": "|".join(cuts)}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    source = self._described()
    before = [source["pre_tokenizer"]] if source.get("pre_tokenizer") else []
    both = {"type": "Sequence", "pretokenizers": [*before, split]}
    return read(source | {"pre_tokenizer": both}, self._settings)

  def _described(self) -> dict[str, Any]:
    found = described(self._content, self._settings)
    for token in found["added_tokens"]:
      token["special"] |= token["id"] >= self._settings.size  # the model has no row for it
    return found


class _SentencePiece:
  """tokenizer.model: its control symbols are never read from a text."""

  def __init__(self, content: bytes, settings: PretrainedText):
    try:
      self._processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
      raise _no_tokenizer(settings, error) from error
    self.pieces = len(self._processor)

  def encode(self, text: str) -> list[int]:
    return self._processor.encode(text)

  def decode(self, ids: list[int]) -> str:
    return self._processor.decode([id_ for id_ in ids if id_ < self.pieces])


READERS = {JSON: _Json, MODEL: _SentencePiece}


def described(content: bytes, settings: PretrainedText) -> dict[str, Any]:
  """Returns what a tokenizer.json says, but that a text is never cut short or filled up."""
  try:
    found = json.loads(content)
    _ = found["model"]["vocab"], found["added_tokens"]
  except (ValueError, KeyError, TypeError) as error:
    raise _no_tokenizer(settings, error) from error
  return found | {"truncation": None, "padding": None}


def pieces(described: Mapping[str, Any]) -> dict[int, str]:
  """Returns {id: piece} of the model in a tokenizer.json; added tokens are not among them."""
  vocabulary = described["model"]["vocab"]
  if isinstance(vocabulary, dict):
    return {id_: piece for piece, id_ in vocabulary.items()}
  return dict(enumerate(piece for piece, _ in vocabulary))


def read(described: Mapping[str, Any], settings: PretrainedText) -> Any:
  """Returns the Tokenizer of a tokenizer.json; ConfigError where the ids it says are not those it
  gives."""
  tokenizers = _tokenizers()
  try:
    found = tokenizers.Tokenizer.from_str(json.dumps(described))
  except Exception as error:  # the package raises no other
    raise _no_tokenizer(settings, error) from error
  for token in described["added_tokens"]:
    id_ = found.token_to_id(token["content"])
    if id_ != token["id"]:
      raise ConfigError(
        f"{path_of(settings)} gives {token['content']!r} the id {token['id']}, but the "
        f"package tokenizers makes it {id_}: ids before it have no token. Add tokens for them."
      )
  found.encode_special_tokens = True
  return found


def path_of(settings: PretrainedText) -> Path:
  """Returns where the file of a tokenizer lies."""
  return Path(settings.folder) / settings.file


def _content(folder: str | Path, file: str) -> bytes:
  path = Path(folder) / file
  if not path.is_file():
    raise ConfigError(
      f"{folder} has no {file}. Expected the folder of a text model, with {' or '.join(FILES)}."
    )
  return path.read_bytes()


def _digest(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def _no_tokenizer(settings: PretrainedText, error: Exception) -> ConfigError:
  return ConfigError(
    f"{path_of(settings)} is damaged, or no tokenizer that can be read ({error}). Copy it again."
  )


def _tokenizers() -> Any:
  try:
    import tokenizers
  except ImportError as error:
    raise ConfigError(
      f"{JSON} is read with the package tokenizers, which is not installed: pip install "
      "'audiopalm[pretrained]', or tokenizers alone."
    ) from error
  return tokenizers
