"""Chunked cross-entropy for a vocabulary whose logits are too large to hold all at once.

Each device scores its own cells in chunks against its own part of the vocabulary. Devices exchange
one maximum and one sum per cell, never logits. The table is gathered once per pass; its gradient is
summed in float32 and reduce-scattered to the devices that hold the table.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from audiopalm import sharding


@dataclasses.dataclass(frozen=True)
class Settings:
  """How logits are computed.

  The first `size` rows of the table are vocabulary, the rest padding. A device holds the logits of
  at most `chunk_cells` cells at a time. `softcap` is that of Gemma 2 (arXiv:2408.00118, section 2);
  `products` is as in `nn.layers`.
  """

  size: int
  chunk_cells: int
  softcap: float | None = None
  products: jax.typing.DTypeLike | None = None


class Scored(NamedTuple):
  """Scores of cells, float32 [B, L]: negative log-likelihood and log of the softmax's denominator
  in nats, and 1 where the token has the highest logit, else 0."""

  nll_BL: jax.Array
  log_z_BL: jax.Array
  correct_BL: jax.Array


# What the backward pass needs: hidden_BLD, table_VD, tokens_BL, log_z_BL, and logits of one chunk.
Saved = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array | None]


def cross_entropy(
  hidden_BLD: jax.Array, table_VD: jax.Array, tokens_BL: jax.Array, settings: Settings
) -> Scored:
  """Returns the scores of tokens; the first two have gradients.

  `table_VD` is the parameter as stored. The backward pass recomputes the logits, unless they fit
  one chunk.
  """
  with jax.named_scope("head"):
    return Scored(*_scored(hidden_BLD, table_VD, tokens_BL, settings))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _scored(
  hidden_BLD: jax.Array, table_VD: jax.Array, tokens_BL: jax.Array, settings: Settings
) -> tuple[jax.Array, jax.Array, jax.Array]:
  return _forward(hidden_BLD, table_VD, tokens_BL, settings)[0]


def _forward(
  hidden_BLD: jax.Array, table_VD: jax.Array, tokens_BL: jax.Array, settings: Settings
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Saved]:
  split = _Placement.of(hidden_BLD, table_VD)
  cells = split.cells
  ways = sharding.ways(split.hidden[0]) * sharding.ways(split.hidden[1])
  one_chunk = tokens_BL.size // ways <= settings.chunk_cells
  run = sharding.mapped(
    functools.partial(_score, settings, split, one_chunk),
    (split.hidden, split.table, cells),
    (cells, cells, cells, split.logits if one_chunk else None),
  )
  nll_BL, log_z_BL, correct_BL, logits = run(hidden_BLD, table_VD, tokens_BL)
  saved = hidden_BLD, table_VD, tokens_BL, log_z_BL, logits
  return (nll_BL, log_z_BL, correct_BL), saved


def _backward(
  settings: Settings, saved: Saved, gradients: tuple[jax.Array, jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, None]:
  hidden_BLD, table_VD, tokens_BL, log_z_BL, logits = saved
  d_nll_BL, d_log_z_BL, _ = gradients
  split = _Placement.of(hidden_BLD, table_VD)
  arrays = (hidden_BLD, table_VD, tokens_BL, log_z_BL, d_nll_BL, d_log_z_BL, logits)
  specs = (split.hidden, split.table, *(split.cells,) * 4, None if logits is None else split.logits)
  results = (split.hidden, split.table)
  run = sharding.mapped(functools.partial(_gradients, settings, split), specs, results)
  return *run(*arrays), None


_scored.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Placement:
  """How the arrays are sharded, read from their types; `vocab` and `embed` are the mesh axes that
  split rows and columns of the table, () on one device."""

  hidden: PartitionSpec
  table: PartitionSpec

  @classmethod
  def of(cls, hidden_BLD: jax.Array, table_VD: jax.Array) -> "_Placement":
    return cls(*(PartitionSpec(*sharding.layout_of(array)) for array in (hidden_BLD, table_VD)))

  @property
  def cells(self) -> PartitionSpec:
    return PartitionSpec(*self.hidden[:2])

  @property
  def logits(self) -> PartitionSpec:
    return PartitionSpec(*self.hidden[:2], self.table[0])

  @property
  def vocab(self) -> tuple[str, ...]:
    return sharding.names(self.table[0])

  def head(self, settings: Settings, dtype: jnp.dtype, table_vd: jax.Array) -> tuple:
    """Returns (head_vD, index of its first row): all columns of the device's rows of the table."""
    head_vd, embed = table_vd.astype(settings.products or dtype), sharding.names(self.table[1])
    head_vD = lax.all_gather(head_vd, embed, axis=1, tiled=True) if embed else head_vd
    return head_vD, lax.axis_index(self.vocab) * len(head_vD) if self.vocab else 0

  def over_vocab(self, reduce: Callable, values: jax.Array) -> jax.Array:
    """Returns values reduced over the devices that hold other rows of the table."""
    return reduce(values, self.vocab) if self.vocab else values


def _score(
  settings: Settings,
  split: _Placement,
  one_chunk: bool,
  hidden_bld: jax.Array,
  table_vd: jax.Array,
  tokens_bl: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
  """Returns the three results, and the logits if they are one chunk, of a device's cells."""
  head_vD, first = split.head(settings, hidden_bld.dtype, table_vd)

  def chunk(hidden_cD, tokens_c):
    logits_cv = _logits(settings, hidden_cD, head_vD, first)
    best_c = split.over_vocab(lax.pmax, jnp.max(logits_cv, axis=-1))
    z_c = split.over_vocab(lax.psum, jnp.sum(jnp.exp(logits_cv - best_c[:, None]), axis=-1))
    score_c = jnp.sum(jnp.where(_is_token(logits_cv, tokens_c, first), logits_cv, 0.0), axis=-1)
    score_c = split.over_vocab(lax.psum, score_c)
    log_z_c = jnp.log(z_c) + best_c
    correct_c = (score_c >= best_c).astype(jnp.float32)
    return log_z_c - score_c, log_z_c, correct_c, logits_cv

  if one_chunk:
    *scored, logits_cv = chunk(_flat(hidden_bld), tokens_bl.reshape(-1))
    logits_blv = logits_cv.reshape(*tokens_bl.shape, -1)
    return *(score_c.reshape(tokens_bl.shape) for score_c in scored), logits_blv
  cells = _in_chunks(settings, _flat(hidden_bld), tokens_bl.reshape(-1))
  scored = lax.map(lambda part: chunk(*part)[:3], cells)
  scored = (_joined(score_nc, tokens_bl.size) for score_nc in scored)
  return *(score_c.reshape(tokens_bl.shape) for score_c in scored), None


def _gradients(
  settings: Settings,
  split: _Placement,
  hidden_bld: jax.Array,
  table_vd: jax.Array,
  tokens_bl: jax.Array,
  log_z_bl: jax.Array,
  d_nll_bl: jax.Array,
  d_log_z_bl: jax.Array,
  logits_blv: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of a device's cells and of its part of the table."""
  head_vD, first = split.head(settings, hidden_bld.dtype, table_vd)

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
  d_hidden_cD = split.over_vocab(lax.psum, d_hidden_cD)
  d_hidden_bld = d_hidden_cD.reshape(hidden_bld.shape).astype(hidden_bld.dtype)
  summed = sharding.names(split.hidden[0]) + sharding.names(split.hidden[1])
  return d_hidden_bld, sharding.sum_to(d_head_vD, split.table, summed)


def _logits(
  settings: Settings, hidden_cD: jax.Array, head_vD: jax.Array, first: int | jax.Array
) -> jax.Array:
  operand_cD = hidden_cD.astype(head_vD.dtype)
  logits_cv = jnp.einsum("cD,vD->cv", operand_cD, head_vD, preferred_element_type=jnp.float32)
  if settings.softcap is not None:
    logits_cv = settings.softcap * jnp.tanh(logits_cv / settings.softcap)
  rows_1v = first + lax.broadcasted_iota(jnp.int32, (1, len(head_vD)), 1)
  return jnp.where(rows_1v < settings.size, logits_cv, -jnp.inf)


def _is_token(logits_cv: jax.Array, tokens_c: jax.Array, first: int | jax.Array) -> jax.Array:
  """Returns one-hot bool [c, v]; a comparison, as the token's row may be on another device."""
  rows_1v = first + lax.broadcasted_iota(jnp.int32, (1, logits_cv.shape[1]), 1)
  return rows_1v == tokens_c[:, None]


def _flat(array: jax.Array) -> jax.Array:
  return array.reshape(-1, array.shape[-1])


def _in_chunks(settings: Settings, *arrays: jax.Array) -> tuple[jax.Array, ...]:
  """Returns the arrays in equal chunks along a new first axis, the last one zero-padded."""
  cells = len(arrays[0])
  chunks = -(-cells // settings.chunk_cells)
  size = -(-cells // chunks)

  def cut(array):
    padded = jnp.pad(array, ((0, chunks * size - cells),) + ((0, 0),) * (array.ndim - 1))
    return padded.reshape(chunks, size, *array.shape[1:])

  return tuple(cut(array) for array in arrays)


def _joined(array_nc: jax.Array, cells: int) -> jax.Array:
  return array_nc.reshape(-1, *array_nc.shape[2:])[:cells]
