"""The file of plain torch: its logits and its greedy decoding against ours."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.exports import tasks
from audiopalm.inference import decode
from audiopalm.inference.sampling import Sampling
from audiopalm.layouts import incremental
from audiopalm.models.depth import DepthTransformer
from audiopalm.models.pytorch import stock
from audiopalm.models.pytorch.exported import Exported
from audiopalm.nn import rotary

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs pip install '.[export]'")

from audiopalm.models.pytorch import torch_decoder  # noqa: E402

FAMILIES = {
  "llama": dict(tied=False, rope_scaling=rotary.Llama3Scaling(8.0, 1.0, 4.0, 16)),
  "qwen": dict(qkv_bias=True, qk_norm=True),
  "gemma": dict(
    norm_offset=True, post_norms=True, embed_scale=True, activation="gelu_tanh", windows=(3, 5, 0),
    attention_softcap=5.0, final_softcap=3.0, query_scale=0.3, rope_base=(1e4, 1e4, 1e6),
    rope_scaling=rotary.LinearScaling(8.0),
  ),
  "palm": dict(parallel_block=True, kv_heads=1),
  "palm with post norms": dict(parallel_block=True, post_norms=True),
}  # fmt: skip


DEPTH = dict(
  tied=False, final_softcap=3.0,
  depth_head=DepthTransformer(layers=2, width=16, heads=2, hidden=24),
)  # fmt: skip


def exported(small, tmp_path, experiment, prepared):
  """Returns (our model, its parameters, the folder it was written to)."""
  model = experiment.model.build(prepared.space)
  params = small.params(model)
  tensors, _ = Exported(experiment.model, prepared.space).tensors(params)
  longest = {task.name: {} for task in experiment.tasks}
  made = tasks.generation_config(experiment, prepared, longest, plans=True)
  config = stock.plain_config(experiment.model, prepared.space.sizes)
  (tmp_path / "config.json").write_text(json.dumps(config))
  (tmp_path / "generation_config.json").write_text(json.dumps(made))
  from safetensors import numpy as files

  files.save_file(tensors, tmp_path / "model.safetensors")
  return model, params, torch_decoder.load(tmp_path)


def assert_same(theirs, ours, sizes):
  for found_BLV, wanted_BLV, size in zip(theirs, ours, sizes, strict=True):
    assert found_BLV.shape[-1] == size
    np.testing.assert_allclose(found_BLV.numpy(), wanted_BLV[..., :size], atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_every_column_equal_ours(family, small, tmp_path):
  experiment, prepared = small.delayed(columns=3)
  experiment.model = dataclasses.replace(small.TINY, **FAMILIES[family])
  model, params, theirs = exported(small, tmp_path, experiment, prepared)
  tokens_BLK = np.random.default_rng(0).integers(-1, 20, (2, 14, 3))
  with torch.no_grad():
    found = theirs(torch.from_numpy(tokens_BLK))
  assert_same(found, small.logits(model, params, tokens_BLK), model.sizes)


def test_logits_of_eight_columns_equal_ours(small, tmp_path):
  experiment, prepared = small.delayed(columns=8)
  model, params, theirs = exported(small, tmp_path, experiment, prepared)
  tokens_BLK = np.random.default_rng(0).integers(-1, 20, (2, 30, 8))
  with torch.no_grad():
    found = theirs(torch.from_numpy(tokens_BLK))
  assert len(found) == 8
  assert_same(found, small.logits(model, params, tokens_BLK), model.sizes)


def test_logits_of_a_depth_head_equal_ours(small, tmp_path):
  experiment, prepared = small.delayed(columns=3)
  experiment.model = dataclasses.replace(small.TINY, **DEPTH)
  model, params, theirs = exported(small, tmp_path, experiment, prepared)
  tokens_BLK = np.random.default_rng(0).integers(-1, 20, (2, 14, 3))
  with torch.no_grad():
    found = theirs(torch.from_numpy(tokens_BLK))
  # Logits of a row depend on the cells of the next one, which the last row does not have.
  ours = [logits_BLV[:, :-1] for logits_BLV in small.logits(model, params, tokens_BLK)]
  assert_same([logits_BLV[:, :-1] for logits_BLV in found], ours, model.sizes)


def test_rows_of_a_both_ways_block_see_each_other(small, tmp_path):
  experiment, prepared = small.delayed(columns=1)
  prepared.space.layouts["tts"]["both_ways"] = True
  model, params, theirs = exported(small, tmp_path, experiment, prepared)
  tokens_BLK = np.random.default_rng(0).integers(0, 20, (1, 9, 1))
  visible_BL = np.array([[0, 1, 1, 1, 0, 2, 2, 0, 0]])
  with torch.no_grad():
    found = theirs(torch.from_numpy(tokens_BLK), torch.from_numpy(visible_BL))
  assert_same(found, small.logits(model, params, tokens_BLK, visible_BL), model.sizes)


@pytest.mark.parametrize("head", ["parallel", "depth", "depth, side by side"])
def test_greedy_rows_of_eight_columns_equal_ours(head, small, tmp_path):
  delays = (0,) * 8 if head == "depth, side by side" else None
  experiment, prepared = small.delayed(columns=8, delays=delays)
  if head != "parallel":
    experiment.model = dataclasses.replace(small.TINY, **DEPTH)
  model, params, theirs = exported(small, tmp_path, experiment, prepared)
  layout = prepared.layouts["tts"]
  text = {"target.text": np.arange(5, 15)}
  prompt = layouts.prompt(layout, text, "[TTS French]", prepared.space)
  plan = incremental.compile(layout, prepared.space)
  with jax.default_matmul_precision("highest"):
    (ours,) = decode.decode(
      model, params, [prompt], plan, sampling=Sampling(), max_rows=64,
      key=jax.random.key(0), machine=small.ONE,
    )  # fmt: skip
  found = theirs.generate(prompt.tokens_LK, "tts", max_rows=64).numpy()
  assert len(found) > len(prompt) + (8 if delays is None else 0)
  np.testing.assert_array_equal(found, ours.tokens_LK)
