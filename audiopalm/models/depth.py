"""The head that predicts a row cell by cell: a small transformer over the columns of each row.

    hidden state of row i      ->  into, a projection for each column      x_0  x_1  x_2
    cells of row i + 1         ->  their embeddings, one column later           a    b
    blocks, causal over the columns alone                                  s_0  s_1  s_2
    a softmax over each column                                             a    b    c

So column k is predicted from all earlier rows and from the columns before k of its own row,
including given ones. Sources: RQ-Transformer, arXiv:2203.01941; UniAudio, arXiv:2310.00704; Moshi,
arXiv:2410.00037, section 3.2. As in Moshi each column has its own projection and there are no
rotary positions; as in the other two all columns share the weights of the blocks.

Its parameters, with E = `DepthTransformer.width`, are beside those of the decoder:

    depth/into                 [D, K, E]
    depth/layers/...           [depth layers, ...]     as in models/decoder.py
    depth/norm/scale           [E]
    depth_embed/table          [V, E]                  embeddings of cells, for later columns
    head/table                 [V, E]                  instead of the decoder's [V, D]
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.models import base, heads
from audiopalm.models.base import Choose, Drawn, Params
from audiopalm.nn import attention, layers, masks, mixing, transformer
from audiopalm.settings import Machine

INTO = "into"  # the name of the input projection
Columns = tuple[jax.Array | None, jax.Array | None]  # keys and values of the columns so far


@dataclasses.dataclass(frozen=True)
class DepthTransformer:
  """Settings of a depth head: `layers` blocks of `width` over the columns of a row, without
  dropout. Their cost per cell is that of decoder blocks per row."""

  layers: int = 2
  width: int = 128
  heads: int = 2
  hidden: int = 352

  def __post_init__(self):
    base.check_sizes(self, "layers", "width", "heads", "hidden")
    if self.width % self.heads:
      raise ConfigError(
        f"DepthTransformer has width {self.width} but {self.heads} heads, which share it equally: "
        "make width a multiple of heads."
      )

  @property
  def block(self) -> transformer.BlockSettings:
    """The settings of its blocks."""
    return transformer.BlockSettings.of(
      self, kv_heads=self.heads, head_width=self.width // self.heads
    )

  def flops_per_row(self, width: int, columns: int, rows: int) -> float:
    """Returns the operations of a training step on one row of the grid, by the rules of
    `Decoder.flops_per_token`: column k of a row sees k + 1 of its cells."""
    kernels = columns * (width * self.width + self.layers * self.block.kernel_parameters)
    seen = columns * (columns + 1) / 2
    return 6 * (kernels + rows * self.width) + 12 * self.width * self.layers * seen


class DepthBlocks(nnx.Module):
  """The arrays of a depth head, without its two tables."""

  def __init__(self, settings: DepthTransformer, width: int, columns: int, key: jax.Array):
    into, blocks = jax.random.split(key)
    shape = (width, columns, settings.width)
    self.into = layers.normal(into, shape, width**-0.5, ("embed", None, None))
    self.layers = transformer.stack(settings.block, blocks)
    self.norm = layers.RMSNorm(settings.width, settings.block.norm_eps, settings.block.norm_offset)


@dataclasses.dataclass(frozen=True)
class DepthHead(heads.ParallelHead):
  """A head whose softmaxes are over the states of a depth transformer."""

  settings: DepthTransformer = DepthTransformer()

  def states(
    self, params: Params, hidden_BLD: jax.Array, tokens_BLK: jax.Array, machine: Machine
  ) -> Iterator[jax.Array]:
    batch, rows, columns = tokens_BLK.shape
    stored, products = params["depth"], machine.products
    with jax.named_scope("depth"):
      x_BLKE = layers.linear(hidden_BLD, stored[INTO], 1, products)
      if columns > 1:
        before_BLKE = self._embedded(params, tokens_BLK[..., :-1], 0, x_BLKE.dtype)
        x_BLKE = x_BLKE + jnp.pad(before_BLKE, ((0, 0), (0, 0), (1, 0), (0, 0)))
      # Merge rows and columns into one axis for operations on single cells.
      x_BLE = x_BLKE.reshape(batch, rows * columns, -1)
      mix = functools.partial(_mix, columns, products)

      def call(block, x_BLE, _):
        return block(x_BLE, None, mix, None, products)[0], None

      x_BLE, _ = transformer.run(
        self.settings.block, stored["layers"], x_BLE, None, call,
        remat=machine.remat, unroll=machine.unroll_layers,
      )  # fmt: skip
      states_BLKE = self._normed(params, x_BLE).reshape(x_BLKE.shape)
    for column in range(columns):
      yield states_BLKE[:, :, column]

  def draw(
    self, params: Params, hidden_BD: jax.Array, drawn: Drawn, choose: Choose, machine: Machine
  ) -> Drawn:
    products, apart = machine.products, params["depth"]["layers"]
    apart = apart if isinstance(apart, tuple) else transformer.unstacked(apart)
    x_BKE = layers.linear(hidden_BD, params["depth"][INTO], 1, products)
    before: tuple[Columns, ...] = ((None, None),) * self.settings.layers
    cells_B = None
    for column in range(len(self.sizes)):
      x_BLE = x_BKE[:, column, None]
      if column:
        cells_BLK = cells_B[:, None, None]
        x_BLE = x_BLE + self._embedded(params, cells_BLK, column - 1, x_BLE.dtype)[:, :, 0]
      x_BLE, before = transformer.run(
        self.settings.block, apart, x_BLE, before, functools.partial(_next_column, products)
      )
      states_BE = self._normed(params, x_BLE)[:, 0]
      drawn, cells_B = choose(drawn, column, self.logits(params, states_BE, column, products))
    return drawn

  def _normed(self, params: Params, x_BLE: jax.Array) -> jax.Array:
    block = self.settings.block
    return layers.rms_norm(x_BLE, params["depth"]["norm"]["scale"], block.norm_eps)

  def _embedded(
    self, params: Params, cells_BLK: jax.Array, first: int, dtype: jnp.dtype
  ) -> jax.Array:
    """Returns the embeddings [B, L, K, E] of the cells of columns `first`, `first` + 1, ..., each
    an input of the next column; zero for a hole."""
    starts = heads.starts(self.padded)[first : first + cells_BLK.shape[2]]
    rows_BLKE = layers.embedded(params["depth_embed"]["table"], cells_BLK, starts, dtype)
    # Scale up: rows of a table are small, so that Adam's steps are relatively large, but outputs of
    # `into` are about 1.
    return rows_BLKE * jnp.asarray(self.settings.width**0.5, rows_BLKE.dtype)


def _mix(
  columns: int,
  products: jax.typing.DTypeLike,
  query_BLNH: jax.Array,
  key_BLNH: jax.Array,
  value_BLNH: jax.Array,
) -> jax.Array:
  """Returns mixed_BLNH where L is the cells of all rows. Each cell attends to those of its own row
  up to itself."""

  def local(*arrays):
    query, key, value = (array.reshape(-1, columns, *array.shape[2:]) for array in arrays)
    numbers_BL = jnp.broadcast_to(jnp.arange(columns), query.shape[:2])
    rows = masks.Rows(jnp.ones_like(numbers_BL), numbers_BL, jnp.zeros_like(numbers_BL))
    return mixing.xla(query, key, value, rows, rows, products=products).reshape(arrays[0].shape)

  split = PartitionSpec(*sharding.layout_of(query_BLNH))
  mixed = sharding.mapped(local, (split,) * 3, split)(query_BLNH, key_BLNH, value_BLNH)
  return checkpoint_name(mixed, layers.MIXED)


def _next_column(
  products: jax.typing.DTypeLike,
  block: transformer.TransformerBlock,
  x_BLE: jax.Array,
  before: Columns,
) -> tuple[jax.Array, Columns]:
  """Returns (x_BLE, keys and values [B, N, J, H]) of one more column."""

  def after(old_BNJH, new_BLNH):
    new_BNJH = jnp.swapaxes(new_BLNH, 1, 2).astype(products)
    return new_BNJH if old_BNJH is None else jnp.concatenate([old_BNJH, new_BNJH], axis=2)

  def mix(query, key, value):
    key, value = after(before[0], key), after(before[1], value)
    return attention.over_cache(query, key, value, jnp.ones((1, 1, key.shape[2]), bool))

  x_BLE, key, value = block(x_BLE, None, mix, None, products)
  return x_BLE, (after(before[0], key), after(before[1], value))
