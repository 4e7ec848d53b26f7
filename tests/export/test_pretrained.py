"""A run that started from a text model in a Hugging Face folder: out, and back, to the bit."""

import dataclasses
import importlib
import json
import shutil
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from audiopalm import pretrained, sharding
from audiopalm.data import prepare
from audiopalm.errors import CheckpointError, ConfigError
from audiopalm.exports import folder, text_tokenizer
from audiopalm.parts import models, tokenizers
from audiopalm.tokenizers.pretrained import in_folder

pytest.importorskip("tokenizers", reason="needs pip install '.[pretrained]'")
TESTS = Path(__file__).parents[1]
ROWS = 320  # more than the tokenizer has tokens for
TEXTS = (
  "the red train at noon",
  "  two  spaces ",
  "tab\tline\r\n",
  "né à Paris 🎉",
  "a <tool> b",
  "",
)


@pytest.fixture(scope="module")
def modules():
  """(by_hand, sources): what writes small models, and what writes small tokenizers."""
  with pytest.MonkeyPatch.context() as patch:
    for name in ("pretrained", "tokenizers"):
      patch.syspath_prepend(str(TESTS / name))
    yield importlib.import_module("by_hand"), importlib.import_module("sources")


@pytest.fixture(scope="module", params=("byte level", "unigram"))
def source(request, modules, tmp_path_factory):
  """The folder of a small Llama of `ROWS` rows with a tokenizer."""
  by_hand, sources = modules
  out = tmp_path_factory.mktemp("source")
  tensors = by_hand.tensors("llama", rows=ROWS)
  by_hand.write(out, by_hand.config("llama") | {"vocab_size": ROWS}, tensors)
  (out / "tokenizer.json").write_bytes(sources.JSON[request.param]())
  return out


@pytest.fixture(scope="module")
def run(source, small):
  """(ExportedRun, Prepared): the text model's parameters, its tables extended by random rows."""
  text, units = tokenizers.pretrained(str(source)), tokenizers.units(size=32)
  fitted = {"text": text.fit((), 0), "units": small.fitted()["units"]}
  model = models.pretrained(str(source))
  experiment = dataclasses.replace(small.experiment(model), tokenizers=(text, units))
  folder.check(experiment)
  prepared = prepare.laid_out(experiment, Path("run"), Path("run/streams"), fitted)
  params = small.params(model.build(prepared.space))
  given = jax.tree.map(np.asarray, pretrained.open(source).params(sharding.mesh(small.ONE)))
  for name in ("embed", "head"):
    given[name]["table"] = np.r_[given[name]["table"][:ROWS], params[name]["table"][ROWS:]]
  longest = small.run()[0].longest
  return folder.ExportedRun(experiment, fitted, prepared.manifest, given, 7, longest), prepared


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  out = tmp_path_factory.mktemp("folder") / "out"
  assert folder.write(out, *run) == "LlamaForCausalLM"
  return out


def test_tensors_of_the_text_model_go_out_byte_by_byte(exported, source):
  found, _ = folder.load_arrays(exported / "model.safetensors")
  wanted, _ = folder.load_arrays(source / "model.safetensors")
  assert found.keys() == wanted.keys()
  for name, array in wanted.items():
    table = name in ("model.embed_tokens.weight", "lm_head.weight")
    mine = found[name][:ROWS] if table else found[name]
    assert mine.tobytes() == array.tobytes(), name
    assert len(found[name]) > ROWS if table else found[name].shape == array.shape


def test_the_run_comes_back_to_the_bit_without_the_source(exported, run, tmp_path):
  assert (exported / "text.tokenizer.json").read_bytes() == run[0].tokenizers["text"].content
  copy = shutil.copytree(exported, tmp_path / "copy")
  found = folder.read(copy)
  assert found.experiment == run[0].experiment
  assert {n: t.spec for n, t in found.tokenizers.items()} == {
    n: t.spec for n, t in run[0].tokenizers.items()
  }
  same = jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), found.params, run[0].params)
  assert all(jax.tree.leaves(same))
  folder.write(tmp_path / "again", found, run[1])
  for path in (path for path in exported.rglob("*") if path.is_file()):
    name = path.relative_to(exported)
    assert (tmp_path / "again" / name).read_bytes() == path.read_bytes(), name
  (copy / "text.tokenizer.json").unlink()
  with pytest.raises(CheckpointError, match="text.tokenizer.json is missing. Export the run again"):
    folder.read(copy)


def test_the_exported_tokenizer_has_a_token_for_every_id_of_the_space(exported, run):
  import tokenizers as package

  made = package.Tokenizer.from_file(str(exported / "tokenizer.json"))
  space = run[1].space
  assert made.get_vocab_size() == space.sizes[0] == ROWS + 2 + 32
  assert made.token_to_id("<|sep|>") == space.special("sep") == ROWS
  assert made.token_to_id("<|unit_17|>") == space.range_of(0, "units")[0] + 17
  assert made.id_to_token(ROWS - 1) == f"<|unused_{ROWS - 1}|>"
  theirs = json.loads(run[0].tokenizers["text"].content)["added_tokens"]
  assert {t["content"]: made.token_to_id(t["content"]) for t in theirs} == {
    t["content"]: t["id"] for t in theirs
  }


def check_ids(ids, decode, run):
  """Compares what an exported tokenizer gives with ours."""
  space, ours = run[1].space, run[0].tokenizers["text"]
  for text in TEXTS:
    assert ids(text) == ours.encode_text(text)
    assert decode(ours.encode_text(text)) == ours.decode(ours.encode_text(text))
  unit = space.range_of(0, "units")[0]
  assert ids("[MT English French]<|sep|>good day<|unit_3|><|stop|>") == [
    *space.tag_ids("[MT English French]"), space.special("sep"), *ours.encode_text("good day"),
    unit + 3, space.special("stop"),
  ]  # fmt: skip


def test_the_exported_tokenizer_gives_our_ids_and_nothing_around_them(exported, run):
  import tokenizers as package

  made = package.Tokenizer.from_file(str(exported / "tokenizer.json"))
  check_ids(lambda text: made.encode(text).ids, made.decode, run)


@pytest.mark.torch
def test_auto_tokenizer_gives_our_ids(exported, run):
  import transformers

  auto = transformers.AutoTokenizer.from_pretrained(exported)
  check_ids(
    lambda text: auto(text).input_ids, lambda ids: auto.decode(ids, skip_special_tokens=True), run
  )
  stop = run[1].space.special("stop")
  assert (auto.eos_token_id, auto.pad_token_id) == (stop, stop)
  assert auto.decode([*auto("yes").input_ids, stop, ROWS - 1], skip_special_tokens=True) == "yes"


@pytest.mark.torch
def test_logits_of_the_exported_model_equal_ours(exported, run, small):
  import torch
  import transformers

  theirs = transformers.AutoModelForCausalLM.from_pretrained(exported)
  space = run[1].space
  tokens_BL = np.random.default_rng(0).integers(0, space.sizes[0], (2, 20))
  with torch.no_grad():
    found_BLV = theirs(torch.from_numpy(tokens_BL)).logits.numpy()
  model = run[0].experiment.model.build(space)
  (ours_BLV,) = small.logits(model, run[0].params, tokens_BL[..., None])
  np.testing.assert_allclose(found_BLV, ours_BLV[..., : space.sizes[0]], atol=1e-4, rtol=0)


def test_a_tokenizer_model_cannot_be_exported_and_says_how_it_could(modules, run, tmp_path):
  (tmp_path / "tokenizer.model").write_bytes(modules[1].sentence_piece())
  text = in_folder(tmp_path, ROWS)
  with pytest.raises(ConfigError, match="has tokenizer.model but no tokenizer.json.*export=None"):
    folder.check(types.SimpleNamespace(model=run[0].experiment.model, tokenizers=(text,)))


def test_a_source_that_has_our_tokens_is_refused_before_training(exported, run, tmp_path):
  shutil.copy(exported / "tokenizer.json", tmp_path)
  text = in_folder(tmp_path, run[1].space.sizes[0])
  with pytest.raises(
    ConfigError, match=r"with the names of ours .<\|sep\|>, <\|stop\|>.. Start from"
  ):
    folder.check(types.SimpleNamespace(model=run[0].experiment.model, tokenizers=(text,)))
  with pytest.raises(
    ConfigError, match=r"with the names of ours .<\|sep\|>, <\|stop\|>, <\|unit_0\|>"
  ):
    text_tokenizer.files(text.fit((), 0), run[1].space)


def test_a_source_that_is_gone_was_checked_before(run, tmp_path):
  text = dataclasses.replace(run[0].experiment.tokenizers[0], folder=str(tmp_path / "gone"))
  folder.check(types.SimpleNamespace(model=run[0].experiment.model, tokenizers=(text,)))
