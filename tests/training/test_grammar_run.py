"""Turns of text and speech, and spans that are filled: trained, resumed, decoded."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from audiopalm import layouts, sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError, LayoutError
from audiopalm.inference import decode, prompting
from audiopalm.inference.prompting import Prompt
from audiopalm.inference.sampling import Sampling
from audiopalm.inference.trained import Trained
from audiopalm.layouts import (
  Concat,
  Delay,
  Flat,
  Given,
  Infill,
  Infilling,
  Interleaving,
  Stop,
  Tag,
  incremental,
)  # fmt: skip
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation
from audiopalm.tokens import space as token_space
from audiopalm.training import metrics
from audiopalm.types import HOLE, StreamSpec

TURNS = Interleaving(text_words=(1, 2), unit_words=(1, 2))
RULE = Infilling(("units",), (1, 2), (1, 6), 2, to_end=0.3, chain=TURNS)
ROWS = 128  # of every grid the model looks at whole: one compiled program
MOST = 64  # long enough for one of a few answers to end


@pytest.fixture(scope="module")
def made(tiny):
  turns = dataclasses.replace(mixtures.interleaved(tiny.CORPUS), tag="[IN {source}]")
  mixture = mixtures.blend((turns, 2.0), (mixtures.tts(tiny.CORPUS), 1.0))
  evaluation = Evaluation(every_steps=2, held_out_batch_rows=8)
  changes = {"mixture": mixture, "layout": RULE, "evaluation": evaluation}
  return tiny.experiment(steps=4, checkpoint_every_steps=2, **changes)


@pytest.fixture(scope="module")
def straight(tiny, made, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("grammar")
  return workdir, tiny.run(workdir, made)


@pytest.fixture(scope="module")
def trained(tiny, made, straight):
  """Returns (model, params, space) of the run."""
  prepared, mesh = tiny.Prepared(made), sharding.mesh(tiny.ONE)
  model = made.model.build(prepared.space)
  shapes = model.shapes(mesh)
  params = tiny.saved(straight[0], made).params
  place = jax.tree.map(lambda array, shape: jax.device_put(array, shape.sharding), params, shapes)
  return model, place, prepared


def digests(workdir):
  return [line["batch"] for line in metrics.read(workdir) if "batch" in line]


def test_it_trains_and_every_task_has_a_held_out_loss(straight):
  workdir, summary = straight
  held_out = [line["held_out"] for line in metrics.read(workdir) if "held_out" in line]
  assert summary.step == 4 and len(held_out) >= 2
  for task in ("interleaved", "tts"):
    assert held_out[-1][task]["loss"] < held_out[0][task]["loss"]


def test_a_resumed_run_is_an_uninterrupted_one(tiny, made, straight, tmp_path):
  tiny.run(tmp_path, dataclasses.replace(made, steps=2))
  tiny.run(tmp_path, made)
  one, other = (tiny.saved(workdir, made) for workdir in (straight[0], tmp_path))
  jax.tree.map(np.testing.assert_array_equal, one, other)
  assert digests(straight[0]) == digests(tmp_path) and len(digests(tmp_path)) == 4


def questions(prepared, name):
  """Returns (layout, prompts): of turns their tag, of spans what is around one and two holes."""
  layout, space = prepared.layouts[name], prepared.space
  tags = layout.tag_strings()
  if name == "interleaved":
    return layout, [layouts.prompt(layout, {}, tag, space) for tag in (*tags, *tags)]
  streams = {"target.text": np.arange(4), "target.units": np.arange(9)}
  holes = (None, [(9, 9)], [(2, 5)], [(0, 2), (6, 9)])
  return layout, [layouts.prompt(layout, streams, tags[0], space, holes=each) for each in holes]


@functools.partial(jax.jit, static_argnames=("model", "machine"))
def logits_of(model, params, batch, machine):
  hidden_LD = model.hidden(params, batch, machine)[0]
  return [model.head.logits(params, hidden_LD, column) for column in range(len(model.sizes))]


def teacher_forced(model, params, machine, plan, prompt, tokens_LK):
  """Returns the log-likelihood of a grid behind its prompt, from one pass over all of it."""
  padded_LK = np.full((ROWS, tokens_LK.shape[1]), HOLE, np.int32)
  padded_LK[: len(tokens_LK)] = tokens_LK
  rows_L = np.arange(ROWS)
  here_L = (rows_L < len(tokens_LK)).astype(np.int32)
  batch = PackedBatch(padded_LK[None], None, here_L[None], rows_L[None], 0 * here_L[None], None)
  logits_KLV = [np.float64(one) for one in logits_of(model, params, batch, machine)]
  score = 0.0

  def follow(row, k, ids):
    nonlocal score
    logits_V = logits_KLV[k][len(prompt) + row - 1]
    id_ = tokens_LK[len(prompt) + row, k]
    assert id_ in ids
    score += logits_V[id_] - logits_V[ids].max()
    score -= np.log(np.exp(logits_V[ids] - logits_V[ids].max()).sum())
    return id_

  incremental.walk(plan, follow, None, plan.length_in(prompt))
  return score


def assert_decodes(model, params, machine, layout, space, prompts):
  """Asserts that decoded grids are the layout's, and as likely as teacher forcing says."""
  plan = incremental.compile(layout, space)
  decoded = decode.decode(
    model, params, prompts, plan, sampling=Sampling(1.0), max_rows=MOST,
    key=jax.random.key(3), machine=machine,
  )  # fmt: skip
  for prompt, one in zip(prompts, decoded, strict=True):
    np.testing.assert_array_equal(one.tokens_LK[: len(prompt)], prompt.tokens_LK)
    try:
      found = layouts.recover(layout, one.tokens_LK, space)
    except LayoutError as error:
      assert not one.complete and "ends before" in str(error)
      continue
    assert found.complete == one.complete
    if one.complete:
      again = layouts.realize(layout, found.streams, found.tag, space, pieces=found.pieces)
      np.testing.assert_array_equal(again.tokens_LK, one.tokens_LK)
      score = teacher_forced(model, params, machine, plan, prompt, one.tokens_LK)
      assert one.log_likelihood == pytest.approx(score, abs=1e-3)
  assert any(one.complete for one in decoded)
  return [plan.length_in(prompt) for prompt in prompts]


@pytest.mark.parametrize("name", ["interleaved", "tts"])
def test_what_a_trained_model_says_is_a_grid_of_its_task(tiny, trained, name):
  model, params, prepared = trained
  layout, prompts = questions(prepared, name)
  places = assert_decodes(model, params, tiny.ONE, layout, prepared.space, prompts)
  assert places == {"interleaved": [0] * 4, "tts": [1, 1, 1, 2]}[name]


def test_a_hole_is_filled_and_a_beginning_is_continued(tiny, made, trained):
  model, params, prepared = trained
  run = Trained(made, prepared, model, params, {}, tiny.ONE, 4)
  turns, tts = made.tasks
  ask = functools.partial(
    prompting.continuations, run, sampling=Sampling(1.0), max_rows=MOST, key=jax.random.key(0)
  )
  streams = {"target.text": np.arange(4), "target.units": np.arange(9)}
  tag = prepared.layouts["tts"].tag_strings()[0]
  (said,) = ask(tts, [Prompt(streams, tag, holes=[(2, 5)])])
  units = said.streams["target.units"].tolist()
  assert units[:2] == [0, 1] and units[-4:] == [5, 6, 7, 8]
  tag = prepared.layouts["interleaved"].tag_strings()[0]
  spoken = Prompt({}, tag, begun={"source.text": [1, 2], "source.units": []})
  (said,) = ask(turns, [spoken])
  assert said.streams["source.text"][:2].tolist() == [1, 2] and len(said.streams["source.units"])
  written = Prompt({}, tag, begun={"source.text": [1, 2]})
  with pytest.raises(
    ConfigError, match="prompts begin differently: their answers continue in differ"
  ):
    ask(turns, [spoken, written])


def test_spans_of_delayed_codes_are_decoded_in_all_columns(tiny):
  layout = Concat(
    Tag("[TTS]"), Given(Flat("a.text")), Infill(Delay("a.codes", (0, 1)), spans=(1, 2)), Stop()
  )
  specs = (
    StreamSpec("text", "text", (40,), None, "t"),
    StreamSpec("codes", "speech", (2, 3), 25.0, "c"),
  )
  space = token_space.build(specs, {"tts": layout}, lambda tag: [1, 2])
  model = tiny.experiment().model.build(space)
  params = tiny.params(model, sharding.mesh(tiny.ONE))
  streams = {"a.text": np.arange(3), "a.codes": np.ones((6, 2), int)}
  holes = (None, [(6, 6)], [(0, 2), (4, 5)], [(1, 3)])
  prompts = [layouts.prompt(layout, streams, "[TTS]", space, holes=each) for each in holes]
  places = assert_decodes(model, params, tiny.ONE, layout, space, prompts)
  assert places == [1, 1, 2, 1]
