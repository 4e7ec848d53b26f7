"""The default head: a separate softmax for each column, all from one hidden state.

The columns of a row are independent given that state. `models.depth` has a head whose columns
depend on earlier columns; `models.base.Head` is the protocol of heads.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm import sharding
from audiopalm.models.base import Choose, Drawn, Params
from audiopalm.nn import cross_entropy
from audiopalm.settings import Machine


def starts(padded: tuple[int, ...]) -> tuple[int, ...]:
  """Returns the first row of each column in tables of `padded` rows a column."""
  return tuple(int(start) for start in np.cumsum((0,) + padded[:-1]))


@dataclasses.dataclass(frozen=True)
class ParallelHead:
  """A softmax over each column of a table [V, D]: the group "head" of the parameters, else "embed".

  `sizes` are the numbers of ids of each column, `padded` the numbers of rows of its table;
  `softcap` is as in `Decoder`.
  """

  sizes: tuple[int, ...]
  padded: tuple[int, ...]
  softcap: float | None = None

  def losses(
    self, params: Params, hidden_BLD: jax.Array, tokens_BLK: jax.Array, machine: Machine
  ) -> Iterator[cross_entropy.Scored]:
    for column, states_BLD in enumerate(self.states(params, hidden_BLD, tokens_BLK, machine)):
      tokens_BL, table_VD = tokens_BLK[..., column], self.table(params, column)
      settings = cross_entropy.Settings(
        self.sizes[column], machine.loss_chunk_cells, self.softcap, machine.products
      )
      yield cross_entropy.cross_entropy(states_BLD, table_VD, jnp.maximum(tokens_BL, 0), settings)

  def states(
    self, params: Params, hidden_BLD: jax.Array, tokens_BLK: jax.Array, machine: Machine
  ) -> Iterator[jax.Array]:
    """Yields [B, L, D] for each column, from which its cells of `tokens_BLK` are predicted."""
    yield from (hidden_BLD,) * len(self.sizes)

  def draw(
    self, params: Params, hidden_BD: jax.Array, drawn: Drawn, choose: Choose, machine: Machine
  ) -> Drawn:
    for column in range(len(self.sizes)):
      drawn, _ = choose(drawn, column, self.logits(params, hidden_BD, column, machine.products))
    return drawn

  def table(self, params: Params, column: int) -> jax.Array:
    """Returns table_VD, the output rows of one column as they are stored or of `cast_kernels`."""
    table_VD = params.get("head", params["embed"])["table"]
    if len(self.padded) == 1:
      return table_VD
    # The rows of a column need not start at a shard boundary: gather, slice, reshard.
    start = starts(self.padded)[column]
    cut_VD = sharding.constrain(table_VD, (None, "embed"))[start : start + self.padded[column]]
    return sharding.constrain(cut_VD, ("vocab", "embed"))

  def logits(
    self,
    params: Params,
    hidden: jax.Array,
    column: int = 0,
    products: jax.typing.DTypeLike | None = None,
  ) -> jax.Array:
    """Returns float32 logits [..., V] of one column for hidden states [..., D]; padding rows are
    -inf. `products` is as in `nn.layers`. For a loss they are too large: use `losses`."""
    head_VD = sharding.gathered(self.table(params, column).astype(products or hidden.dtype))
    operand = hidden.astype(head_VD.dtype)
    logits = jnp.einsum("...D,VD->...V", operand, head_VD, preferred_element_type=jnp.float32)
    if self.softcap is not None:
      logits = self.softcap * jnp.tanh(logits / self.softcap)
    if self.sizes[column] < self.padded[column]:
      last = logits.ndim - 1
      rows = jax.lax.broadcasted_iota(jnp.int32, (1,) * last + logits.shape[-1:], last)
      logits = jnp.where(rows < self.sizes[column], logits, -jnp.inf)
    return logits
