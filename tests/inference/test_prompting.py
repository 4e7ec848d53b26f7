import dataclasses

import jax
import numpy as np
import pytest

from audiopalm import layouts, sharding
from audiopalm.errors import ConfigError
from audiopalm.inference import prompting
from audiopalm.inference.prompting import Prompt
from audiopalm.inference.sampling import Sampling
from audiopalm.models import decoder
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation

SMALL = decoder.Decoder(layers=1, width=16, heads=2, kv_heads=2, head_width=8, hidden=32)
BUILDERS = (mixtures.asr, mixtures.chain, mixtures.continuation, mixtures.text)


@pytest.fixture(scope="module")
def run(made_up):
  """A made-up run with a model that has learnt nothing."""
  made = made_up.trained(*BUILDERS, evaluation=Evaluation(decode_batch_rows=4, max_output_rows=64))
  model = SMALL.build(made.prepared.space)
  params = model.init(jax.random.key(0), sharding.mesh(made.machine))
  return dataclasses.replace(made, model=model, params=params)


def ask(run, name, prompts, max_rows=12, **sampling):
  task = prompting.find_task(run, name)
  return prompting.continuations(
    run, task, prompts, sampling=Sampling(**sampling), max_rows=max_rows, key=jax.random.key(0)
  )


def hear(made_up, text):
  return Prompt({"source.units": made_up.units_of(text)}, "[ASR English]")


def test_answers_come_in_the_order_of_the_prompts_whatever_their_length(run, made_up):
  prompts = [hear(made_up, text) for text in ("one two three four", "a", "one two")]
  together = ask(run, "asr", prompts)
  for prompt, found in zip(prompts, together, strict=True):
    (alone,) = ask(run, "asr", [prompt])
    np.testing.assert_array_equal(found.streams["source.text"], alone.streams["source.text"])
    assert found.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-4)


def test_idle_rows_change_no_answer(run, made_up):
  prompts = [hear(made_up, text) for text in ("one two three four", "a", "one two")]
  task = prompting.find_task(run, "asr")
  options = {"sampling": Sampling(), "max_rows": 12, "key": jax.random.key(0)}
  found = prompting.continuations(run, task, prompts, fill=True, **options)
  expected = prompting.continuations(run, task, prompts, **options)
  assert len(found) == 3
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_array_equal(one.streams["source.text"], other.streams["source.text"])


def test_an_answer_cut_at_the_most_rows_gives_what_came_through(run, made_up):
  (found,) = ask(run, "asr", [hear(made_up, "one two")], max_rows=5)
  assert not found.complete
  assert found.cells == len(found.streams["source.text"]) == 5


def test_an_answer_cut_in_its_first_output_has_the_others_empty(run, made_up):
  prompt = Prompt({"source.units": made_up.units_of("one")}, "[ASR AST S2ST English French]")
  (found,) = ask(run, "chain", [prompt], max_rows=2)
  assert list(found.streams) == ["source.text", "target.text", "target.units"]
  assert len(found.streams["target.units"]) == 0


def test_a_beginning_is_kept_and_continued(run, made_up):
  begun = made_up.units_of("one two")
  prompt = Prompt({}, "[CONTINUE English]", begun={"source.units": begun})
  (found,) = ask(run, "continuation", [prompt], max_rows=6, temperature=1.0)
  np.testing.assert_array_equal(found.streams["source.units"][: len(begun)], begun)
  assert len(found.streams["source.units"]) + found.complete == len(begun) + found.cells


def test_a_begun_answer_is_as_likely_as_the_same_rows_decoded_from_the_start(run, made_up):
  (whole,) = ask(run, "text", [Prompt({}, "[TEXT English]")], max_rows=9)
  begun = whole.streams["source.text"][:4]
  prompt = Prompt({}, "[TEXT English]", begun={"source.text": begun})
  (rest,) = ask(run, "text", [prompt], max_rows=5)
  np.testing.assert_array_equal(rest.streams["source.text"], whole.streams["source.text"])
  assert rest.log_likelihood > whole.log_likelihood


def test_prompts_that_begin_differently_are_refused(run):
  begun = Prompt({}, "[TEXT English]", begun={"source.text": np.asarray([ord("a")])})
  with pytest.raises(ConfigError, match="The prompts begin differently.* Ask for those apart"):
    ask(run, "text", [begun, Prompt({}, "[TEXT English]")])


def test_a_task_with_several_outputs_cannot_be_begun(run, made_up):
  chain = dataclasses.replace(mixtures.chain(made_up.CORPUS), inputs=())
  with pytest.raises(ConfigError, match="its output cannot be continued from a beginning"):
    prompting.check_begun(run, chain)


def test_inputs_that_training_predicts_are_given_when_asked(run, made_up):
  task = dataclasses.replace(mixtures.asr(made_up.CORPUS), loss_on_inputs=True)
  layout = prompting.asked_layout(run.experiment.layout, task)
  assert layouts.given_streams(layout) == ("source.units",)
  assert layouts.predicted_streams(layout) == ("source.text",)
  assert prompting.asked_layout(run.experiment.layout, task) is layout


def test_room_is_half_more_than_the_longest_answer_and_a_power_of_two(run):
  assert prompting.room(run, 0) == 8
  assert prompting.room(run, 10) == 32
  assert prompting.room(run, 1000) == run.experiment.evaluation.max_output_rows


def test_no_prompts_have_no_answers(run):
  assert ask(run, "asr", []) == []


def test_a_language_is_spoken_by_its_first_voice_that_the_tokenizer_knows(made_up):
  tones = made_up.Tones()
  corpus = dataclasses.replace(made_up.CORPUS, voices=2)
  assert prompting.voice_of(tones, corpus, "fr") == "fr-alice"
  tones.voices = ("en-anna", "fr-bruno")
  assert prompting.voice_of(tones, corpus, "fr") == "fr-bruno"
  tones.voices = ("en-anna",)
  assert prompting.voice_of(tones, corpus, "fr") is None
