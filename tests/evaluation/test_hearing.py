"""Evaluations in which another recognizer hears, beside the run's own or alone."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.evaluation import answers, saved
from audiopalm.evaluation.listeners import Command, Listener, Measurement
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation
from audiopalm.types import Utterance


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
  return Command("asr", f"{sys.executable} {script} {{wav}}")


def test_another_recognizer_hears_where_no_task_transcribes_and_the_rules_name_it(
  evaluate, command, tmp_path
):
  how = Evaluation(examples=1, decode_batch_rows=8, max_output_rows=64)
  scores = evaluate(mixtures.tts, recognizer=command, compared=False, evaluation=how)
  assert (scores["tts"]["independent_wer"], scores["tts"]["examples"]) == (0, 2)
  assert "wer" not in scores["tts"]
  assert scores["tts"]["rules"]["independent_transcripts"] == command.rule
  (first, *_) = answers.read(tmp_path / "evaluation/outputs/model-test-tts.jsonl")
  assert first.outputs[0].heard_by == command.rule
  assert saved.score(saved.folder_of(tmp_path))["tts"] == scores["tts"]


@dataclasses.dataclass(frozen=True)
class Tonal(Listener):
  """A recognizer in this process: made-up tones, of English only or of all languages."""

  hear_units: object
  known: tuple[str, ...] = ("en", "fr")
  heard: list = dataclasses.field(default_factory=list)
  rule: str = "tones, from the written WAV"
  score: str = "asr"
  repeatable: bool = True

  def hears(self, language):
    return language in self.known

  def hear(self, wav):
    self.heard.append(wav.language)
    return Measurement(self.hear_units(waveform.read(wav.path)))


@pytest.fixture
def tonal(made_up):
  def hear_units(wave_S):
    utterance = Utterance(wave_S, waveform.RATE_HZ, "", "en", "")
    return made_up.text_of(made_up.Tones().encode(utterance))

  return lambda **changes: Tonal(hear_units, **changes)


FEW = Evaluation(examples=4, decode_batch_rows=8, max_output_rows=64)


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
  assert 0 < len(more.heard) <= 2 * 12  # a second recording of twelve voices, twice
  assert first["test"]["en"]["voices"]["en-anna"]["as_recorded"]["examples"] == 1


def test_recordings_in_languages_that_the_recognizer_does_not_know_are_left_out(evaluate, tonal):
  english = tonal(known=("en",))
  scores = evaluate(
    mixtures.asr, recognizer=english, recordings_each=1, compared=False, evaluation=FEW
  )
  assert set(english.heard) == {"en"} == set(scores["recordings"]["test"])
  text_alone = evaluate(mixtures.mt, recognizer=english, compared=False, evaluation=FEW, step=8)
  assert "recordings" not in text_alone
  with pytest.raises(
    ConfigError, match=r"language that --asr supports, but the tasks have only en, fr\."
  ):
    evaluate(mixtures.asr, recognizer=tonal(known=("cs",)), recordings_each=1)


def test_a_recording_that_the_recognizer_fails_for_counts_as_silence(evaluate, monkeypatch):
  numbers = iter(range(100))

  def hear(self, wav):
    return Measurement("", "deaf") if next(numbers) == 0 else Measurement("one")

  monkeypatch.setattr(Command, "hear", hear)
  scores = evaluate(mixtures.tts, recognizer=Command("asr", "true {wav}"), compared=False)["tts"]
  assert scores["independent_faults"] == 1
  assert scores["independent_wer"] > 0


def test_a_recognizer_is_asked_first_whether_it_knows_the_languages_spoken(evaluate, monkeypatch):
  asked = []
  monkeypatch.setattr(Command, "check", lambda self, languages: asked.append(languages))
  evaluate(
    mixtures.asr, mixtures.continuation, recognizer=Command("asr", "true {wav}"), compared=False
  )
  assert asked == [set()]
  with pytest.raises(ConfigError, match="no-such-program"):
    monkeypatch.undo()
    evaluate(mixtures.tts, recognizer=Command("asr", "no-such-program {wav}"))


def test_recordings_of_another_recognizer_go_when_a_new_one_has_heard_some(evaluate, tonal):
  asked = {"recordings_each": 1, "compared": False, "evaluation": FEW}
  evaluate(mixtures.asr, mixtures.tts, recognizer=tonal(rule="old"), **asked)
  scores = evaluate(mixtures.asr, mixtures.tts, tasks=["asr"], recognizer=tonal(), **asked)
  section = scores["recordings"]
  assert section["rules"]["independent_transcripts"] == "tones, from the written WAV"
  assert "model" not in section["test"]["en"]  # the old one heard it
