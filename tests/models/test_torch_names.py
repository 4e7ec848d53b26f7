"""Arrays as PyTorch has them: turned, turned back, and the same for a part of one."""

import numpy as np
import pytest

from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import torch_names

SETTINGS = Decoder(
  layers=2, width=6, heads=4, kv_heads=2, head_width=8, hidden=10, qkv_bias=True, qk_norm=True
)
OURS = {
  "query": (6, 4, 8), "key": (6, 2, 8), "value": (6, 2, 8), "query_bias": (4, 8),
  "key_bias": (2, 8), "value_bias": (2, 8), "out": (4, 8, 6), "gate": (6, 10), "up": (6, 10),
  "down": (10, 6), "scale": (6,),
}  # fmt: skip


def array(name):
  return np.arange(np.prod(OURS[name]), dtype=np.float32).reshape(OURS[name])


@pytest.mark.parametrize("name", OURS)
def test_what_is_transposed_and_restored_is_what_it_was(name):
  theirs = torch_names.transposed(array(name), ("attention", name))
  back = torch_names.restored(theirs, ("attention", name), OURS[name])
  np.testing.assert_array_equal(back, array(name))


def test_heads_lie_side_by_side():
  theirs_OD = torch_names.transposed(array("query"), ("attention", "query"))
  assert theirs_OD.shape == (32, 6)
  np.testing.assert_array_equal(theirs_OD[8:16], array("query")[:, 1].T)  # head 1, [H, D]


@pytest.mark.parametrize("name", OURS)
def test_a_part_lies_there_where_it_is_said_to(name):
  whole, path = array(name), ("attention", name)
  theirs = torch_names.transposed(whole, path)
  part = tuple(slice(1, size) if size != 8 else slice(0, 8) for size in whole.shape)
  stored = theirs[torch_names.place_of(part, path, whole.shape)]
  restored = torch_names.restored(stored, path, whole[part].shape)
  np.testing.assert_array_equal(restored, whole[part])


def test_every_tensor_of_a_layer_has_a_shape():
  shapes = torch_names.shapes(SETTINGS, 131, tied=False)
  assert shapes["model.layers.1.self_attn.q_proj.weight"] == (32, 6)
  assert shapes["model.layers.1.self_attn.k_proj.bias"] == (16,)
  assert shapes["model.layers.0.self_attn.q_norm.weight"] == (8,)
  assert shapes["model.layers.0.mlp.down_proj.weight"] == (6, 10)
  assert shapes["lm_head.weight"] == shapes["model.embed_tokens.weight"] == (131, 6)
  assert "lm_head.weight" not in torch_names.shapes(SETTINGS, 131, tied=True)


def test_differences_are_the_first_twelve_and_how_many_more():
  expected = {f"t{n}": "float32 (3,)" for n in range(20)}
  assert torch_names.differences(expected, expected) == ""
  lines = torch_names.differences({"t0": "float32 (4,)"}, expected).splitlines()
  assert lines[:2] == [
    "  t0: found float32 (4,), expected float32 (3,)", "  t1: found nothing, expected float32 (3,)"
  ]  # fmt: skip
  assert len(lines) == 13 and lines[-1] == "  ... and 8 more"
