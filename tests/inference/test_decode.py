"""Decoding against its reference: the plan walked on the host, and at every row the whole grid
through the model, without a cache."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import layouts, settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import LayoutError
from audiopalm.inference import cache, decode, row_step
from audiopalm.inference.sampling import Sampling
from audiopalm.layouts import Columns, Concat, Delay, Flat, Given, Stop, Tag, incremental
from audiopalm.models import decoder
from audiopalm.tokens import space as spaces
from audiopalm.types import HOLE, Grid, StreamSpec

ONE = settings.Machine(fsdp=1)
MOST = 12  # rows decoded
ROWS = 32  # of every grid the reference looks at: one compiled program

STREAMS = (
  StreamSpec("text", "text", (20,), None, "t"),
  StreamSpec("units", "speech", (12,), 25.0, "u"),
  StreamSpec("codes", "speech", (7, 6), 25.0, "c"),
)
ASKED = (Tag("[ASR]"), Given(Flat("source.units")))
LAYOUTS = {
  "text": Concat(*ASKED, Flat("source.text"), Stop()),
  "both ways": Concat(
    Tag("[ASR]"), Given(Flat("source.units"), both_ways=True), Flat("source.text"), Stop()
  ),
  "chain": Concat(*ASKED, Flat("source.text"), Flat("target.text"), Flat("target.units"), Stop()),
  "delay": Concat(*ASKED, Delay("source.codes", (0, 1)), Stop()),
  "beside": Concat(Tag("[ASR]"), Columns(Given(Flat("source.units")), Flat("target.text")), Stop()),
}


@functools.cache
def space():
  return spaces.build(STREAMS, LAYOUTS, lambda text: [ord(c) % 20 for c in text])


@functools.cache
def model():
  return decoder.Decoder(
    layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, windows=(6, 0), tied=False
  ).build(space())


@functools.cache
def params(machine=ONE):
  params = model().init(jax.random.key(0), sharding.mesh(machine))
  # Sharper logits than those of new parameters: no near ties between the best two ids.
  return {**params, "head": {"table": params["head"]["table"] * 3}}


def streams(length):
  return {"source.units": np.random.default_rng(length).integers(0, 12, length)}


def prompt(name, length):
  return layouts.prompt(LAYOUTS[name], streams(length), "[ASR]", space())


def decoded(name, prompts, given=None, sampling=None, seed=0, machine=ONE, **options):
  return decode.decode(
    model(),
    params(machine),
    prompts,
    incremental.compile(LAYOUTS[name], space()),
    sampling=sampling or Sampling(),
    max_rows=MOST,
    key=jax.random.key(seed),
    machine=machine,
    given=given,
    **options,
  )


@functools.partial(jax.jit, static_argnums=0)
def all_logits(model, params, tokens_LK, visible_L, rows):
  """Logits of row `rows` - 1 of a grid padded to ROWS, by the training forward pass."""
  index_L = jnp.arange(ROWS)
  segments_L = (index_L < rows).astype(jnp.int32)
  batch = PackedBatch(tokens_LK[None], None, segments_L[None], index_L[None], visible_L[None], None)
  hidden_D = model.hidden(params, batch, ONE)[0, rows - 1]
  return [model.head.logits(params, hidden_D, k) for k in range(tokens_LK.shape[1])]


def uncached(name, grid, given_LK):
  """Greedy decoding with no cache: (tokens_LK, log-likelihood, predicted cells, complete)."""
  plan = incremental.compile(LAYOUTS[name], space())
  columns = space().columns
  visible_L = np.zeros(ROWS, np.int32)
  visible_L[: len(grid)] = grid.visible_L
  rows_LK, current_K = list(grid.tokens_LK), {}
  scores, network = [], (model(), params())

  class Enough(Exception):
    pass

  def choose(row, column, ids):
    while len(rows_LK) < len(grid) + row:  # the row before is finished: read it off the walk
      rows_LK.append(np.array([current_K.get(k, HOLE) for k in range(columns)]))
      current_K.clear()
    if row == MOST:
      raise Enough
    tokens_LK = np.full((ROWS, columns), HOLE, np.int32)
    tokens_LK[: len(rows_LK)] = rows_LK
    if given_LK is not None:
      first = len(grid)
      for r in range(row):
        tokens_LK[first + r] = np.where(given_LK[r] >= 0, given_LK[r], tokens_LK[first + r])
    logits_V = np.float64(all_logits(*network, tokens_LK, visible_L, len(rows_LK))[column])
    best = ids[np.argmax(logits_V[ids])]
    chances = np.exp(logits_V[ids] - logits_V[ids].max())
    scores.append(logits_V[best] - logits_V[ids].max() - np.log(chances.sum()))
    current_K[column] = best
    return best

  try:
    after = incremental.walk(plan, choose, given_LK, plan.length_in(grid))
    return np.concatenate([grid.tokens_LK, after]), sum(scores), len(scores), True
  except Enough:
    return np.stack(rows_LK), sum(scores), len(scores), False


@pytest.mark.parametrize("name", LAYOUTS)
def test_greedy_decoding_equals_teacher_forcing_without_a_cache(name):
  lengths = (5, 3, 8)
  prompts = [prompt(name, length) for length in lengths]
  given = None
  if name == "beside":
    given = [layouts.conditioning(LAYOUTS[name], streams(n), space()) for n in lengths]
  found = decoded(name, prompts, given)
  for number, one in enumerate(found):
    tokens_LK, log_likelihood, cells, complete = uncached(
      name, prompts[number], given and given[number]
    )
    np.testing.assert_array_equal(one.tokens_LK, tokens_LK)
    assert one.log_likelihood == pytest.approx(log_likelihood, abs=1e-4)
    assert (one.predicted_cells, one.complete) == (cells, complete)
  assert any(one.complete for one in found) or name in ("chain", "delay")  # those take longer


@pytest.mark.parametrize(
  "sampling", [pytest.param(Sampling(), marks=pytest.mark.long), Sampling(1.0, top_k=5, top_p=0.9)]
)
def test_batched_equals_alone(sampling):
  prompts = [prompt("text", length) for length in (3, 20, 9, 4)]
  together = decoded("text", prompts, sampling=sampling)
  for one, grid in zip(together, prompts, strict=True):
    (alone,) = decoded("text", [grid], sampling=sampling)
    np.testing.assert_array_equal(one.tokens_LK, alone.tokens_LK)
    assert one.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-4)
  in_twos = decoded("text", prompts[::-1], sampling=sampling, batch_rows=2)
  for one, other in zip(together, in_twos[::-1], strict=True):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)


def test_draws_differ_by_seed_and_between_equal_prompts():
  grid = prompt("text", 5)
  draw = functools.partial(decoded, "text", sampling=Sampling(temperature=2.0))
  first, second = draw([grid, grid])
  (again,) = draw([grid])
  (other,) = draw([grid], seed=1)
  np.testing.assert_array_equal(first.tokens_LK, again.tokens_LK)
  for one in (second, other):
    assert one.tokens_LK.tolist() != first.tokens_LK.tolist()


def test_eight_devices_decode_what_one_does():
  prompts = [prompt("delay", length) for length in (5, 3, 8)]
  eight = settings.Machine(data=2, fsdp=2, tensor=2)
  for one, other in zip(
    decoded("delay", prompts), decoded("delay", prompts, machine=eight), strict=True
  ):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


def test_every_drawn_grid_can_be_read_whole_or_breaks_off():
  lengths = range(1, 9)
  prompts = [prompt("chain", length) for length in lengths]
  outputs = decoded("chain", prompts, sampling=Sampling(temperature=3.0))
  for one, grid in zip(outputs, prompts, strict=True):
    assert one.predicted_cells == len(one.tokens_LK) - len(grid) <= MOST
    if one.complete:
      assert layouts.recover(LAYOUTS["chain"], one.tokens_LK, space()).complete
  assert {one.complete for one in outputs} == {True, False}


def test_lengths_go_into_few_buckets():
  assert [cache.bucket(n) for n in (1, 32, 33, 48, 49, 64, 65, 97, 129)] == [
    32, 32, 48, 48, 64, 64, 96, 128, 192,
  ]  # fmt: skip


def test_a_cache_begins_small_and_ends_with_room_for_all():
  assert decode.stages(64, 256) == [128, 256, 384]
  assert decode.stages(64, 10) == [96]
  assert decode.stages(1, 128) == [96, 192]


def test_a_growing_cache_and_stacked_layers_change_nothing(monkeypatch):
  monkeypatch.setitem(globals(), "MOST", 40)
  prompts = [prompt("delay", length) for length in (5, 3, 8)]
  whole = decoded("delay", prompts)
  monkeypatch.setattr(decode, "FIRST_ROWS", 2)
  assert decode.stages(cache.SMALLEST_BUCKET, MOST) == [48, 96]
  growing = decoded("delay", prompts)
  monkeypatch.setattr(row_step, "MOST_APART", 0)
  row_step._prefilled.clear_cache()  # was compiled for layers apart
  stacked = decoded("delay", prompts)
  row_step._prefilled.clear_cache()
  new_rows = [len(one.tokens_LK) - len(asked) for one, asked in zip(whole, prompts, strict=True)]
  assert max(new_rows) > 48 - cache.SMALLEST_BUCKET  # beyond the first stage
  for one, *others in zip(whole, growing, stacked, strict=True):
    for other in others:
      np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)
      assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


def test_a_plan_that_reads_a_given_column_wants_it():
  with pytest.raises(LayoutError, match="no conditioning grid came. Pass given="):
    decoded("beside", [prompt("beside", 4)])


def test_a_prompt_without_rows_is_refused():
  empty = Grid(np.zeros((0, 2), np.int32), np.zeros((0, 2), np.float32), np.zeros(0, np.int32))
  with pytest.raises(LayoutError, match="A prompt has no rows.*Give it a Tag"):
    decoded("text", [empty])


def test_no_prompts_give_nothing():
  assert decoded("text", []) == []


def test_results_keep_the_order_of_the_prompts():
  prompts = [prompt("text", length) for length in (9, 3, 6)]
  for one, grid in zip(decoded("text", prompts), prompts, strict=True):
    np.testing.assert_array_equal(one.tokens_LK[: len(grid)], grid.tokens_LK)


def test_a_plan_may_start_in_another_state():
  plan = incremental.compile(LAYOUTS["text"], space())
  ended = dataclasses.replace(plan, start=plan.end)
  (one,) = decode.decode(
    model(), params(), [prompt("text", 4)], ended,
    sampling=Sampling(), max_rows=MOST, key=jax.random.key(0), machine=ONE,
  )  # fmt: skip
  assert one.complete and one.predicted_cells == 0 and one.log_likelihood == 0
  assert len(one.tokens_LK) == len(prompt("text", 4))
