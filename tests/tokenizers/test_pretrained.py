"""Tokenizers of text models: their own ids, never a special token from a text, files, errors."""

import importlib.util
import json
import pickle
import shutil
import sys
from concurrent import futures

import numpy as np
import pytest

from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.tokenizers import pretrained
from audiopalm.tokenizers.pretrained import PretrainedText
from audiopalm.types import Utterance

KINDS = ("byte level", "bpe of pieces", "unigram", "sentencepiece")
EXACT = {
  "byte level": ("", " ", "  two  spaces ", " red", "tab\tline\r\n", "日本 🎉 é", "a\u2581b"),
  "bpe of pieces": ("", " ", "  two  spaces ", " red", "tab\tline\r\n", "日本 🎉 é", "<0x41>"),
  "unigram": ("", "two spaces", "tab\tline", "日本 🎉 é"),
  "sentencepiece": ("", "two  spaces", " red", "tab\tline\r\n", "日本 🎉 é", "<0x41>"),
}  # fmt: skip
SPELT = {
  "byte level": ("<|begin|>", "a <|end|><|end|> b"),
  "bpe of pieces": ("<s>", "the </s> bus", "<unk><s>"),
  "unigram": ("<s>", "the </s> bus", "<s><s>/s>"),
  "sentencepiece": ("<s>", "the </s> bus"),
}


def said(text):
  return Utterance(None, 16_000, text, "en", "anna")


@pytest.fixture(scope="module")
def folders(sources, tmp_path_factory):
  """{kind: a folder with its file}; those of the package tokenizers only where it is installed."""
  found = {}
  for kind in KINDS:
    folder = found[kind] = tmp_path_factory.mktemp(kind.replace(" ", "_"))
    if kind == "sentencepiece":
      (folder / "tokenizer.model").write_bytes(sources.sentence_piece())
    elif importlib.util.find_spec("tokenizers"):
      (folder / "tokenizer.json").write_bytes(sources.JSON[kind]())
  return found


def fitted(folders, kind, size=700):
  if kind != "sentencepiece":
    pytest.importorskip("tokenizers", reason="needs pip install '.[pretrained]'")
  return pretrained.in_folder(folders[kind], size).fit((), 0)


def theirs(folders, kind, text):
  """Returns the ids that the file's own package gives, without special tokens put around."""
  if kind == "sentencepiece":
    import sentencepiece

    content = (folders[kind] / "tokenizer.model").read_bytes()
    return sentencepiece.SentencePieceProcessor(model_proto=content).encode(text)
  import tokenizers

  made = tokenizers.Tokenizer.from_file(str(folders[kind] / "tokenizer.json"))
  made.no_truncation()
  return made.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_package_without_special_tokens(kind, folders, sources):
  tokenizer = fitted(folders, kind)
  for text in (*sources.TEXTS[:5], "an old bus  or two", "zażółć 🎉"):
    ids = tokenizer.encode_text(text)
    assert ids == theirs(folders, kind, text)
    found = tokenizer.encode(said(text))
    assert found.dtype == np.int32 and found.tolist() == ids


def test_a_text_is_not_truncated_even_if_the_file_asks_for_it(folders):
  tokenizer = fitted(folders, "byte level")
  assert json.loads(tokenizer.content)["truncation"]["max_length"] == 4
  assert len(tokenizer.encode_text("the old train at noon")) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_decoded_unchanged(kind, folders, sources):
  tokenizer = fitted(folders, kind)
  for text in (*sources.TEXTS[:5], *EXACT[kind]):
    assert tokenizer.decode(tokenizer.encode_text(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_in_a_text_is_encoded_as_text(kind, folders):
  tokenizer = fitted(folders, kind)
  if kind == "sentencepiece":
    special = {0, 1, 2}
  else:
    added = json.loads(tokenizer.content)["added_tokens"]
    special = {token["id"] for token in added if token["special"]}
  assert special
  for text in SPELT[kind]:
    ids = tokenizer.encode_text(text)
    assert special.isdisjoint(ids)
    assert tokenizer.decode(ids) == text


def test_an_added_token_that_is_not_special_is_text_like_any_other(folders):
  tokenizer = fitted(folders, "byte level")
  (tool,) = (t["id"] for t in json.loads(tokenizer.content)["added_tokens"] if not t["special"])
  assert tool in tokenizer.encode_text("a <tool> b")
  assert tokenizer.decode(tokenizer.encode_text("a <tool> b")) == "a <tool> b"


def test_a_token_beyond_the_rows_of_the_model_is_never_returned(folders):
  tokenizer = fitted(folders, "byte level")
  (tool,) = (t["id"] for t in json.loads(tokenizer.content)["added_tokens"] if not t["special"])
  smaller = fitted(folders, "byte level", size=tool)
  ids = smaller.encode_text("a <tool> b")
  assert max(ids) < tool and smaller.decode(ids) == "a <tool> b"


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_and_rows_without_a_piece_decode_to_nothing(kind, folders):
  tokenizer = fitted(folders, kind)
  ids = tokenizer.encode_text("the bus")
  end = {"byte level": "<|end|>"}.get(kind, "</s>")
  special = 2
  if kind != "sentencepiece":
    special = {t["content"]: t["id"] for t in json.loads(tokenizer.content)["added_tokens"]}[end]
  assert tokenizer.decode([*ids, special, 699, 680]) == "the bus"
  assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_ids_that_the_model_has_no_row_for_are_an_error(kind, folders):
  tokenizer = fitted(folders, kind)
  with pytest.raises(DataError, match="ids of the stream 'text' from 0 to 699, got 3 to 700. Pass"):
    tokenizer.decode([3, 700])
  with pytest.raises(DataError, match="from 0 to 699, got -1 to 3"):
    tokenizer.decode([3, -1])


@pytest.mark.parametrize("kind", KINDS)
def test_random_ids_decode_to_text(kind, folders):
  tokenizer, random = fitted(folders, kind), np.random.default_rng(0)
  for _ in range(200):
    assert isinstance(tokenizer.decode(random.integers(700, size=random.integers(20))), str)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_pickled_equal_the_fitted_and_threads_share_one(kind, folders, sources, tmp_path):
  tokenizer = fitted(folders, kind)
  tokenizer.save(tmp_path / "text")
  wanted = [tokenizer.encode_text(text) for text in sources.TEXTS]
  for copy in (
    tokenizer.settings.load(tmp_path / "text"),
    pickle.loads(pickle.dumps(tokenizer)),
  ):
    assert copy.spec == tokenizer.spec
    with futures.ThreadPoolExecutor(4) as pool:
      assert list(pool.map(copy.encode_text, sources.TEXTS)) == wanted


def test_the_spec_has_the_rows_of_the_model_and_depends_on_the_file(folders, tmp_path):
  tokenizer = fitted(folders, "sentencepiece")
  assert tokenizer.spec.sizes == (700,) and tokenizer.spec.rate_hz is None
  assert tokenizer.voices == ()
  assert tokenizer.settings.largest.sizes == (700,)
  elsewhere = shutil.copytree(folders["sentencepiece"], tmp_path / "elsewhere")
  again = pretrained.in_folder(elsewhere, 700).fit((), 0)
  assert again.spec == tokenizer.spec
  assert pretrained.in_folder(elsewhere, 701).fit((), 0).spec != tokenizer.spec
  other = (elsewhere / "tokenizer.model").read_bytes().replace(b"red", b"der")
  (elsewhere / "tokenizer.model").write_bytes(other)
  assert pretrained.in_folder(elsewhere, 700).fit((), 0).spec != tokenizer.spec


def test_tokenizer_json_comes_before_tokenizer_model(folders, tmp_path):
  shutil.copy(folders["sentencepiece"] / "tokenizer.model", tmp_path)
  assert pretrained.in_folder(tmp_path, 700).file == "tokenizer.model"
  (tmp_path / "tokenizer.json").write_text("{}")
  assert pretrained.in_folder(tmp_path, 700).file == "tokenizer.json"


def test_a_workdir_does_not_need_the_folder_again(folders, tmp_path):
  gone = shutil.copytree(folders["sentencepiece"], tmp_path / "gone")
  settings = pretrained.in_folder(gone, 700)
  settings.fit((), 0).save(tmp_path / "text")
  shutil.rmtree(gone)
  assert settings.load(tmp_path / "text").decode([]) == ""
  with pytest.raises(
    ConfigError, match="gone has no tokenizer.model. Expected the folder of a tex"
  ):
    settings.check()


def test_a_folder_without_a_tokenizer_says_what_was_expected(tmp_path):
  with pytest.raises(ConfigError, match="has no tokenizer.json. Expected .* or tokenizer.model"):
    pretrained.in_folder(tmp_path, 700)


def test_a_file_that_changed_is_refused(folders, tmp_path):
  folder = shutil.copytree(folders["sentencepiece"], tmp_path / "folder")
  settings = pretrained.in_folder(folder, 700)
  settings.check()
  with (folder / "tokenizer.model").open("ab") as file:
    file.write(b"\n")
  with pytest.raises(
    ConfigError, match="is not the file that text stream 'text' was set up with: .*Restore"
  ):
    settings.check()


def test_a_tokenizer_of_a_larger_model_is_refused(folders):
  with pytest.raises(ConfigError, match="pieces, but the model of text stream 'text' has 131 row"):
    fitted(folders, "sentencepiece", size=131)
  with pytest.raises(ConfigError, match="pieces, but the model of text stream 'text' has 131 row"):
    fitted(folders, "unigram", size=131)


@pytest.mark.parametrize("content", (b"{", b"{}", b'{"model": {"vocab": {}}}', b"\xff\xfe", b"[]"))
def test_a_damaged_tokenizer_json_is_named(content, tmp_path):
  (tmp_path / "tokenizer.json").write_bytes(content)
  with pytest.raises(ConfigError, match="tokenizer.json is damaged, or not a tokenizer that can b"):
    pretrained.in_folder(tmp_path, 700).check()


def test_a_tokenizer_json_of_an_unknown_kind_is_named(tmp_path):
  pytest.importorskip("tokenizers", reason="needs pip install '.[pretrained]'")
  strange = {"added_tokens": [], "model": {"type": "Strange", "vocab": {}}}
  (tmp_path / "tokenizer.json").write_text(json.dumps(strange))
  with pytest.raises(ConfigError, match="tokenizer.json is damaged, or not a tokenizer that can b"):
    pretrained.in_folder(tmp_path, 700).check()


def test_a_damaged_tokenizer_model_is_named(folders, tmp_path):
  whole = (folders["sentencepiece"] / "tokenizer.model").read_bytes()
  (tmp_path / "tokenizer.model").write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ConfigError, match="tokenizer.model is damaged, or not a tokenizer that can"):
    pretrained.in_folder(tmp_path, 700).check()


def test_added_tokens_whose_ids_have_a_gap_before_them_are_refused(folders, tmp_path):
  found = json.loads(fitted(folders, "byte level").content)
  found["added_tokens"][-1]["id"] += 7
  (tmp_path / "tokenizer.json").write_text(json.dumps(found))
  with pytest.raises(
    ConfigError, match="gives '<tool>' the id .* tokenizers gives it .* Add token"
  ):
    pretrained.in_folder(tmp_path, 700).check()


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  found = {"added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}
  (tmp_path / "tokenizer.json").write_text(json.dumps(found))
  with pytest.raises(
    ConfigError, match=r"not installed. Install it: pip install 'audiopalm\[pretrained\]'"
  ):
    pretrained.in_folder(tmp_path, 700).check()


def test_another_file_is_refused():
  with pytest.raises(
    ConfigError, match="file='spiece.model', expected tokenizer.json or tokenizer"
  ):
    PretrainedText("folder", 700, "", file="spiece.model")


def test_loading_with_other_settings_says_which(folders, tmp_path):
  tokenizer = fitted(folders, "sentencepiece")
  tokenizer.save(tmp_path)
  with pytest.raises(TokenSpaceError, match="size: config 800, workdir 700"):
    pretrained.in_folder(folders["sentencepiece"], 800).load(tmp_path)


def test_half_a_surrogate_pair_is_an_error(folders):
  with pytest.raises(DataError, match="Expected Unicode text"):
    fitted(folders, "sentencepiece").encode_text("caf\udce9")
