"""A text tokenizer as `tokenizer.json`, with every other id of column 0 as an added token.

    <|sep|> <|stop|>     the specials of the column
    <|unit_17|>          id 17 of a stream "units"; <|code_3_17|> where codebooks share the column
    <|unused_131|>       a row of a pretrained model for which its tokenizer has no token

The ids are those of the token space. `AutoTokenizer` reads the folder without code of its own.
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
# SentencePiece gives a piece of its own a score that no path without it can beat.
WORD_SCORE = float(np.float32(-0.1))
# Pieces that stand for bytes and "unknown" are no text: cut where text spells one by chance.
NOT_TEXT = r"<(?=unk>|0x[0-9A-F]{2}>)"


def check(settings: SentencePieceText | PretrainedText) -> None:
  """Raises ConfigError for a text tokenizer that cannot be exported once the run is trained."""
  if not isinstance(settings, PretrainedText):
    return
  if settings.file != pretrained.JSON:
    raise ConfigError(
      f"No PyTorch export exists for text stream {settings.stream!r}: {settings.folder} has "
      f"{settings.file} and no {pretrained.JSON}, which an exported folder is made of. Save the "
      "tokenizer again with transformers (AutoTokenizer.from_pretrained(folder).save_pretrained("
      "folder)), or give the experiment export=None to train without."
    )
  if pretrained.path_of(settings).is_file():  # a run that has started needs it no more
    described = pretrained.described(pretrained.path_of(settings).read_bytes(), settings)
    _check_names(settings, described, (SEP, STOP))


def own_file(settings: SentencePieceText | PretrainedText) -> str:
  """Returns the name of the file in an exported folder from which the tokenizer is restored."""
  own = ".model" if isinstance(settings, SentencePieceText) else f".{settings.file}"
  return settings.stream + own


def files(text: FittedText | FittedPretrainedText, space: token_space.TokenSpace) -> dict[str, Any]:
  """Returns {file name: its JSON}: the two files with which `AutoTokenizer` gives our ids.

  Text between two added tokens is encoded as a text of its own, as the parts of a grid are. A text
  that spells an added token, such as "<|stop|>", is read as that token, and of a SentencePieceText
  U+2581 as a space; all other ids equal ours. The tokenizer of a SentencePieceText normalizes a
  text (`orthography.plain`); that of a PretrainedText gives the ids of the source for every string,
  so its caller normalizes.
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
  """Returns {id: token} of column 0 after the text, in the order of ids."""
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
        # The one form of a text, `orthography.plain`: the folder is where a user's text comes in.
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
  """Returns the source's own JSON with our tokens, and with nothing put before or after a text.

  The package numbers added tokens as they come, so rows without a token are given one.
  """
  settings = text.settings
  described = pretrained.described(text.content, settings)
  kept = [token for token in described["added_tokens"] if token["id"] < settings.size]
  taken = pretrained.pieces(described).keys() | {token["id"] for token in kept}
  unused = [
    _token(id_, f"<|unused_{id_}|>", special=True)
    for id_ in range(settings.size)
    if id_ not in taken
  ]
  _check_names(settings, described, (token["content"] for token in [*ours, *unused]))
  tokens = sorted([*kept, *unused, *ours], key=lambda token: token["id"])
  tokenizer = described | {"added_tokens": tokens, "post_processor": None}
  pretrained.read(tokenizer, settings)
  return tokenizer


def _check_names(
  settings: PretrainedText, described: Mapping[str, Any], ours: Iterable[str]
) -> None:
  theirs = {token["content"] for token in described["added_tokens"]}
  theirs.update(pretrained.pieces(described).values())
  both = [name for name in ours if name in theirs]
  if both:
    raise ConfigError(
      f"No PyTorch export exists for text stream {settings.stream!r}: its tokenizer has tokens of "
      f"its own that are written like ours ({', '.join(both[:3])}). Start from another text model, "
      "or give the experiment export=None to train without."
    )
