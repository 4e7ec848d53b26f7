"""The attention backend "xla": plain XLA operations, exact on every device, the reference.

A backend is `mix(query_BLNH, key_BJGH, value_BJGH, rows, others, window, *, softcap, ahead,
row_axis) -> mixed_BLNH` for the rows of one device: `rows` (`masks.Rows`) are those of the queries,
`others` those of the keys, which are the same rows unless the mesh axis `row_axis` splits them.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from audiopalm.nn import masks

MOST_BLOCKS = 4
SMALLEST_BLOCK = 64
MOST_SCORES = 2**22  # of a head: more are computed piece by piece
UNSEEN = -1e30  # finite: a row that sees nothing (padding) must not become NaN


def xla(
  query_BLNH, key_BJGH, value_BJGH, rows, others, window=0, *, softcap=None, ahead=False,
  row_axis=None,
):  # fmt: skip
  """Returns softmax(q k) v with a float32 softmax.

  The backward pass computes the weights again: none are kept. Without `ahead` no row sees a later
  one: queries then go in blocks that meet only the keys up to their end, which saves up to 7/16 of
  the work. Sources: grouped queries, arXiv:2305.13245; soft-cap, Gemma 2, arXiv:2408.00118,
  section 2.
  """
  # Heads in front: each one's rows then lie together, and a CPU multiplies them faster.
  query_BGRLH = jnp.moveaxis(grouped(query_BLNH, key_BJGH.shape[2]), 1, 3)
  key_BGJH, value_BGJH = jnp.swapaxes(key_BJGH, 1, 2), jnp.swapaxes(value_BJGH, 1, 2)
  length = query_BLNH.shape[1]
  causal = row_axis is None and not ahead
  blocks = max(1, min(MOST_BLOCKS, length // SMALLEST_BLOCK)) if causal else 1
  mixed = []
  for block in range(blocks):
    here = slice(length * block // blocks, length * (block + 1) // blocks)
    seen = slice(here.stop if causal else None)
    mixed.append(
      _in_pieces(
        functools.partial(_mixed, softcap=softcap),
        query_BGRLH[..., here, :],
        rows[:, here],
        (key_BGJH[:, :, seen], value_BGJH[:, :, seen], others[:, seen], window),
      )
    )
  mixed_BLGRH = jnp.moveaxis(jnp.concatenate(mixed, axis=3), 3, 1)
  return mixed_BLGRH.reshape(query_BLNH.shape)


def _in_pieces(mix, query_BGRLH, rows, rest):
  """Returns mix(query, rows, *rest), of few enough rows at a time to hold their scores."""
  mix = jax.checkpoint(mix)
  length, keys = query_BGRLH.shape[3], rest[0].shape[2]
  fitting = (n for n in range(1, length) if not length % n and length // n * keys <= MOST_SCORES)
  pieces = next(fitting, length)
  if pieces == 1:
    return mix(query_BGRLH, rows, *rest)

  def cut(array, axis):
    shape = (*array.shape[:axis], pieces, length // pieces, *array.shape[axis + 1 :])
    return jnp.moveaxis(array.reshape(shape), axis, 0)

  mixed = lax.map(
    lambda piece: mix(*piece, *rest),
    (cut(query_BGRLH, 3), jax.tree.map(lambda array: cut(array, 1), rows)),
  )
  return jnp.moveaxis(mixed, 0, 3).reshape(query_BGRLH.shape)


def _mixed(query_BGRLH, rows, key_BGJH, value_BGJH, others, window, *, softcap):
  scores_BGRLJ = jnp.einsum(
    "BGRLH,BGJH->BGRLJ", query_BGRLH, key_BGJH, preferred_element_type=jnp.float32
  )
  mask_BLJ = masks.seen(rows, others, window)
  weights_BGRLJ = weights(scores_BGRLJ, mask_BLJ, softcap).astype(value_BGJH.dtype)
  return jnp.einsum("BGRLJ,BGJH->BGRLH", weights_BGRLJ, value_BGJH)


def grouped(query_BLNH, groups: int):
  """Returns query_BLGRH: the R query heads of each key."""
  batch, rows, heads, width = query_BLNH.shape
  return query_BLNH.reshape(batch, rows, groups, heads // groups, width)


def weights(scores_BGRLJ, mask_BLJ, softcap: float | None):
  """Returns the softmax of the scores of seen rows."""
  if softcap is not None:
    scores_BGRLJ = softcap * jnp.tanh(scores_BGRLJ / softcap)
  return jax.nn.softmax(jnp.where(mask_BLJ[:, None, None], scores_BGRLJ, UNSEEN), axis=-1)
