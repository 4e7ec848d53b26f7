"""The text tokenizer of a pretrained model, read from the files in its folder.

    folder/tokenizer.json     read with the package tokenizers
    folder/tokenizer.model    read with SentencePiece, if there is no tokenizer.json

A fitted tokenizer contains the file, so a run needs its folder only at its start.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy.typing as npt
import sentencepiece

from audiopalm.errors import ConfigError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

FILES = JSON, MODEL = "tokenizer.json", "tokenizer.model"


@dataclasses.dataclass(frozen=True)
class PretrainedText:
  """The tokenizer in `file` of `folder`, whose sha256 in hex is `digest`; `in_folder` makes one.

  `size` is the number of embedding rows of its model, which may exceed the number of pieces.
  `encode` never returns special tokens or ids from `size` on; other added tokens are encoded as
  such. No tokens are added before or after a text. Ids and fingerprint do not depend on the folder.
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
    return StreamSpec(self.stream, "text", (self.size,), None, "")

  def check(self) -> None:
    """Raises ConfigError if the file is missing, changed or damaged, or its reader is missing."""
    self.fit((), 0)

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedPretrainedText":
    """Returns the tokenizer in the folder; it learns nothing from the utterances."""
    fitted = self.read()
    fitted.check()
    return fitted

  def read(self) -> "FittedPretrainedText":
    """Returns the tokenizer in the folder without parsing its file."""
    content = _content(self.folder, self.file)
    if _digest(content) != self.digest:
      raise ConfigError(
        f"{path_of(self)} is not the file that text stream {self.stream!r} was set up with: "
        f"expected sha256 {self.digest[:12]}, found {_digest(content)[:12]}. Restore that file, or "
        "start a new workdir with this one."
      )
    return self.fitted(content)

  def load(self, folder: Path) -> "FittedPretrainedText":
    base.check_settings(self, folder)
    return self.fitted((Path(folder) / self.file).read_bytes())

  def fitted(self, content: bytes) -> "FittedPretrainedText":
    """Returns the tokenizer with this content of its file."""
    return FittedPretrainedText(self, content)


def in_folder(folder: str | Path, size: int, stream: str = "text") -> PretrainedText:
  """Returns the settings of the tokenizer in a folder, of a model with `size` embedding rows;
  ConfigError if there is none."""
  file = next((name for name in FILES if (Path(folder) / name).is_file()), JSON)
  return PretrainedText(str(folder), size, _digest(_content(folder, file)), stream, file)


class FittedPretrainedText(base.FittedFile):
  """The tokenizer of a text model.

  Whether `decode` restores a text depends on the tokenizer. Byte-level ones (Llama 3, Qwen) are
  lossless but for Unicode normalization (Qwen: NFC). Those with SentencePiece pieces may merge
  characters and spaces, drop a leading space, and decode U+2581 as a space.
  """

  @functools.cached_property
  def spec(self) -> StreamSpec:
    settings = dataclasses.replace(self.settings, folder="")
    fingerprint = base.fingerprint(settings, {settings.file: self.content})
    return dataclasses.replace(settings.largest, fingerprint=fingerprint)

  def encode_text(self, text: str) -> list[int]:
    """Returns the ids of a text; special tokens in it are split into ordinary ones."""
    base.check_text(text)
    return self._reader.encode(text)

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> str:
    """Returns the text of any ids; special tokens and ids without a piece are dropped."""
    return self._reader.decode(base.check_ids(ids, self.settings.largest).tolist())

  def check(self) -> None:
    """Raises ConfigError for a file that is not a tokenizer, or belongs to a larger model."""
    if self._reader.pieces > self.settings.size:
      raise ConfigError(
        f"{path_of(self.settings)} has {self._reader.pieces} pieces, but the model of text stream "
        f"{self.settings.stream!r} has {self.settings.size} rows (vocab_size). They do not belong "
        "together: copy the folder again."
      )

  @functools.cached_property
  def _reader(self) -> "_Json | _SentencePiece":
    return READERS[self.settings.file](self.content, self.settings)


class _Json:
  """Reads tokenizer.json with the package tokenizers.

  Special tokens in a text are split into ordinary ones (`encode_special_tokens`). Models that have
  them among their pieces, such as unigram, still return them; then the text is encoded again with a
  split after the first character of each.
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
    return self._splitting.encode(text, add_special_tokens=False).ids

  def decode(self, ids: list[int]) -> str:
    return self._plain.decode(ids, skip_special_tokens=True)

  @functools.cached_property
  def _splitting(self) -> Any:
    """The tokenizer with a split after the first character of each special token."""
    splits = (f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in self._special.values())
    pattern = {"Regex": "|".join(splits)}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    source = self._described()
    own = [source["pre_tokenizer"]] if source.get("pre_tokenizer") else []
    sequence = {"type": "Sequence", "pretokenizers": [*own, split]}
    return read(source | {"pre_tokenizer": sequence}, self._settings)

  def _described(self) -> dict[str, Any]:
    source = described(self._content, self._settings)
    for token in source["added_tokens"]:
      token["special"] |= token["id"] >= self._settings.size  # the model has no row for it
    return source


class _SentencePiece:
  """Reads tokenizer.model with SentencePiece, which never encodes text as control symbols."""

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
  """Returns the content of a tokenizer.json, with truncation and padding turned off; ConfigError if
  it is damaged."""
  try:
    source = json.loads(content)
    _ = source["model"]["vocab"], source["added_tokens"]
  except (ValueError, KeyError, TypeError) as error:
    raise _no_tokenizer(settings, error) from error
  return source | {"truncation": None, "padding": None}


def pieces(described: Mapping[str, Any]) -> dict[int, str]:
  """Returns {id: piece} of the model in a tokenizer.json, without added tokens."""
  vocabulary = described["model"]["vocab"]
  if isinstance(vocabulary, dict):
    return {id_: piece for piece, id_ in vocabulary.items()}
  return dict(enumerate(piece for piece, _ in vocabulary))


def read(described: Mapping[str, Any], settings: PretrainedText) -> Any:
  """Returns the `tokenizers.Tokenizer` of a tokenizer.json; ConfigError if it changes ids."""
  tokenizers = _tokenizers()
  try:
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(described))
  except Exception as error:  # the package raises no subclass
    raise _no_tokenizer(settings, error) from error
  for token in described["added_tokens"]:
    id_ = tokenizer.token_to_id(token["content"])
    if id_ != token["id"]:
      raise ConfigError(
        f"{path_of(settings)} gives {token['content']!r} the id {token['id']}, but the package "
        f"tokenizers gives it {id_}, because some ids before it have no token. Add tokens for them."
      )
  tokenizer.encode_special_tokens = True
  return tokenizer


def path_of(settings: PretrainedText) -> Path:
  """Returns the path of a tokenizer's file."""
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
    f"{path_of(settings)} is damaged, or not a tokenizer that can be read ({error}). Copy it again."
  )


def _tokenizers() -> ModuleType:
  try:
    import tokenizers
  except ImportError as error:
    raise ConfigError(
      f"{JSON} is read with the package tokenizers, which is not installed. Install it: pip "
      "install 'audiopalm[pretrained]', or only tokenizers."
    ) from error
  return tokenizers
