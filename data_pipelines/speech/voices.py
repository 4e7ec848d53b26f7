"""The voices that corpora name: how each sounds."""

from pathlib import Path

from audiopalm.data import synthesizers
from audiopalm.data_pipelines.speech import speakers

# The n-th voice of every language: variant, pitch, range, speed. Women and men take turns.
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
# espeak-ng's voices from the ninth on, and from the third held out on, have another accent.
_ESPEAK_ACCENTS = {"en": ("en-us", "en-gb-x-rp"), "fr": ("fr", "fr-ch"), "de": ("de", "de")}

# Likewise for Pico, whose voices are women: pitch, speed, warp. Men speak lower, and have a longer
# vocal tract. The held-out voices lie outside the ranges of the others in each of the three.
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
# Pico's voice for training, the one of every second voice held out, and the usual speed: Whisper
# misses words of fast French.
_PICO_VOICES = {
  "en": ("en-US", "en-GB", 1.0),
  "fr": ("fr-FR", "fr-FR", 0.86),
  "de": ("de-DE", "de-DE", 1.0),
  "es": ("es-ES", "es-ES", 1.0),
  "it": ("it-IT", "it-IT", 1.0),
}


def _espeak(language: str) -> dict[str, speakers.EspeakSpeaker]:
  known, found = synthesizers.NAMED["espeak"], {}
  for names, sounds, first_other in (
    (known.train_voices(language), _ESPEAK_TRAIN, 8),
    (known.held_out_voices(language), _ESPEAK_HELD_OUT, 2),
  ):
    usual, other = _ESPEAK_ACCENTS[language]
    found |= {
      name: speakers.EspeakSpeaker(
        f"{usual if place < first_other else other}+{variant}", *parameters
      )
      for place, (name, (variant, *parameters)) in enumerate(zip(names, sounds, strict=True))
    }
  return found


def _pico(language: str) -> dict[str, speakers.PicoSpeaker]:
  known, (voice, other, usual) = synthesizers.NAMED["pico"], _PICO_VOICES[language]
  return {
    name: speakers.PicoSpeaker(in_turn[place % len(in_turn)], pitch, usual * speed, warp)
    for names, in_turn, sounds in (
      (known.train_voices(language), (voice,), _PICO_TRAIN),
      (known.held_out_voices(language), (voice, other), _PICO_HELD_OUT),
    )
    for place, (name, (pitch, speed, warp)) in enumerate(zip(names, sounds, strict=True))
  }


def _all(one_language, name: str) -> dict[str, synthesizers.Voice]:
  found = {}
  for language in synthesizers.NAMED[name].languages:
    found |= one_language(language)
  return found


NAMED: dict[str, dict[str, synthesizers.Voice]] = {
  "pico": _all(_pico, "pico"),
  "espeak": _all(_espeak, "espeak"),
}


def speaker(synthesizer: synthesizers.Choice, language: str, voice: str) -> synthesizers.Voice:
  """Returns who speaks as a voice of a synthesizer."""
  if isinstance(synthesizer, str):
    return NAMED[synthesizer][voice]
  if isinstance(synthesizer, synthesizers.Piper):
    name, _, number = voice.partition("#")
    model = str(Path(synthesizer.folder).absolute() / f"{name}.onnx")
    return speakers.PiperSpeaker(model, int(number) if number else None)
  if isinstance(synthesizer, synthesizers.Program):
    return speakers.ProgramSpeaker(synthesizer.line, voice, language)
  return synthesizer.speaker(language, voice)
