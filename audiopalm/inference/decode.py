"""Decoding: prompts in, whole grids out, driven row by row by a layout's plan.

prompts, padded in front to one length -> one pass fills the cache
-> one loop on the device: logits -> ids the plan allows -> next state -> one row through the model
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
from audiopalm.batch import PackedBatch
from audiopalm.errors import LayoutError
from audiopalm.inference import beams, plans
from audiopalm.inference import cache as caches
from audiopalm.inference import sampling as samplings
from audiopalm.layouts.automaton import Mode
from audiopalm.layouts.incremental import Plan
from audiopalm.types import HOLE, Grid

SMALLEST_BUCKET = 32
FIRST_ROWS = 64  # there is room for before a cache grows: most texts end within them
# Layers that are compiled one by one. Of more, each row's loop over them copies from their stack.
MOST_APART = 16
RESULTS = ("tokens_BRK", "rows_B", "log_likelihood_B", "cells_B", "state_B")


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
  ways = sharding.mesh(machine).shape
  ways = ways["data"] * ways["fsdp"]
  order = sorted(range(len(prompts)), key=lambda number: len(prompts[number]))
  keys, tables = _keys(prompts, key), plans.tables(plan)
  decoded: dict[int, Decoded] = {}
  with jax.set_mesh(sharding.mesh(machine)):
    read = _read(model, params, machine)
    for start in range(0, len(order), batch_rows):
      numbers = order[start : start + batch_rows]
      rows = -(-(1 << (len(numbers) - 1).bit_length()) // ways) * ways
      host = _assemble(prompts, numbers, rows, plan, space, given)
      arrays = sharding.place(host, sharding.mesh(machine), ("batch",))
      keys_B = keys[np.array(numbers + [numbers[0]] * (rows - len(numbers)))]
      length = arrays["tokens_BPK"].shape[1]
      first, *more = stages(length, max_rows)
      now = _prefill(model, params, arrays, machine, slots=first, room=bucket(max_rows))
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
            model, read, tables, arrays["given_BRK"], now, keys_B, limit, slots=slots,
            sampling=sampling, machine=machine, ties=bool((plan.mode_SK == Mode.TIED).any()),
          )  # fmt: skip
        if (np.asarray(now["state_B"]) == plan.end).all():
          break
      if searches:
        now = beams.best(now, plan.end, len(space.padded))
      out = {name: np.asarray(now[name]) for name in RESULTS}
      for b, number in enumerate(numbers):
        tokens_LK = np.concatenate(
          [prompts[number].tokens_LK, out["tokens_BRK"][b, : out["rows_B"][b]]]
        )
        decoded[number] = Decoded(
          tokens_LK.astype(np.int32),
          float(out["log_likelihood_B"][b]),
          int(out["cells_B"][b]),
          bool(out["state_B"][b] == plan.end),
        )
  return [decoded[number] for number in range(len(prompts))]


def bucket(rows: int) -> int:
  """Returns the least of 32, 48, 64, 96, 128, 192, ... that holds the rows: few compiled shapes."""
  power = max(SMALLEST_BUCKET, 1 << (rows - 1).bit_length())
  smaller = power * 3 // 4
  return smaller if smaller >= max(rows, SMALLEST_BUCKET) else power


def stages(length: int, rows: int) -> list[int]:
  """Returns the numbers of slots a cache has one after another while at most `rows` rows follow
  `length`: a row reads all slots, so there are few before there must be many.

      stages(64, 256) == [128, 256, 384]
  """
  slots = [bucket(length + min(rows, FIRST_ROWS))]
  while slots[-1] < length + rows:
    slots.append(bucket(min(2 * slots[-1], length + rows)))
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


def _assemble(prompts, numbers, rows: int, plan: Plan, space, given) -> dict[str, np.ndarray]:
  """Returns the arrays of a batch: prompts padded in front, rows without an example at the end."""
  length = bucket(max(len(prompts[number]) for number in numbers))
  columns = len(space.padded)
  longest = max([len(given[number]) for number in numbers], default=0) if given else 0
  arrays = {
    "tokens_BPK": np.full((rows, length, columns), HOLE, np.int32),
    "positions_BP": np.full((rows, length), -1, np.int32),
    "visible_BP": np.zeros((rows, length), np.int32),
    "state_B": np.full(rows, plan.end, np.int32),
    "frames_B": np.zeros(rows, np.int32),
    "given_BRK": np.full((rows, bucket(longest) if longest else 1, columns), HOLE, np.int32),
  }
  for b, number in enumerate(numbers):
    prompt = prompts[number]
    arrays["tokens_BPK"][b, length - len(prompt) :] = prompt.tokens_LK
    arrays["positions_BP"][b, length - len(prompt) :] = np.arange(len(prompt))
    arrays["visible_BP"][b, length - len(prompt) :] = prompt.visible_L
    arrays["state_B"][b] = plan.start
    arrays["frames_B"][b] = plan.length_in(prompt)
    if longest:
      arrays["given_BRK"][b, : len(given[number])] = given[number]
  return arrays


def _read(model, params, machine):
  """Returns the parameters as each row reads them: layers apart, where they are few, and on a CPU
  in the dtype of products. Accelerators cast theirs as they read them."""
  apart = model.layers <= MOST_APART
  held = machine.products != machine.compute_dtype
  # Parameters that stay as they are must not pass through a program: it would copy them.
  return _copied(model, params, machine, apart, held) if apart or held else params


@functools.partial(jax.jit, static_argnames=("model", "machine", "apart", "held"))
def _copied(model, params, machine, apart, held):
  params = model.held(params, machine) if held else params
  return model.unstacked(params) if apart else params


@functools.partial(jax.jit, static_argnames=("model", "machine", "slots", "room"))
def _prefill(model, params, arrays: Mapping[str, Any], machine, *, slots: int, room: int):
  """Returns what `_loop` starts from, after one pass over the prompts."""
  positions_BP = arrays["positions_BP"]
  segments_BP = (positions_BP >= 0).astype(jnp.int32)
  batch = PackedBatch(
    arrays["tokens_BPK"],
    None,
    segments_BP,
    jnp.maximum(positions_BP, 0),
    arrays["visible_BP"],
    None,
  )
  hidden_BPD, new = model.hidden_and_cache(params, batch, machine)
  apart = model.layers <= MOST_APART
  rows, columns = positions_BP.shape[0], arrays["tokens_BPK"].shape[2]
  nothing_B = jnp.zeros_like(arrays["state_B"])
  return {
    "row": jnp.int32(0),
    "hidden_BD": hidden_BPD[:, -1],
    "cache": caches.filled(new, positions_BP, slots, apart, machine.products),
    "above_BK": arrays["tokens_BPK"][:, -1],
    "position_B": positions_BP[:, -1] + 1,
    "state_B": arrays["state_B"],
    "frames_B": arrays["frames_B"],
    "left_B": arrays["frames_B"],
    "tokens_BRK": sharding.constrain(
      jnp.full((rows, room, columns), HOLE, jnp.int32), ("batch", None, None)
    ),
    "rows_B": nothing_B,
    "log_likelihood_B": nothing_B.astype(jnp.float32),
    "cells_B": nothing_B,
  }


@functools.partial(jax.jit, static_argnames=("model", "slots", "sampling", "machine", "ties"))
def _loop(
  model, params, tables, given_BRK, now, keys_B, limit, *, slots, sampling, machine, ties
):  # fmt: skip
  """Returns what it was given after more rows: until `limit` rows are decoded, or all ended."""
  now = {**now, "cache": caches.grown(now["cache"], slots)}

  def going(now):
    return (now["row"] < limit) & jnp.any(now["state_B"] != tables["end"])

  def body(now):
    row = now["row"]
    cells_BK, log_prob_B, count_B = _row(
      model, params, tables, given_BRK, now, keys_B, sampling, machine, ties
    )
    state_B, frames_B, left_B = plans.following(
      tables, now["state_B"], now["frames_B"], now["left_B"], cells_BK
    )
    hidden_BD, new = model.step(params, cells_BK, now["position_B"], now["cache"], machine)
    return {
      "row": row + 1,
      "hidden_BD": hidden_BD,
      "cache": caches.extended(now["cache"], new, now["position_B"]),
      "above_BK": cells_BK,
      "position_B": now["position_B"] + 1,
      "state_B": state_B,
      "frames_B": frames_B,
      "left_B": left_B,
      "tokens_BRK": lax.dynamic_update_slice_in_dim(
        now["tokens_BRK"], cells_BK[:, None], row, axis=1
      ),
      "rows_B": now["rows_B"] + (now["state_B"] != tables["end"]),
      "log_likelihood_B": now["log_likelihood_B"] + log_prob_B,
      "cells_B": now["cells_B"] + count_B,
    }

  return lax.while_loop(going, body, now)


def _row(model, params, tables, given_BRK, now, keys_B, sampling, machine, ties: bool):
  """Returns (cells_BK, summed log-probability_B, number of predicted cells_B) of the next row."""
  row, state_B = now["row"], now["state_B"]
  mode_BK = plans.at(tables["mode_SK"], state_B)
  given_row = jnp.minimum(row, given_BRK.shape[1] - 1)
  given_BK = lax.dynamic_index_in_dim(given_BRK, given_row, axis=1, keepdims=False)
  given_BK = jnp.where(row < given_BRK.shape[1], given_BK, HOLE)
  cells_BK = jnp.where(mode_BK == Mode.COPY, now["above_BK"], HOLE)
  cells_BK = jnp.where(mode_BK == Mode.GIVEN, given_BK, cells_BK)
  log_prob_B, count_B = jnp.zeros_like(state_B, jnp.float32), jnp.zeros_like(state_B)
  kinds = (Mode.PREDICT, Mode.TIED) if ties else (Mode.PREDICT,)
  columns = range(cells_BK.shape[1])
  # Whole on every device: choosing an id looks at all of them.
  score = functools.partial(model.logits, params, now["hidden_BD"], products=machine.products)
  logits = [sharding.constrain(score(k), ("batch", None)) for k in columns]
  for mode in kinds:  # what is tied waits for the lead
    ends_B = plans.at(tables["ends_KC"].reshape(-1), plans.lead_class(tables, state_B, cells_BK)[1])
    for k in columns:
      allowed_BC = plans.at(tables["allowed_SKC"][:, k], state_B)
      if mode == Mode.TIED:
        allowed_BC &= tables["ends_KC"][k] == ends_B[:, None]
      drawn_B = mode_BK[:, k] == mode
      # Rows that draw nothing here still need something to draw from.
      allowed_BV = plans.allowed(tables, k, allowed_BC | ~drawn_B[:, None], logits[k].shape[1])
      draw_keys_B = jax.vmap(lambda key, k=k: jax.random.fold_in(jax.random.fold_in(key, row), k))(
        keys_B
      )
      ids_B, log_probs_B = samplings.sample(logits[k], allowed_BV, sampling, draw_keys_B)
      cells_BK = cells_BK.at[:, k].set(jnp.where(drawn_B, ids_B, cells_BK[:, k]))
      log_prob_B += jnp.where(drawn_B, log_probs_B, 0)
      count_B += drawn_B
  return cells_BK, log_prob_B, count_B
