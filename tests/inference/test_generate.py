import functools

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data.corpora import Synthetic
from audiopalm.errors import AudioError, ConfigError, DataError
from audiopalm.inference import generate, prompting
from audiopalm.inference.generate import Input
from audiopalm.parts import mixtures


@pytest.fixture
def asked(monkeypatch, made_up):
  """Puts the oracle in the place of the model; the prompts it was asked lie in the list."""
  prompts = []

  def answer(trained, task, given, **options):
    prompts.extend(given)
    return made_up.oracle(trained, task, given, **options)

  monkeypatch.setattr(prompting, "continuations", answer)
  return prompts


def test_recordings_are_transcribed_in_the_order_they_came(made_up, asked):
  inputs = [Input(text, wave_S=made_up.wave_of(text)) for text in ("one two", "six", "four five")]
  results = generate.generate(made_up.trained(), "asr", inputs, language="en")
  assert [(result.name, result.text) for result in results] == [
    ("one two", "one two"),
    ("six", "six"),
    ("four five", "four five"),
  ]
  assert {prompt.tag for prompt in asked} == {"[ASR English]"}


def test_text_becomes_speech_at_16_khz(made_up, asked):
  run = made_up.trained()
  (result,) = generate.generate(run, "tts", [Input("text 1", text="one two")], language="en")
  assert result.text is None
  assert result.rate_hz == 16_000
  np.testing.assert_array_equal(result.wave_S, made_up.wave_of("one two"))


def test_a_chain_gives_every_text_and_the_speech(made_up, asked):
  run = made_up.trained(mixtures.chain)
  recording = Input("a", wave_S=made_up.wave_of("one"))
  (result,) = generate.generate(run, "chain", [recording], source="en", target="fr")
  assert list(result.texts) == ["source.text", "target.text"]
  assert list(result.waves) == ["target.units"]


def test_the_language_whose_output_is_likeliest_per_token_is_kept(made_up, monkeypatch):
  def answer(trained, task, prompts, **options):
    french = {"[ASR English]": (-3.0, 10), "[ASR French]": (-4.0, 20)}
    return [
      prompting.Continuation({"source.text": [97]}, *french[prompt.tag], True) for prompt in prompts
    ]

  monkeypatch.setattr(prompting, "continuations", answer)
  recording = Input("a", wave_S=made_up.wave_of("one"))
  (result,) = generate.generate(made_up.trained(), "asr", [recording])
  assert result.languages == {"source": "fr"}
  assert result.log_likelihood == -0.2
  assert result.likelihoods == {"en": -0.3, "fr": -0.2}


def test_a_recording_longer_than_any_trained_on_is_cut_at_pauses_and_joined(made_up, asked):
  text = "one two three    four five six    seven eight one"
  (result,) = generate.generate(
    made_up.trained(), "asr", [Input("a", wave_S=made_up.wave_of(text))], language="en"
  )
  assert len(asked) == 3
  assert result.text.split() == text.split()
  assert result.notes == ("longer than what the model was trained on: cut into 3 pieces",)


def test_a_recording_is_asked_the_same_however_much_silence_it_comes_with(made_up, asked):
  wave_S = made_up.wave_of("one two")
  padded_S = np.concatenate([np.zeros(8_000), wave_S, np.zeros(32_000)]).astype(np.float32)
  inputs = [Input("a", wave_S=wave_S), Input("b", wave_S=padded_S)]
  generate.generate(made_up.trained(), "asr", inputs, language="en")
  plain, padded = (one.streams["source.units"] for one in asked)
  np.testing.assert_array_equal(padded, plain)


@pytest.mark.parametrize("role", ("target", "source"))
def test_waves_of_pieces_are_joined_by_silence(made_up, asked, role):
  text = "one two three four. five six seven eight."
  run = made_up.trained(functools.partial(mixtures.tts, role=role))
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
  (result,) = generate.generate(made_up.trained(), "asr", [recording], language="en")
  assert any("cuts fall inside speech: no pause was there" in note for note in result.notes)


def test_how_a_recording_was_read_is_the_first_of_its_notes(made_up, asked):
  text = "one two three    four five six    seven eight one"
  recording = Input("a", wave_S=made_up.wave_of(text), notes=("silent channels left out",))
  (result,) = generate.generate(made_up.trained(), "asr", [recording], language="en")
  assert result.notes[0] == "silent channels left out"
  assert result.notes[1].startswith("longer than what the model was trained on")


def test_recordings_that_were_joined_are_asked_apart(made_up, asked):
  first_S, second_S = made_up.wave_of("one two"), made_up.wave_of("three four")
  wave_S = np.concatenate([first_S, second_S])
  whole = Input("a.mp3", wave_S=wave_S, notes=("joined",), joins=(len(first_S),))
  (result,) = generate.generate(made_up.trained(), "asr", [whole], language="en")
  assert result.text == "one two three four" and result.notes == ("joined",)
  assert [made_up.text_of(one.streams["source.units"]).strip() for one in asked] == [
    "one two",
    "three four",
  ]


def test_a_silent_recording_fails_and_the_others_are_answered(made_up, asked):
  inputs = [
    Input("silent.wav", wave_S=np.zeros(16_000, np.float32)),
    Input("good.wav", wave_S=made_up.wave_of("one")),
    Input("nan.wav", wave_S=np.full(16_000, np.nan, np.float32)),
  ]
  silent, good, broken = generate.generate(made_up.trained(), "asr", inputs, language="en")
  assert isinstance(silent.error, AudioError)
  assert str(silent.error).startswith("silent.wav: silent")
  assert good.text == "one"
  assert "nan.wav: 16000 of 16000 samples are NaN" in str(broken.error)


def test_empty_text_says_what_to_give(made_up, asked):
  (failure,) = generate.generate(made_up.trained(), "tts", [Input("text 1", text=" ")])
  assert isinstance(failure.error, DataError)
  assert str(failure.error) == "text 1: empty text. Give at least one word."


def test_what_is_no_text_is_named_and_the_others_are_answered(made_up, asked):
  inputs = [Input("text 1", text="one \udcff"), Input("text 2", text="two")]
  broken, good = generate.generate(made_up.trained(), "tts", inputs, language="en")
  assert str(broken.error).startswith("text 1: Expected Unicode text, got 'one \\udcff', which has")
  np.testing.assert_array_equal(good.wave_S, made_up.wave_of("two"))


def test_a_seed_of_more_than_64_bits_is_refused(made_up):
  with pytest.raises(
    ConfigError, match=r"seed must be an integer from -2\^63 to 2\^63 - 1, not 999"
  ):
    generate.generate(made_up.trained(), "tts", [], language="en", seed=10**20 - 1)


def test_a_word_longer_than_the_model_can_take_is_cut_between_characters(made_up, asked):
  (result,) = generate.generate(
    made_up.trained(), "tts", [Input("text 1", text="x" * 90)], language="en"
  )
  assert result.notes[0].startswith("longer than what the model was trained on: cut into")
  assert (
    "".join(made_up.Text().decode(prompt.streams["target.text"]) for prompt in asked) == "x" * 90
  )


def test_a_letter_longer_than_the_model_can_take_says_the_limit(made_up, asked):
  text = "x" + "\u0301" * 89  # marks stay with their letter
  (failure,) = generate.generate(
    made_up.trained(), "tts", [Input("text 1", text=text)], language="en"
  )
  assert "90 frames of text in one piece, but the model was trained on at most" in str(
    failure.error
  )


@pytest.mark.parametrize(
  "form",
  [
    "un café noir",
    "un cafe\u0301 noir",
    "un\u00a0café\r\nnoir\n",
    "\ufeffun ca\u00adfé \u202anoir\u202c",
  ],
)
def test_spellings_of_one_text_are_asked_as_one(made_up, asked, form):
  run = made_up.trained()
  generate.generate(run, "mt", [Input("t", text=form)], source="fr", target="en")
  assert made_up.Text().decode(asked[0].streams["source.text"]) == "un café noir"


@pytest.mark.parametrize("voice", ["fr-Zoe\u0308", "fr-Zoë", " fr-Zoë\u00a0"])
@pytest.mark.parametrize("known", ["fr-Zoë", "fr-Zoe\u0308"])
def test_spellings_of_one_voice_are_one_voice(made_up, asked, monkeypatch, voice, known):
  monkeypatch.setattr(made_up.Tones, "voices", ("en-anna", known))
  run = made_up.trained(mixtures.tts)
  (result,) = generate.generate(run, "tts", [Input("t", text="one")], language="fr", voice=voice)
  assert len(result.wave_S)  # Tones.decode refuses any other name


class Chinese(Synthetic):
  """English to Chinese and back."""

  def __post_init__(self):
    pass

  def pairs(self, roles):
    return tuple(
      {role: code for role, code in (("source", first), ("target", second)) if role in roles}
      for first, second in (("en", "zh"), ("zh", "en"))
    )


def test_long_chinese_is_cut_after_its_sentences_and_answers_join_as_their_language_does(
  made_up, asked
):
  run = made_up.trained(mixtures.mt, corpus=Chinese(languages=("en", "zh")))
  sentences = ["今天天气很好。", "我们去图书馆！", "你想不想去？", "那里有很多书。", "请告诉我。"]
  text = Input("t", text="".join(sentences))
  (result,) = generate.generate(run, "mt", [text], source="zh", target="en")
  pieces = [made_up.Text().decode(prompt.streams["source.text"]) for prompt in asked]
  assert len(pieces) > 1 and "".join(pieces) == "".join(sentences)
  assert all(piece[-1] in "。！？" for piece in pieces)
  assert result.text == " ".join(pieces)
  assert result.notes == (
    f"longer than what the model was trained on: cut into {len(pieces)} pieces",
  )
  (result,) = generate.generate(run, "mt", [text], source="en", target="zh")
  assert result.text == "".join(sentences)


def test_an_unknown_task_lists_the_known_ones(made_up):
  with pytest.raises(
    ConfigError, match="Unknown task 'asl'. This run was trained on: asr, tts, mt"
  ):
    generate.generate(made_up.trained(), "asl", [])


def test_input_of_the_wrong_kind_says_what_to_give(made_up):
  with pytest.raises(ConfigError, match="Task 'asr' takes speech, but text came: give audio."):
    generate.generate(made_up.trained(), "asr", [Input("text 1", text="one")])
  with pytest.raises(ConfigError, match="Task 'tts' takes text, but speech came: give text."):
    generate.generate(made_up.trained(), "tts", [Input("a", wave_S=made_up.wave_of("one"))])


def test_an_unknown_voice_lists_the_known_ones(made_up):
  with pytest.raises(ConfigError, match="Unknown voice 'bob'. Known voices: en-anna, en-ben, fr-"):
    generate.generate(
      made_up.trained(), "tts", [Input("t", text="one")], language="en", voice="bob"
    )


def test_a_voice_for_text_out_is_refused(made_up):
  with pytest.raises(
    ConfigError, match="Task 'asr' has no speech output: leave out voice='en-ben'"
  ):
    generate.generate(
      made_up.trained(), "asr", [Input("a", wave_S=made_up.wave_of("one"))], voice="en-ben"
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
  run = made_up.trained(mixtures.s2st)
  recording = Input("a", wave_S=decode(made_up.Tones(), [1, 2, 3]))
  generate.generate(run, "s2st", [recording], source="en", target="fr")
  assert voices == ["fr-alice"]


def test_where_ids_say_who_speaks_no_voice_is_chosen(made_up, asked, monkeypatch):
  monkeypatch.setattr(made_up.Tones, "voices", ())
  run, text = made_up.trained(mixtures.tts), [Input("t", text="one")]
  (result,) = generate.generate(run, "tts", text, language="en")
  np.testing.assert_array_equal(result.wave_S, made_up.wave_of("one"))
  with pytest.raises(ConfigError, match="'units' determine the voice, so voice='en-anna' cannot"):
    generate.generate(run, "tts", text, language="en", voice="en-anna")


def test_a_task_without_inputs_continues_what_it_is_given(made_up, asked):
  run = made_up.trained(mixtures.text)
  generate.generate(run, "text", [Input("t", text="one")], language="en")
  assert asked[0].streams == {}
  np.testing.assert_array_equal(asked[0].begun["source.text"], [ord(c) for c in "one"])
