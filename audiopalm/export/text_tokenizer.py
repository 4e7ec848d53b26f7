"""SentencePiece text as `tokenizer.json`, with every other id of column 0 as an added token.

    <|sep|> <|stop|>     the specials of the column
    <|unit_17|>          id 17 of a stream "units"; <|code_3_17|> where codebooks share the column

The ids are those of the token space. `AutoTokenizer` reads the folder without code of its own.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import sentencepiece

from audiopalm.tokenizers.text import SPACE, FittedText
from audiopalm.tokens import space as token_space

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
STOP, SEP = "<|stop|>", "<|sep|>"
# SentencePiece gives a piece of its own a score that no path without it can beat.
WORD_SCORE = float(np.float32(-0.1))
# Pieces that stand for bytes and "unknown" are no text: cut where text spells one by chance.
NOT_TEXT = r"<(?=unk>|0x[0-9A-F]{2}>)"


def files(text: FittedText, space: token_space.TokenSpace) -> dict[str, Any]:
  """Returns {file name: its JSON}: the two files from which `AutoTokenizer` makes our ids.

  Text between two added tokens is encoded as a text of its own, as the parts of a grid are. A text
  that spells an added token, such as "<|stop|>", is read as that token, and U+2581 as a space; in
  all others the ids equal ours.
  """
  return {
    FILE: {
      "version": "1.0",
      "truncation": None,
      "padding": None,
      "added_tokens": [
        {
          "id": id_, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
          "normalized": False, "special": name in (STOP, SEP),
        }
        for id_, name in added(space).items()
      ],
      "normalizer": {
        "type": "Sequence",
        "normalizers": [
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
    },
    CONFIG: {
      "tokenizer_class": "PreTrainedTokenizerFast",
      "eos_token": STOP,
      "sep_token": SEP,
      "pad_token": STOP,
      "padding_side": "left",
      "clean_up_tokenization_spaces": False,
      "model_input_names": ["input_ids", "attention_mask"],
    },
  }  # fmt: skip


def added(space: token_space.TokenSpace) -> dict[int, str]:
  """Returns {id: token} of column 0 after the text, in the order of ids."""
  text = token_space.text_stream(space.streams)
  tokens = {s.id: f"<|{s.name}|>" for s in space.specials if s.column == 0}
  for r in space.ranges:
    if r.column == 0 and (text is None or r.stream != text.name):
      one = re.sub(r"s$", "", r.stream)
      level = f"_{r.level}" if space.streams[r.stream].codebooks > 1 else ""
      tokens |= {r.start + n: f"<|{one}{level}_{n}|>" for n in range(r.size)}
  return dict(sorted(tokens.items()))


def ranges(space: token_space.TokenSpace) -> list[Mapping[str, Any]]:
  """Returns the ranges of ids of all columns as JSON."""
  return [r._asdict() for r in space.ranges]


def _vocab(text: FittedText) -> list[tuple[str, float]]:
  processor = sentencepiece.SentencePieceProcessor(model_proto=text.model)
  vocab = [(processor.id_to_piece(n), processor.get_score(n)) for n in range(len(processor))]
  for word in text.settings.words:
    vocab[processor.piece_to_id(word)] = (word, WORD_SCORE)
  return vocab
