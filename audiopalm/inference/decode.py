"""Decoding: prompts in, whole grids out, driven row by row by a layout's plan.

prompts, padded in front to one length -> one pass fills the cache
-> a loop on the device over `row_step.row` or `beams.row`
-> until every example is in the last state of the plan
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from audiopalm import sharding
from audiopalm.errors import LayoutError
from audiopalm.inference import beams, plans, row_step
from audiopalm.inference import cache as caches
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.layouts.incremental import Mode, Plan
from audiopalm.models.base import LanguageModel, Params
from audiopalm.settings import Machine
from audiopalm.types import HOLE, Grid

FIRST_ROWS = 64  # room in the cache before it grows: most texts are shorter
RESULTS = ("tokens_BRK", "rows_B", "log_likelihood_B", "cells_B", "state_B")


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
  """One finished grid: the prompt's rows and those decoded after it.

  `log_likelihood` is the sum of the log-probabilities of the `predicted_cells`, normalized over the
  ids that the plan allows there. `complete` is False if `max_rows` was reached before the end of
  the plan.
  """

  tokens_LK: np.ndarray
  log_likelihood: float
  predicted_cells: int
  complete: bool


def decode(
  model: LanguageModel,
  params: Params,
  prompts: Sequence[Grid],
  plan: Plan,
  *,
  sampling: Sampling | Beams,
  max_rows: int,
  key: jax.Array,
  machine: Machine,
  batch_rows: int = 64,
  fill: bool = False,
  given: Sequence[np.ndarray] | None = None,
) -> list[Decoded]:
  """Returns one Decoded per prompt, in the order of the prompts.

  At most `max_rows` rows follow each prompt. `given` holds each example's conditioning grid
  (`layouts.conditioning`), for plans that read one. A result depends only on its own prompt and on
  `key`, not on the batch; the key of a prompt depends on how many equal prompts precede it, so
  equal prompts draw differently. With `Beams` each beam takes a batch row, so fewer prompts fit;
  ConfigError for several columns. `fill` pads every batch to `batch_rows`, so that all batches
  share one compiled program.
  """
  if (plan.mode_SK == Mode.GIVEN).any() and given is None:
    raise LayoutError(
      "The layout has a given column beside predicted ones, but no conditioning grid came. "
      "Pass given=[layouts.conditioning(layout, streams, space), ...], one per prompt."
    )
  if any(not len(prompt) for prompt in prompts):
    raise LayoutError("A prompt has no rows, so nothing can be predicted from it. Give it a Tag.")
  searches, columns = isinstance(sampling, Beams), len(plan.class_KV)
  if searches:
    beams.check(plan, "this layout")
    batch_rows = max(1, batch_rows // sampling.beams)
  if not prompts:
    return []
  mesh = sharding.mesh(machine)
  ways = sharding.batch_ways(mesh)
  order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
  key_N, tables = _keys(prompts, key), plans.tables(plan)
  decoded: dict[int, Decoded] = {}
  with jax.set_mesh(mesh):
    read = row_step.read(model, params, machine)
    for start in range(0, len(order), batch_rows):
      numbers = order[start : start + batch_rows]
      rows = 1 << ((batch_rows if fill else len(numbers)) - 1).bit_length()
      rows = -(-rows // ways) * ways
      batch = [prompts[number] for number in numbers]
      length = caches.bucket(max(map(len, batch)))
      slots_of_stages = stages(length, max_rows)
      live = row_step.begin(
        model, params, plan, batch, key_N[np.array(numbers)], machine,
        batch_rows=rows, slots=slots_of_stages[0], shared=True,
      )  # fmt: skip
      host = {
        "given_BRK": _conditioning(given, numbers, rows, columns),
        "tokens_BRK": np.full((rows, caches.bucket(max_rows), columns), HOLE, np.int32),
      }
      arrays = sharding.place(host, mesh, ("batch",))
      now = {"row": np.int32(0), "live": live, "tokens_BRK": arrays["tokens_BRK"]}
      if searches:
        now = beams.fork(now, np.int32(plan.end), sampling.beams)
      for slots in slots_of_stages:
        now = _loop(
          model, read, tables, arrays["given_BRK"], now,
          np.int32(min(max_rows, slots - length)), np.int32(max_rows),
          slots=slots, prompt_slots=length if searches else 0, sampling=sampling, machine=machine,
        )  # fmt: skip
        if (np.asarray(now["live"].state_B) == plan.end).all():
          break
      results = beams.best(now, plan.end, columns) if searches else {**now, **vars(now["live"])}
      results = {name: np.asarray(results[name]) for name in RESULTS}
      for b, number in enumerate(numbers):
        new_RK = results["tokens_BRK"][b, : results["rows_B"][b]]
        decoded[number] = Decoded(
          np.concatenate([prompts[number].tokens_LK, new_RK]).astype(np.int32),
          float(results["log_likelihood_B"][b]),
          int(results["cells_B"][b]),
          bool(results["state_B"][b] == plan.end),
        )
  return [decoded[number] for number in range(len(prompts))]


def stages(length: int, rows: int) -> list[int]:
  """Returns the successive numbers of slots of a cache while at most `rows` rows follow `length`.
  Each row reads all slots, so the cache starts small and grows.

      stages(64, 256) == [128, 256, 384]
  """
  slots = [caches.bucket(length + min(rows, FIRST_ROWS))]
  while slots[-1] < length + rows:
    slots.append(caches.bucket(min(2 * slots[-1], length + rows)))
  return slots


def _keys(prompts: Sequence[Grid], key: jax.Array) -> jax.Array:
  """Returns one key per prompt, from its tokens and the number of equal prompts before it."""
  words, seen = [], {}
  for prompt in prompts:
    word = zlib.crc32(np.ascontiguousarray(prompt.tokens_LK, np.int32).tobytes())
    seen[word] = seen.get(word, 0) + 1
    words.append((word, seen[word]))
  words_B2 = np.array(words, np.uint32)
  return jax.vmap(lambda w: jax.random.fold_in(jax.random.fold_in(key, w[0]), w[1]))(words_B2)


def _conditioning(
  given: Sequence[np.ndarray] | None, numbers: Sequence[int], batch_rows: int, columns: int
) -> np.ndarray:
  """Returns given_BRK of a batch, padded with holes; R is 1 if nothing is given."""
  grids = [] if given is None else [given[number] for number in numbers]
  longest = max(map(len, grids), default=0)
  room = caches.bucket(longest) if longest else 1
  given_BRK = np.full((batch_rows, room, columns), HOLE, np.int32)
  for b, grid_RK in enumerate(grids):
    given_BRK[b, : len(grid_RK)] = grid_RK
  return given_BRK


@functools.partial(
  jax.jit, static_argnames=("model", "slots", "prompt_slots", "sampling", "machine")
)
def _loop(
  model: LanguageModel,
  params: Params,
  tables: plans.Tables,
  given_BRK: jax.Array,
  now: beams.Arrays,
  limit: jax.typing.ArrayLike,
  most: jax.typing.ArrayLike,
  *,
  slots: int,
  prompt_slots: int,
  sampling: Sampling | Beams,
  machine: Machine,
) -> beams.Arrays:
  """Returns the state `now` after more rows: until `limit` rows are decoded or all sequences ended.

  `now` is {"row": number of the next row, "live": Live, "tokens_BRK": rows so far}, or the result
  of `beams.fork`. For beams, prompts take `prompt_slots` slots of the cache and at most `most` rows
  follow.
  """
  live = now["live"]
  live = dataclasses.replace(live, cache=caches.grow(live.cache, slots))

  def going(now):
    return (now["row"] < limit) & jnp.any(now["live"].state_B != tables.end)

  def sampled(now):
    row = now["row"]
    given_BK = lax.dynamic_index_in_dim(
      given_BRK, jnp.minimum(row, given_BRK.shape[1] - 1), axis=1, keepdims=False
    )
    given_BK = jnp.where(row < given_BRK.shape[1], given_BK, HOLE)
    live, cells_BK = row_step.row(
      model, params, tables, now["live"], given_BK, sampling=sampling, machine=machine
    )
    tokens_BRK = lax.dynamic_update_slice_in_dim(now["tokens_BRK"], cells_BK[:, None], row, axis=1)
    return {"row": row + 1, "live": live, "tokens_BRK": tokens_BRK}

  def searched(now):
    return beams.row(model, params, tables, now, most, prompt_slots, sampling, machine)

  body = searched if isinstance(sampling, Beams) else sampled
  return lax.while_loop(going, body, {**now, "live": live})
