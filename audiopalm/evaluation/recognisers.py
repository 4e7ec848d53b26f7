"""Recognisers beside the run's own: whose transcripts of generated speech are scored. Needs no jax.

What they hear is the WAV that was written. A recogniser is a frozen value that worker processes
take along, so `hear` is a unit of work for `data.executors`.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError
from audiopalm.evaluation import programs

WAV, LANGUAGE = "{wav}", "{language}"


@dataclasses.dataclass(frozen=True)
class Recording:
  """A WAV to be transcribed, and the code of the language spoken in it."""

  path: Path
  language: str


@dataclasses.dataclass(frozen=True)
class Transcript:
  """What a recogniser made of a recording; `fault` says why it made nothing of it."""

  text: str
  fault: str | None = None


class Recogniser(Protocol):
  """Who transcribes: `Command` or `PocketSphinx`."""

  @property
  def rule(self) -> str:
    """What the rules of a score say of its transcripts."""
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

  def check(self, languages: Collection[str]) -> None:
    if importlib.util.find_spec("pocketsphinx") is None:
      raise ConfigError(
        "--asr pocketsphinx needs the package pocketsphinx, which is not installed: "
        "pip install 'audiopalm[asr]'."
      )
    others = sorted(set(languages) - {"en"})
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
  recogniser: Recogniser, recordings: Sequence[Recording], executor: Local
) -> list[Transcript]:
  """Returns the transcript of each recording, heard by the workers of `executor`.

  DataError, with the first fault, where the recogniser fails for every one.
  """
  done = f"transcribed by {recogniser.rule}"
  return programs.of_each(recogniser.hear, recordings, executor, done)


@functools.cache  # a process reads the model once
def _decoder() -> Any:
  import pocketsphinx

  return pocketsphinx.Decoder(samprate=waveform.RATE_HZ, loglevel="FATAL")


def _samples(wave_S: np.ndarray) -> bytes:
  """Returns a wave as 16-bit samples."""
  return (np.clip(wave_S, -1, 1) * (2**15 - 1)).astype(np.int16).tobytes()
