import json

import pytest

from audiopalm import layouts, orthography
from audiopalm.exports import text_tokenizer
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

HARD = (
  "", " ", "  two  spaces ", "Straße, 日本 and 🎉", "a\tb\nc", "<0x41> <unk> [ASR", "1000.5 %",
  "[S2ST English French]", "un cafe\u0301", "un\u00a0café\r\n", "a\u2028b\x85c\x1cd\u3000e",
)  # fmt: skip


def test_added_tokens_carry_the_ids_of_the_space(run):
  _, prepared = run
  added = text_tokenizer.added(prepared.space)
  start, size = prepared.space.range_of(0, "units")
  text = prepared.space.range_of(0, "text")[1]
  assert list(added) == list(range(text, prepared.space.sizes[0]))
  assert (added[prepared.space.special("sep")], added[prepared.space.special("stop")]) == (
    "<|sep|>", "<|stop|>"
  )  # fmt: skip
  assert [added[start], added[start + 17]] == ["<|unit_0|>", "<|unit_17|>"]
  assert size == 32


def test_codebooks_that_share_a_column_have_their_level_in_the_name(small):
  specs = (
    StreamSpec("text", "text", (9,), None, ""),
    StreamSpec("codes", "speech", (3, 2), 50.0, ""),
  )
  layout = layouts.Concat(layouts.Tag("[A]"), layouts.Flat("target.codes"), layouts.Stop())
  added = text_tokenizer.added(token_space.build(specs, {"a": layout}, lambda tag: [1]))
  assert list(added.values()) == [
    "<|sep|>", "<|stop|>", "<|code_0_0|>", "<|code_0_1|>", "<|code_0_2|>", "<|code_1_0|>",
    "<|code_1_1|>",
  ]  # fmt: skip


@pytest.fixture(scope="module")
def auto(run, tmp_path_factory):
  """What AutoTokenizer makes of the two files."""
  import transformers

  exported, prepared = run
  folder = tmp_path_factory.mktemp("tokenizer")
  for name, value in text_tokenizer.files(exported.tokenizers["text"], prepared.space).items():
    (folder / name).write_text(json.dumps(value))
  return transformers.AutoTokenizer.from_pretrained(folder)


def ids(auto, text):
  return auto(text, add_special_tokens=False).input_ids


@pytest.mark.torch
def test_ids_equal_ours_on_a_thousand_sentences_of_three_languages(auto, run, small):
  text = run[0].tokenizers["text"]
  chosen = [
    sentence
    for language, count in (("en", 400), ("fr", 300), ("de", 300))
    for sentence in small.sentences(language, count)
  ]
  assert len(set(chosen)) > 950
  assert [ids(auto, sentence) for sentence in chosen] == [text.encode_text(s) for s in chosen]


@pytest.mark.torch
@pytest.mark.parametrize("hard", HARD)
def test_ids_equal_ours_and_decode_where_text_is_hard(auto, run, hard):
  plain = orthography.plain(hard)
  assert ids(auto, hard) == run[0].tokenizers["text"].encode_text(plain)
  assert auto.decode(ids(auto, hard)) == plain


@pytest.mark.torch
def test_parts_between_added_tokens_are_texts_of_their_own(auto, run):
  exported, prepared = run
  space, encode = prepared.space, exported.tokenizers["text"].encode_text
  unit = space.range_of(0, "units")[0]
  said = "[MT English French]<|sep|>good morning<|unit_3|><|stop|>"
  assert ids(auto, said) == [
    *space.tag_ids("[MT English French]"), space.special("sep"), *encode("good morning"),
    unit + 3, space.special("stop"),
  ]  # fmt: skip


@pytest.mark.torch
def test_padding_stands_in_front_and_specials_are_left_out_of_text(auto, run):
  stop = run[1].space.special("stop")
  assert (auto.eos_token_id, auto.pad_token_id, auto.padding_side) == (stop, stop, "left")
  assert len(auto) == run[1].space.sizes[0]
  assert auto.decode(ids(auto, "yes<|stop|>"), skip_special_tokens=True) == "yes"
