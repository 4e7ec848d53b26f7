"""Decoding: prompts in, whole grids out, driven row by row by a layout's plan.

prompts, padded in front to one length -> one pass fills the cache
-> one loop on the device over `row_step.row`, or over beams
-> until every example is in the plan's last state
"""

import dataclasses
import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from audiopalm import sharding
from audiopalm.errors import LayoutError
from audiopalm.inference import beams, plans, row_step
from audiopalm.inference import cache as caches
from audiopalm.inference import sampling as samplings
from audiopalm.layouts.automaton import Mode
from audiopalm.layouts.incremental import Plan
from audiopalm.types import HOLE, Grid

FIRST_ROWS = 64  # there is room for before a cache grows: most texts end within them


@dataclasses.dataclass(frozen=True, eq=False)
class Decoded:
  """One finished grid: the prompt's rows and those decoded after it.

  `log_likelihood` is the sum of the log-probabilities of the `predicted_cells`, each among the ids
  the plan allowed there. `complete` is False where `max_rows` came before the plan's end.
  """

  tokens_LK: np.ndarray
  log_likelihood: float
  predicted_cells: int
  complete: bool


def decode(
  model: Any,
  params: Any,
  prompts: Sequence[Grid],
  plan: Plan,
  space: Any,
  *,
  sampling: samplings.Sampling | samplings.Beams,
  max_rows: int,
  key: Any,
  machine: Any,
  batch_rows: int = 64,
  given: Sequence[np.ndarray] | None = None,
) -> list[Decoded]:
  """Returns one Decoded per prompt, in their order.

  At most `max_rows` rows follow each prompt. `given` holds each example's conditioning grid
  (`layouts.conditioning`), for plans that read one. A result depends on its own prompt and on `key`
  only, not on the batch it was decoded in; equal prompts draw differently, by how many came before.
  Of `Beams` a batch holds all rows: fewer prompts at a time. ConfigError for several columns then.
  """
  if (plan.mode_SK == Mode.GIVEN).any() and given is None:
    raise LayoutError(
      "The layout has a given column beside predicted ones, but no conditioning grid came. "
      "Pass given=[layouts.conditioning(layout, streams, space), ...], one per prompt."
    )
  if any(not len(prompt) for prompt in prompts):
    raise LayoutError("A prompt has no rows, so nothing can be predicted from it. Give it a Tag.")
  searches = isinstance(sampling, samplings.Beams)
  if searches:
    beams.check(plan, "this layout")
    batch_rows = max(1, batch_rows // sampling.beams)
  if not prompts:
    return []
  ways = sharding.batch_ways(sharding.mesh(machine))
  order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
  key_N, tables = _keys(prompts, key), plans.tables(plan)
  decoded: dict[int, Decoded] = {}
  with jax.set_mesh(sharding.mesh(machine)):
    read = row_step.read(model, params, machine)
    for start in range(0, len(order), batch_rows):
      numbers = order[start : start + batch_rows]
      rows = -(-(1 << (len(numbers) - 1).bit_length()) // ways) * ways
      asked = [prompts[number] for number in numbers]
      length = caches.bucket(max(map(len, asked)))
      first, *more = stages(length, max_rows)
      live = row_step.begin(
        model, params, plan, asked, key_N[np.array(numbers)], machine,
        batch_rows=rows, slots=first, shared=True,
      )  # fmt: skip
      host = {
        "given_BRK": _conditioning(given, numbers, rows, len(space.padded)),
        "tokens_BRK": np.full((rows, caches.bucket(max_rows), len(space.padded)), HOLE, np.int32),
      }
      arrays = sharding.place(host, sharding.mesh(machine), ("batch",))
      now = {"row": np.int32(0), "live": live, "tokens_BRK": arrays["tokens_BRK"]}
      if searches:
        now = beams.fork(now, np.int32(plan.end), sampling.beams)
      for slots in (first, *more):
        limit = np.int32(min(max_rows, slots - length))
        if searches:
          now = beams.search(
            model, read, tables, now, limit, np.int32(max_rows), length=length, slots=slots,
            beams=sampling, machine=machine,
          )  # fmt: skip
        else:
          now = _loop(
            model, read, tables, arrays["given_BRK"], now, limit,
            slots=slots, sampling=sampling, machine=machine,
          )  # fmt: skip
        if (np.asarray(now["live"].state_B) == plan.end).all():
          break
      results = beams.best(now, plan.end, len(space.padded)) if searches else _results(now)
      for b, number in enumerate(numbers):
        decoded[number] = _decoded(prompts[number], results, b, plan.end)
  return [decoded[number] for number in range(len(prompts))]


def _results(now: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns what was decoded, as arrays on the host."""
  names = ("rows_B", "log_likelihood_B", "cells_B", "state_B")
  live = {name: np.asarray(getattr(now["live"], name)) for name in names}
  return {"tokens_BRK": np.asarray(now["tokens_BRK"]), **live}


def _decoded(prompt: Grid, results: Mapping[str, np.ndarray], b: int, end: int) -> Decoded:
  new_RK = results["tokens_BRK"][b, : results["rows_B"][b]]
  return Decoded(
    np.concatenate([prompt.tokens_LK, new_RK]).astype(np.int32),
    float(results["log_likelihood_B"][b]),
    int(results["cells_B"][b]),
    bool(results["state_B"][b] == end),
  )


def stages(length: int, rows: int) -> list[int]:
  """Returns the numbers of slots a cache has one after another while at most `rows` rows follow
  `length`: a row reads all slots, so there are few before there must be many.

      stages(64, 256) == [128, 256, 384]
  """
  slots = [caches.bucket(length + min(rows, FIRST_ROWS))]
  while slots[-1] < length + rows:
    slots.append(caches.bucket(min(2 * slots[-1], length + rows)))
  return slots


def _keys(prompts: Sequence[Grid], key):
  """Returns one key per prompt, from what it says and how many equal ones came before."""
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
  """Returns given_BRK of a batch, holes behind each example; R is 1 where nothing is given."""
  grids = [] if given is None else [given[number] for number in numbers]
  longest = max(map(len, grids), default=0)
  room = caches.bucket(longest) if longest else 1
  given_BRK = np.full((batch_rows, room, columns), HOLE, np.int32)
  for b, grid_RK in enumerate(grids):
    given_BRK[b, : len(grid_RK)] = grid_RK
  return given_BRK


@functools.partial(jax.jit, static_argnames=("model", "slots", "sampling", "machine"))
def _loop(model, params, tables, given_BRK, now, limit, *, slots, sampling, machine):
  """Returns what it was given after more rows: until `limit` rows are decoded, or all ended.

  `now` is {"row": number of the next row, "live": Live, "tokens_BRK": rows so far}.
  """
  live = now["live"]
  live = dataclasses.replace(live, cache=caches.grown(live.cache, slots))

  def going(now):
    return (now["row"] < limit) & jnp.any(now["live"].state_B != tables.end)

  def body(now):
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

  return lax.while_loop(going, body, {**now, "live": live})
