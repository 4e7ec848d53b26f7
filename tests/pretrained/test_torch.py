"""Text models saved by transformers: equal logits, and tensors that export unchanged."""

import copy
import json

import jax
import numpy as np
import pytest

from audiopalm import pretrained, sharding
from audiopalm.batch import PackedBatch
from audiopalm.models.pytorch import stock
from audiopalm.models.pytorch.exported import Exported
from audiopalm.settings import Machine

pytestmark = pytest.mark.torch

ONE = Machine(name="one", data=1, fsdp=1, tensor=1)
SIZES = dict(
  vocab_size=131, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
  num_key_value_heads=2, head_dim=16, max_position_embeddings=128,
)  # fmt: skip
LLAMA_3 = {
  "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16, "rope_theta": 5e5,
}  # fmt: skip
LINEAR = {
  "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
  "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
MODELS = {
  "llama 2": ("LlamaConfig", dict(head_dim=None)),
  "llama 3": ("LlamaConfig", dict(rope_parameters=LLAMA_3, tie_word_embeddings=True)),
  "llama, linear scaling": (
    "LlamaConfig",
    dict(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}),
  ),
  "mistral": ("MistralConfig", dict(sliding_window=5, rms_norm_eps=1e-5)),
  "mistral without a window": ("MistralConfig", dict(sliding_window=None)),
  "qwen 2": ("Qwen2Config", dict(tie_word_embeddings=True)),
  "qwen 2 with windows": (
    "Qwen2Config",
    dict(use_sliding_window=True, sliding_window=5, max_window_layers=1),
  ),
  "qwen 3": ("Qwen3Config", dict(rope_parameters={"rope_type": "default", "rope_theta": 1e6})),
  "gemma": ("GemmaConfig", {}),
  "gemma 2": (
    "Gemma2Config",
    dict(sliding_window=5, query_pre_attn_scalar=24, attn_logit_softcapping=5.0,
         final_logit_softcapping=3.0),
  ),
  "gemma 3": (
    "Gemma3TextConfig",
    dict(sliding_window=5, sliding_window_pattern=3, query_pre_attn_scalar=24,
         rope_parameters=LINEAR),
  ),
}  # fmt: skip
ROWS = 24  # more than any window


def saved_model(name, folder, **options):
  """Returns a model with random weights, norms and biases, saved in a folder."""
  import torch
  import transformers

  kind, changes = MODELS[name]
  config = getattr(transformers, kind)(**{**SIZES, **changes})
  config._attn_implementation = "eager"
  torch.manual_seed(0)
  model = transformers.AutoModelForCausalLM.from_config(config)
  random_weights(model)
  model.save_pretrained(folder, **options)
  return model.eval()


def random_weights(model):
  import torch

  with torch.no_grad():
    for path, tensor in model.named_parameters():
      spread = 0.3 if "norm" in path or "embed" in path or "head" in path else 0.15
      center = 1.0 if "norm" in path and "gemma" not in model.config.model_type else 0.0
      tensor.copy_(center + spread * torch.randn_like(tensor))


def jax_logits(source, tokens_BL):
  """Returns the logits of our model in float32 with exact products."""
  params = source.params(sharding.mesh(ONE))
  ones_BL = np.ones(tokens_BL.shape, np.int32)
  positions_BL = np.tile(np.arange(tokens_BL.shape[1], dtype=np.int32), (len(tokens_BL), 1))
  batch = PackedBatch(
    np.int32(tokens_BL)[..., None], None, ones_BL, positions_BL, 0 * ones_BL, None
  )
  with jax.default_matmul_precision("highest"):
    logits_BLV = source.model.head.logits(params, source.model.hidden(params, batch, ONE))
  return np.asarray(logits_BLV)[..., : source.text_rows]


def torch_logits(model, tokens_BL):
  import torch

  with torch.no_grad():
    return model(torch.from_numpy(tokens_BL)).logits.float().numpy()


def tokens():
  return np.random.default_rng(0).integers(0, SIZES["vocab_size"], (2, ROWS))


@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_those_of_transformers(name, tmp_path):
  model = saved_model(name, tmp_path)
  source = pretrained.open(tmp_path)
  assert source.text_rows == 131
  wanted_BLV = torch_logits(model, tokens())
  assert wanted_BLV.std() > 0.1
  np.testing.assert_allclose(jax_logits(source, tokens()), wanted_BLV, atol=1e-5, rtol=0)


def test_several_files_are_read_like_one(tmp_path):
  model = saved_model("qwen 3", tmp_path, max_shard_size="20KB")
  assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
  actual_BLV = jax_logits(pretrained.open(tmp_path), tokens())
  np.testing.assert_allclose(actual_BLV, torch_logits(model, tokens()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ("bfloat16", "float16"))
def test_half_precision_gives_the_same_values_in_float32(kind, tmp_path):
  import torch

  model = saved_model("llama 3", tmp_path / "whole")
  with torch.no_grad():
    for tensor in model.parameters():
      tensor.copy_(tensor.to(getattr(torch, kind)))
  copy.deepcopy(model).to(getattr(torch, kind)).save_pretrained(tmp_path / "half")
  source = pretrained.open(tmp_path / "half")
  assert {dtype for dtype, _ in source.tensors.stored.values()} == {kind}
  np.testing.assert_allclose(
    jax_logits(source, tokens()), torch_logits(model, tokens()), atol=1e-5, rtol=0
  )


def test_the_text_model_of_a_multimodal_one_is_read(tmp_path):
  import torch
  import transformers

  text = saved_model("gemma 3", tmp_path / "text").config.to_dict()
  eye = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
    image_size=28, patch_size=14,
  )  # fmt: skip
  config = transformers.Gemma3Config(text_config=text, vision_config=eye)
  config._attn_implementation = "eager"
  torch.manual_seed(0)
  model = transformers.Gemma3ForConditionalGeneration(config).eval()
  random_weights(model.model.language_model)
  model.save_pretrained(tmp_path / "both")
  actual_BLV = jax_logits(pretrained.open(tmp_path / "both"), tokens())
  np.testing.assert_allclose(actual_BLV, torch_logits(model, tokens()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_equals_the_imported_bytes(name, tmp_path):
  from safetensors.numpy import load_file

  saved_model(name, tmp_path)
  source = pretrained.open(tmp_path)
  params = jax.tree.map(np.asarray, source.params(sharding.mesh(ONE)))
  family = stock.find(source.settings, 1, False)
  exported, _ = Exported(source.settings, source.model).tensors(params)
  wanted = load_file(tmp_path / "model.safetensors")
  assert exported.keys() == wanted.keys()
  for tensor, array in wanted.items():
    assert exported[tensor].tobytes() == array.tobytes(), tensor
  kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
  assert family.model_type == ("llama" if name == "mistral without a window" else kind)


@pytest.mark.parametrize("name", MODELS)
def test_the_exported_config_makes_the_same_model(name, tmp_path):
  import transformers

  model = saved_model(name, tmp_path)
  source = pretrained.open(tmp_path)
  family = stock.find(source.settings, 1, False)
  config = stock.config(family, source.settings, 131, stop=3, longest=128)
  (tmp_path / "config.json").write_text(json.dumps(config))
  again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
  np.testing.assert_array_equal(torch_logits(again.eval(), tokens()), torch_logits(model, tokens()))
  assert pretrained.open(tmp_path).settings == source.settings
