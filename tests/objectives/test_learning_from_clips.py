"""Each way to learn from clips alone learns: a small encoder predicts what it does not hear of four
clips, masked anew at each step, far better than what always names the most frequent."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from audiopalm import sharding
from audiopalm.models import clip_heads
from audiopalm.models.encoder import Encoder
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import encoding, fronts
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.contrastive import Contrastive
from audiopalm.objectives.masked_units import MaskedUnits
from audiopalm.objectives.mixing import Mixing
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.objectives.spans import Spans
from audiopalm.training import state

UNITS, FRAMES, FRAME_SAMPLES = 10, 40, 320  # 0.8 s of units of 20 ms
UNIFORM_NATS = np.log(UNITS)


def tunes(clip_models, clips=4):
  """Returns clips of tones that last 60 to 140 ms; a unit is a pitch."""
  random = np.random.default_rng(0)
  ids_BT = np.stack(
    [
      np.repeat(random.integers(0, UNITS, FRAMES), random.integers(3, 8, FRAMES))[:FRAMES]
      for _ in range(clips)
    ]
  ).astype(np.int32)
  pitch_hz = 200 * np.exp(np.linspace(0, 3, UNITS))
  phase_BS = np.cumsum(np.repeat(pitch_hz[ids_BT], FRAME_SAMPLES, axis=1), axis=1)
  wave_BS = 0.2 * np.sin(2 * np.pi * phase_BS / fronts.RATE_HZ)
  wave_BS += 0.002 * random.normal(size=wave_BS.shape)
  lengths = (FRAMES * FRAME_SAMPLES,) * clips
  batch = clip_models.clips(lengths, FRAMES * FRAME_SAMPLES)
  return dataclasses.replace(batch, wave_BS=wave_BS.astype(np.float32), streams={"units": ids_BT})


def encoder(clip_models, *heads, order="pre", by_distance=None):
  block = encoding.EncoderBlockSettings(
    layers=2, width=48, heads=2, hidden=128, order=order,
    activation="silu" if order == "conformer" else "gelu", key_bias=True, norm_eps=1e-5,
    distances=by_distance or clip_models.ROTARY, conv_width=9 if order == "conformer" else 0,
  )  # fmt: skip
  front = fronts.Mels(bins=20, strides=(2,), width=48)
  settings = Encoder(front, block, projection_norm=True, positions=None)
  return SpeechEncoder(settings, heads).build(clip_models.SPACE)


def learned(clip_models, objective, model, steps):
  """Returns {metric: its mean over the last 20 steps}."""
  batch, mesh = tunes(clip_models), sharding.mesh(clip_models.ONE)
  warm_up = optax.warmup_constant_schedule(0.0, 3e-3, 30)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(warm_up))
  with jax.set_mesh(mesh):
    params = model.init(jax.random.key(0), mesh)
    variables = state.variables(objective, model, params, jax.random.key(1), mesh)
    placed = sharding.place(batch, mesh, batch.axes())

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, momentum, number):
      drawn = dataclasses.replace(placed, draw_B=placed.draw_B + 1_000 * number.astype("uint32"))

      def mean(params):
        losses, _ = objective.losses(
          model, params, variables, drawn, key=jax.random.key(3), train=True, step=number,
          machine=clip_models.ONE,
        )  # fmt: skip
        loss = losses["model"]
        return loss.sum / loss.weight, loss.metrics

      gradients, metrics = jax.grad(mean, has_aux=True)(params)
      changes, momentum = optimizer.update(gradients, momentum, params)
      return optax.apply_updates(params, changes), momentum, metrics

    momentum, last = optimizer.init(params), []
    for number in range(steps):
      params, momentum, metrics = step(params, momentum, np.int32(number))
      last = [*last[-19:], metrics]
  last = jax.device_get(last)
  return {name: np.mean([of[name][0] / of[name][1] for of in last]) for name in last[0]}


@pytest.mark.parametrize(
  ("mixing", "by_distance"), [(None, "ROTARY"), (Mixing(), "BUCKETS")], ids=["hubert", "wavlm"]
)
def test_units_are_predicted_from_what_is_around_them(clip_models, mixing, by_distance):
  head, distances = clip_heads.Codes("units", width=32), getattr(clip_models, by_distance)
  objective = ClipLosses((MaskedUnits("units"),), Spans(0.08, 0.2), mixing)
  reached = learned(clip_models, objective, encoder(clip_models, head, by_distance=distances), 250)
  assert reached["nll_units"] < 0.5 * UNIFORM_NATS and reached["accuracy_units"] > 0.6


def test_wav2vec2_tells_the_own_code_from_others(clip_models):
  quantizer = clip_heads.Quantizer(groups=2, entries=32, code_width=16, width=32)
  objective = ClipLosses((Contrastive(distractors=20),), Spans(0.065, 0.2))
  reached = learned(clip_models, objective, encoder(clip_models, quantizer), 250)
  assert reached["accuracy_contrastive"] > 0.5  # chance: 1 in 21 at most
  assert reached["perplexity"] > 2 * 8  # the codebooks are in use


def test_w2v_bert_predicts_ids_that_it_learns_too(clip_models):
  quantizer = clip_heads.Quantizer(groups=1, entries=64, code_width=16, width=32)
  objective = ClipLosses((Contrastive(20, layer=1, ids_head="labels"),), Spans(0.065, 0.2))
  labels = clip_heads.Labels(classes=64)
  model = encoder(
    clip_models, quantizer, labels, order="conformer", by_distance=clip_models.CLIPPED
  )
  reached = learned(clip_models, objective, model, 300)
  assert reached["accuracy_contrastive"] > 0.4 and reached["accuracy_speech"] > 0.4
  assert reached["perplexity"] > 8


def test_best_rq_predicts_random_labels(clip_models):
  objective = ClipLosses((RandomProjection(bins=20),), Spans(0.04, 0.2, noise=0.1))
  model = encoder(clip_models, clip_heads.Labels(classes=64))
  reached = learned(clip_models, objective, model, 250)
  assert reached["accuracy_speech"] > 0.5
