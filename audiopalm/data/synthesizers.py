"""Settings of the synthesizers of spoken corpora; `data_pipelines/speech` makes the sound.

A synthesizer is named, "pico" or "espeak", or is a value of `Piper`, `Program` or the user's own
class, which list their training and held-out voices.
"""

import dataclasses
import hashlib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from audiopalm import language_tags, values
from audiopalm.data.takes import Phrase
from audiopalm.errors import ConfigError

# Names of the voices of "pico" and "espeak": "en-anna" and so on.
_TRAIN = {
  "en": "anna ben clara david emma frank grace henry ivy jack kate liam",
  "fr": "alice bruno chloe denis elise fabien gaelle hugo ines jules karine luc",
  "de": "astrid bernd carla dieter elke felix greta hans ida jonas karin lukas",
  "es": "ana bruno carmen diego elena felipe gloria hugo irene javier laura luis",
  "it": "anna bruno chiara dario elena fabio giulia ivo lucia marco nina luca",
}
_HELD_OUT = {
  "en": "mary noah olive peter",
  "fr": "marie noel odile pascal",
  "de": "maria norbert olga paul",
  "es": "maria nicolas olga pablo",
  "it": "maria nicola olga paolo",
}


class Voice(Protocol):
  """One voice of a synthesizer."""

  def speak(self, text: str) -> Phrase:
    """Returns the speech of a text: the same bytes for the same text, whatever the call order."""
    ...


class SynthesizerSettings(Protocol):
  """The settings of a synthesizer, a frozen dataclass. The user's own class also has
  `speaker(language, voice)`, which returns a `Voice`."""

  name: str

  @property
  def languages(self) -> tuple[str, ...]:
    """The codes of the languages that it speaks."""

  @property
  def identity(self) -> str:
    """The synthesizer's part of a corpus fingerprint: equal identities give equal sound."""

  def train_voices(self, language: str) -> tuple[str, ...]:
    """Returns the training voices of a language, the canonical voice first."""

  def held_out_voices(self, language: str) -> tuple[str, ...]:
    """Returns the voices of a language that are not in training."""


@dataclasses.dataclass(frozen=True)
class Named:
  """A synthesizer with a name, whose voices in its `languages` have the names above."""

  name: str
  languages: tuple[str, ...]

  def train_voices(self, language: str) -> tuple[str, ...]:
    return tuple(f"{language}-{name}" for name in _TRAIN[language].split())

  def held_out_voices(self, language: str) -> tuple[str, ...]:
    return tuple(f"{language}-{name}" for name in _HELD_OUT[language].split())


NAMED: Mapping[str, Named] = types.MappingProxyType(
  {
    # SVOX Pico, a statistical synthesizer: gives no times of words.
    "pico": Named("pico", ("en", "fr", "de", "es", "it")),
    # espeak-ng, a formant synthesizer: gives the times of words and their phonemes.
    "espeak": Named("espeak", ("en", "fr", "de")),
  }
)

Voices = tuple[tuple[str, tuple[str, ...]], ...]  # the voices of each language, by its code


class Listed:
  """The base of `Piper` and `Program`: the user lists the voices in `train` and `held_out`, the
  canonical voice of a language first: {"en": ("amy", "joe")}."""

  name: str
  train: Voices
  held_out: Voices

  def __post_init__(self):
    for field in ("train", "held_out"):
      listed = getattr(self, field)
      if isinstance(listed, Mapping):
        listed = tuple((language_tags.code(tag), tuple(names)) for tag, names in listed.items())
        object.__setattr__(self, field, listed)
      languages = [language for language, _ in listed]
      names = [voice for _, voices in listed for voice in voices]
      doubles = len(set(languages)) < len(languages) or len(set(names)) < len(names)
      if doubles or not all(voices for _, voices in listed) or not self.train:
        raise ConfigError(
          f"Synthesizer {self.name!r}: {field}={listed!r} must name the voices of each language, "
          'all different, each language once, as in {"en": ("amy", "joe")}.'
        )
    trained = {voice for _, voices in self.train for voice in voices}
    for language, voices in self.held_out:
      if both := trained.intersection(voices):
        raise ConfigError(
          f"Synthesizer {self.name!r}: voice {min(both)!r} is in train and in held_out. Name it in "
          "one of the two."
        )
      if language not in self.languages:
        raise ConfigError(
          f"Synthesizer {self.name!r}: held_out has voices of {language!r}, train has none. Name "
          "at least one voice of each language in train."
        )

  @property
  def languages(self) -> tuple[str, ...]:
    return tuple(language for language, _ in self.train)

  def train_voices(self, language: str) -> tuple[str, ...]:
    return dict(self.train)[language]

  def held_out_voices(self, language: str) -> tuple[str, ...]:
    return dict(self.held_out).get(language, ())


@dataclasses.dataclass(frozen=True)
class Piper(Listed):
  """Piper's neural voices: FOLDER/VOICE.onnx and VOICE.onnx.json.

  "en_US-vctk-medium#7" is speaker 7 of a model with several speakers. Noise is disabled, so a text
  always sounds the same. `digest` is that of the voices' files, computed if it is empty; raises
  ConfigError if a file is missing.

      synthesizers.piper("voices", train={"en": ("en_US-amy-medium", "en_US-joe-medium")})
  """

  folder: str
  digest: str = dataclasses.field(default="", kw_only=True)
  train: Voices
  held_out: Voices = ()
  name: str = "piper"

  def __post_init__(self):
    super().__post_init__()
    if not self.digest:
      object.__setattr__(self, "digest", self._digest_of_files())

  def _digest_of_files(self) -> str:
    folder, digest = Path(self.folder), hashlib.sha256()
    voices = [voice for _, names in (*self.train, *self.held_out) for voice in names]
    for model in dict.fromkeys(voice.partition("#")[0] for voice in voices):
      for name in (f"{model}.onnx", f"{model}.onnx.json"):
        path = folder / name
        if not path.is_file():
          names = ", ".join(sorted(voice.name for voice in folder.glob("*.onnx"))) or "no voice"
          raise ConfigError(
            f"Synthesizer 'piper': {folder} lacks {name}: it has {names}. Copy the voice's two "
            "files there, or name another voice."
          )
        digest.update(f"{name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
          digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]

  @property
  def identity(self) -> str:
    return f"piper {self.digest} {self.train} {self.held_out}"


@dataclasses.dataclass(frozen=True)
class Program(Listed):
  """The user's own program, a command line that is run for every text, without a shell.

  {text}, {voice} and {language} in the line are replaced. The program prints a WAV, or writes one
  to the path {wav}. The same line must always give the same sound; change `revision` when the
  program's output has changed.

      synthesizers.program("say.sh {voice} {text}", train={"en": ("amy", "joe")})
  """

  line: str
  train: Voices
  held_out: Voices = ()
  revision: str = ""
  name: str = "program"

  def __post_init__(self):
    super().__post_init__()
    if "{text}" not in self.line:
      raise ConfigError(
        f"Synthesizer {self.name!r}: line={self.line!r} must have {{text}} in place of the text, "
        "as in 'PROGRAM --voice {voice} {text}'."
      )
    several = any(len(voices) > 1 for _, voices in (*self.train, *self.held_out)) or self.held_out
    if several and "{voice}" not in self.line:
      raise ConfigError(
        f"Synthesizer {self.name!r}: line={self.line!r} must have {{voice}} in place of the name "
        "of a voice, as it has several."
      )

  @property
  def identity(self) -> str:
    return f"program {self.line} {self.revision} {self.train} {self.held_out}"


Choice = Literal["pico", "espeak"] | SynthesizerSettings


def named(synthesizer: Choice) -> Named | SynthesizerSettings:
  """Returns the settings of a name, or unchanged settings; raises ConfigError for anything else."""
  if isinstance(synthesizer, str) and synthesizer in NAMED:
    return NAMED[synthesizer]
  lacking = values.lacking(synthesizer, SynthesizerSettings)
  if lacking:
    raise ConfigError(
      f"synthesizer={synthesizer!r} must be one of {', '.join(map(repr, NAMED))}, what "
      "parts.synthesizers.piper(...) or parts.synthesizers.program(...) returns, or a value of a "
      f"class of yours; it lacks {', '.join(lacking)} of data.synthesizers.SynthesizerSettings."
    )
  return synthesizer
