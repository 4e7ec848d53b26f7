import numpy as np

from audiopalm import layouts
from audiopalm.evaluation import speech, suites, trials
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Sampling
from audiopalm.layouts import placing
from audiopalm.parts import mixtures


def kinds(run):
  return list(suites.kinds(run.experiment.tasks, run.prepared.space.streams).values())


def test_so_many_of_each_group_are_drawn_always_the_same():
  groups = ["en"] * 50 + ["fr"] * 3
  drawn = trials.draw(groups, 10)
  assert len(drawn) == 13
  assert drawn == sorted(set(drawn))
  assert drawn[-3:] == [50, 51, 52]
  assert trials.draw(groups, 10) == drawn


def test_texts_of_another_language_compare_as_translations(made_up):
  chain, tts = kinds(made_up.trained(mixtures.chain, mixtures.tts))
  assert chain.measure("source") == "words"
  assert chain.measure("target") == "translation"
  assert tts.measure("target") == "words"


def test_the_voice_is_the_inputs_or_that_of_the_speech_out(made_up):
  entry = made_up.Entries("test")[0]
  run = made_up.trained(mixtures.asr, mixtures.tts, mixtures.mt)
  described = [trials.describe(kind, entry) for kind in kinds(run)]
  assert described == [("en", "en-anna"), ("fr", "fr-alice"), ("en-fr", None)]


def test_examples_with_words_new_to_the_task_are_marked(made_up):
  def mt(corpus):
    return mixtures.mt(corpus, unseen_words=("seven",))

  run = made_up.trained(mt)
  (trial,) = trials.trials(run, kinds(run))
  texts = [one.entry.utterances["source"].text.lower() for one in trial.questions]
  assert [one.new_words for one in trial.questions] == ["seven" in text for text in texts]
  assert {one.new_words for one in trial.questions} == {True, False}


def test_examples_of_pairs_new_to_the_task_are_marked(made_up):
  def ast(corpus):
    return mixtures.ast(corpus, unseen_pairs=("fr-en",))

  run = made_up.trained(ast)
  trial = next(trials.trials(run, kinds(run)))
  assert [one.zero_shot for one in trial.questions] == [
    one.language == "fr-en" for one in trial.questions
  ]
  assert {one.zero_shot for one in trial.questions} == {True, False}


def test_a_corpus_that_holds_no_voices_out_is_not_asked_for_them(made_up, monkeypatch):
  run = made_up.trained(mixtures.asr)
  entries = made_up.Prepared.entries

  def without(self, of, split):
    return () if split == "held_out_voices" else entries(self, of, split)

  monkeypatch.setattr(made_up.Prepared, "entries", without)
  asked = list(trials.trials(run, kinds(run)))
  assert [trial.split for trial in asked] == ["test"]


def test_records_without_what_the_task_needs_are_not_asked(made_up, monkeypatch):
  monkeypatch.setattr(type(made_up.CORPUS), "optional_roles", ("target",))
  run = made_up.trained(mixtures.ast)
  (task,) = run.experiment.tasks
  entries = run.prepared.entries(task, "test")
  lacking_N = np.arange(len(entries)) % 3 == 0
  entries.lengths["target.text"][lacking_N] = -1
  trial = next(trials.trials(run, kinds(run)))
  asked = [int(one.entry.id[-3:]) for one in trial.questions]
  assert len(asked) == 8 and not lacking_N[asked].any()


def test_a_prompt_is_the_beginning_of_its_grid_and_is_not_realized_again(
  made_up, tmp_path, monkeypatch
):
  run = made_up.trained(mixtures.asr)
  trial = next(trials.trials(run, kinds(run)))
  layout, prompts = prompting.asked_layout(run.experiment.layout, trial.task), []

  def decode(trained, task, asked, *rest):
    prompts.extend(asked)
    return [prompting.Continuation({}, 0.0, 0, True)] * len(asked)

  monkeypatch.setattr(trials.speech, "decode", decode)
  monkeypatch.setattr(trials.likelihoods, "of_examples", lambda trained, grids: [{}] * len(grids))
  with monkeypatch.context() as patched:
    patched.delattr(placing, "_write")
    trials.answer(run, trial, speech.Listening(run, tmp_path, None), Sampling())
  assert len(prompts) == len(trial.questions)
  for prompt, question in zip(prompts, trial.questions, strict=True):
    expected = layouts.prompt(layout, question.streams, question.tag, run.prepared.space)
    np.testing.assert_array_equal(prompt.grid.tokens_LK, expected.tokens_LK)
