"""Beam search against its definition: hypotheses as tuples on the host, and for each the whole grid
through the model, without a cache."""

import dataclasses
import functools
import itertools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import layouts, settings, sharding
from audiopalm.batch import PackedBatch
from audiopalm.data import corpora
from audiopalm.errors import ConfigError
from audiopalm.inference import cache, decode, prompting, row_step
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.layouts import Concat, Delay, Flat, Given, Stop, Tag, incremental
from audiopalm.models import decoder
from audiopalm.parts import mixtures
from audiopalm.tokens import space as spaces
from audiopalm.types import StreamSpec

ONE = settings.Machine(fsdp=1)
ROWS = 32  # of every grid the reference looks at: one compiled program
MOST = 5  # rows decoded

STREAMS = (
  StreamSpec("text", "text", (3,), None, "t"),
  StreamSpec("units", "speech", (2,), 25.0, "u"),
  StreamSpec("codes", "speech", (7, 6), 25.0, "c"),
)
ASKED = (Tag("[ASR]"), Given(Flat("source.units")))
LAYOUTS = {
  "text": Concat(*ASKED, Flat("source.text"), Stop()),
  "chain": Concat(*ASKED, Flat("source.text"), Flat("target.units"), Stop()),
  "delay": Concat(*ASKED, Delay("source.codes", (0, 1)), Stop()),
}
QUESTIONS = ((0, 1, 1, 0), (1,), (0, 0, 1, 1, 0, 1, 0, 1), (1, 1))


@functools.cache
def space():
  return spaces.build(STREAMS, LAYOUTS, lambda text: [ord(c) % 3 for c in text])


@functools.cache
def model():
  sizes = {"layers": 2, "width": 16, "heads": 4, "kv_heads": 2, "head_width": 8, "hidden": 24}
  return decoder.Decoder(**sizes, windows=(4, 0), tied=False).build(space())


@functools.cache
def params(machine=ONE):
  params = model().init(jax.random.key(1), sharding.mesh(machine))
  # Sharper logits than those of new parameters: no near ties.
  return {**params, "head": {"table": params["head"]["table"] * 3}}


@functools.cache
def plan(name):
  return incremental.compile(LAYOUTS[name], space())


def prompt(name, units):
  return layouts.prompt(LAYOUTS[name], {"source.units": np.array(units)}, "[ASR]", space())


def decoded(name, sampling, questions=QUESTIONS, max_rows=MOST, machine=ONE, **options):
  return decode.decode(
    model(),
    params(machine),
    [prompt(name, units) for units in questions],
    options.pop("plan", plan(name)),
    sampling=sampling,
    max_rows=max_rows,
    key=jax.random.key(0),
    machine=machine,
    **options,
  )


@functools.partial(jax.jit, static_argnums=0)
def all_logits(model, params, tokens_LK, visible_L, rows):
  index_L = jnp.arange(ROWS)
  segments_L = (index_L < rows).astype(jnp.int32)
  batch = PackedBatch(tokens_LK[None], None, segments_L[None], index_L[None], visible_L[None], None)
  return model.head.logits(params, model.hidden(params, batch, ONE)[0, rows - 1], 0)


@functools.cache
def continued(name, units, said):
  """Returns {next id: (its log-probability, whether the answer then has ended)}, {} at the end."""
  state, of = plan(name).start, plan(name)
  for id in said:
    state = int(of.next_SC[state, of.class_KV[0, id] if of.lead_S[state] >= 0 else 0])
  if state == of.end:
    return {}
  grid = prompt(name, units)
  tokens_LK = np.full((ROWS, space().columns), -1, np.int32)
  tokens_LK[: len(grid)] = grid.tokens_LK
  tokens_LK[len(grid) : len(grid) + len(said), 0] = said
  visible_L = np.zeros(ROWS, np.int32)
  visible_L[: len(grid)] = grid.visible_L
  logits_V = np.float64(all_logits(model(), params(), tokens_LK, visible_L, len(grid) + len(said)))
  ids = np.flatnonzero((of.class_KV[0] >= 0) & of.allowed_SKC[state, 0][of.class_KV[0]])
  log_sum = np.log(np.exp(logits_V[ids]).sum())

  def ends(id):
    return of.next_SC[state, of.class_KV[0, id] if of.lead_S[state] >= 0 else 0] == of.end

  return {int(id): (logits_V[id] - log_sum, bool(ends(id))) for id in ids}


def searched(name, units, many, score):
  """Returns (ids, log-likelihood, whether it ended) of the best by beam search of `many` beams."""
  alive, kept = [(0.0, ())], []
  for _ in range(MOST):
    found = [
      (sum_ + log_prob, (*said, id), ended)
      for sum_, said in alive
      for id, (log_prob, ended) in continued(name, units, said).items()
    ]
    found.sort(key=lambda one: -one[0])
    kept += [one[:2] for one in found[:many] if one[2]]
    kept = sorted(kept, key=lambda one: -score(one[0], len(one[1])))[:many]
    alive = [one[:2] for one in found if not one[2]][:many]
    if len(kept) == many or not alive:
      break
  (sum_, said), *_ = kept or alive
  return said, sum_, bool(kept)


def everything(name, units):
  """Returns (log-likelihood, ids) of all answers of at most MOST ids."""
  alive, answers = [(0.0, ())], []
  while alive:
    sum_, said = alive.pop()
    for id, (log_prob, ended) in continued(name, units, said).items():
      one = (sum_ + log_prob, (*said, id))
      (answers if ended else alive if len(said) + 1 < MOST else []).append(one)
  return answers


def answer(one, name, units):
  return tuple(one.tokens_LK[len(prompt(name, units)) :, 0].tolist())


@pytest.mark.parametrize("name", ["text", "chain"])
def test_one_beam_is_greedy_decoding(name):
  for one, other in zip(decoded(name, Beams(1)), decoded(name, Sampling()), strict=True):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5)
    assert (one.predicted_cells, one.complete) == (other.predicted_cells, other.complete)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("name", ["text", "chain"])
def test_as_many_beams_as_there_are_answers_find_the_best_of_all(name, length_penalty):
  every = [everything(name, units) for units in QUESTIONS]
  widest = 3**MOST
  assert max(map(len, every)) <= widest
  beams = Beams(widest, length_penalty)
  for one, units, answers in zip(decoded(name, beams), QUESTIONS, every, strict=True):
    sum_, said = max(answers, key=lambda one: beams.score(one[0], len(one[1])))
    assert answer(one, name, units) == said
    assert one.log_likelihood == pytest.approx(sum_, abs=1e-4)
    assert one.complete and one.predicted_cells == len(said)


@pytest.mark.parametrize(("many", "length_penalty"), itertools.product((2, 3, 5), (0.0, 1.5)))
@pytest.mark.parametrize("name", ["text", "chain"])
def test_a_few_beams_find_what_the_definition_finds(name, many, length_penalty):
  beams = Beams(many, length_penalty)
  for one, units in zip(decoded(name, beams), QUESTIONS, strict=True):
    said, sum_, ended = searched(name, units, many, beams.score)
    assert answer(one, name, units) == said
    assert one.log_likelihood == pytest.approx(sum_, abs=1e-4)
    assert (one.complete, one.predicted_cells) == (ended, len(said))
    if ended:
      assert layouts.recover(LAYOUTS[name], one.tokens_LK, space()).complete


def test_a_larger_length_penalty_gives_no_shorter_answers():
  lengths = [
    [one.predicted_cells for one in decoded("text", Beams(3**MOST, a))] for a in (0.0, 0.6, 2, 20)
  ]
  assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_batched_equals_alone_and_keeps_the_order():
  together = decoded("chain", Beams(3))
  for one, units in zip(together, QUESTIONS, strict=True):
    (alone,) = decoded("chain", Beams(3), [units])
    np.testing.assert_array_equal(one.tokens_LK, alone.tokens_LK)
  in_turn = decoded("chain", Beams(3), QUESTIONS[::-1], batch_rows=6)
  for one, other in zip(together, in_turn[::-1], strict=True):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)


def test_eight_devices_find_what_one_does():
  eight = settings.Machine(data=2, fsdp=2, tensor=2)
  for one, other in zip(
    decoded("chain", Beams(3)), decoded("chain", Beams(3), machine=eight), strict=True
  ):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


@pytest.mark.long  # test_decode.py has the same of the loop that beams share
def test_a_growing_cache_and_stacked_layers_change_nothing(monkeypatch):
  options = {"max_rows": 30, "sampling": Beams(3, 20.0)}  # so much likes the longest answers
  whole = decoded("chain", **options)
  monkeypatch.setattr(decode, "FIRST_ROWS", 2)
  monkeypatch.setattr(row_step, "MOST_APART", 0)
  row_step._prefilled.clear_cache()  # was compiled for layers apart
  growing = decoded("chain", **options)
  row_step._prefilled.clear_cache()
  assert max(one.predicted_cells for one in whole) > 48 - cache.SMALLEST_BUCKET
  for one, other in zip(whole, growing, strict=True):
    np.testing.assert_array_equal(one.tokens_LK, other.tokens_LK)


def test_where_no_answer_ends_the_likeliest_beginning_comes_back():
  for one, units in zip(decoded("chain", Beams(4), max_rows=2), QUESTIONS, strict=True):
    assert not one.complete and one.predicted_cells == 2
    sums = {
      (a, b): first + second
      for a, (first, _) in continued("chain", units, ()).items()
      for b, (second, _) in continued("chain", units, (a,)).items()
    }
    assert answer(one, "chain", units) == max(sums, key=sums.get)


def test_a_plan_that_has_ended_is_answered_by_nothing():
  ended = dataclasses.replace(plan("text"), start=plan("text").end)
  for one, units in zip(decoded("text", Beams(3), plan=ended), QUESTIONS, strict=True):
    assert one.complete and one.predicted_cells == 0 and one.log_likelihood == 0
    assert answer(one, "text", units) == ()


def test_several_columns_are_refused():
  with pytest.raises(
    ConfigError, match="Beam search chooses one id per row.*Decode it with beams=1"
  ):
    decoded("delay", Beams(2))


def test_a_task_of_several_columns_is_named_before_anything_is_decoded():
  task = mixtures.tts(corpora.Synthetic())
  rule = types.SimpleNamespace(layout_of=lambda task: LAYOUTS["delay"])
  made = types.SimpleNamespace(layout=rule), types.SimpleNamespace(space=space())
  trained = Trained(*made, None, None, {}, ONE, 1)
  with pytest.raises(ConfigError, match="task 'tts' does not predict one column of the grid and"):
    prompting.check_sampling(trained, task, Beams(2))
  prompting.check_sampling(trained, task, Sampling())


def test_the_score_is_that_of_the_paper():
  assert Beams(4, 0.6).score(-3.0, 7) == pytest.approx(-3.0 / ((5 + 7) ** 0.6 / (5 + 1) ** 0.6))
  assert Beams(4, 0.0).score(-3.0, 7) == -3.0
  assert math.isclose(Beams(4, 1.0).score(-3.0, 1), -3.0)
