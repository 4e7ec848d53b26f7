"""Our training steps on random tokens, for the benchmarks that time them."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # benchmarks import JAX in the processes that measure
  import numpy as np

  from audiopalm.batch import PackedBatch
  from audiopalm.models.decoder import Decoder
  from audiopalm.settings import Machine
  from audiopalm.tokens.space import TokenSpace

SPECIALS = 2  # ids at the end of the vocabulary: sep and stop
HEAD_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class LlamaSize:
  """A Llama with heads of 64 and a tied embedding."""

  layers: int
  width: int
  hidden: int

  @property
  def settings(self) -> "Decoder":
    """Its decoder."""
    from audiopalm.models import decoder

    heads = self.width // HEAD_WIDTH
    return decoder.Decoder(
      layers=self.layers, width=self.width, heads=heads, kv_heads=heads, head_width=HEAD_WIDTH,
      hidden=self.hidden,
    )  # fmt: skip


SIZES = {
  "tiny": LlamaSize(2, 128, 256),
  "4M": LlamaSize(4, 256, 704),
  "16M": LlamaSize(8, 384, 1_056),
  "42M": LlamaSize(12, 512, 1_472),
}


def accelerator() -> str | None:
  """Returns the kind of the first device, None for a CPU."""
  import jax

  device = jax.devices()[0]
  return None if device.platform == "cpu" else device.device_kind


def space_of(vocabulary: int) -> "TokenSpace":
  """Returns a token space of text with this number of ids."""
  from audiopalm.tokens import space
  from audiopalm.types import StreamSpec

  text = StreamSpec("text", "text", (vocabulary - SPECIALS,), None, "")
  return space.build((text,), {}, lambda string: [1])


def tokens(vocabulary: int, rows: int, row_length: int) -> "np.ndarray":
  """Returns random tokens_BL."""
  import numpy as np

  random = np.random.default_rng(0)
  return random.integers(vocabulary - SPECIALS, size=(rows, row_length), dtype=np.int32)


def batch_of(tokens_BL: "np.ndarray", segments: int = 1) -> "PackedBatch":
  """Returns a batch of these tokens, with `segments` examples of equal length in each batch row."""
  import numpy as np

  from audiopalm.batch import PackedBatch

  rows, row_length = tokens_BL.shape
  index_L = np.arange(row_length, dtype=np.int32)
  length = row_length // segments
  return PackedBatch(
    tokens_BLK=tokens_BL[..., None],
    weights_BLK=np.ones((rows, row_length, 1), np.float32),
    segments_BL=np.tile(1 + index_L // length, (rows, 1)),
    positions_BL=np.tile(index_L % length, (rows, 1)),
    visible_BL=np.zeros((rows, row_length), np.int32),
    task_B=np.zeros(rows, np.int32),
  )


def prepared(
  settings: "Decoder", vocabulary: int, batch: "PackedBatch", machine: "Machine"
) -> Callable[[int], Any]:
  """Returns run(n), which takes n training steps on the batch and waits for them.

  AdamW with a constant learning rate and a clipped gradient norm. `run.compiled` is the program,
  `run.state()` the current state on `run.mesh`.
  """
  import jax

  from audiopalm import sharding
  from audiopalm.objectives.next_token import NextToken
  from audiopalm.settings import Optimizer
  from audiopalm.training import optimizers, state, step
  from audiopalm.training.state import Learner

  mesh = sharding.mesh(machine)
  objective, model = NextToken(), settings.build(space_of(vocabulary))
  chain = optimizers.build(Optimizer(peak_lr=1e-4, decay="constant"), 10**6)
  rows, row_length = batch.segments_BL.shape
  accumulation = machine.accumulation(rows // sharding.batch_ways(mesh), row_length)
  key = jax.random.key(0)
  with jax.set_mesh(mesh):
    learners = {"model": Learner((), chain)}
    current = state.create(model.init(key, mesh), {}, learners)
    placed = sharding.place(batch, mesh, batch.axes())
    train = step.build(model, objective, learners, machine, accumulation)
    compiled = train.lower(current, placed, key).compile()

  def run(count: int) -> Any:
    nonlocal current
    with jax.set_mesh(mesh):
      for _ in range(count):
        current, metrics = compiled(current, placed, key)
      return jax.block_until_ready(metrics)

  run.compiled, run.mesh, run.state = compiled, mesh, lambda: current
  return run
