"""Which class a decoder goes out as, and that the class computes what the decoder does."""

import dataclasses
import json

import numpy as np
import pytest

from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import stock
from audiopalm.models.pytorch.exported import Exported
from audiopalm.nn import rotary

TINY = Decoder(layers=3, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, tied=False)
GEMMA = dict(norm_offset=True, embed_scale=True, activation="gelu_tanh", tied=True)
GEMMA_2 = GEMMA | dict(post_norms=True, windows=(4, 0))
SHAPED = {
  "llama": {},
  "llama, embeddings scaled": dict(embed_scale=True),
  "llama, embeddings scaled, tied": dict(embed_scale=True, tied=True),
  "llama 3": dict(rope_base=5e5, rope_scaling=rotary.Llama3Scaling(8.0, 1.0, 4.0, 16)),
  "mistral": dict(windows=(4,)),
  "qwen2": dict(qkv_bias=True, tied=True),
  "qwen2, windows": dict(qkv_bias=True, windows=(0, 4, 4)),
  "qwen3": dict(qk_norm=True, rope_base=1e6, tied=True, norm_eps=1e-5),
  "gemma": GEMMA,
  "gemma2": GEMMA_2 | dict(attention_softcap=5.0, final_softcap=3.0, query_scale=0.25),
  "gemma3": GEMMA_2
  | dict(
    qk_norm=True,
    windows=(4, 4, 0),
    rope_base=(1e4, 1e4, 1e6),
    rope_scaling=rotary.LinearScaling(8.0),
  ),
}
CLASSES = {name: name.split(",")[0].split(" ")[0] for name in SHAPED}
PLAIN = {
  "a parallel block": dict(parallel_block=True),
  "windows on some layers without biases": dict(windows=(4, 0)),
  "scaled positions under windows of all": dict(
    windows=(4,), rope_scaling=rotary.LinearScaling(2.0)
  ),
  "windows of two sizes": GEMMA_2 | dict(windows=(4, 8, 0)),
  "a base of its own under windows": GEMMA_2 | dict(rope_base=(1e4, 1e6)),
  "an attention soft-cap alone": dict(attention_softcap=5.0),
  "a final soft-cap alone": dict(final_softcap=5.0),
  "another query scale": dict(query_scale=0.3),
  "a query scale that is no root of an integer": GEMMA_2 | dict(query_scale=0.3),
  "biases and query norms": dict(qkv_bias=True, qk_norm=True),
  "offset norms without scaled embeddings": dict(norm_offset=True),
  "scaled positions under windows": GEMMA_2 | dict(rope_scaling=rotary.LinearScaling(2.0)),
  "a width that heads do not divide": dict(width=30),
}


def test_each_family_goes_out_as_its_class():
  found = {
    name: stock.find(dataclasses.replace(TINY, **changes), 1, False).name
    for name, changes in SHAPED.items()
  }
  assert found == CLASSES


@pytest.mark.parametrize("name", PLAIN)
def test_what_no_class_computes_exactly_has_none(name):
  assert stock.find(dataclasses.replace(TINY, **PLAIN[name]), 1, False) is None


def test_several_columns_and_rows_that_see_ahead_have_none():
  assert stock.find(TINY, 8, False) is None
  assert stock.find(TINY, 1, True) is None


@pytest.mark.torch
@pytest.mark.parametrize("name", SHAPED)
def test_logits_of_the_class_equal_ours(name, small, tmp_path):
  import torch
  import transformers
  from safetensors import torch as torch_files

  settings = dataclasses.replace(TINY, **SHAPED[name])
  model = settings.build(small.run()[1].space)
  params = small.params(model)
  found = stock.find(settings, 1, False)
  tensors, _ = Exported(settings, model).tensors(params)
  config = stock.config(found, settings, model.sizes[0], 3, 64)
  (tmp_path / "config.json").write_text(json.dumps(config))
  exact = {name: torch.from_numpy(array) for name, array in tensors.items()}
  torch_files.save_file(exact, tmp_path / "model.safetensors", {"format": "pt"})
  # "eager" is the one attention with a soft-cap, and transformers 4 would take another.
  theirs, told = transformers.AutoModelForCausalLM.from_pretrained(
    tmp_path, output_loading_info=True, attn_implementation="eager"
  )
  assert not any(told.values()), told
  tokens_BL = np.random.default_rng(0).integers(0, model.sizes[0], (2, 20))
  with torch.no_grad():
    found_BLV = theirs(torch.from_numpy(tokens_BL)).logits.numpy()
  (ours_BLV,) = small.logits(model, params, tokens_BL[..., None])
  assert found_BLV.dtype == np.float32
  assert found_BLV.shape == (2, 20, model.sizes[0])
  np.testing.assert_allclose(found_BLV, ours_BLV[..., : model.sizes[0]], atol=1e-4, rtol=0)
