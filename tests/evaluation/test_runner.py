import dataclasses
import json
import sys
import types

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import answers, listeners, runner, saved
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Beams
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation


def test_every_task_of_the_mixture_is_scored_then_held_out_voices_then_baselines(evaluate):
  scores = evaluate(
    mixtures.asr, mixtures.tts, mixtures.mt, mixtures.ast, mixtures.s2st, mixtures.continuation
  )
  assert list(scores) == [
    "asr", "tts", "mt", "ast", "s2st", "continuation", "held_out_voices", "baselines", "suites",
  ]  # fmt: skip
  assert list(scores["held_out_voices"]) == ["asr", "ast", "s2st"]
  assert list(scores["baselines"]) == ["untrained", "nearest_copy", "units_ceiling"]


def test_each_question_is_laid_out_once(evaluate, monkeypatch):
  tags = []
  realize = layouts.realize

  def noted(layout, streams, tag, space, *key, **options):
    tags.append(tag)
    return realize(layout, streams, tag, space, *key, **options)

  monkeypatch.setattr(layouts, "realize", noted)
  scores = evaluate(mixtures.asr, mixtures.tts)
  asked = [scores["asr"], scores["tts"], scores["held_out_voices"]["asr"]]
  assert len(tags) == sum(values["examples"] + values.get("left_out", 0) for values in asked)


def test_a_run_without_a_language_model_says_what_its_model_is(made_up, tmp_path):
  clips = types.SimpleNamespace(answers=False)
  encoder = types.SimpleNamespace(title="an encoder of clips, 2 layers")
  run = made_up.trained(mixtures.asr, data=clips, model=encoder)
  text = "need a language model; this run's model is an encoder of clips, 2 layers. Its held-out"
  for score in (runner.evaluate, runner.judge):
    with pytest.raises(ConfigError, match=text):
      score(run, tmp_path, runner.Options())
  with pytest.raises(ConfigError, match=text):
    prompting.find_task(run, "asr")


def test_a_model_that_is_always_right_scores_best(evaluate):
  scores = evaluate(mixtures.asr, mixtures.tts, mixtures.mt, mixtures.s2st)
  assert scores["asr"]["wer"] == 0
  assert scores["tts"]["wer"] == 0
  assert scores["mt"]["chrf"] == pytest.approx(100)
  assert scores["s2st"]["asr_chrf"] == pytest.approx(100)
  assert scores["asr"]["nll"] == 1.0


def test_examples_are_so_many_per_language_and_spread_over_voices(evaluate):
  scores = evaluate(mixtures.asr)["asr"]
  assert {name: value["examples"] for name, value in scores["languages"].items()} == {
    "en": 4,
    "fr": 4,
  }
  assert set(scores["voices"]) <= {"en-anna", "en-ben", "fr-alice", "fr-bruno"}


def test_held_out_voices_are_scored_each_with_the_worst_named(evaluate):
  scores = evaluate(mixtures.asr)["held_out_voices"]["asr"]
  assert set(scores["voices"]) <= {"en-new", "en-strange", "fr-new", "fr-strange"}
  assert scores["worst_voice"]["voice"] in scores["voices"]


def test_speech_is_transcribed_from_the_wav_that_was_written(evaluate, monkeypatch, tmp_path):
  read = waveform.read
  paths = []

  def noted(path, *args):
    paths.append(path)
    return read(path, *args)

  monkeypatch.setattr(waveform, "read", noted)
  evaluate(mixtures.asr, mixtures.tts, tasks=["tts"])
  (first, *_) = answers.read(tmp_path / "evaluation/outputs/model-test-tts.jsonl")
  path = tmp_path / "evaluation" / first.outputs[0].wave
  assert path in paths
  assert first.outputs[0].hypothesis == first.outputs[0].reference
  assert first.outputs[0].mcd is not None


@pytest.mark.long
def test_sound_is_the_same_by_any_number_of_processes(evaluate, tmp_path):
  path = tmp_path / "evaluation/outputs/model-test-tts.jsonl"
  evaluate(mixtures.asr, mixtures.tts, tasks=["tts"], workers=1)
  one = answers.read(path)
  evaluate(mixtures.asr, mixtures.tts, tasks=["tts"], workers=2)
  assert answers.read(path) == one


def test_a_run_that_cannot_transcribe_has_a_distance_only(evaluate):
  scores = evaluate(mixtures.tts)["tts"]
  assert "wer" not in scores
  assert "mcd" in scores


def test_meters_read_every_output_and_their_rules_and_intervals_stand_with_the_scores(
  evaluate, tmp_path
):
  script = tmp_path / "compare.py"
  script.write_text(
    "import sys, soundfile\n"
    "waves = [soundfile.read(path)[0] for path in sys.argv[1:]]\n"
    "print(min(map(len, waves)) / max(map(len, waves)))\n"
  )
  alike = listeners.Command("similarity", f"{sys.executable} {script} {{wav}} {{reference}}")
  opinion = listeners.Command("mos", "echo 3.5 {wav}")
  how = Evaluation(examples=2, decode_batch_rows=8, max_output_rows=64)
  with pytest.raises(DataError, match="expected a number to be printed, but it was '3.5 /"):
    evaluate(mixtures.tts, meters=[opinion], compared=False, evaluation=how)
  scores = evaluate(mixtures.tts, meters=[alike], evaluation=how)
  assert scores["tts"]["similarity"] == 1
  assert scores["tts"]["intervals"]["similarity"] == [1, 1]
  assert scores["tts"]["rules"]["similarity"] == alike.rule
  assert scores["suites"]["speech_out"]["tts"]["similarity"] == 1
  silent = scores["baselines"]["untrained"]["tts"]
  assert "similarity" not in silent and silent["unmeasured"] == silent["examples"] == 4
  assert saved.score(saved.folder_of(tmp_path))["tts"] == scores["tts"]


def test_what_a_meter_cannot_read_is_counted_and_left_out_of_the_mean(evaluate, monkeypatch):
  readings = iter(
    [listeners.Measurement(None, "too short"), *map(listeners.Measurement, (2.0, 3.0, 4.0) * 9)]
  )
  monkeypatch.setattr(listeners.Command, "hear", lambda self, recording: next(readings))
  how = Evaluation(examples=2, decode_batch_rows=8, max_output_rows=64)
  opinion = listeners.Command("mos", "true {wav}")
  scores = evaluate(mixtures.tts, meters=[opinion], compared=False, evaluation=how)["tts"]
  assert (scores["mos"], scores["unmeasured"], scores["examples"]) == (3, 1, 4)
  assert "mcd" in scores


def test_meters_are_asked_first_whether_they_can_be_used(evaluate):
  with pytest.raises(ConfigError, match="--mos-command 'no-such-program {wav}' cannot be started"):
    evaluate(mixtures.asr, meters=[listeners.Command("mos", "no-such-program {wav}")])


def test_speech_whose_ids_say_who_speaks_is_made_without_a_voice(evaluate, made_up, monkeypatch):
  monkeypatch.setattr(made_up.Tones, "voices", ())
  scores = evaluate(mixtures.asr, mixtures.tts, tasks=["tts"])
  assert scores["tts"]["wer"] == 0
  assert scores["baselines"]["units_ceiling"]["tts"]["wer"] == 0


def test_baselines_are_untrained_copied_and_the_ceiling(evaluate):
  scores = evaluate(mixtures.asr, mixtures.tts, mixtures.mt)["baselines"]
  assert scores["untrained"]["asr"]["wer"] == 1
  assert scores["untrained"]["asr"]["nll"] == 5.0
  assert scores["untrained"]["asr"]["cut"] == scores["untrained"]["asr"]["examples"]
  assert 0 < scores["nearest_copy"]["asr"]["wer"] < 1
  assert set(scores["nearest_copy"]) == {"asr", "tts", "mt"}
  assert scores["units_ceiling"].keys() == {"tts"}
  assert scores["units_ceiling"]["tts"]["wer"] == 0


def test_baselines_are_left_out_where_nothing_is_to_be_compared(evaluate):
  assert evaluate(mixtures.asr, compared=False)["baselines"] == {}


def test_nothing_is_copied_in_languages_that_the_task_was_not_trained_on(
  evaluate, made_up, monkeypatch
):
  def ast(corpus):
    return mixtures.ast(corpus, unseen_pairs=("fr-en",))

  def rows(self, task, split):
    codes_N = self.entries(task.corpus, split).languages["source"]
    return types.SimpleNamespace(records=np.flatnonzero(codes_N == "en"))

  monkeypatch.setattr(made_up.Prepared, "rows", rows)
  copied = evaluate(ast)["baselines"]["nearest_copy"]["ast"]
  assert list(copied["languages"]) == ["en-fr"] and "zero_shot" not in copied


def test_scores_are_saved_and_counted_again_from_the_saved_outputs(evaluate, tmp_path):
  scores = evaluate(mixtures.mt, mixtures.asr)
  folder = saved.folder_of(tmp_path)
  results = folder / "results.json"
  whole = results.read_text()
  assert list(scores) == ["mt", "asr", "held_out_voices", "baselines", "suites"]
  assert whole == json.dumps(scores, indent=2, ensure_ascii=False) + "\n"
  assert json.loads((folder / "checkpoint.json").read_text()) == {
    "step": 7,
    "tasks": ["mt", "asr"],
    "suites": {
      "recognition": {"asr": "source.text"},
      "translation": {"mt": "target.text"},
      "retention": {"mt": "target.text"},
    },
    "read_aloud": [],
  }
  results.unlink()
  assert saved.score(folder) == scores
  assert results.read_text() == whole


def test_only_the_tasks_named_are_scored(evaluate):
  assert list(evaluate(tasks=["mt"])) == ["mt", "held_out_voices", "baselines", "suites"]


def test_tasks_scored_apart_come_together_for_one_checkpoint(evaluate, tmp_path):
  results = saved.folder_of(tmp_path) / "results.json"
  together = evaluate()
  whole = results.read_text()
  results.unlink()
  for path in (saved.folder_of(tmp_path) / "outputs").glob("*-mt.jsonl"):
    path.unlink()
  assert list(evaluate(tasks=["mt"])) == ["mt", "held_out_voices", "baselines", "suites"]
  assert results.read_text() == whole
  assert json.loads(whole) == together


def test_outputs_of_another_checkpoint_are_not_mixed_in(evaluate, tmp_path):
  evaluate()
  scores = evaluate(tasks=["mt"], step=8)
  folder = saved.folder_of(tmp_path)
  assert json.loads((folder / "results.json").read_text()) == scores
  assert {path.stem.split("-")[-1] for path in (folder / "outputs").iterdir()} == {"mt"}
  assert not (folder / "waves").exists()
  assert saved.scored_step(folder) == 8


def test_an_unknown_task_loses_nothing(evaluate, tmp_path):
  evaluate(tasks=["mt"])
  before = (saved.folder_of(tmp_path) / "results.json").read_text()
  with pytest.raises(ConfigError, match="Unknown task"):
    evaluate(tasks=["asl"], step=8)
  assert (saved.folder_of(tmp_path) / "results.json").read_text() == before


def test_an_unknown_task_lists_the_known_ones(evaluate):
  with pytest.raises(
    ConfigError, match="Unknown task 'asl'. This run was trained on: asr, tts, mt"
  ):
    evaluate(tasks=["asl"])


def test_examples_longer_than_a_row_are_counted(evaluate):
  scores = evaluate(mixtures.asr, row_length=42)["asr"]
  assert scores["left_out"] > 0
  assert scores["left_out"] + scores["examples"] == 8


def test_a_task_trained_on_its_inputs_is_asked_with_them_given(evaluate, made_up):

  def asr(corpus):
    return dataclasses.replace(mixtures.asr(corpus), loss_on_inputs=True)

  assert evaluate(asr)["asr"]["wer"] == 0


def test_answers_are_looked_for_as_the_config_says_and_the_rules_say_how(evaluate, monkeypatch):
  asked = []
  answer = prompting.continuations

  def noted(trained, task, prompts, *, sampling, **options):
    asked.append(sampling)
    return answer(trained, task, prompts, **options)

  monkeypatch.setattr(prompting, "continuations", noted)
  how = Evaluation(examples=4, decode_batch_rows=8, max_output_rows=64, beams=3, length_penalty=1.0)
  scores = evaluate(mixtures.mt, mixtures.continuation, evaluation=how)
  assert set(asked) == {Beams(3, 1.0)}
  assert scores["mt"]["rules"]["decoding"] == "beam search, 3 beams, length penalty 1"
  assert "decoding" not in scores["continuation"]["rules"]
  assert "decoding" not in scores["baselines"]["nearest_copy"]["mt"]["rules"]
  assert evaluate(mixtures.mt)["mt"]["rules"]["decoding"] == "greedy"


def test_suites_are_asked_for_their_tasks_alone_and_have_sections(evaluate, tmp_path):
  scores = evaluate(
    mixtures.asr, mixtures.mt, mixtures.asr_ast, mixtures.continuation, within=["translation"]
  )
  assert list(scores) == ["mt", "asr_ast", "held_out_voices", "baselines", "suites"]
  assert list(scores["suites"]) == ["translation"]
  section = scores["suites"]["translation"]
  assert list(section) == ["mt", "asr_ast"]
  assert section["asr_ast"]["chrf"] == pytest.approx(100)
  assert set(section["mt"]["languages"]) == {"en-fr", "fr-en"}
  saved_sections = json.loads((tmp_path / "evaluation/results.json").read_text())["suites"]
  assert saved_sections["translation"] == section
  assert list(saved_sections) == ["recognition", "translation", "retention"]


def test_pairs_never_trained_on_are_marked_in_their_section(evaluate):
  def ast(corpus):
    return mixtures.ast(corpus, unseen_pairs=("fr-en",))

  languages = evaluate(ast, within=["all"])["suites"]["translation"]["ast"]["languages"]
  assert {name: "zero_shot" in one for name, one in languages.items()} == {
    "en-fr": False,
    "fr-en": True,
  }


def test_pairs_are_judged_beside_suites_by_a_task_of_their_modality(evaluate, tmp_path, made_up):
  for word in ("one", "nine"):
    waveform.write(tmp_path / f"{word}.wav", made_up.wave_of(word), waveform.RATE_HZ)
  texts, sounds = tmp_path / "blimp.jsonl", tmp_path / "wuggy.jsonl"
  texts.write_text('{"language": "en", "positive": "one", "negative": "nine"}')
  sounds.write_text('{"language": "en", "positive": "one.wav", "negative": "nine.wav"}')
  scores = evaluate(
    mixtures.mt, mixtures.continuation, mixtures.text, within=["all"], manifests=[texts, sounds]
  )
  assert list(scores["suites"]) == ["translation", "retention", "zero_resource"]
  assert list(scores["suites"]["zero_resource"]) == ["blimp", "wuggy"]
  judged = json.loads((tmp_path / "evaluation/pairs.json").read_text())
  assert [one["rules"]["task"] for one in judged.values()] == ["text", "continuation"]
  alone = evaluate(
    mixtures.continuation, mixtures.text, within=["zero_resource"], manifests=[sounds], step=8
  )
  assert alone.pop("suites").keys() == {"zero_resource"}
  assert alone == {"held_out_voices": {}, "baselines": {}}


def test_tasks_and_suites_are_not_both_named(evaluate):
  with pytest.raises(ConfigError, match="by their names or by suites: omit one of the two"):
    evaluate(tasks=["mt"], within=["all"])
