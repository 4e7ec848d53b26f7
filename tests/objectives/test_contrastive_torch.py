"""The losses of wav2vec 2.0 as transformers computes them, from the same masks and distractors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.models import clip_heads
from audiopalm.models.pytorch import encoders
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.objectives import contrastive
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.contrastive import Contrastive
from audiopalm.objectives.spans import Spans

pytestmark = pytest.mark.torch

QUANTIZER = clip_heads.Quantizer(groups=2, entries=6, code_width=4, width=8)


def test_contrastive_and_diversity_losses_are_those_of_transformers(
  folders, clip_models, tmp_path, monkeypatch
):
  import torch
  import transformers

  config = {key: value for key, value in folders.CONFIGS["wav2vec2"].items() if key != "model_type"}
  torch.manual_seed(0)
  theirs = transformers.Wav2Vec2ForPreTraining(
    transformers.Wav2Vec2Config(
      **config, num_codevectors_per_group=6, num_codevector_groups=2, codevector_dim=8,
      proj_codevector_dim=8, num_negatives=10,
    )
  ).eval()  # fmt: skip
  with torch.no_grad():
    for path, tensor in theirs.named_parameters():
      if not path.endswith(("original0", "norm.weight")):
        tensor.copy_(0.3 * torch.randn_like(tensor))
  theirs.save_pretrained(tmp_path)
  (tmp_path / "preprocessor_config.json").write_text(json.dumps(folders.processor("wav2vec2")))
  encoder = encoders.open(tmp_path)

  wave_BS = np.stack([folders.wave(4_000, seed) for seed in range(2)])
  states = encoder.frames(4_000)
  masked_BT = np.random.default_rng(1).random((2, states)) < 0.5
  module = transformers.models.wav2vec2.modeling_wav2vec2
  np.random.seed(0)
  negatives_BTK = module._sample_negative_indices((2, states), 10, masked_BT)
  normed_BS = (wave_BS - wave_BS.mean(1, keepdims=True)) / wave_BS.std(1, keepdims=True)
  with torch.no_grad():
    expected = theirs(
      torch.tensor(normed_BS),
      mask_time_indices=torch.tensor(masked_BT),
      sampled_negative_indices=torch.tensor(negatives_BTK),
    )

  tensors = {name: tensor.detach().numpy() for name, tensor in theirs.named_parameters()}

  def dense(name, shape=None):
    kernel = tensors[f"{name}.weight"].T
    kernel = kernel if shape is None else kernel.reshape(len(kernel), *shape)
    return {"kernel": kernel, "bias": tensors[f"{name}.bias"].reshape(shape or -1)}

  model = SpeechEncoder(encoder.settings, (QUANTIZER,)).build(clip_models.SPACE)
  params = {
    "encoder": encoder.params,
    "mask": {"embedding": tensors["wav2vec2.masked_spec_embed"]},
    "heads": {
      "quantizer": {
        "logits": dense("quantizer.weight_proj", (2, 6)),
        "codes": tensors["quantizer.codevectors"].reshape(2, 6, 4),
        "code_projection": dense("project_q"),
        "state_projection": dense("project_hid"),
      }
    },
  }
  counts_BTU = np.zeros((2, states, states), np.int32)
  for clip, state in zip(*np.nonzero(masked_BT), strict=True):
    np.add.at(counts_BTU[clip, state], negatives_BTK[clip, state] - clip * states, 1)
  monkeypatch.setattr(Spans, "masks", lambda *_: jnp.asarray(masked_BT))
  monkeypatch.setattr(contrastive, "counts", lambda *_: jnp.asarray(counts_BTU))
  samples_B = np.full(2, 4_000, np.int32)
  batch = ClipBatch(wave_BS, samples_B, {}, np.zeros(2, np.uint32), np.zeros(2, np.int32))
  losses = {}
  with jax.set_mesh(sharding.mesh(clip_models.ONE)), jax.default_matmul_precision("highest"):
    for diversity in (0.0, 0.1):
      found, _ = ClipLosses((Contrastive(diversity=diversity),)).losses(
        model, jax.tree.map(jnp.asarray, params), {}, jax.tree.map(jnp.asarray, batch),
        key=jax.random.key(0), train=False, step=0, machine=clip_models.ONE,
      )  # fmt: skip
      losses[diversity] = float(found["model"].sum)
  assert losses[0.0] == pytest.approx(float(expected.contrastive_loss), rel=1e-4)
  assert losses[0.1] == pytest.approx(float(expected.loss), rel=1e-4)
  assert losses[0.1] - losses[0.0] == pytest.approx(0.1 * float(expected.diversity_loss), rel=1e-3)
