import functools

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.errors import AudioError, ConfigError, DataError
from audiopalm.inference import generate, prompting
from audiopalm.inference.generate import Input
from audiopalm.parts import mixtures


@pytest.fixture
def asked(monkeypatch, made_up):
  """Puts the oracle in the place of the model; the prompts it was asked lie in the list."""
  prompts = []

  def answer(generator, task, given, **options):
    prompts.extend(given)
    return made_up.oracle(generator, task, given, **options)

  monkeypatch.setattr(prompting, "continuations", answer)
  return prompts


def test_recordings_are_transcribed_in_the_order_they_came(made_up, asked):
  inputs = [Input(text, wave_S=made_up.wave_of(text)) for text in ("one two", "six", "four five")]
  results = generate.generate(made_up.generator(), "asr", inputs, language="en")
  assert [(result.name, result.text) for result in results] == [
    ("one two", "one two"),
    ("six", "six"),
    ("four five", "four five"),
  ]
  assert {prompt.tag for prompt in asked} == {"[ASR English]"}


def test_text_becomes_speech_at_16_khz(made_up, asked):
  run = made_up.generator()
  (result,) = generate.generate(run, "tts", [Input("text 1", text="one two")], language="en")
  assert result.text is None
  assert result.rate_hz == 16_000
  np.testing.assert_array_equal(result.wave_S, made_up.wave_of("one two"))


def test_a_chain_gives_every_text_and_the_speech(made_up, asked):
  run = made_up.generator(mixtures.chain)
  recording = Input("a", wave_S=made_up.wave_of("one"))
  (result,) = generate.generate(run, "chain", [recording], source="en", target="fr")
  assert list(result.texts) == ["source.text", "target.text"]
  assert list(result.waves) == ["target.units"]


def test_the_language_whose_output_is_likeliest_per_token_is_kept(made_up, monkeypatch):
  def answer(generator, task, prompts, **options):
    french = {"[ASR English]": (-3.0, 10), "[ASR French]": (-4.0, 20)}
    return [
      prompting.Continuation({"source.text": [97]}, *french[prompt.tag], True) for prompt in prompts
    ]

  monkeypatch.setattr(prompting, "continuations", answer)
  recording = Input("a", wave_S=made_up.wave_of("one"))
  (result,) = generate.generate(made_up.generator(), "asr", [recording])
  assert result.languages == {"source": "fr"}
  assert result.log_likelihood == -0.2
  assert result.likelihoods == {"en": -0.3, "fr": -0.2}


def test_a_recording_longer_than_any_trained_on_is_cut_at_pauses_and_joined(made_up, asked):
  text = "one two three    four five six    seven eight one"
  (result,) = generate.generate(
    made_up.generator(), "asr", [Input("a", wave_S=made_up.wave_of(text))], language="en"
  )
  assert len(asked) == 3
  assert result.text.split() == text.split()
  assert result.notes == ("longer than what the model was trained on: cut into 3 pieces",)


@pytest.mark.parametrize("role", ("target", "source"))
def test_waves_of_pieces_are_joined_by_silence(made_up, asked, role):
  text = "one two three four. five six seven eight."
  run = made_up.generator(functools.partial(mixtures.tts, role=role))
  text = text.replace(".", "")
  (result,) = generate.generate(run, "tts", [Input("t", text=text)], language="en")
  assert len(asked) == 2
  between = round(generate.SILENCE_S * waveform.RATE_HZ)
  halves = [made_up.wave_of("one two three four"), made_up.wave_of("five six seven eight")]
  np.testing.assert_array_equal(
    result.wave_S, np.concatenate([halves[0], np.zeros(between), halves[1]]).astype(np.float32)
  )


def test_a_cut_inside_speech_is_told(made_up, asked):
  text = "onetwothreefourfivesixseveneightonetwothree"
  recording = Input("a", wave_S=made_up.wave_of(text))
  (result,) = generate.generate(made_up.generator(), "asr", [recording], language="en")
  assert any("cuts fall inside speech: no pause was there" in note for note in result.notes)


def test_how_a_recording_was_read_is_the_first_of_its_notes(made_up, asked):
  text = "one two three    four five six    seven eight one"
  recording = Input("a", wave_S=made_up.wave_of(text), notes=("silent channels left out",))
  (result,) = generate.generate(made_up.generator(), "asr", [recording], language="en")
  assert result.notes[0] == "silent channels left out"
  assert result.notes[1].startswith("longer than what the model was trained on")


def test_a_silent_recording_fails_and_the_others_are_answered(made_up, asked):
  inputs = [
    Input("silent.wav", wave_S=np.zeros(16_000, np.float32)),
    Input("good.wav", wave_S=made_up.wave_of("one")),
    Input("nan.wav", wave_S=np.full(16_000, np.nan, np.float32)),
  ]
  silent, good, broken = generate.generate(made_up.generator(), "asr", inputs, language="en")
  assert isinstance(silent.error, AudioError)
  assert str(silent.error).startswith("silent.wav: silent")
  assert good.text == "one"
  assert "nan.wav: 16000 of 16000 samples are NaN" in str(broken.error)


def test_empty_text_says_what_to_give(made_up, asked):
  (failure,) = generate.generate(made_up.generator(), "tts", [Input("text 1", text=" ")])
  assert isinstance(failure.error, DataError)
  assert str(failure.error) == "text 1: empty text. Give at least one word."


def test_a_word_longer_than_the_model_can_take_says_the_limit(made_up, asked):
  (failure,) = generate.generate(
    made_up.generator(), "tts", [Input("text 1", text="x" * 90)], language="en"
  )
  assert "90 frames of text in one piece, but the model was trained on at most" in str(
    failure.error
  )


def test_an_unknown_task_lists_the_known_ones(made_up):
  with pytest.raises(ConfigError, match="no task 'asl'. It was trained on: asr, tts, mt."):
    generate.generate(made_up.generator(), "asl", [])


def test_input_of_the_wrong_kind_says_what_to_give(made_up):
  with pytest.raises(ConfigError, match="Task 'asr' takes speech, but text came: give audio."):
    generate.generate(made_up.generator(), "asr", [Input("text 1", text="one")])
  with pytest.raises(ConfigError, match="Task 'tts' takes text, but speech came: give text."):
    generate.generate(made_up.generator(), "tts", [Input("a", wave_S=made_up.wave_of("one"))])


def test_an_unknown_voice_lists_the_known_ones(made_up):
  with pytest.raises(ConfigError, match="Unknown voice 'bob'. Known voices: en-anna, en-ben, fr-"):
    generate.generate(
      made_up.generator(), "tts", [Input("t", text="one")], language="en", voice="bob"
    )


def test_a_voice_for_text_out_is_refused(made_up):
  with pytest.raises(ConfigError, match="Task 'asr' gives no speech: leave out voice='en-ben'"):
    generate.generate(
      made_up.generator(), "asr", [Input("a", wave_S=made_up.wave_of("one"))], voice="en-ben"
    )


def test_the_default_voice_is_the_first_training_voice_of_the_output_language(
  made_up, asked, monkeypatch
):
  voices = []
  decode = made_up.Tones.decode

  def heard(self, ids, *, voice=None):
    voices.append(voice)
    return decode(self, ids, voice=voice)

  monkeypatch.setattr(made_up.Tones, "decode", heard)
  run = made_up.generator(mixtures.s2st)
  recording = Input("a", wave_S=decode(made_up.Tones(), [1, 2, 3]))
  generate.generate(run, "s2st", [recording], source="en", target="fr")
  assert voices == ["fr-alice"]


def test_where_ids_say_who_speaks_no_voice_is_chosen(made_up, asked, monkeypatch):
  monkeypatch.setattr(made_up.Tones, "voices", ())
  run, text = made_up.generator(mixtures.tts), [Input("t", text="one")]
  (result,) = generate.generate(run, "tts", text, language="en")
  np.testing.assert_array_equal(result.wave_S, made_up.wave_of("one"))
  with pytest.raises(ConfigError, match="'units' says itself who speaks, so voice='en-anna' cann"):
    generate.generate(run, "tts", text, language="en", voice="en-anna")


def test_a_task_without_inputs_continues_what_it_is_given(made_up, asked):
  run = made_up.generator(mixtures.text)
  generate.generate(run, "text", [Input("t", text="one")], language="en")
  assert asked[0].streams == {}
  np.testing.assert_array_equal(asked[0].begun["source.text"], [ord(c) for c in "one"])
