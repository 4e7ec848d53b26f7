"""Beam search on the device, one row at a time; `decode` loops over it.

logits of every beam -> its best next ids -> the best of all candidates of a prompt continue
-> a candidate that ends is kept with its score -> the cache is reordered to match the beams

In array names P is prompts, N the beams of each prompt and C candidates. The batch B of the model
is the P x N beams, prompt by prompt. A beam that is not alive has a log-likelihood of -inf and is
in the last state of the plan.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.inference import cache as caches
from audiopalm.inference import plans, row_step
from audiopalm.inference.sampling import Beams
from audiopalm.layouts.incremental import Mode, Plan
from audiopalm.models.base import LanguageModel, Params
from audiopalm.settings import Machine
from audiopalm.types import HOLE

Arrays = Mapping[str, jax.Array | row_step.Live]
# The fields of `Live` that `_choose` updates.
OF_LIVE = ("state_B", "frames_B", "left_B", "log_likelihood_B")


def check(plan: Plan, what: str) -> None:
  """Raises ConfigError unless the plan predicts one id per row; `what` names the plan in the
  error."""
  mode_SK = np.delete(plan.mode_SK, plan.end, axis=0)
  if (mode_SK[:, 0] != Mode.PREDICT).any() or (mode_SK[:, 1:] != Mode.HOLE).any():
    raise ConfigError(
      f"Beam search chooses one id per row, but {what} does not predict one column of the grid and "
      "nothing beside it. Decode it with beams=1."
    )


@functools.partial(jax.jit, static_argnames="many")
def fork(now: Arrays, end: jax.typing.ArrayLike, many: int) -> Arrays:
  """Returns the state that `row` starts from: that of sampling, with each batch row repeated `many`
  times. Only the first beam of each prompt is alive at first. A prompt whose plan has ended is
  already answered.
  """

  def repeated(array):
    axis, split = max(array.ndim - 4, 0), _split(array)

    def local(part):
      from_B = jnp.arange(many * part.shape[axis]) // many
      return part[(slice(None),) * axis + (from_B,)]

    return sharding.mapped(local, (split,), split)(array)

  def rows(end, arrays):
    state_B, tokens_BRK = arrays["state_B"], arrays["tokens_BRK"]
    first_B = jnp.arange(len(state_B)) % many == 0
    ended_B = state_B == end
    alive_B = first_B & ~ended_B
    answered_PN = jnp.where(first_B & ended_B, 0.0, -jnp.inf).reshape(-1, many)
    tokens_BR = tokens_BRK[:, :, 0]
    return {
      "state_B": jnp.where(alive_B, state_B, end),
      "log_likelihood_B": jnp.where(alive_B, 0.0, -jnp.inf),
      "tokens_BR": tokens_BR,
      "best_PN": answered_PN,
      "best_log_likelihood_PN": answered_PN,
      "best_tokens_PNR": tokens_BR.reshape(-1, many, tokens_BR.shape[1]),
    }

  live = jax.tree.map(lambda array: repeated(array) if array.ndim else array, now["live"])
  arrays = {"state_B": live.state_B, "tokens_BRK": repeated(now["tokens_BRK"])}
  forked = _by_rows(rows, end, arrays)
  changes = {name: forked.pop(name) for name in ("state_B", "log_likelihood_B")}
  return {**forked, "row": now["row"], "live": dataclasses.replace(live, **changes)}


def row(
  model: LanguageModel,
  params: Params,
  tables: plans.Tables,
  now: Arrays,
  most: jax.typing.ArrayLike,
  prompt_slots: int,
  beams: Beams,
  machine: Machine,
) -> Arrays:
  """Returns the state `now` after one more row of every beam.

  At most `most` rows follow a prompt in total. The first `prompt_slots` slots of the cache hold the
  prompts, which are the same for all beams of a prompt.
  """
  live = now["live"]
  logits_BV = model.head.draw(params, live.hidden_BD, None, _first_column, machine)
  arrays = {name: array for name, array in now.items() if name not in ("row", "live")}
  arrays |= {name: getattr(live, name) for name in OF_LIVE}
  arrays["logits_BV"] = sharding.constrain(logits_BV, ("batch", None))
  chosen = _by_rows(functools.partial(_choose, beams), (tables, now["row"], most), arrays)
  cells_BK, from_B = chosen.pop("cells_BK"), chosen.pop("from_B")
  changes = {name: chosen.pop(name) for name in OF_LIVE}
  cache = _reordered(live.cache, from_B, prompt_slots)
  live = dataclasses.replace(live, cache=cache, **changes)
  live = row_step.advance(model, params, live, cells_BK, machine)
  return {**chosen, "row": now["row"] + 1, "live": live}


def _first_column(
  kept: jax.Array | None, column: int, logits_BV: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the logits of column 0, and holes for the other columns (see `check`)."""
  holes_B = jnp.full_like(jnp.max(logits_BV, axis=1), HOLE, jnp.int32)  # only for the shape
  return (logits_BV if column == 0 else kept), holes_B


def best(now: Arrays, end: int, columns: int) -> dict[str, np.ndarray]:
  """Returns the best answer to each prompt, under the names of `decode.RESULTS`.

  This is the best finished beam, or the most likely unfinished one if none finished.
  """
  names = ("best_PN", "best_log_likelihood_PN", "best_tokens_PNR")
  score_P, log_likelihood_P, tokens_PR = (np.asarray(now[name])[:, 0] for name in names)
  ended_P, many = score_P > -np.inf, now["best_PN"].shape[1]
  going = now["live"].log_likelihood_B, now["tokens_BR"]
  going_P, going_PR = (np.asarray(array)[::many] for array in going)
  tokens_PRK = np.full((*tokens_PR.shape, columns), HOLE, np.int32)
  tokens_PRK[:, :, 0] = np.where(ended_P[:, None], tokens_PR, going_PR)
  cells_P = (tokens_PRK[:, :, 0] != HOLE).sum(axis=1)
  return {
    "tokens_BRK": tokens_PRK,
    "rows_B": cells_P,
    "log_likelihood_B": np.where(ended_P, log_likelihood_P, going_P),
    "cells_B": cells_P,
    "state_B": np.where(ended_P, end, end + 1),
  }


def _choose(
  beams: Beams, context: tuple[plans.Tables, jax.Array, jax.typing.ArrayLike], now: Arrays
) -> Arrays:
  """Returns the beams that continue, each with its new cells and the beam it comes from, and the
  best answers so far. `context` is (tables of the plan, number of the row, most rows).
  """
  tables, row, most = context
  many, ids, columns = beams.beams, now["logits_BV"].shape[1], tables.mode_SK.shape[1]
  prompts = len(now["state_B"]) // many
  classes_BC = tables.allowed_SKC[now["state_B"], 0]
  logits_BV = jnp.where(plans.allowed(tables, 0, classes_BC, ids), now["logits_BV"], -jnp.inf)
  # Each beam has one id that ends it, so twice as many candidates always leave enough to continue.
  most_BC, ids_BC = lax.top_k(logits_BV, min(2 * many, ids))
  log_sum_B1 = jax.nn.logsumexp(logits_BV, axis=-1, keepdims=True)
  alive_B1 = now["log_likelihood_B"][:, None]
  possible_BC = (alive_B1 > -jnp.inf) & (most_BC > -jnp.inf)
  sums_BC = jnp.where(possible_BC, alive_B1 + most_BC - log_sum_B1, -jnp.inf)
  sums_PC, at_PC = lax.top_k(sums_BC.reshape(prompts, -1), 2 * many)

  parent_PC = at_PC // ids_BC.shape[1] + jnp.arange(prompts)[:, None] * many
  ids_PC = jnp.take_along_axis(ids_BC.reshape(prompts, -1), at_PC, axis=1)
  tokens_PCR = now["tokens_BR"][parent_PC].at[:, :, row].set(ids_PC)
  cells_CK = jnp.full((ids_PC.size, columns), HOLE, jnp.int32).at[:, 0].set(ids_PC.reshape(-1))
  registers = [now[name][parent_PC].reshape(-1) for name in OF_LIVE[:3]]
  registers = plans.following(tables, *registers, cells_CK)
  registers = [register.reshape(ids_PC.shape) for register in registers]
  ended_PC = registers[0] == tables.end

  # A candidate that ends counts only if it is among the `many` best, as for those that continue. So
  # one beam is greedy decoding.
  keeps_PC = ended_PC & (jnp.arange(2 * many) < many)
  scores_PC = jnp.where(keeps_PC, beams.score(sums_PC, row + 1), -jnp.inf)
  answers = {"best_log_likelihood_PN": sums_PC, "best_tokens_PNR": tokens_PCR}
  best_PN, at_PN = lax.top_k(jnp.concatenate([now["best_PN"], scores_PC], axis=1), many)
  answers = {
    name: _taken(jnp.concatenate([now[name], new], axis=1), at_PN) for name, new in answers.items()
  }
  alive_PN, at_PN = lax.top_k(jnp.where(ended_PC, -jnp.inf, sums_PC), many)
  # Stop if enough have ended, or if no beam that continues can still beat the best answer.
  enough_P = (best_PN > -jnp.inf).all(axis=1)
  enough_P |= best_PN[:, 0] >= beams.score(alive_PN[:, 0], most)
  alive_PN = jnp.where(enough_P[:, None], -jnp.inf, alive_PN)

  state_B, frames_B, left_B = (_taken(array, at_PN).reshape(-1) for array in registers)
  alive_B = alive_PN.reshape(-1)
  return {
    "state_B": jnp.where(alive_B > -jnp.inf, state_B, tables.end),
    "frames_B": frames_B,
    "left_B": left_B,
    "tokens_BR": _taken(tokens_PCR, at_PN).reshape(now["tokens_BR"].shape),
    "log_likelihood_B": alive_B,
    "best_PN": best_PN,
    **answers,
    "cells_BK": _taken(cells_CK.reshape(*ids_PC.shape, columns), at_PN).reshape(-1, columns),
    "from_B": _taken(parent_PC, at_PN).reshape(-1),
  }


def _reordered(cache: caches.Cache, from_B: jax.Array, prompt_slots: int) -> caches.Cache:
  """Returns the cache with each beam's slots taken from the beam it comes from."""

  def follow(kept):
    # The slots of the prompt are the same for all of its beams.
    slots, batch, split = kept.ndim - 2, kept.ndim - 4, _split(kept)
    decoded = lax.slice_in_dim(kept, prompt_slots, kept.shape[slots], axis=slots)
    take = sharding.mapped(
      lambda part, from_B: jnp.take(part, from_B, axis=batch), (split, _split(from_B)), split
    )
    return lax.dynamic_update_slice_in_dim(kept, take(decoded, from_B), prompt_slots, axis=slots)

  keys, values = jax.tree.map(follow, (cache.keys, cache.values))
  return caches.Cache(keys, values, cache.positions_BJ, cache.used)


def _by_rows(local: Callable[..., Arrays], whole: object, arrays: Arrays) -> Arrays:
  """Returns local(whole, arrays), where each device has all beams of some of the prompts."""
  rows = PartitionSpec(sharding.layout_of(arrays["state_B"])[0])
  return sharding.mapped(local, (PartitionSpec(), rows), rows)(whole, arrays)


def _split(array: jax.Array) -> PartitionSpec:
  return PartitionSpec(*sharding.layout_of(array))


def _taken(array: jax.Array, at_PN: jax.Array) -> jax.Array:
  """Returns array[p, at_PN[p, n]]."""
  return jax.vmap(lambda part, at_N: part[at_N])(array, at_PN)
