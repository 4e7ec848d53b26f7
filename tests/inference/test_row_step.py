"""The row step: alone, in a loop, in a batch that others join and leave; and what it finds likely
beside the pass that trains, for every kind of layout and head."""

import contextlib
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import layouts, settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError, LayoutError
from audiopalm.inference import decode, plans, row_step
from audiopalm.inference.sampling import Sampling
from audiopalm.layouts import (
  CoarseFirst,
  Columns,
  Concat,
  Delay,
  Flat,
  Given,
  Infill,
  Interleave,
  Repeat,
  Stop,
  Tag,
  incremental,
)
from audiopalm.models import decoder, depth
from audiopalm.objectives import next_token
from audiopalm.tokens import space as spaces
from audiopalm.types import HOLE, StreamSpec

ONE = settings.Machine(fsdp=1)
EIGHT = settings.Machine(data=2, fsdp=2, tensor=2)
MOST = 8  # rows decoded
ROWS = 32  # of the grids that are scored
LENGTHS = (5, 3, 6)
SLOTS = 64
DRAWN = Sampling(temperature=1.5)

STREAMS = (
  StreamSpec("text", "text", (20,), None, "t"),
  StreamSpec("units", "speech", (12,), 25.0, "u"),
  StreamSpec("codes", "speech", (7, 6), 25.0, "c"),
)
ASKED = (Tag("[TTS]"), Given(Flat("source.units")))
LAYOUTS = {
  "flat": Concat(*ASKED, Flat("target.text"), Flat("target.codes"), Stop()),
  "coarse first": Concat(*ASKED, CoarseFirst("target.codes", (0, 1)), Stop()),
  "delayed": Concat(*ASKED, Delay("target.codes", (0, 1)), Stop()),
  "side by side": Concat(*ASKED, Delay("target.codes", (0, 0)), Stop()),
  "repeated": Concat(
    *ASKED, Columns(Repeat(Flat("target.units"), 2), Delay("target.codes", (0, 1))), Stop()
  ),
  "given beside": Concat(
    Tag("[TTS]"), Columns(Given(Flat("source.units")), Delay("target.codes", (0, 1))), Stop()
  ),
  "given behind": Concat(
    Tag("[TTS]"), Columns(Flat("target.text"), Given(Flat("source.units"))), Stop()
  ),
  "both ways": Concat(
    Tag("[TTS]"), Given(Flat("source.units"), both_ways=True), Flat("target.text"), Stop()
  ),
  "interleaved": Concat(Tag("[TTS]"), Interleave("target.text", "target.units"), Stop()),
  "interleaved columns": Concat(
    Tag("[TTS]"), Interleave("target.text", Delay("target.codes", (0, 1))), Stop()
  ),
  "in spans": Concat(*ASKED, Infill(Delay("target.codes", (0, 1)), spans=(1, 2)), Stop()),
}
DECODER = decoder.Decoder(
  layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, windows=(6, 0), tied=False
)
HEADS = {"parallel": None, "depth": depth.DepthTransformer(layers=2, width=16, heads=2, hidden=24)}
EVERY = [(name, head) for name in LAYOUTS for head in HEADS]


@functools.cache
def space():
  return spaces.build(STREAMS, LAYOUTS, lambda text: [ord(c) % 20 for c in text])


@functools.cache
def model(head):
  return dataclasses.replace(DECODER, depth_head=HEADS[head]).build(space())


@functools.cache
def params(head, machine=ONE):
  params = model(head).init(jax.random.key(0), sharding.mesh(machine))
  return {**params, "head": {"table": params["head"]["table"] * 3}}


@functools.cache
def read(head, machine=ONE):
  with jax.set_mesh(sharding.mesh(machine)):
    return row_step.read(model(head), params(head, machine), machine)


@functools.cache
def plan(name):
  return incremental.compile(LAYOUTS[name], space())


def streams(length):
  return {"source.units": np.random.default_rng(length).integers(0, 12, length)}


def prompt(name, length):
  """Returns a prompt from `length` units; "in spans" with one hole, or two for an even length."""
  given, holes = streams(length), None
  if name == "in spans":
    given["target.codes"] = np.random.default_rng(length).integers(0, 6, (3, 2))
    holes = ((0, 1), (2, 3)) if length % 2 == 0 else ((1, 2),)
  return layouts.prompt(LAYOUTS[name], given, "[TTS]", space(), holes=holes)


def conditioning(name, length):
  """Returns given_RK of MOST rows: holes where the layout gives nothing beside what it predicts."""
  given_RK = np.full((MOST, space().columns), HOLE, np.int32)
  if name.startswith("given"):
    own_RK = layouts.conditioning(LAYOUTS[name], streams(length), space())[:MOST]
    given_RK[: len(own_RK)] = own_RK
  return given_RK


@functools.partial(jax.jit, static_argnames=("head", "machine"))
def one_row(head, params, tables, live, given_BK, machine=ONE):
  return row_step.row(model(head), params, tables, live, given_BK, sampling=DRAWN, machine=machine)


def looped(name, head, machine=ONE):
  given = [conditioning(name, n) for n in LENGTHS] if name.startswith("given") else None
  return decode.decode(
    model(head), params(head, machine), [prompt(name, n) for n in LENGTHS], plan(name),
    sampling=DRAWN, max_rows=MOST, key=jax.random.key(7), machine=machine, given=given,
  )  # fmt: skip


def keys(name):
  """Returns the keys that `decode` draws with."""
  return decode._keys([prompt(name, n) for n in LENGTHS], jax.random.key(7))


def stepped(name, head, shared):
  """Returns (cells_BRK, what is live after each row) of rows that are made one by one."""
  tables, found, cells = plans.tables(plan(name)), [], []
  given_BRK = np.stack([conditioning(name, n) for n in (*LENGTHS, LENGTHS[0])])
  asked = [prompt(name, n) for n in LENGTHS]
  # As `decode` lays them: the shortest prompts come first, and a power of two of them.
  order = np.argsort([len(grid) for grid in asked], kind="stable")
  with jax.set_mesh(sharding.mesh(ONE)):
    live = row_step.begin(
      model(head), params(head), plan(name), [asked[b] for b in order],
      keys(name)[order], ONE, batch_rows=4, slots=48, shared=shared,
    )  # fmt: skip
    for row in range(MOST):
      live, cells_BK = one_row(head, read(head), tables, live, given_BRK[[*order, 3], row])
      cells.append(np.asarray(cells_BK))
      found.append(jax.tree.map(np.asarray, dataclasses.replace(live, cache=None, key_B=None)))
  back = np.argsort(order)
  return np.stack(cells, axis=1)[back], [
    jax.tree.map(lambda array: array[back], one) for one in found
  ]


@functools.partial(jax.jit, static_argnums=0)
def by_training(head, params, batch):
  """Returns (logits of each column, scores of each column) by the pass that trains."""
  of, targets = model(head), next_token.shifted(batch)
  hidden_BLD = of.hidden(params, batch, ONE)
  cells = list(next_token.scored(of, params, hidden_BLD, targets, ONE))
  states = of.head.states(params, hidden_BLD, targets.tokens_BLK, ONE)
  logits = [of.head.logits(params, states_BLD, k) for k, states_BLD in enumerate(states)]
  return logits, [one.nll_BL for one in cells]


def batch_of(grids, visible):
  tokens_BLK = np.full((len(grids), ROWS, space().columns), HOLE, np.int32)
  segments_BL, visible_BL = np.zeros((2, len(grids), ROWS), np.int32)
  for b, (tokens_LK, visible_L) in enumerate(zip(grids, visible, strict=True)):
    tokens_BLK[b, : len(tokens_LK)] = tokens_LK
    segments_BL[b, : len(tokens_LK)] = 1
    visible_BL[b, : len(visible_L)] = visible_L
  weights_BLK = np.ones(tokens_BLK.shape, np.float32)
  positions_BL = np.tile(np.arange(ROWS, dtype=np.int32), (len(grids), 1))
  return PackedBatch(tokens_BLK, weights_BLK, segments_BL, positions_BL, visible_BL, None)


def predicted(name, length, after_LK):
  """Returns (row, column, ids the plan allows) of every predicted cell of the rows decoded."""
  found = []

  class Enough(Exception):
    pass

  def choose(row, column, ids):
    if row == len(after_LK):
      raise Enough
    found.append((row, column, ids))
    return after_LK[row, column]

  given_LK = np.concatenate([conditioning(name, length), np.full((1, space().columns), HOLE)])
  with contextlib.suppress(Enough):  # the rows decoded may break off before the plan ends
    incremental.walk(plan(name), choose, given_LK, plan(name).length_in(prompt(name, length)))
  return found


@pytest.mark.parametrize(("name", "head"), EVERY)
def test_rows_one_by_one_equal_the_loop_and_the_pass_that_trains(name, head):
  loop = looped(name, head)
  cells_BRK, after = stepped(name, head, shared=True)
  visible = [prompt(name, n).visible_L for n in LENGTHS]
  logits, nll = by_training(head, params(head), batch_of([one.tokens_LK for one in loop], visible))
  for b, (one, length) in enumerate(zip(loop, LENGTHS, strict=True)):
    asked = len(prompt(name, length))
    rows = len(one.tokens_LK) - asked
    assert after[-1].rows_B[b] == rows
    np.testing.assert_array_equal(one.tokens_LK[asked:], cells_BRK[b, :rows])
    # The loop is compiled as another program, whose sums may round differently.
    assert one.log_likelihood == pytest.approx(after[-1].log_likelihood_B[b], rel=1e-5)
    assert one.predicted_cells == after[-1].cells_B[b]

    likely_R = np.zeros(rows)
    told = predicted(name, length, one.tokens_LK[asked:])
    assert len(told) == one.predicted_cells
    for row, column, ids in told:
      at, cell = asked - 1 + row, one.tokens_LK[asked + row, column]
      logits_V = np.float64(logits[column][b, at, : space().sizes[column]])
      likely_R[row] += logits_V[cell] - np.logaddexp.reduce(logits_V[ids])
      assert nll[column][b, at] == pytest.approx(
        np.logaddexp.reduce(logits_V) - logits_V[cell], abs=1e-4
      )
    sums_R = [live.log_likelihood_B[b] for live in after[:rows]]
    np.testing.assert_allclose(np.diff(sums_R, prepend=0.0), likely_R, atol=5e-5)


def test_slots_of_their_own_change_no_cell():
  shared, own = (stepped("delayed", "depth", shared) for shared in (True, False))
  np.testing.assert_array_equal(shared[0], own[0])
  np.testing.assert_allclose(shared[1][-1].log_likelihood_B, own[1][-1].log_likelihood_B, rtol=1e-5)


class Server:
  """A batch of four places in one program: sequences come, are given their rows, and go."""

  def __init__(self, name, head, machine=ONE):
    self.name, self.head, self.machine = name, head, machine
    self.tables = plans.tables(plan(name))
    self.lengths = [None] * 4
    self.said = {}
    self.live = self._begin([], None, 4)

  def _begin(self, lengths, key_B, batch_rows):
    return row_step.begin(
      model(self.head), params(self.head, self.machine), plan(self.name),
      [prompt(self.name, n) for n in lengths], key_B, self.machine,
      batch_rows=batch_rows, slots=SLOTS,
    )  # fmt: skip

  def join(self, places):
    """Lets prompts of these lengths, by place, begin together."""
    lengths = list(places.values())
    key_B = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(3), n))(np.array(lengths))
    from_B = np.full(4, -1)
    for number, (place, length) in enumerate(places.items()):
      from_B[place], self.lengths[place], self.said[length] = number, length, []
    self.live = row_step.join(self.live, self._begin(lengths, key_B, 4), from_B)

  def leave(self, place):
    self.live = row_step.leave(self.live, self.tables, np.arange(4) == place)
    self.lengths[place] = None

  def rows(self, count):
    for _ in range(count):
      rows_B = np.asarray(self.live.rows_B)
      given_BK = np.full((4, space().columns), HOLE, np.int32)
      for place, length in enumerate(self.lengths):
        if length is not None and rows_B[place] < MOST:
          given_BK[place] = conditioning(self.name, length)[rows_B[place]]
      going_B = np.asarray(self.live.state_B) != plan(self.name).end
      arrays = sharding.place({"given": given_BK}, sharding.mesh(self.machine), ("batch",))
      self.live, cells_BK = one_row(
        self.head, read(self.head, self.machine), self.tables, self.live, arrays["given"],
        self.machine,
      )  # fmt: skip
      sums_B = np.asarray(self.live.log_likelihood_B)
      for place, length in enumerate(self.lengths):
        if length is not None and going_B[place]:
          self.said[length].append((*np.asarray(cells_BK)[place].tolist(), sums_B[place]))


def come_and_gone(name, head, machine=ONE):
  """Returns the rows of each of four sequences, by length, decoded in company."""
  server = Server(name, head, machine)
  server.join({0: 5, 2: 9})
  server.rows(3)
  server.join({1: 3})
  server.rows(2)
  server.leave(2)
  server.rows(1)
  server.join({2: 4})  # in the place of one that left
  server.rows(5)
  return server.said


PLACES = {5: (0, 11), 9: (2, 5), 3: (1, 8), 4: (2, 5)}  # by length: the place, the rows there


@pytest.mark.parametrize(("name", "head"), EVERY)
def test_sequences_that_join_and_leave_decode_as_they_do_alone(name, head):
  with jax.set_mesh(sharding.mesh(ONE)):
    together = come_and_gone(name, head)
    for length, (place, rows) in PLACES.items():
      alone = Server(name, head)
      alone.join({place: length})
      alone.rows(rows)
      assert alone.said[length]
      assert alone.said[length] == together[length]  # cells and sums, to the bit


@pytest.mark.long
@pytest.mark.parametrize("head", HEADS)
def test_eight_devices_draw_join_and_leave_as_one_does(head):
  with jax.set_mesh(sharding.mesh(ONE)):
    one = come_and_gone("side by side", head)
  with jax.set_mesh(sharding.mesh(EIGHT)):
    eight = come_and_gone("side by side", head, EIGHT)
  for length, said in one.items():
    assert [row[:-1] for row in said] == [row[:-1] for row in eight[length]]
    np.testing.assert_allclose(
      [row[-1] for row in said], [row[-1] for row in eight[length]], atol=1e-4
    )
  for alone, others in zip(looped("delayed", head), looped("delayed", head, EIGHT), strict=True):
    np.testing.assert_array_equal(alone.tokens_LK, others.tokens_LK)
    assert alone.log_likelihood == pytest.approx(others.log_likelihood, abs=1e-4)


def test_keys_of_their_own_make_equal_prompts_differ():
  key_B = jax.random.split(jax.random.key(0), 2)
  asked = [prompt("flat", 5)] * 2
  with jax.set_mesh(sharding.mesh(ONE)):
    live = row_step.begin(
      model("parallel"), params("parallel"), plan("flat"), asked, key_B, ONE, batch_rows=4, slots=48
    )
    said = []
    for _ in range(MOST):
      live, cells_BK = one_row("parallel", read("parallel"), plans.tables(plan("flat")), live,
                               np.full((4, space().columns), HOLE, np.int32))  # fmt: skip
      said.append(np.asarray(cells_BK)[:2])
  assert (np.stack(said)[:, 0] != np.stack(said)[:, 1]).any()


def begun(**options):
  return row_step.begin(
    model("parallel"), params("parallel"), plan("flat"), [prompt("flat", 5)],
    jax.random.split(jax.random.key(0), 1), ONE, batch_rows=4, **options,
  )  # fmt: skip


def test_a_cache_that_prompts_fill_is_refused():
  with jax.set_mesh(sharding.mesh(ONE)):
    with pytest.raises(ConfigError, match="take 32 slots of the cache, which leaves no room.* 32"):
      begun(slots=32)


def test_sequences_that_share_slots_are_not_joined():
  with jax.set_mesh(sharding.mesh(ONE)):
    shared, own = begun(slots=48, shared=True), begun(slots=48)
    with pytest.raises(ConfigError, match="share the slots of their cache.*shared=False"):
      row_step.join(shared, own, jnp.full(4, -1))


def test_a_lead_that_is_drawn_late_is_refused():
  of = plan("side by side")
  late = dataclasses.replace(
    of, mode_SK=of.mode_SK[:, [1, 0, 2]], lead_S=np.where(of.lead_S == 0, 1, of.lead_S)
  )
  with pytest.raises(LayoutError, match="column 0 ends in the row where column 1 does"):
    plans.tables(late)
