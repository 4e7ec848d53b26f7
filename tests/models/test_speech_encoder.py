"""The encoder of clips: what padding, neighbors and devices change (nothing), what it counts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.models import clip_heads
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import distances, fronts
from audiopalm.parts import models
from audiopalm.settings import Machine


@functools.partial(jax.jit, static_argnums=(0, 3))
def encoded(model, params, batch, machine, key=None):
  features, valid_BT = model.features(batch.wave_BS, batch.samples_B)
  frames_BTC = model.frames(params, features, batch.samples_B, machine)
  states = model.states(params, frames_BTC, valid_BT, (1, 2), machine, None, key)
  return states[2], states[1], valid_BT


@pytest.fixture(scope="module")
def hidden(clip_models):
  """hidden(model, batch) -> (last states, those after the first layer, which belong to clips)."""

  def of(model, batch, machine=clip_models.ONE, key=None):
    mesh = sharding.mesh(machine)
    with jax.set_mesh(mesh):
      placed = sharding.place(batch, mesh, batch.axes())
      arrays = clip_models.params(model, machine)
      return jax.device_get(encoded(model, arrays, placed, machine, key))

  return of


KINDS = ("log-mel", "waves", "conformer")


def model_of(clip_models, kind):
  m = clip_models
  return {
    "log-mel": lambda: m.model(),
    "waves": lambda: m.model(m.WAVE, "post", m.BUCKETS, m.CONVOLVED),
    "conformer": lambda: m.model(m.MEL, "conformer", m.CLIPPED),
  }[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_behind_a_clip_and_beside_it_changes_nothing(clip_models, hidden, kind):
  model = model_of(clip_models, kind)
  short = clip_models.clips((8_100, 8_000), samples=8_100)
  padded = clip_models.clips((8_100, 16_000))
  padded.wave_BS[0, :8_100] = short.wave_BS[0]
  alone_BTD, _, _ = hidden(model, short)
  padded.wave_BS[0, 8_100:] = 3.0  # not even silence
  beside_BTD, _, valid_BT = hidden(model, padded)
  states = int(valid_BT[0].sum())
  assert 20 <= states <= 26 and valid_BT[0, :states].all()
  assert alone_BTD[0, :states].std() > 0.1 and not beside_BTD[0, states:].any()
  np.testing.assert_allclose(beside_BTD[0, :states], alone_BTD[0, :states], atol=2e-5)


def test_every_state_sees_every_other(clip_models, hidden):
  batch, model = clip_models.clips((16_000,)), clip_models.model()
  before = hidden(model, batch)[0]
  batch.wave_BS[0, -1_600:] *= 3
  assert np.abs(hidden(model, batch)[0][0, 0] - before[0, 0]).max() > 1e-4


def test_states_of_a_layer_do_not_depend_on_which_others_are_asked_for(clip_models, hidden):
  model, batch = clip_models.model(), clip_models.clips()
  _, first_BTD, valid_BT = hidden(model, batch)
  params = clip_models.params(model)["encoder"]
  encode = jax.jit(model.encoder.encode, static_argnums=3)
  again_BTD, again_BT = encode(params, batch.wave_BS, batch.samples_B, 1)
  np.testing.assert_array_equal(again_BT, valid_BT)
  np.testing.assert_allclose(again_BTD, first_BTD, atol=1e-5)


def test_dropout_needs_a_key_and_draws_by_it(clip_models, hidden):
  model, batch = clip_models.model(dropout=0.5), clip_models.clips()
  without = hidden(model, batch)[0]
  np.testing.assert_allclose(without, hidden(clip_models.model(), batch)[0], atol=1e-6)
  one, other = (hidden(model, batch, key=jax.random.key(seed))[0] for seed in (0, 1))
  assert np.abs(one - without).max() > 0.1 and np.abs(one - other).max() > 0.1


def test_log_mel_frames_have_mean_0_and_deviation_1_over_each_clip(clip_models):
  batch = jax.tree.map(jnp.asarray, clip_models.clips((8_000, 16_000)))
  mel_BTM = fronts.normed_log_mel(batch.wave_BS, batch.samples_B, 20)
  for row, frames in enumerate((50, 100)):
    np.testing.assert_allclose(mel_BTM[row, :frames].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(mel_BTM[row, :frames].std(axis=0), 1, atol=1e-2)
    assert not mel_BTM[row, frames:].any()


def test_bins_end_where_they_are_told(clip_models):
  batch = jax.tree.map(jnp.asarray, clip_models.clips((16_000,)))
  tone_S = 0.5 * np.sin(2 * np.pi * 6_000 * np.arange(16_000) / 16_000) * np.hanning(16_000)
  change = [
    np.abs(
      fronts.normed_log_mel(batch.wave_BS + tone_S, batch.samples_B, 20, high_hz)
      - fronts.normed_log_mel(batch.wave_BS, batch.samples_B, 20, high_hz)
    ).max()
    for high_hz in (3_800.0, 7_600.0)
  ]
  assert change[0] < 0.05 < 1 < change[1]
  with pytest.raises(ConfigError, match="has bins=20 that end at high_hz=9000, expected at least"):
    fronts.Mels(20, (2,), 16, high_hz=9_000.0)


def test_biases_begin_far_apart_where_they_alone_are_positions(clip_models):
  spread = []
  for convolved in (None, clip_models.CONVOLVED):
    model = clip_models.model(by_distance=clip_models.BUCKETS, convolved=convolved)
    table_EN = clip_models.params(model)["encoder"]["buckets"]["table"]
    spread.append(float(np.std(table_EN)))
  assert spread[0] > 0.5 and spread[1] == pytest.approx(0.02, rel=0.5)


def test_attention_by_other_backends_has_no_biases(clip_models, hidden):
  model = model_of(clip_models, "conformer")
  machine = dataclasses.replace(clip_models.ONE, attention="splash")
  with pytest.raises(ConfigError, match="'splash' adds no biases to scores, but .* of Clipped"):
    hidden(model, clip_models.clips(), machine)


def test_parameters_are_counted_as_they_are(clip_models):
  model = clip_models.model()
  arrays = jax.tree.leaves(model.shapes(sharding.mesh(clip_models.ONE)))
  assert model.settings.parameters(clip_models.SPACE) == sum(array.size for array in arrays)


def test_operations_are_those_of_the_products(clip_models):
  settings = clip_models.model(heads=(clip_heads.Labels(classes=128),)).settings
  front, projection, head = 3 * 20 * 16, 16 * 16, 128 * 16  # of a state each
  block = 4 * 16**2 + 2 * 16 * 24
  kernels = front + projection + 2 * block + head
  flops = settings.flops_per_token
  assert flops(clip_models.SPACE, 0) == pytest.approx(6 * kernels / 2)  # 50 Hz of 100
  seen = 12 * 16 * 2 * (400 / 2)
  assert flops(clip_models.SPACE, 400) == pytest.approx((6 * kernels + seen) / 2)
  waves = clip_models.WAVE.multiplications
  assert waves == 64 * 10 * 8 + 8 * 3 * 64 + 2 * 64


@pytest.mark.long
def test_devices_together_compute_what_one_does_with_a_tensor_axis(clip_models, hidden):
  batch = clip_models.clips((16_000, 9_000, 800, 8_000))
  for kind in KINDS:
    model = model_of(clip_models, kind)
    one, _, valid_BT = hidden(model, batch)
    eight, _, _ = hidden(model, batch, Machine(name="b", data=1, fsdp=4, tensor=2))
    np.testing.assert_allclose(eight[valid_BT], one[valid_BT], atol=1e-4)


def test_sizes_that_do_not_fit_are_refused(clip_models):
  encoder = clip_models.model().settings.encoder
  block = dataclasses.replace(encoder.block, width=20, heads=4)
  with pytest.raises(ConfigError, match="width is 20, expected a multiple of 2 x 4 heads: rotary"):
    dataclasses.replace(encoder, block=block)
  with pytest.raises(ConfigError, match="width is 20, expected a multiple of its 3 heads"):
    dataclasses.replace(encoder, block=dataclasses.replace(block, heads=3))
  with pytest.raises(ConfigError, match="SpeechEncoder.dropout must be at least 0 and below 1"):
    SpeechEncoder(encoder, dropout=1.0)
  with pytest.raises(ConfigError, match="Two heads are called 'labels'"):
    SpeechEncoder(encoder, (clip_heads.Labels(), clip_heads.Labels(classes=4)))
  with pytest.raises(ConfigError, match="Labels.classes must be at least 1, got 0"):
    clip_heads.Labels(classes=0)
  with pytest.raises(ConfigError, match="Codes.temperature must be positive, got 0"):
    clip_heads.Codes(temperature=0)
  with pytest.raises(ConfigError, match="front must be one of mel, mel_40ms, wave, not 'fft'"):
    models.speech_encoder(front="fft")
  assert isinstance(
    models.speech_encoder(positions="gated").encoder.block.distances, distances.Buckets
  )
