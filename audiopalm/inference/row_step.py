"""The row step: one more row for every sequence of a batch, as a pure function of its state.

    begin(prompts)   -> Live             one pass over the prompts fills the cache
    row(live, given) -> (Live, cells)    logits -> ids the plan allows -> next state -> one row
                                         through the model
    join(live, ...), leave(live, ...)    add and remove sequences; the others do not change

`decode` is a loop over `row` for prompts that begin together; they write into the same slots of the
cache. If sequences begin at different times, each has its own slots (`shared=False`), and its cells
depend only on its prompt, its key and its index in the batch. Call all of this under
`jax.set_mesh(sharding.mesh(machine))`.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.inference import cache as caches
from audiopalm.inference import plans
from audiopalm.inference import sampling as samplings
from audiopalm.layouts.incremental import Mode, Plan
from audiopalm.models.base import LanguageModel, Params
from audiopalm.settings import Machine
from audiopalm.types import HOLE, Grid

# Up to this many layers are compiled one by one. More are scanned, which copies each layer's
# parameters from the stack at every row.
MOST_APART = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Live:
  """The complete decoding state of B sequences.

  `hidden_BD` is the hidden state of each sequence's newest row, `above_BK` the cells of that row,
  `position_B` the position of the next row. `state_B`, `frames_B` and `left_B` are the state and
  the registers of the plan; a sequence that has ended, or an empty place, is in the last state of
  the plan. Since the prompt `rows_B` rows were decoded, with `cells_B` predicted cells of total
  `log_likelihood_B`. `key_B` are the random keys.
  """

  cache: caches.Cache
  hidden_BD: jax.Array
  above_BK: jax.Array
  position_B: jax.Array
  state_B: jax.Array
  frames_B: jax.Array
  left_B: jax.Array
  key_B: jax.Array
  rows_B: jax.Array
  cells_B: jax.Array
  log_likelihood_B: jax.Array


def read(model: LanguageModel, params: Params, machine: Machine) -> Params:
  """Returns the parameters in the form that `row` reads: one tree per layer if there are few, and
  cast to the dtype of products on a CPU. Accelerators cast them when they read them."""
  apart = model.layers <= MOST_APART
  cast = machine.products != machine.compute_dtype
  # Unchanged parameters must not pass through a jitted function, which would copy them.
  return _copied(model, params, machine, apart, cast) if apart or cast else params


@functools.partial(jax.jit, static_argnames=("model", "machine", "apart", "cast"))
def _copied(
  model: LanguageModel, params: Params, machine: Machine, apart: bool, cast: bool
) -> Params:
  params = model.cast_kernels(params, machine) if cast else params
  return model.unstacked(params) if apart else params


def begin(
  model: LanguageModel,
  params: Params,
  plan: Plan,
  prompts: Sequence[Grid],
  key_B: jax.Array | None,
  machine: Machine,
  *,
  batch_rows: int,
  slots: int,
  shared: bool = False,
) -> Live:
  """Returns the state of `batch_rows` sequences: first those of the prompts, the others are empty.

  `params` are those of training, `key_B` one key for each prompt. The cache has `slots` slots, of
  which prompts take `cache.bucket(length of the longest)`. The rest is the room for decoded rows;
  further rows overwrite the last slot. Without `shared` the sequences can `join` others.
  """
  longest = max(map(len, prompts), default=1)
  length = caches.bucket(longest)
  if length >= slots:
    raise ConfigError(
      f"Prompts of up to {longest} rows take {length} slots of the cache, which leaves no room for "
      f"another row in {slots}. Begin with more slots."
    )
  if not prompts:
    key_B = jax.random.split(jax.random.key(0), 1)
  key_B = key_B[np.minimum(np.arange(batch_rows), len(key_B) - 1)]
  host = _assembled(prompts, plan, batch_rows, length)
  arrays = sharding.place(host, sharding.mesh(machine), ("batch",))
  return _prefilled(model, params, arrays, key_B, machine, slots=slots, shared=shared)


def _assembled(
  prompts: Sequence[Grid], plan: Plan, batch_rows: int, length: int
) -> dict[str, np.ndarray]:
  """Returns the prompts padded in front, followed by empty sequences."""
  arrays = {
    "tokens_BPK": np.full((batch_rows, length, len(plan.class_KV)), HOLE, np.int32),
    "positions_BP": np.full((batch_rows, length), -1, np.int32),
    "visible_BP": np.zeros((batch_rows, length), np.int32),
    "state_B": np.full(batch_rows, plan.end, np.int32),
    "frames_B": np.zeros(batch_rows, np.int32),
  }
  for b, prompt in enumerate(prompts):
    arrays["tokens_BPK"][b, length - len(prompt) :] = prompt.tokens_LK
    arrays["positions_BP"][b, length - len(prompt) :] = np.arange(len(prompt))
    arrays["visible_BP"][b, length - len(prompt) :] = prompt.visible_L
    arrays["state_B"][b] = plan.start
    arrays["frames_B"][b] = plan.length_in(prompt)
  return arrays


@functools.partial(jax.jit, static_argnames=("model", "machine", "slots", "shared"))
def _prefilled(
  model: LanguageModel,
  params: Params,
  arrays: Mapping[str, jax.Array],
  key_B: jax.Array,
  machine: Machine,
  *,
  slots: int,
  shared: bool,
) -> Live:
  positions_BP = arrays["positions_BP"]
  batch = PackedBatch(
    arrays["tokens_BPK"],
    None,
    (positions_BP >= 0).astype(jnp.int32),
    jnp.maximum(positions_BP, 0),
    arrays["visible_BP"],
    None,
  )
  hidden_BPD, new = model.hidden_and_cache(params, batch, machine)
  apart = model.layers <= MOST_APART
  nothing_B = jnp.zeros_like(arrays["state_B"])
  return Live(
    cache=caches.fill(new, positions_BP, slots, apart, machine.products, shared),
    hidden_BD=hidden_BPD[:, -1],
    above_BK=arrays["tokens_BPK"][:, -1],
    position_B=positions_BP[:, -1] + 1,
    state_B=arrays["state_B"],
    frames_B=arrays["frames_B"],
    left_B=arrays["frames_B"],
    key_B=sharding.constrain(key_B, ("batch",)),
    rows_B=nothing_B,
    cells_B=nothing_B,
    log_likelihood_B=nothing_B.astype(jnp.float32),
  )


def row(
  model: LanguageModel,
  params: Params,
  tables: plans.Tables,
  live: Live,
  given_BK: jax.Array | None,
  *,
  sampling: samplings.Sampling,
  machine: Machine,
) -> tuple[Live, jax.Array]:
  """Returns (live after one more row, cells_BK of that row).

  `params` come from `read`. `given_BK` holds the next row's cells of given columns, for plans that
  have any. Compile it with `model`, `sampling` and `machine` static and `live` donated, so that the
  cache is updated in place.
  """
  cells_BK, log_prob_B, count_B = _cells(model, params, tables, live, given_BK, sampling, machine)
  state_B, frames_B, left_B = plans.following(
    tables, live.state_B, live.frames_B, live.left_B, cells_BK
  )
  after = dataclasses.replace(
    live,
    state_B=state_B,
    frames_B=frames_B,
    left_B=left_B,
    rows_B=live.rows_B + (live.state_B != tables.end),
    cells_B=live.cells_B + count_B,
    log_likelihood_B=live.log_likelihood_B + log_prob_B,
  )
  return advance(model, params, after, cells_BK, machine), cells_BK


def advance(
  model: LanguageModel, params: Params, live: Live, cells_BK: jax.Array, machine: Machine
) -> Live:
  """Returns `live` after the model has read one row of each sequence; the plan states do not
  change."""
  hidden_BD, new = model.step(params, cells_BK, live.position_B, live.cache, machine)
  return dataclasses.replace(
    live,
    cache=caches.extend(live.cache, new, live.position_B),
    hidden_BD=hidden_BD,
    above_BK=cells_BK,
    position_B=live.position_B + 1,
  )


def _cells(
  model: LanguageModel,
  params: Params,
  tables: plans.Tables,
  live: Live,
  given_BK: jax.Array | None,
  sampling: samplings.Sampling,
  machine: Machine,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns (cells_BK, summed log-probability_B, number of predicted cells_B) of the next row."""
  mode_BK = plans.at(tables.mode_SK, live.state_B)
  cells_BK = jnp.where(mode_BK == Mode.COPY, live.above_BK, HOLE)
  if given_BK is not None:
    cells_BK = jnp.where(mode_BK == Mode.GIVEN, given_BK, cells_BK)

  def choose(drawn, column, logits_BV):
    cells_BK, log_prob_B, count_B = drawn
    mode_B = mode_BK[:, column]
    drawn_B = (mode_B == Mode.PREDICT) | (mode_B == Mode.TIED)
    allowed_BC = plans.at(tables.allowed_SKC[:, column], live.state_B)
    if column in tables.tied:
      ends_B = plans.ends(tables, live.state_B, cells_BK)
      allowed_BC &= (tables.ends_KC[column] == ends_B[:, None]) | (mode_B != Mode.TIED)[:, None]
    # Sequences that draw nothing in this column still need a nonempty set of ids.
    allowed_BV = plans.allowed(tables, column, allowed_BC | ~drawn_B[:, None], logits_BV.shape[1])
    ids_B, log_probs_B = _sampled(logits_BV, allowed_BV, live.key_B, live.rows_B, column, sampling)
    cells_B = jnp.where(drawn_B, ids_B, cells_BK[:, column])
    log_prob_B += jnp.where(drawn_B, log_probs_B, 0)
    return (cells_BK.at[:, column].set(cells_B), log_prob_B, count_B + drawn_B), cells_B

  nothing_B = jnp.zeros_like(live.state_B)
  drawn = (cells_BK, nothing_B.astype(jnp.float32), nothing_B)
  return model.head.draw(params, live.hidden_BD, drawn, choose, machine)


def _sampled(
  logits_BV: jax.Array,
  allowed_BV: jax.Array,
  key_B: jax.Array,
  rows_B: jax.Array,
  column: int,
  sampling: samplings.Sampling,
) -> tuple[jax.Array, jax.Array]:
  """Returns the result of `sampling.sample`, computed by each device for its own sequences."""

  def local(logits_BV, allowed_BV, key_B, rows_B):
    fold = jax.random.fold_in
    key_B = jax.vmap(lambda key, row: fold(fold(key, row), column))(key_B, rows_B)
    return samplings.sample(logits_BV, allowed_BV, sampling, key_B)

  # Gather the vocabulary axis: sampling needs all logits of a sequence.
  logits_BV = sharding.constrain(logits_BV, ("batch", None))
  split = PartitionSpec(sharding.layout_of(logits_BV)[0])
  mapped = sharding.mapped(local, (split,) * 4, (split,) * 2)
  return mapped(logits_BV, allowed_BV, key_B, rows_B)


@jax.jit
def join(live: Live, others: Live, from_B: jax.Array) -> Live:
  """Returns `live` with sequence b replaced by sequence from_B[b] of `others`, unless that is -1.

  Both must begin without `shared`, with caches of the same number of slots.
  """

  def take(axis, own, other):
    split = sharding.layout_of(own)
    whole = PartitionSpec(*split[:axis], None, *split[axis + 1 :])
    if jax.sharding.get_abstract_mesh().size > 1:
      other = jax.sharding.reshard(other, whole)

    def local(own, other, from_B):
      taken = other[(slice(None),) * axis + (jnp.maximum(from_B, 0),)]
      joins_B = (from_B >= 0).reshape(-1, *(1,) * (own.ndim - axis - 1))
      return jnp.where(joins_B, taken, own)

    specs = PartitionSpec(*split), whole, PartitionSpec(split[axis])
    return sharding.mapped(local, specs, PartitionSpec(*split))(own, other, from_B)

  if not (live.cache.used.ndim and others.cache.used.ndim):
    raise ConfigError(
      "Sequences that share the slots of their cache cannot join others or be joined. Begin both "
      "with shared=False."
    )
  from_B = sharding.constrain(jnp.asarray(from_B, jnp.int32), ("batch",))
  # Keys and values may have a leading layer axis.
  return jax.tree.map(lambda own, other: take(max(own.ndim - 4, 0), own, other), live, others)


@jax.jit
def leave(live: Live, tables: plans.Tables, leaves_B: jax.Array) -> Live:
  """Returns `live` without the sequences that leave; their places become empty."""
  leaves_B = sharding.constrain(jnp.asarray(leaves_B, bool), ("batch",))
  return dataclasses.replace(live, state_B=jnp.where(leaves_B, tables.end, live.state_B))
