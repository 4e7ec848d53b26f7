"""Training steps of ours on random tokens, for the benchmarks that time them."""

from collections.abc import Callable
from typing import Any

SPECIALS = 2  # ids at the end of the vocabulary: sep and stop
HEAD_WIDTH = 64


def llama(layers: int, width: int, hidden: int) -> Any:
  """Returns a decoder of Llama's shapes with heads of 64 and a tied table."""
  from audiopalm.models import decoder

  heads = width // HEAD_WIDTH
  return decoder.Decoder(
    layers=layers, width=width, heads=heads, kv_heads=heads, head_width=HEAD_WIDTH, hidden=hidden
  )


def space_of(vocabulary: int) -> Any:
  """Returns a token space of text alone, of so many ids."""
  from audiopalm.tokens import space
  from audiopalm.types import StreamSpec

  text = StreamSpec("text", "text", (vocabulary - SPECIALS,), None, "")
  return space.build((text,), {}, lambda string: [1])


def tokens(vocabulary: int, rows: int, row_length: int) -> Any:
  """Returns random tokens_BL."""
  import numpy as np

  random = np.random.default_rng(0)
  return random.integers(vocabulary - SPECIALS, size=(rows, row_length), dtype=np.int32)


def batch_of(tokens_BL: Any, segments: int = 1) -> Any:
  """Returns a batch of these tokens, `segments` examples of one length in each row."""
  import numpy as np

  from audiopalm.batch import PackedBatch

  rows, row_length = tokens_BL.shape
  place_L = np.arange(row_length, dtype=np.int32)
  each = row_length // segments
  return PackedBatch(
    tokens_BLK=tokens_BL[..., None],
    weights_BLK=np.ones((rows, row_length, 1), np.float32),
    segments_BL=np.tile(1 + place_L // each, (rows, 1)),
    positions_BL=np.tile(place_L % each, (rows, 1)),
    visible_BL=np.zeros((rows, row_length), np.int32),
    task_B=np.zeros(rows, np.int32),
  )


def prepared(settings: Any, vocabulary: int, batch: Any, machine: Any) -> Callable[[int], Any]:
  """Returns run(n), which takes n training steps on the batch and waits for them.

  AdamW with a constant rate, the gradient's norm clipped; `run.compiled` is the program,
  `run.state()` what it has come to on `run.mesh`.
  """
  import jax

  from audiopalm import sharding
  from audiopalm.objectives.next_token import NextToken
  from audiopalm.settings import Optimizer
  from audiopalm.training import optimizers, state, step
  from audiopalm.training.learners import Learner

  mesh = sharding.mesh(machine)
  objective, model = NextToken(), settings.build(space_of(vocabulary))
  chain = optimizers.build(Optimizer(peak_lr=1e-4, decay="constant"), 10**6)
  rows, row_length = batch.segments_BL.shape
  accumulation = machine.accumulation(rows // sharding.batch_ways(mesh), row_length)
  key = jax.random.key(0)
  with jax.set_mesh(mesh):
    learners = {"model": Learner((), chain)}
    now = state.create(model.init(key, mesh), {}, learners)
    placed = sharding.place(batch, mesh, batch.axes())
    train = step.build(model, objective, learners, machine, accumulation)
    compiled = train.lower(now, placed, key).compile()

  def run(count: int) -> Any:
    nonlocal now
    with jax.set_mesh(mesh):
      for _ in range(count):
        now, metrics = compiled(now, placed, key)
      return jax.block_until_ready(metrics)

  run.compiled, run.mesh, run.state = compiled, mesh, lambda: now
  return run
