"""A pretrained model: its logits compared with an independent numpy model, sharding, and errors."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest

from audiopalm import pretrained, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import CheckpointError, ConfigError
from audiopalm.models.pytorch import stock
from audiopalm.models.pytorch.exported import Exported
from audiopalm.settings import Machine
from audiopalm.tokenizers.pretrained import in_folder

ONE = Machine(name="one", data=1, fsdp=1, tensor=1)
EIGHT = Machine(name="eight", data=2, fsdp=2, tensor=2)
NAMES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3")
TOKENS_L = np.random.default_rng(0).integers(0, 131, 24)  # longer than any window
UP_KERNEL = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def llama(by_hand, tmp_path):
  """(folder, tensors) of a small Llama."""
  tensors = by_hand.tensors("llama")
  return by_hand.write(tmp_path / "llama", by_hand.config("llama"), tensors), tensors


def logits(source):
  params = source.params(sharding.mesh(ONE))
  positions_BL = np.arange(len(TOKENS_L), dtype=np.int32)[None]
  ones_BL = np.ones_like(positions_BL)
  tokens_BLK = np.int32(TOKENS_L)[None, :, None]
  batch = PackedBatch(tokens_BLK, None, ones_BL, positions_BL, 0 * ones_BL, None)
  with jax.default_matmul_precision("highest"):
    hidden_BLD = source.model.hidden(params, batch, ONE)
    actual_LV = source.model.head.logits(params, hidden_BLD)[0]
  assert np.isneginf(actual_LV[:, 131:]).all()
  return np.asarray(actual_LV)[:, :131]


@pytest.mark.parametrize("dialect", ("transformers 4", "transformers 5"))
@pytest.mark.parametrize("name", NAMES)
def test_logits_equal_those_of_numpy(name, dialect, by_hand, tmp_path):
  tensors = by_hand.tensors(name)
  source = pretrained.open(by_hand.write(tmp_path, by_hand.config(name, dialect), tensors))
  wanted_LV = by_hand.logits(name, tensors, TOKENS_L)
  assert wanted_LV.std() > 0.5
  np.testing.assert_allclose(logits(source), wanted_LV, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_exported_tensors_equal_the_imported_bytes(name, by_hand, tmp_path):
  tensors = by_hand.tensors(name)
  source = pretrained.open(by_hand.write(tmp_path / "in", by_hand.config(name), tensors))
  params = jax.device_get(source.params(sharding.mesh(ONE)))
  family = stock.find(source.settings, 1, False)
  exported, _ = Exported(source.settings, source.model).tensors(params)
  assert {key: array.tobytes() for key, array in exported.items()} == {
    key: array.tobytes() for key, array in tensors.items()
  }
  config = stock.config(family, source.settings, 131, stop=3, longest=128)
  assert config["model_type"] == by_hand.config(name)["model_type"]
  again = pretrained.open(by_hand.write(tmp_path / "out", config, exported))
  assert again.settings == source.settings


def test_its_token_space_equals_that_of_a_run(llama):
  folder, _ = llama
  source = pretrained.open(folder)
  with pytest.raises(ConfigError, match="has no tokenizer.json. Expected .* or tokenizer.model"):
    source.space()
  (folder / "tokenizer.model").write_bytes(b"pieces")
  space = source.space("words")
  assert space.range_of(0, "words") == (0, 131)
  assert (space.sizes, space.padded) == ((131,), (256,))
  assert space.streams["words"] == in_folder(folder, 131, "words").read().spec


def test_tables_are_padded_with_rows_of_zeros(llama):
  folder, tensors = llama
  source = pretrained.open(folder)
  params = source.params(sharding.mesh(ONE))
  assert source.text_rows == 131
  for ours, stored in (("embed", "model.embed_tokens.weight"), ("head", "lm_head.weight")):
    table_VD = np.asarray(params[ours]["table"])
    assert table_VD.dtype == np.float32 and table_VD.shape == (256, 32)
    assert table_VD[:131].tobytes() == tensors[stored].tobytes()
    assert not table_VD[131:].any()


@pytest.mark.parametrize("name", ("qwen2", "gemma3"))
@pytest.mark.parametrize("files", (1, 3))
def test_parameters_on_eight_devices_equal_those_on_one(name, files, by_hand, tmp_path):
  folder = by_hand.write(tmp_path, by_hand.config(name), by_hand.tensors(name), files)
  source = pretrained.open(folder)
  one, eight = (source.params(sharding.mesh(machine)) for machine in (ONE, EIGHT))
  wanted = source.model.shapes(sharding.mesh(EIGHT))

  def same(a, b, shaped):
    assert b.sharding == shaped.sharding
    for shard in b.addressable_shards:
      np.testing.assert_array_equal(np.asarray(shard.data), np.asarray(a)[shard.index])

  jax.tree.map(same, one, eight, wanted)


def test_replicated_shards_are_read_once(llama, monkeypatch):
  folder, tensors = llama
  source, counts = pretrained.open(folder), {}
  read = source.tensors.read

  def counted(name, part):
    array = read(name, part)
    counts[name] = counts.get(name, 0) + array.size
    return array

  monkeypatch.setattr(source.tensors, "read", counted)
  source.params(sharding.mesh(EIGHT))
  assert counts == {name: array.size for name, array in tensors.items()}


@pytest.mark.parametrize("kind", (ml_dtypes.bfloat16, np.float16))
def test_smaller_float_types_give_the_same_values(kind, llama, by_hand, tmp_path):
  folder, tensors = llama
  smaller = {name: array.astype(kind) for name, array in tensors.items()}
  exact = {name: array.astype(np.float32) for name, array in smaller.items()}
  small = by_hand.write(tmp_path / "small", by_hand.config("llama"), smaller)
  large = by_hand.write(tmp_path / "large", by_hand.config("llama"), exact)
  actual, wanted = (pretrained.open(path).params(sharding.mesh(ONE)) for path in (small, large))
  jax.tree.map(np.testing.assert_array_equal, actual, wanted)


@pytest.mark.parametrize(
  "body, head",
  [
    ("", "lm_head.weight"),
    ("language_model.model.", "language_model.lm_head.weight"),
    ("model.language_model.", "lm_head.weight"),
  ],
)
def test_the_text_model_of_a_multimodal_model_is_read(body, head, llama, by_hand, tmp_path):
  folder, tensors = llama
  renamed = {
    head if name == "lm_head.weight" else body + name.removeprefix("model."): array
    for name, array in tensors.items()
  }
  renamed["vision_tower.layer.weight"] = renamed["model.vision_tower.a"] = np.zeros(3, np.float32)
  renamed["model.multi_modal_projector.b"] = np.zeros(3, np.float32)
  other = by_hand.write(tmp_path / "renamed", by_hand.config("llama"), renamed)
  actual, wanted = (pretrained.open(path).params(sharding.mesh(ONE)) for path in (other, folder))
  jax.tree.map(np.testing.assert_array_equal, actual, wanted)


def test_frequencies_that_old_versions_stored_are_ignored(by_hand, tmp_path):
  tensors = by_hand.tensors("llama")
  tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(8, np.float32)
  assert pretrained.open(by_hand.write(tmp_path, by_hand.config("llama"), tensors)).text_rows == 131


def test_a_stored_tied_head_must_equal_the_embedding(by_hand, tmp_path):
  tensors = by_hand.tensors("qwen2")
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
  folder = by_hand.write(tmp_path, by_hand.config("qwen2"), tensors)
  assert "head" not in pretrained.open(folder).params(sharding.mesh(ONE))
  tensors["lm_head.weight"][7, 3] += 1
  by_hand.write(tmp_path, by_hand.config("qwen2"), tensors)
  with pytest.raises(
    CheckpointError, match="ties the output head .* lm_head.weight .* differs from"
  ):
    pretrained.open(folder)


def test_wrong_tensors_are_listed_with_the_expected_ones(by_hand, tmp_path):
  tensors = by_hand.tensors("llama")
  tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float64)
  tensors[UP_KERNEL] = np.zeros((3, 4), ml_dtypes.bfloat16)
  tensors["lora_A"] = tensors.pop("model.layers.1.input_layernorm.weight")
  with pytest.raises(CheckpointError) as caught:
    pretrained.open(by_hand.write(tmp_path, by_hand.config("llama"), tensors))
  message = str(caught.value)
  assert f"The tensors in {tmp_path} do not match its config.json:" in message
  assert "norm.weight: found F64 (32,), expected float32, bfloat16 or float16 (32,)" in message
  assert f"{UP_KERNEL}: found bfloat16 (3, 4), expected bfloat16 (48, 32)" in message
  assert "model.layers.1.input_layernorm.weight: found nothing, expected float32" in message
  assert "lora_A: found float32 (32,), expected nothing" in message


def test_only_the_first_twelve_wrong_tensors_are_listed(by_hand, tmp_path):
  folder = by_hand.write(tmp_path, by_hand.config("llama"), by_hand.tensors("qwen3"))
  config = by_hand.config("llama") | {"num_hidden_layers": 6}
  (folder / "config.json").write_text(json.dumps(config))
  with pytest.raises(CheckpointError, match=r"\.\.\. and 21 more\nCopy the folder again") as caught:
    pretrained.open(folder)
  assert str(caught.value).count("found") == 12


def test_an_error_names_a_truncated_damaged_or_missing_file(llama, by_hand, tmp_path):
  folder, tensors = llama
  path = folder / "model.safetensors"
  whole = path.read_bytes()
  for content in (whole[:-1], whole[: len(whole) // 2], b"", b"<html>no such file</html>"):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="model.safetensors is missing or damaged .* Copy"):
      pretrained.open(folder)
  many = by_hand.write(tmp_path / "many", by_hand.config("llama"), tensors, files=3)
  (many / "model-00002-of-00003.safetensors").unlink()
  with pytest.raises(CheckpointError, match="00002-of-00003.safetensors is missing or damaged"):
    pretrained.open(many)
  (many / "model.safetensors.index.json").write_text('{"metadata": {}}')
  with pytest.raises(CheckpointError, match="index.json is missing or damaged .*weight_map"):
    pretrained.open(many)


def test_an_error_names_weights_in_another_format(llama):
  folder, _ = llama
  (folder / "model.safetensors").unlink()
  with pytest.raises(CheckpointError, match="has neither .*index.json .it holds no weights"):
    pretrained.open(folder)
  (folder / "tf_model.h5").write_bytes(b"")
  with pytest.raises(CheckpointError, match="holds tf_model.h5.* save the model again with"):
    pretrained.open(folder)


def test_an_error_about_a_missing_config_says_what_was_expected(tmp_path):
  with pytest.raises(ConfigError, match="has no config.json. Expected the folder of a text model"):
    pretrained.open(tmp_path)
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(ConfigError, match="config.json is not valid JSON .* Copy the folder again"):
    pretrained.open(tmp_path)
  (tmp_path / "config.json").write_text("[]")
  with pytest.raises(ConfigError, match="config.json holds list, expected an object of settings"):
    pretrained.open(tmp_path)


def test_an_error_names_a_tied_head_of_another_shape(by_hand, tmp_path):
  tensors = by_hand.tensors("qwen2")
  tensors["lm_head.weight"] = np.zeros((130, 32), np.float32)
  with pytest.raises(CheckpointError, match=r"lm_head.weight .float32 .130, 32.. differs from"):
    pretrained.open(by_hand.write(tmp_path, by_hand.config("qwen2"), tensors))
