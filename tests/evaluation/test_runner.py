import dataclasses
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError, DataError
from audiopalm.evaluation import likelihoods, lines, meters, runner, saved
from audiopalm.evaluation.recognizers import Command, Transcript
from audiopalm.inference import prompting
from audiopalm.inference.sampling import Beams
from audiopalm.metrics.likelihood import Sums
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation
from audiopalm.types import Utterance


@pytest.fixture
def evaluate(monkeypatch, made_up, tmp_path):
  """Evaluates a made-up run: its trained parameters are an oracle, fresh ones say nothing."""

  def answer(generator, task, prompts, **options):
    if generator.params == "trained":
      return made_up.oracle(generator, task, prompts, **options)
    empty = {".".join(side): made_up.units_of("") for side in task.outputs}
    return [prompting.Continuation(empty, -9.0, 1, False) for _ in prompts]

  def sums(generator, grids):
    nll = 1.0 if generator.params == "trained" else 5.0
    return [{"text": Sums(nll, 1.0, 1.0)} for _ in grids]

  monkeypatch.setattr(prompting, "continuations", answer)
  monkeypatch.setattr(likelihoods, "of_examples", sums)

  def run(
    *builders, tasks=None, workers=0, step=7, compared=True, within=None, manifests=(),
    recognizer=None, recordings_each=0, meters=(), **changes,
  ):  # fmt: skip
    made = made_up.generator(*builders, **changes)
    return runner.evaluate(
      made.experiment,
      made.prepared,
      made_up.Untrained(),
      "trained",
      made.machine,
      workdir=tmp_path,
      step=step,
      tasks=tasks,
      workers=workers,
      compared=compared,
      within=within,
      manifests=manifests,
      recognizer=recognizer,
      recordings_each=recordings_each,
      meters=meters,
    )

  return run


def test_every_task_of_the_mixture_is_scored_then_held_out_voices_then_baselines(evaluate):
  scores = evaluate(
    mixtures.asr, mixtures.tts, mixtures.mt, mixtures.ast, mixtures.s2st, mixtures.continuation
  )
  assert list(scores) == [
    "asr", "tts", "mt", "ast", "s2st", "continuation", "held_out_voices", "baselines", "suites",
  ]  # fmt: skip
  assert list(scores["held_out_voices"]) == ["asr", "ast", "s2st"]
  assert list(scores["baselines"]) == ["untrained", "nearest_copy", "units_ceiling"]


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
  (first, *_) = lines.read(tmp_path / "evaluation/outputs/model-test-tts.jsonl")
  path = tmp_path / "evaluation" / first.said[0].wave
  assert path in paths
  assert first.said[0].hypothesis == first.said[0].reference
  assert first.said[0].mcd is not None


def test_sound_is_the_same_by_any_number_of_processes(evaluate, tmp_path):
  path = tmp_path / "evaluation/outputs/model-test-tts.jsonl"
  evaluate(mixtures.asr, mixtures.tts, tasks=["tts"], workers=1)
  one = lines.read(path)
  evaluate(mixtures.asr, mixtures.tts, tasks=["tts"], workers=2)
  assert lines.read(path) == one


def test_a_run_that_cannot_transcribe_has_a_distance_only(evaluate):
  scores = evaluate(mixtures.tts)["tts"]
  assert "wer" not in scores
  assert "mcd" in scores


@pytest.fixture
def command(tmp_path, made_up):
  """A recognizer in a process of its own: the made-up tones, read without the model."""
  script = tmp_path / "hear.py"
  script.write_text(
    f"import sys; sys.path.insert(0, {str(Path(made_up.__file__).parent)!r})\n"
    "import made_up\n"
    "from audiopalm.audio import waveform\n"
    "from audiopalm.types import Utterance\n"
    "wave_S = waveform.read(sys.argv[1])\n"
    "ids = made_up.Tones().encode(Utterance(wave_S, waveform.RATE_HZ, '', 'en', ''))\n"
    "print(made_up.text_of(ids))\n"
  )
  return Command(f"{sys.executable} {script} {{wav}}")


def test_another_recognizer_hears_where_no_task_transcribes_and_the_rules_name_it(
  evaluate, command, tmp_path
):
  how = Evaluation(examples=1, batch_rows=8, max_output_rows=64)
  scores = evaluate(mixtures.tts, recognizer=command, compared=False, evaluation=how)
  assert (scores["tts"]["independent_wer"], scores["tts"]["examples"]) == (0, 2)
  assert "wer" not in scores["tts"]
  assert scores["tts"]["rules"]["independent_transcripts"] == command.rule
  (first, *_) = lines.read(tmp_path / "evaluation/outputs/model-test-tts.jsonl")
  assert first.said[0].heard_by == command.rule
  assert saved.score(saved.folder_of(tmp_path))["tts"] == scores["tts"]


@dataclasses.dataclass(frozen=True)
class Tonal:
  """A recognizer in this process: the made-up tones of English alone, or of every language."""

  hear_units: object
  known: tuple[str, ...] = ("en", "fr")
  heard: list = dataclasses.field(default_factory=list)
  rule: str = "tones, from the written WAV"
  repeatable: bool = True

  def hears(self, language):
    return language in self.known

  def check(self, languages):
    pass

  def hear(self, recording):
    self.heard.append(recording.language)
    return Transcript(self.hear_units(waveform.read(recording.path)))


@pytest.fixture
def tonal(made_up):
  def hear_units(wave_S):
    utterance = Utterance(wave_S, waveform.RATE_HZ, "", "en", "")
    return made_up.text_of(made_up.Tones().encode(utterance))

  return lambda **changes: Tonal(hear_units, **changes)


FEW = Evaluation(examples=4, batch_rows=8, max_output_rows=64)


def test_both_ears_score_the_same_speech_and_the_runs_own_is_as_without_the_other(evaluate, tonal):
  alone = evaluate(mixtures.asr, mixtures.tts, compared=False, evaluation=FEW)["tts"]
  both = evaluate(mixtures.asr, mixtures.tts, recognizer=tonal(), compared=False, evaluation=FEW)[
    "tts"
  ]
  assert both["independent_wer"] == both["independent_raw_wer"] == both["wer"] == 0
  assert both["intervals"]["independent_wer"] == [0, 0]
  assert both["languages"]["fr"]["independent_cer"] == 0
  assert both["rules"]["independent_transcripts"] == "tones, from the written WAV"
  assert both["rules"]["independent_numbers"].startswith("numbers as words by num2words")
  assert both["rules"]["transcripts"] == alone["rules"]["transcripts"]
  assert {name: both[name] for name in ("wer", "cer", "exact", "mcd")} == {
    name: alone[name] for name in ("wer", "cer", "exact", "mcd")
  }


def test_copies_and_units_have_scores_by_both_ears(evaluate, tonal):
  scores = evaluate(mixtures.asr, mixtures.tts, mixtures.s2st, recognizer=tonal(), evaluation=FEW)
  copied = scores["baselines"]["nearest_copy"]
  assert copied["tts"]["independent_wer"] == copied["tts"]["wer"] > 0
  assert copied["s2st"]["independent_asr_bleu"] == copied["s2st"]["asr_bleu"]
  assert "independent_wer" not in copied["asr"]
  assert scores["baselines"]["units_ceiling"]["tts"]["independent_wer"] == 0


def test_every_voice_has_a_line_of_its_recordings_through_units_and_of_the_models_speech(
  evaluate, tonal, tmp_path
):
  scores = evaluate(
    mixtures.asr, mixtures.tts, recognizer=tonal(), recordings_each=2, compared=False,
    evaluation=FEW,
  )  # fmt: skip
  section = scores["recordings"]
  assert list(section) == ["rules", "test", "held_out_voices"]
  assert {language: list(of["voices"]) for language, of in section["test"].items()} == {
    "en": ["en-anna", "en-ben"],
    "fr": ["fr-alice", "fr-bruno"],
  }
  assert list(section["held_out_voices"]["fr"]["voices"]) == ["fr-new", "fr-strange"]
  anna = section["test"]["en"]["voices"]["en-anna"]
  assert list(anna) == ["as_recorded", "through_units", "model"]
  assert (anna["as_recorded"]["independent_wer"], anna["as_recorded"]["examples"]) == (0, 2)
  assert anna["through_units"]["intervals"]["independent_wer"] == [0, 0]
  english = section["test"]["en"]
  spoken = [of["model"]["examples"] for of in english["voices"].values() if "model" in of]
  assert english["model"]["examples"] == sum(spoken) == 4
  assert list(section["held_out_voices"]["en"]) == ["as_recorded", "through_units", "voices"]
  assert section["rules"]["independent_transcripts"] == "tones, from the written WAV"
  folder = saved.folder_of(tmp_path)
  assert json.loads((folder / "results.json").read_text())["recordings"] == section
  assert saved.score(folder)["recordings"] == section


def test_all_recordings_of_a_split_are_heard_and_none_where_none_is_asked_for(evaluate, tonal):
  every = evaluate(
    mixtures.asr, recognizer=tonal(), recordings_each=None, compared=False, evaluation=FEW
  )
  counts = [of["as_recorded"]["examples"] for of in every["recordings"]["test"].values()]
  assert counts == [20, 20]
  none = tonal()
  evaluate(mixtures.asr, recognizer=none, recordings_each=0, compared=False, evaluation=FEW)
  assert none.heard == []


def test_a_second_evaluation_hears_only_what_is_new(evaluate, tonal):
  asked = {"recordings_each": 1, "compared": False, "evaluation": FEW}
  evaluate(mixtures.asr, mixtures.tts, recognizer=tonal(), **asked)
  again = tonal()
  first = evaluate(mixtures.asr, mixtures.tts, recognizer=again, **asked, step=8)["recordings"]
  assert again.heard == []
  more = tonal()
  evaluate(mixtures.asr, mixtures.tts, recognizer=more, **{**asked, "recordings_each": 2})
  assert 0 < len(more.heard) <= 2 * 8  # a second recording of eight voices, twice
  assert first["test"]["en"]["voices"]["en-anna"]["as_recorded"]["examples"] == 1


def test_recordings_in_languages_that_the_recognizer_does_not_know_are_left_out(evaluate, tonal):
  english = tonal(known=("en",))
  scores = evaluate(
    mixtures.asr, recognizer=english, recordings_each=1, compared=False, evaluation=FEW
  )
  assert set(english.heard) == {"en"} == set(scores["recordings"]["test"])
  text_alone = evaluate(mixtures.mt, recognizer=english, compared=False, evaluation=FEW, step=8)
  assert "recordings" not in text_alone
  with pytest.raises(ConfigError, match=r"none in languages that --asr knows: they speak en, fr\."):
    evaluate(mixtures.asr, recognizer=tonal(known=("cs",)), recordings_each=1)


def test_a_recording_that_the_recognizer_fails_for_counts_as_silence(evaluate, monkeypatch):
  numbers = iter(range(100))

  def hear(self, recording):
    return Transcript("", "deaf") if next(numbers) == 0 else Transcript("one")

  monkeypatch.setattr(Command, "hear", hear)
  scores = evaluate(mixtures.tts, recognizer=Command("true {wav}"), compared=False)["tts"]
  assert scores["independent_faults"] == 1
  assert scores["independent_wer"] > 0


def test_a_recognizer_is_asked_first_whether_it_knows_the_languages_spoken(evaluate, monkeypatch):
  asked = []
  monkeypatch.setattr(Command, "check", lambda self, languages: asked.append(languages))
  evaluate(mixtures.asr, mixtures.continuation, recognizer=Command("true {wav}"), compared=False)
  assert asked == [set()]
  with pytest.raises(ConfigError, match="no-such-program"):
    monkeypatch.undo()
    evaluate(mixtures.tts, recognizer=Command("no-such-program {wav}"))


def test_meters_read_every_output_and_their_rules_and_intervals_stand_with_the_scores(
  evaluate, tmp_path
):
  script = tmp_path / "compare.py"
  script.write_text(
    "import sys, soundfile\n"
    "waves = [soundfile.read(path)[0] for path in sys.argv[1:]]\n"
    "print(min(map(len, waves)) / max(map(len, waves)))\n"
  )
  alike = meters.Command("similarity", f"{sys.executable} {script} {{wav}} {{reference}}")
  opinion = meters.Command("mos", "echo 3.5 {wav}")
  how = Evaluation(examples=2, batch_rows=8, max_output_rows=64)
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
  readings = iter([meters.Reading(None, "too short"), *map(meters.Reading, (2.0, 3.0, 4.0) * 9)])
  monkeypatch.setattr(meters.Command, "measure", lambda self, recording: next(readings))
  how = Evaluation(examples=2, batch_rows=8, max_output_rows=64)
  opinion = meters.Command("mos", "true {wav}")
  scores = evaluate(mixtures.tts, meters=[opinion], compared=False, evaluation=how)["tts"]
  assert (scores["mos"], scores["unmeasured"], scores["examples"]) == (3, 1, 4)
  assert "mcd" in scores


def test_meters_are_asked_first_whether_they_can_be_used(evaluate):
  with pytest.raises(ConfigError, match="--mos-command 'no-such-program {wav}' cannot be started"):
    evaluate(mixtures.asr, meters=[meters.Command("mos", "no-such-program {wav}")])


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
  import dataclasses

  def asr(corpus):
    return dataclasses.replace(mixtures.asr(corpus), loss_on_inputs=True)

  assert evaluate(asr)["asr"]["wer"] == 0


def test_answers_are_looked_for_as_the_config_says_and_the_rules_say_how(evaluate, monkeypatch):
  asked = []
  answer = prompting.continuations

  def noted(generator, task, prompts, *, sampling, **options):
    asked.append(sampling)
    return answer(generator, task, prompts, **options)

  monkeypatch.setattr(prompting, "continuations", noted)
  how = Evaluation(examples=4, batch_rows=8, max_output_rows=64, beams=3, length_penalty=1.0)
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
  with pytest.raises(ConfigError, match="by their names or by suites: leave out one of the two"):
    evaluate(tasks=["mt"], within=["all"])


def test_recordings_of_another_recognizer_go_when_a_new_one_has_heard_some(evaluate, tonal):
  asked = {"recordings_each": 1, "compared": False, "evaluation": FEW}
  evaluate(mixtures.asr, mixtures.tts, recognizer=tonal(rule="old"), **asked)
  scores = evaluate(mixtures.asr, mixtures.tts, tasks=["asr"], recognizer=tonal(), **asked)
  section = scores["recordings"]
  assert section["rules"]["independent_transcripts"] == "tones, from the written WAV"
  assert "model" not in section["test"]["en"]  # the old one heard it
