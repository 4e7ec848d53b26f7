"""The speakers behind the names of voices in corpora."""

from collections.abc import Callable
from pathlib import Path

from audiopalm.data import synthesizers
from audiopalm.data_pipelines.speech import speakers

# Variant, pitch, range and speed of the n-th voice of every language; women and men alternate.
_ESPEAK_TRAIN = (
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
_ESPEAK_HELD_OUT = (
  ("linda", 42, 50, 172),
  ("robert", 50, 55, 166),
  ("f1", 50, 45, 160),
  ("Reed", 48, 60, 184),
)
# espeak-ng's voices from the ninth on, and held-out ones from the third on, have another accent.
_ESPEAK_ACCENTS = {"en": ("en-us", "en-gb-x-rp"), "fr": ("fr", "fr-ch"), "de": ("de", "de")}

# Pitch, speed and warp for Pico, whose voices are women: men speak lower and have a longer vocal
# tract. In all three, held-out voices are outside the range of the others.
_PICO_TRAIN = (
  (1.00, 1.00, 1.00),
  (0.70, 1.00, 0.91),
  (1.10, 1.05, 1.03),
  (0.75, 0.96, 0.92),
  (0.90, 1.02, 1.02),
  (0.66, 1.06, 0.90),
  (1.15, 0.96, 1.05),
  (0.80, 1.02, 0.94),
  (1.06, 0.94, 0.97),
  (0.72, 1.04, 0.95),
  (1.18, 1.03, 1.06),
  (0.78, 0.94, 0.93),
)
_PICO_HELD_OUT = (
  (1.22, 0.92, 1.07),
  (0.63, 1.08, 0.88),
  (1.25, 0.90, 1.08),
  (0.61, 0.91, 0.87),
)
# Pico's voice for training, that of every second held-out voice, and the base speed, which is lower
# in French, as Whisper misses words of fast French.
_PICO_VOICES = {
  "en": ("en-US", "en-GB", 1.0),
  "fr": ("fr-FR", "fr-FR", 0.86),
  "de": ("de-DE", "de-DE", 1.0),
  "es": ("es-ES", "es-ES", 1.0),
  "it": ("it-IT", "it-IT", 1.0),
}


def _espeak(language: str, held_out: bool, place: int) -> speakers.EspeakSpeaker:
  variant, *parameters = (_ESPEAK_HELD_OUT if held_out else _ESPEAK_TRAIN)[place]
  accent, other_accent = _ESPEAK_ACCENTS[language]
  accent = other_accent if place >= (2 if held_out else 8) else accent
  return speakers.EspeakSpeaker(f"{accent}+{variant}", *parameters)


def _pico(language: str, held_out: bool, place: int) -> speakers.PicoSpeaker:
  pitch, speed, warp = (_PICO_HELD_OUT if held_out else _PICO_TRAIN)[place]
  voice, other_voice, base_speed = _PICO_VOICES[language]
  voice = other_voice if held_out and place % 2 else voice
  return speakers.PicoSpeaker(voice, pitch, base_speed * speed, warp)


def _speakers(
  names: synthesizers.Named, speaker_of: Callable[[str, bool, int], synthesizers.Voice]
) -> dict[str, synthesizers.Voice]:
  """Returns the speakers of all voices by name, the n-th of each language by speaker_of(..., n)."""
  return {
    name: speaker_of(language, held_out, place)
    for language in names.languages
    for held_out, voices in (
      (False, names.train_voices(language)),
      (True, names.held_out_voices(language)),
    )
    for place, name in enumerate(voices)
  }


NAMED = {
  name: _speakers(synthesizers.NAMED[name], speaker_of)
  for name, speaker_of in (("pico", _pico), ("espeak", _espeak))
}


def speaker(synthesizer: synthesizers.Choice, language: str, voice: str) -> synthesizers.Voice:
  """Returns the speaker of a synthesizer's voice."""
  if isinstance(synthesizer, str):
    return NAMED[synthesizer][voice]
  if isinstance(synthesizer, synthesizers.Piper):
    name, _, number = voice.partition("#")
    model = str(Path(synthesizer.folder).absolute() / f"{name}.onnx")
    return speakers.PiperSpeaker(model, int(number) if number else None)
  if isinstance(synthesizer, synthesizers.Program):
    return speakers.ProgramSpeaker(synthesizer.line, voice, language)
  return synthesizer.speaker(language, voice)
