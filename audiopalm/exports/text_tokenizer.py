"""Writes a text tokenizer as `tokenizer.json`, with all other ids of column 0 as added tokens.

    <|sep|> <|stop|>     the special ids of the column
    <|unit_17|>          id 17 of a stream "units"; <|code_3_17|> if codebooks share the column
    <|unused_131|>       a row of a pretrained model for which its tokenizer has no token

The ids are those of the token space. `AutoTokenizer` reads the folder without custom code.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sentencepiece

from audiopalm import orthography
from audiopalm.errors import ConfigError
from audiopalm.tokenizers import pretrained
from audiopalm.tokenizers.pretrained import FittedPretrainedText, PretrainedText
from audiopalm.tokenizers.text import SPACE, FittedText, SentencePieceText
from audiopalm.tokens import space as token_space

KINDS = SentencePieceText, PretrainedText
FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
STOP, SEP = "<|stop|>", "<|sep|>"
SPACES = "".join(sorted(orthography.SPACES))
# SentencePiece always prefers user-defined pieces; with this score Unigram does so too.
WORD_SCORE = float(np.float32(-0.1))
# Splits text that spells the piece of a byte or of "unknown", so that it is not taken for one.
NOT_TEXT = r"<(?=unk>|0x[0-9A-F]{2}>)"


def check(settings: SentencePieceText | PretrainedText) -> None:
  """Raises ConfigError for a text tokenizer that could not be exported after training."""
  if not isinstance(settings, PretrainedText):
    return
  if settings.file != pretrained.JSON:
    raise ConfigError(
      f"No PyTorch export exists for text stream {settings.stream!r}: {settings.folder} has "
      f"{settings.file} but no {pretrained.JSON}, which the export needs. Save the tokenizer again "
      "with transformers (AutoTokenizer.from_pretrained(folder).save_pretrained(folder)), or give "
      "the experiment export=None to train without export."
    )
  if pretrained.path_of(settings).is_file():  # may be missing: a run that has started has a copy
    described = pretrained.described(pretrained.path_of(settings).read_bytes(), settings)
    _check_names(settings, described, (SEP, STOP))


def own_file(settings: SentencePieceText | PretrainedText) -> str:
  """Returns the name of the file in an exported folder from which `import` reads the tokenizer."""
  own = ".model" if isinstance(settings, SentencePieceText) else f".{settings.file}"
  return settings.stream + own


def files(text: FittedText | FittedPretrainedText, space: token_space.TokenSpace) -> dict[str, Any]:
  """Returns {file name: JSON object} of the two files with which `AutoTokenizer` gives our ids.

  Text between two added tokens is encoded separately, as the parts of a grid are. Ids differ from
  ours only for text that spells an added token, such as "<|stop|>", which becomes that token, and
  with SentencePieceText for U+2581, which becomes a space. With SentencePieceText the files also
  normalize text (`orthography.plain`). With PretrainedText every string has the same ids as in the
  source, so callers must normalize.
  """
  ours = [_token(id_, name, special=name in (STOP, SEP)) for id_, name in added(space).items()]
  tokenizer = (
    _pretrained(text, ours) if isinstance(text, FittedPretrainedText) else _unigram(text, ours)
  )
  return {
    FILE: tokenizer,
    CONFIG: {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "eos_token": STOP,
      "sep_token": SEP,
      "pad_token": STOP,
      "padding_side": "left",
      "clean_up_tokenization_spaces": False,
      "model_input_names": ["input_ids", "attention_mask"],
    },
  }


def added(space: token_space.TokenSpace) -> dict[int, str]:
  """Returns {id: token} of all ids of column 0 but those of text, in the order of ids."""
  text = token_space.text_stream(space.streams)
  tokens = {s.id: f"<|{s.name}|>" for s in space.specials if s.column == 0}
  for r in space.ranges:
    if r.column == 0 and (text is None or r.stream != text.name):
      singular = re.sub(r"s$", "", r.stream)
      level = f"_{r.level}" if space.streams[r.stream].codebooks > 1 else ""
      tokens |= {r.start + n: f"<|{singular}{level}_{n}|>" for n in range(r.size)}
  return dict(sorted(tokens.items()))


def _token(id_: int, name: str, *, special: bool) -> dict[str, Any]:
  plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
  return {"id": id_, "content": name, **plain, "special": special}


def _unigram(text: FittedText, ours: list[dict[str, Any]]) -> dict[str, Any]:
  return {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": ours,
    "normalizer": {
      "type": "Sequence",
      "normalizers": [
        # As `orthography.plain`: text of users enters here.
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": f"[{SPACES}]+"}, "content": " "},
        {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
      ],
    },
    "pre_tokenizer": {
      "type": "Split",
      "pattern": {"Regex": NOT_TEXT},
      "behavior": "MergedWithPrevious",
      "invert": False,
    },
    "post_processor": None,
    "decoder": {
      "type": "Sequence",
      "decoders": [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
      ],
    },
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": True, "vocab": _vocab(text)},
  }


def _vocab(text: FittedText) -> list[tuple[str, float]]:
  processor = sentencepiece.SentencePieceProcessor(model_proto=text.content)
  vocab = [(processor.id_to_piece(n), processor.get_score(n)) for n in range(len(processor))]
  for word in text.settings.words:
    vocab[processor.piece_to_id(word)] = (word, WORD_SCORE)
  return vocab


def _pretrained(text: FittedPretrainedText, ours: list[dict[str, Any]]) -> dict[str, Any]:
  """Returns the source's JSON with our tokens, and without tokens before or after a text.

  The package `tokenizers` numbers added tokens consecutively, so rows without a token get one.
  """
  settings = text.settings
  described = pretrained.described(text.content, settings)
  theirs = [token for token in described["added_tokens"] if token["id"] < settings.size]
  taken = pretrained.pieces(described).keys() | {token["id"] for token in theirs}
  unused = [
    _token(id_, f"<|unused_{id_}|>", special=True)
    for id_ in range(settings.size)
    if id_ not in taken
  ]
  _check_names(settings, described, (token["content"] for token in [*ours, *unused]))
  tokens = sorted([*theirs, *unused, *ours], key=lambda token: token["id"])
  tokenizer = described | {"added_tokens": tokens, "post_processor": None}
  pretrained.read(tokenizer, settings)
  return tokenizer


def _check_names(
  settings: PretrainedText, described: Mapping[str, Any], ours: Iterable[str]
) -> None:
  theirs = {token["content"] for token in described["added_tokens"]}
  theirs.update(pretrained.pieces(described).values())
  shared = [name for name in ours if name in theirs]
  if shared:
    raise ConfigError(
      f"No PyTorch export exists for text stream {settings.stream!r}: its tokenizer already has "
      f"tokens with the names of ours ({', '.join(shared[:3])}). Start from another text model, or "
      "give the experiment export=None to train without export."
    )
