"""Recognizers beside the run's own: whose transcripts of generated speech are scored. Needs no jax.

What they hear is the WAV that was written. A recognizer is a frozen value that worker processes
take along, so `hear` is a unit of work for `data.executors`.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audiopalm import language_tags
from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import AudioError, ConfigError
from audiopalm.evaluation import programs
from audiopalm.evaluation.transcripts import Kept

WAV, LANGUAGE = "{wav}", "{language}"
EACH = 8  # recordings of every voice: enough to see which voices a recognizer cannot follow


@dataclasses.dataclass(frozen=True)
class Recording:
  """A WAV to be transcribed, and the code of the language spoken in it."""

  path: Path
  language: str


@dataclasses.dataclass(frozen=True)
class Transcript:
  """What a recognizer made of a recording; `fault` says why it made nothing of it."""

  text: str
  fault: str | None = None


class Recognizer(Protocol):
  """Who transcribes: `Command`, `PocketSphinx` or `whisper.Whisper`."""

  @property
  def rule(self) -> str:
    """What the rules of a score say of its transcripts."""
    ...

  @property
  def repeatable(self) -> bool:
    """Whether the same rule always means the same transcript, so that one may be kept."""
    ...

  def hears(self, language: str) -> bool:
    """Returns whether it knows a language, by its code."""
    ...

  def check(self, languages: Collection[str]) -> None:
    """Raises ConfigError if it cannot be used for speech of these languages."""
    ...

  def hear(self, recording: Recording) -> Transcript:
    """Returns what is said in a recording."""
    ...


@dataclasses.dataclass(frozen=True)
class Command:
  """A program that prints the transcript of the WAV whose path replaces {wav} in its command line.

  The code of the language spoken replaces {language}. No shell reads the line.
  """

  line: str

  @property
  def rule(self) -> str:
    return f"the command {self.line!r}, from the written WAV"

  @property
  def repeatable(self) -> bool:
    return False  # the program behind the line may change

  def hears(self, language: str) -> bool:
    return True

  def check(self, languages: Collection[str]) -> None:
    self._program.check((WAV,))

  def hear(self, recording: Recording) -> Transcript:
    places = {WAV: str(recording.path.resolve()), LANGUAGE: recording.language}
    printed = self._program.run(places)
    fault = None if printed.fault is None else f"{recording.path}: {printed.fault}"
    return Transcript(printed.text, fault)

  @property
  def _program(self) -> programs.Program:
    return programs.Program(self.line, "--asr-command")


@dataclasses.dataclass(frozen=True)
class PocketSphinx:
  """CMU PocketSphinx with the English model that its package brings, for read speech.

  It compares runs with each other, not with published figures: it misses many words of real voices,
  and nearly all of those that a formant synthesizer such as espeak-ng speaks.
  """

  @property
  def rule(self) -> str:
    version = importlib.metadata.version("pocketsphinx")
    return f"pocketsphinx {version} with its en-us model, from the written WAV"

  @property
  def repeatable(self) -> bool:
    return True

  def hears(self, language: str) -> bool:
    return language_tags.canonical(language) == "en"

  def check(self, languages: Collection[str]) -> None:
    if importlib.util.find_spec("pocketsphinx") is None:
      raise ConfigError(
        "--asr pocketsphinx needs the package pocketsphinx, which is not installed: "
        "pip install 'audiopalm[asr]'."
      )
    others = sorted(language for language in set(languages) if not self.hears(language))
    if others:
      raise ConfigError(
        f"--asr pocketsphinx hears English alone, and tasks to be scored speak {', '.join(others)} "
        "too. Leave these out (--tasks), leave out --asr for the run's own recognition, or name a "
        "program by --asr-command."
      )

  def hear(self, recording: Recording) -> Transcript:
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(_samples(waveform.read(recording.path)), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return Transcript(found.hypstr if found else "")


NAMED = {"pocketsphinx": PocketSphinx()}


def transcribe(
  recognizer: Recognizer, recordings: Sequence[Recording], executor: Local, kept: Kept
) -> list[Transcript]:
  """Returns the transcript of each recording, heard by the workers of `executor`.

  What `kept` holds is not heard again; what is heard is written there as it is made, for a
  recognizer that is `repeatable`. DataError, with the first fault, where the recognizer fails for
  every one that it is asked.
  """
  keys: list[str | None] = [None] * len(recordings)
  found: dict[int, Transcript] = {}
  for number, recording in enumerate(recordings):
    if recognizer.repeatable:
      try:
        keys[number] = _key(recognizer, recording)
      except AudioError as error:
        found[number] = Transcript("", str(error))
    if keys[number] in kept:
      found[number] = Transcript(kept[keys[number]])
  asked = [number for number in range(len(recordings)) if number not in found]
  done = f"transcribed by {recognizer.rule}"
  answers = programs.of_each(recognizer.hear, [recordings[n] for n in asked], executor, done)
  for number, one in zip(asked, answers, strict=True):
    found[number] = one
    if keys[number] is not None and one.fault is None:
      kept.add(keys[number], one.text)
  return [found[number] for number in range(len(recordings))]


def _key(recognizer: Recognizer, recording: Recording) -> str:
  """Returns what a transcript depends on as one checksum: rule, language and samples."""
  digest = hashlib.sha256(f"{recognizer.rule}\n{recording.language}\n".encode())
  digest.update(_samples(waveform.read(recording.path)))
  return digest.hexdigest()


@functools.cache  # a process reads the model once
def _decoder() -> Any:
  import pocketsphinx

  return pocketsphinx.Decoder(samprate=waveform.RATE_HZ, loglevel="FATAL")


def _samples(wave_S: np.ndarray) -> bytes:
  """Returns a wave as 16-bit samples."""
  return (np.clip(wave_S, -1, 1) * (2**15 - 1)).astype(np.int16).tobytes()
