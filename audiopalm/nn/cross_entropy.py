"""Cross-entropy over a vocabulary too large for its logits to exist all at once.

Each device takes its own cells in chunks, against its own part of the vocabulary: what it sends are
maxima and sums of a cell, never logits. The table is gathered once in each direction, and its
gradient is summed in float32 and goes back to where its parts live.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from audiopalm import sharding


@dataclasses.dataclass(frozen=True)
class Settings:
  """`size` real rows of the table, the others only pad it; at most `chunk_rows` cells have logits
  at one time on a device. `softcap` as in Gemma 2 (arXiv:2408.00118, section 2); `products` as in
  `nn.layers`."""

  size: int
  chunk_rows: int
  softcap: float | None = None
  products: Any = None


def cross_entropy(hidden_BLD, table_VD, tokens_BL, settings: Settings):
  """Returns (nll_BL, log_z_BL, correct_BL): negative log-likelihood, log of the softmax's
  denominator, and 1 where the token is the best.

  `table_VD` is the parameter as it is stored. All
  results are float32, and the first two have gradients. The backward pass computes the logits
  again, unless one chunk is all.
  """
  with jax.named_scope("head"):
    return _scored(hidden_BLD, table_VD, tokens_BL, settings)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _scored(hidden_BLD, table_VD, tokens_BL, settings):
  return _forward(hidden_BLD, table_VD, tokens_BL, settings)[0]


def _forward(hidden_BLD, table_VD, tokens_BL, settings):
  where = _Placement.of(hidden_BLD, table_VD)
  cells = where.cells
  one_chunk = where.local_cells(tokens_BL) <= settings.chunk_rows
  results = (cells, cells, cells, where.logits if one_chunk else None)
  run = where.mapped(
    functools.partial(_score, settings, where, one_chunk),
    (where.hidden, where.table, cells),
    results,
  )
  nll_BL, log_z_BL, correct_BL, logits = run(hidden_BLD, table_VD, tokens_BL)
  saved = hidden_BLD, table_VD, tokens_BL, log_z_BL, logits
  return (nll_BL, log_z_BL, correct_BL), saved


def _backward(settings, saved, gradients):
  hidden_BLD, table_VD, tokens_BL, log_z_BL, logits = saved
  d_nll_BL, d_log_z_BL, _ = gradients
  where = _Placement.of(hidden_BLD, table_VD)
  cells = where.cells
  arrays = (hidden_BLD, table_VD, tokens_BL, log_z_BL, d_nll_BL, d_log_z_BL, logits)
  specs = (where.hidden, where.table, *(cells,) * 4, None if logits is None else where.logits)
  run = where.mapped(functools.partial(_pull, settings, where), specs, (where.hidden, where.table))
  return *run(*arrays), None


_scored.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Placement:
  """How the arrays are split, by their types. `vocab` splits the table's rows, `embed` its
  columns; both are gone from a mesh of one device."""

  hidden: PartitionSpec
  table: PartitionSpec

  @classmethod
  def of(cls, hidden_BLD: Any, table_VD: Any) -> "_Placement":
    split = (PartitionSpec(*sharding.layout_of(array)) for array in (hidden_BLD, table_VD))
    return cls(*split)

  @property
  def cells(self) -> PartitionSpec:
    return PartitionSpec(*self.hidden[:2])

  @property
  def logits(self) -> PartitionSpec:
    return PartitionSpec(*self.hidden[:2], self.table[0])

  @property
  def vocab(self) -> tuple[str, ...]:
    return sharding.names(self.table[0])

  @property
  def embed(self) -> tuple[str, ...]:
    return sharding.names(self.table[1])

  def local_cells(self, tokens_BL: Any) -> int:
    ways = sharding.ways(self.hidden[0]) * sharding.ways(self.hidden[1])
    return tokens_BL.size // ways

  def mapped(self, local: Any, in_specs: Any, out_specs: Any) -> Any:
    """Returns `local` run on every device's part of the arrays."""
    return sharding.mapped(local, in_specs, out_specs)

  def first_row(self, rows: int) -> Any:
    """Returns the number of the device's first row of the table, of `rows` each."""
    return lax.axis_index(self.vocab) * rows if self.vocab else 0

  def whole(self, table_VD: Any) -> Any:
    """Returns all columns of the device's rows."""
    if not self.embed:
      return table_VD
    return lax.all_gather(table_VD, self.embed, axis=1, tiled=True)

  def over_vocab(self, reduce: Any, values: Any) -> Any:
    return reduce(values, self.vocab) if self.vocab else values


def _score(settings, where, keep, hidden_bld, table_vd, tokens_bl):
  head_vD = where.whole(table_vd.astype(settings.products or hidden_bld.dtype))
  first = where.first_row(len(head_vD))

  def chunk(hidden_cD, tokens_c):
    logits_cv = _logits(settings, hidden_cD, head_vD, first)
    best_c = where.over_vocab(lax.pmax, jnp.max(logits_cv, axis=-1))
    z_c = where.over_vocab(lax.psum, jnp.sum(jnp.exp(logits_cv - best_c[:, None]), axis=-1))
    score_c = jnp.sum(jnp.where(_is_token(logits_cv, tokens_c, first), logits_cv, 0.0), axis=-1)
    score_c = where.over_vocab(lax.psum, score_c)
    log_z_c = jnp.log(z_c) + best_c
    correct_c = (score_c >= best_c).astype(jnp.float32)
    return log_z_c - score_c, log_z_c, correct_c, logits_cv

  if keep:
    *scored, logits_cv = chunk(_flat(hidden_bld), tokens_bl.reshape(-1))
    return *(one.reshape(tokens_bl.shape) for one in scored), logits_cv.reshape(
      *tokens_bl.shape, -1
    )
  cells = _in_chunks(settings, _flat(hidden_bld), tokens_bl.reshape(-1))
  scored = lax.map(lambda part: chunk(*part)[:3], cells)
  return *(_joined(one, tokens_bl.size).reshape(tokens_bl.shape) for one in scored), None


def _pull(
  settings, where, hidden_bld, table_vd, tokens_bl, log_z_bl, d_nll_bl, d_log_z_bl, logits_blv
):
  head_vD = where.whole(table_vd.astype(settings.products or hidden_bld.dtype))
  first = where.first_row(len(head_vD))

  def chunk(hidden_cD, tokens_c, log_z_c, d_nll_c, d_log_z_c, logits_cv=None):
    if logits_cv is None:
      logits_cv = _logits(settings, hidden_cD, head_vD, first)
    d_logits_cv = (d_nll_c + d_log_z_c)[:, None] * jnp.exp(logits_cv - log_z_c[:, None])
    d_logits_cv -= jnp.where(_is_token(logits_cv, tokens_c, first), d_nll_c[:, None], 0.0)
    if settings.softcap is not None:
      slope_cv = 1 - jnp.square(logits_cv / settings.softcap)
      d_logits_cv *= jnp.where(jnp.isfinite(logits_cv), slope_cv, 0.0)
    d_logits_cv = d_logits_cv.astype(head_vD.dtype)
    operand_cD = hidden_cD.astype(head_vD.dtype)
    d_hidden_cD = jnp.einsum("cv,vD->cD", d_logits_cv, head_vD, preferred_element_type=jnp.float32)
    d_head_vD = jnp.einsum("cv,cD->vD", d_logits_cv, operand_cD, preferred_element_type=jnp.float32)
    return d_hidden_cD, d_head_vD

  cells = (_flat(hidden_bld), *(a.reshape(-1) for a in (tokens_bl, log_z_bl, d_nll_bl, d_log_z_bl)))
  if logits_blv is not None:
    d_hidden_cD, d_head_vD = chunk(*cells, _flat(logits_blv))
  else:

    def add(sum_vD, part):
      d_hidden_cD, d_head_vD = chunk(*part)
      return sum_vD + d_head_vD, d_hidden_cD

    zeros_vD = jnp.zeros(head_vD.shape, jnp.float32)
    d_head_vD, d_hidden_ncD = lax.scan(add, zeros_vD, _in_chunks(settings, *cells))
    d_hidden_cD = _joined(d_hidden_ncD, len(cells[0]))
  d_hidden_cD = where.over_vocab(lax.psum, d_hidden_cD)
  d_hidden_bld = d_hidden_cD.reshape(hidden_bld.shape).astype(hidden_bld.dtype)
  summed = sharding.names(where.hidden[0]) + sharding.names(where.hidden[1])
  return d_hidden_bld, sharding.sum_to(d_head_vD, where.table, summed)


def _logits(settings, hidden_cD, head_vD, first):
  operand_cD = hidden_cD.astype(head_vD.dtype)
  logits_cv = jnp.einsum("cD,vD->cv", operand_cD, head_vD, preferred_element_type=jnp.float32)
  if settings.softcap is not None:
    logits_cv = settings.softcap * jnp.tanh(logits_cv / settings.softcap)
  rows_1v = first + lax.broadcasted_iota(jnp.int32, (1, len(head_vD)), 1)
  return jnp.where(rows_1v < settings.size, logits_cv, -jnp.inf)


def _is_token(logits_cv, tokens_c, first):
  """A comparison instead of a lookup: the token's row may lie on another device."""
  rows_1v = first + lax.broadcasted_iota(jnp.int32, (1, logits_cv.shape[1]), 1)
  return rows_1v == tokens_c[:, None]


def _flat(array):
  return array.reshape(-1, array.shape[-1])


def _in_chunks(settings, *arrays):
  """Returns the arrays cut into chunks of equal size along a new first axis, filled with zeros."""
  cells = len(arrays[0])
  chunks = -(-cells // settings.chunk_rows)
  size = -(-cells // chunks)

  def cut(array):
    filled = jnp.pad(array, ((0, chunks * size - cells),) + ((0, 0),) * (array.ndim - 1))
    return filled.reshape(chunks, size, *array.shape[1:])

  return tuple(cut(array) for array in arrays)


def _joined(array_nc, cells):
  return array_nc.reshape(-1, *array_nc.shape[2:])[:cells]
