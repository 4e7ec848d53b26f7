import dataclasses
import types

import jax
import numpy as np
import pytest

from audiopalm.errors import CheckpointError
from audiopalm.models.depth import DepthTransformer
from audiopalm.models.pytorch import stock, torch_names
from audiopalm.models.pytorch.exported import Exported

SPACE = types.SimpleNamespace(
  sizes=(60,), padded=(64,), modality_KV=(np.zeros(64),), both_ways=False
)
COLUMNS = types.SimpleNamespace(
  sizes=(20, 7), padded=(32, 16), modality_KV=(np.zeros(32), np.zeros(16)), both_ways=False
)
FAMILIES = {
  "tied": dict(),
  "untied": dict(tied=False),
  "scaled": dict(tied=False, embed_scale=True),
  "scaled and tied": dict(embed_scale=True),
  "biases": dict(qkv_bias=True),
  "norms": dict(qk_norm=True, post_norms=True),
  "parallel": dict(parallel_block=True),
  "depth": dict(tied=False, depth_head=DepthTransformer(layers=2, width=16, heads=2, hidden=24)),
}


def made(small, space=SPACE, **changes):
  """Returns (the decoder as it is exported, its parameters)."""
  settings = dataclasses.replace(small.TINY, **changes)
  return Exported(settings, space), small.params(settings.build(space))


@pytest.mark.parametrize("space", (SPACE, COLUMNS), ids=("one column", "two columns"))
@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_come_back_to_the_bit(name, space, small):
  exported, params = made(small, space, **FAMILIES[name])
  tensors, rest = exported.tensors(params)
  back = exported.params(tensors, rest)
  same = jax.tree.map(lambda a, b: a.dtype == b.dtype and a.tobytes() == b.tobytes(), params, back)
  assert all(jax.tree.leaves(same)), same


@pytest.mark.parametrize("name", FAMILIES)
def test_every_tensor_has_the_shape_that_is_said_of_it(name, small):
  exported, params = made(small, **FAMILIES[name])
  tensors, _ = exported.tensors(params)
  shapes = torch_names.shapes(
    exported.settings, 60, tied=stock.tied(exported.stock, exported.settings)
  )
  assert {k: v.shape for k, v in tensors.items()} == shapes
  assert all(array.flags.c_contiguous for array in tensors.values())


def test_rows_that_only_pad_are_left_out_of_every_column(small):
  exported, params = made(small, COLUMNS)
  tensors, rest = exported.tensors(params)
  table = params["embed"]["table"]
  np.testing.assert_array_equal(tensors[torch_names.EMBED], np.r_[table[:20], table[32:39]])
  np.testing.assert_array_equal(rest["embed.padding"], np.r_[table[20:32], table[39:]])


def test_scaled_embeddings_are_the_values_that_our_model_computes(small):
  exported, params = made(small, tied=False, embed_scale=True)
  tensors, rest = exported.tensors(params)
  ours = params["embed"]["table"][:60] * jax.numpy.asarray(exported.settings.width**0.5, "float32")
  assert tensors[torch_names.EMBED].tobytes() == np.asarray(ours).tobytes()
  assert np.abs(rest["embed.rounding"]).max() == 1  # division alone would not come back


def test_embeddings_trained_further_in_torch_are_divided(small):
  exported, params = made(small, tied=False, embed_scale=True)
  tensors, rest = exported.tensors(params)
  trained = tensors | {torch_names.EMBED: tensors[torch_names.EMBED] * np.float32(1.1)}
  back = exported.params(trained, rest)
  wanted = params["embed"]["table"][:60] * 1.1
  np.testing.assert_allclose(back["embed"]["table"][:60], wanted, rtol=1e-6)


def test_a_tied_table_that_was_trained_apart_is_refused(small):
  exported, params = made(small, embed_scale=True)
  tensors, rest = exported.tensors(params)
  trained = tensors | {torch_names.HEAD: tensors[torch_names.HEAD] * np.float32(1.1)}
  with pytest.raises(CheckpointError, match="ties its output head .* they were trained apart"):
    exported.params(trained, rest)


def test_other_names_shapes_and_types_are_listed(small):
  exported, params = made(small)
  tensors, rest = exported.tensors(params)
  tensors[torch_names.NORM] = tensors[torch_names.NORM].astype(np.float16)
  tensors["model.layers.0.mlp.up_proj.weight"] = np.zeros((3, 4), np.float32)
  tensors["lora_A"] = tensors.pop("model.layers.1.input_layernorm.weight")
  with pytest.raises(CheckpointError) as caught:
    exported.params(tensors, rest)
  said = str(caught.value)
  assert "model.norm.weight: found float16 (32,), expected float32 (32,)" in said
  assert "up_proj.weight: found float32 (3, 4), expected float32 (48, 32)" in said
  assert "layers.1.input_layernorm.weight: found nothing, expected float32 (32,)" in said
  assert "lora_A: found float32 (32,), expected nothing" in said
