"""The encoder of clips: what padding and neighbors change (nothing), and what it counts."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.errors import ConfigError
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.settings import Machine

SMALL = SpeechEncoder(layers=2, width=16, heads=2, hidden=24, mels=20, classes=32)
ONE = Machine(name="one", fsdp=1)
SPACE = types.SimpleNamespace(padded=(0,))


def clips(lengths, samples=16_000):
  random = np.random.default_rng(0)
  wave_BS = np.zeros((len(lengths), samples), np.float32)
  for row, length in enumerate(lengths):
    wave_BS[row, :length] = random.normal(0, 0.1, length)
  none_B = np.zeros(len(lengths), np.int32)
  return ClipBatch(wave_BS, np.array(lengths, np.int32), {}, none_B.astype(np.uint32), none_B)


MODEL = SMALL.build(SPACE)


@functools.cache
def params(machine):
  return MODEL.init(jax.random.key(0), sharding.mesh(machine))


@functools.partial(jax.jit, static_argnums=2)
def encoded(params, batch, machine):
  mel_BTM, valid_BU = MODEL.features(batch)
  return MODEL.encode(params, mel_BTM, valid_BU, machine), valid_BU


def hidden(batch, machine=ONE):
  mesh = sharding.mesh(machine)
  with jax.set_mesh(mesh):
    placed = sharding.place(batch, mesh, batch.axes())
    return jax.device_get(encoded(params(machine), placed, machine))


def test_a_clip_is_heard_alike_with_padding_and_beside_others():
  short, _ = clips([8_000], samples=8_000), None
  alone_BUD, whole_BU = hidden(short)
  padded = clips([8_000, 16_000])
  padded.wave_BS[0, :8_000] = short.wave_BS[0]
  beside_BUD, valid_BU = hidden(padded)
  assert valid_BU.sum(axis=1).tolist() == [12, 25] and whole_BU.all()
  # The window of the last whole frame reaches into what follows.
  np.testing.assert_allclose(beside_BUD[0, :11], alone_BUD[0, :11], atol=0.05)
  other = clips([8_000, 16_000])
  other.wave_BS[0] = padded.wave_BS[0]
  other.wave_BS[1] *= 0.5
  np.testing.assert_array_equal(hidden(other)[0][0], beside_BUD[0])


def test_every_frame_sees_every_other():
  batch = clips([16_000])
  before, _ = hidden(batch)
  batch.wave_BS[0, -1_600:] *= 3
  after, _ = hidden(batch)
  assert np.abs(after[0, 0] - before[0, 0]).max() > 1e-4


def test_features_have_mean_0_and_deviation_1_over_the_frames_of_each_clip():
  mel_BTM, _ = MODEL.features(jax.tree.map(jnp.asarray, clips([8_000, 16_000])))
  for row, frames in enumerate((50, 100)):
    np.testing.assert_allclose(mel_BTM[row, :frames].mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(mel_BTM[row, :frames].std(axis=0), 1, atol=1e-2)
    assert not mel_BTM[row, frames:].any()


@pytest.mark.parametrize(
  "machine",
  [
    pytest.param(Machine(name="a", data=2, fsdp=4), id="data x fsdp", marks=pytest.mark.long),
    pytest.param(Machine(name="b", data=1, fsdp=4, tensor=2), id="fsdp x tensor"),
  ],
)
def test_devices_together_compute_what_one_does(machine):
  batch = clips([16_000, 9_000, 12_000, 4_000, 16_000, 8_000, 800, 16_000])
  one, _ = hidden(batch)
  eight, valid_BU = hidden(batch, machine)
  np.testing.assert_allclose(eight[valid_BU], one[valid_BU], atol=1e-4)


def test_parameters_are_counted_as_they_are():
  mesh = sharding.mesh(ONE)
  arrays = jax.tree.leaves(MODEL.shapes(mesh))
  assert SMALL.parameters(SPACE) == sum(array.size for array in arrays)


def test_operations_are_those_of_xla_without_attention():
  settings = SpeechEncoder(layers=1, width=64, heads=2, hidden=96, mels=20, classes=64)
  front = 3 * 20 * 64 / 2 + 3 * 64**2 / 4
  block = (4 * 64**2 + 3 * 64 * 96 + 64 * 64) / 4
  assert settings.flops_per_token(SPACE, 0) == pytest.approx(6 * (front + block))
  assert settings.flops_per_token(SPACE, 400) > settings.flops_per_token(SPACE, 0)


def test_a_width_that_heads_do_not_divide_is_refused():
  with pytest.raises(ConfigError, match="width is 20, expected a multiple of 2 x 4 heads"):
    SpeechEncoder(width=20, heads=4)
  with pytest.raises(ConfigError, match="SpeechEncoder.layers must be at least 1, got 0"):
    SpeechEncoder(layers=0)
