"""Small encoders of clips with heads of all kinds, clips of noise, and the losses of both."""

import functools
import types

import jax
import numpy as np

from audiopalm import sharding
from audiopalm.batch import ClipBatch
from audiopalm.models import clip_heads
from audiopalm.models.encoder import Encoder
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import distances, encoding, fronts
from audiopalm.settings import Machine
from audiopalm.training import state
from audiopalm.types import StreamSpec

ONE = Machine(name="one", fsdp=1)
SPACE = types.SimpleNamespace(
  streams={
    "units": StreamSpec("units", "speech", (10,), 50.0, ""),
    "text": StreamSpec("text", "text", (12,), None, ""),
    "codes": StreamSpec("codes", "speech", (10, 7), 50.0, ""),
  }
)
MEL = fronts.Mels(bins=20, strides=(2,), width=16)
WAVE = fronts.Waves((8, 8, 8), (10, 3, 2), (5, 8, 8), "group", bias=False, normalized=True)
ROTARY = distances.Rotary()
CONVOLVED = distances.ConvolutionSettings(kernel=9, groups=4)
BUCKETS = distances.Buckets(count=16, farthest=20)
CLIPPED = distances.Clipped(before=6, after=3)
HEADS = (
  clip_heads.Labels(classes=32),
  clip_heads.Codes("units", width=8),
  clip_heads.Transcript("text"),
  clip_heads.Quantizer(groups=2, entries=8, code_width=4, width=8),
)


@functools.cache
def model(front=MEL, order="pre", by_distance=ROTARY, convolved=None, **options):
  """Returns a model of two layers of width 16; the same object for the same arguments."""
  conformer = order == "conformer"
  block = encoding.EncoderBlockSettings(
    layers=2, width=16, heads=2, hidden=24, order=order,
    activation="silu" if conformer else "gelu", key_bias=True, norm_eps=1e-5,
    distances=by_distance, conv_width=5 if conformer else 0,
  )  # fmt: skip
  encoder = Encoder(front, block, projection_norm=True, positions=convolved)
  return SpeechEncoder(encoder, **{"heads": HEADS, **options}).build(SPACE)


@functools.cache
def params(of, machine=ONE, seed=0):
  return of.init(jax.random.key(seed), sharding.mesh(machine))


def clips(lengths=(16_000, 9_000, 16_000, 12_000), samples=16_000, seed=0):
  """Returns clips of noise with units and, but for the second one, text."""
  random = np.random.default_rng(seed)
  count = len(lengths)
  wave_BS = random.normal(0, 0.1, (count, samples)).astype(np.float32)
  units_BT = random.integers(0, 10, (count, samples // 320)).astype(np.int32)
  text_BT = np.full((count, 25), -1, np.int32)
  text_BT[:, :5] = random.integers(0, 12, (count, 5))
  text_BT[1:2] = -1
  for row, length in enumerate(lengths):
    wave_BS[row, length:] = 0
    units_BT[row, length // 320 :] = -1
  draws_B = np.arange(count, dtype=np.uint32) + 5
  streams = {"units": units_BT, "text": text_BT}
  return ClipBatch(
    wave_BS, np.array(lengths, np.int32), streams, draws_B, np.zeros(count, np.int32)
  )


def loss(objective, of, batch, *, machine=ONE, train=False, step=0, seed=0, gradients=False):
  """Returns the `Loss` of a batch as numpy arrays, with `gradients` also those of its mean."""
  mesh = sharding.mesh(machine)
  with jax.set_mesh(mesh):
    arrays = params(of, machine, seed)
    variables = state.variables(objective, of, arrays, jax.random.key(1), mesh)
    placed = sharding.place(batch, mesh, batch.axes())
    run = _run if not gradients else _run_gradients
    return jax.device_get(run(objective, of, machine, train, arrays, variables, placed, step))


def _losses(objective, of, machine, train, arrays, variables, batch, step):
  losses, after = objective.losses(
    of, arrays, variables, batch, key=jax.random.key(3), train=train, step=step, machine=machine
  )
  assert jax.tree.structure(after) == jax.tree.structure(variables)
  return losses["model"]


_run = jax.jit(_losses, static_argnums=(0, 1, 2, 3))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run_gradients(objective, of, machine, train, arrays, variables, batch, step):
  def mean(arrays):
    found = _losses(objective, of, machine, train, arrays, variables, batch, step)
    return found.sum / found.weight, found

  (_, found), gradients = jax.value_and_grad(mean, has_aux=True)(arrays)
  return found, gradients
