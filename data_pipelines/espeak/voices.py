"""The speakers that corpora name: how each sounds, and what each says."""

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.types import Utterance
from data_pipelines.espeak import client

# The n-th speaker of every language: variant, pitch, range, speed. Women and men take turns.
_TRAIN = (
  ("steph", 50, 50, 165),
  ("m3", 45, 50, 170),
  ("f3", 56, 60, 185),
  ("david", 60, 40, 158),
  ("Annie", 52, 45, 176),
  ("m7", 66, 60, 192),
  ("aunty", 34, 40, 152),
  ("quincy", 55, 70, 180),
  ("belinda", 58, 50, 170),
  ("grandpa", 30, 30, 148),
  ("f5", 40, 70, 188),
  ("michel", 60, 50, 172),
)
_HELD_OUT = (
  ("linda", 42, 50, 172),
  ("robert", 50, 55, 166),
  ("f1", 50, 45, 160),
  ("Reed", 48, 60, 184),
)

# Speakers from the ninth on, and from the third held out on, have another accent of the language.
_ACCENTS = {"en": ("en-us", "en-gb-x-rp"), "fr": ("fr", "fr-ch"), "de": ("de", "de")}


def _named(names: tuple[str, ...], sounds: tuple, language: str, first_other: int) -> dict:
  usual, other = _ACCENTS[language]
  return {
    name: client.Voice(f"{usual if place < first_other else other}+{variant}", *parameters)
    for place, (name, (variant, *parameters)) in enumerate(zip(names, sounds, strict=True))
  }


VOICES: dict[str, client.Voice] = {}
for _language in corpora.TRAIN_VOICES:
  VOICES |= _named(corpora.TRAIN_VOICES[_language], _TRAIN, _language, 8)
  VOICES |= _named(corpora.HELD_OUT_VOICES[_language], _HELD_OUT, _language, 2)


def say(text: str, language: str, speaker: str) -> Utterance:
  """Returns the text as that speaker says it, with the times of its words."""
  speech = client.speak(text, VOICES[speaker])
  return Utterance(speech.wave_S, waveform.RATE_HZ, text, language, speaker, speech.words)
