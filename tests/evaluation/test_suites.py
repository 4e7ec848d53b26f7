import dataclasses

import pytest

from audiopalm.errors import ConfigError
from audiopalm.evaluation import suites
from audiopalm.parts import mixtures

EVERY = (
  mixtures.asr, mixtures.tts, mixtures.ast, mixtures.s2st, mixtures.mt, mixtures.asr_ast,
  mixtures.chain, mixtures.continuation, mixtures.text,
)  # fmt: skip


def kinds(run, tasks=None):
  return suites.kinds(tasks or run.experiment.tasks, run.prepared.space.streams)


@pytest.fixture
def members(made_up):
  """The suites of a made-up run of these tasks."""

  def of(*builders):
    return suites.members(kinds(made_up.trained(*builders)).values())

  return of


@pytest.fixture
def chosen(made_up):
  def choose(*names, builders=EVERY, pairs=False):
    return suites.choose(names, kinds(made_up.trained(*builders)), pairs=pairs)

  return choose


def test_tasks_are_in_suites_by_what_they_do_each_with_the_output_that_counts(members):
  assert members(*EVERY) == {
    "recognition": {"asr": "source.text", "asr_ast": "source.text", "chain": "source.text"},
    "translation": {
      "ast": "target.text", "mt": "target.text", "asr_ast": "target.text", "chain": "target.text",
    },
    "speech_out": {"tts": "target.units", "s2st": "target.units", "chain": "target.units"},
    "retention": {"mt": "target.text", "text": "source.text"},
    "zero_resource": {"continuation": "source.units", "text": "source.text"},
  }  # fmt: skip


def test_the_names_of_tasks_say_nothing(members):
  def named_mt(corpus):
    return dataclasses.replace(mixtures.asr(corpus), name="mt")

  assert members(named_mt) == {"recognition": {"mt": "source.text"}}


def test_words_in_one_language_alone_are_no_translation(made_up):
  run = made_up.trained(mixtures.mt)
  (task,) = run.experiment.tasks
  same = dataclasses.replace(task, outputs=(("source", "text"),))
  assert list(suites.members(kinds(run, [same]).values())) == ["retention"]


def test_suites_choose_the_tasks_to_be_asked_in_the_order_of_the_mixture(chosen):
  assert chosen("retention", "recognition") == (
    ["recognition", "retention"],
    ["asr", "mt", "asr_ast", "chain", "text"],
  )


def test_all_is_every_suite_there_is_something_for_and_every_task(chosen):
  assert chosen("all", builders=(mixtures.asr, mixtures.continuation)) == (
    ["recognition"],
    ["asr", "continuation"],
  )
  found, _ = chosen("all", builders=(mixtures.asr, mixtures.continuation), pairs=True)
  assert found == ["recognition", "zero_resource"]


def test_pairs_alone_ask_no_task(chosen):
  assert chosen("zero_resource", pairs=True) == (["zero_resource"], [])


TASKS = "Tasks of this run: asr from source.units to source.text (recognition); continuation from "


@pytest.mark.parametrize(
  ("names", "pairs", "text"),
  [
    (["speach"], False, "Unknown suite 'speach'. Known: recognition, translation, speech_out, "
     f"retention, zero_resource, and all. {TASKS}"),
    (["translation"], False, "Suite 'translation' has no task in this run: it needs one with "
     f"text out in another language than the input. {TASKS}nothing to source.units (zero_resource"),
    (["zero_resource"], False, "judges pairs of a right and a wrong text or recording: name their"),
    (["recognition"], True, "Pairs are judged in the suite zero_resource: name it too, or no pai"),
  ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_told_with_what_tasks_do(chosen, names, pairs, text):
  with pytest.raises(ConfigError) as error:
    chosen(*names, builders=(mixtures.asr, mixtures.continuation), pairs=pairs)
  assert text in str(error.value)


def test_a_section_has_the_leading_scores_of_the_output_that_counts():
  outputs = {
    "source.text": {"wer": 0.1, "cer": 0.05, "intervals": {"wer": [0.0, 0.2]}},
    "source.units": {"wer": 0.4, "mcd": 5.0},
  }
  scores = {"echo": {**outputs["source.text"], "mcd": 5.0, "outputs": outputs, "examples": 3}}
  there = {"recognition": {"echo": "source.text"}, "speech_out": {"echo": "source.units"}}
  assert suites.sections(scores, there, [], {}) == {
    "recognition": {
      "echo": {"wer": 0.1, "cer": 0.05, "intervals": {"wer": [0.0, 0.2]}, "examples": 3}
    },
    "speech_out": {"echo": {"wer": 0.4, "mcd": 5.0, "examples": 3}},
  }


def test_pairs_of_languages_stand_below_their_task_and_those_never_trained_on_are_marked():
  pairs = {"en-fr": {"bleu": 30.0, "examples": 2}, "fr-en": {"bleu": 10.0, "examples": 1}}
  scores = {"ast": {"bleu": 30.0, "nll": 1.0, "examples": 2, "languages": pairs}}
  there = {"translation": {"ast": "target.text", "mt": "target.text"}}
  found = suites.sections(scores, there, {("ast", "fr-en"), ("mt", "en-fr")}, {})
  assert found == {
    "translation": {
      "ast": {
        "bleu": 30.0,
        "examples": 2,
        "languages": {"en-fr": pairs["en-fr"], "fr-en": {**pairs["fr-en"], "zero_shot": True}},
      }
    }
  }


def test_the_likelihood_is_the_tasks_also_where_it_has_several_outputs():
  scores = {"by": {"nll": 2.0, "bleu": 9.0, "outputs": {"c.text": {"bleu": 5.0}}, "examples": 1}}
  found = suites.sections(scores, {"retention": {"by": "c.text"}}, [], {})
  assert found == {"retention": {"by": {"nll": 2.0, "bleu": 5.0, "examples": 1}}}


def test_judged_pairs_are_a_section_by_manifest():
  judged = {"swuggy": {"accuracy": 0.7, "accuracy_per_token": 0.6, "examples": 9, "kinds": {}}}
  assert suites.sections({}, {}, [], judged) == {
    "zero_resource": {"swuggy": {"accuracy": 0.7, "accuracy_per_token": 0.6, "examples": 9}}
  }
