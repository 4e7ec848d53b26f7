"""Recognisers beside the run's own: whose transcripts of generated speech are scored. Needs no jax.

What they hear is the WAV that was written. A recogniser is a frozen value that worker processes
take along, so `hear` is a unit of work for `data.executors`.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import shlex
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import ConfigError, DataError

WAV, LANGUAGE = "{wav}", "{language}"
LIMIT_S = 600  # for one recording: a program that hangs would hold up all others
KEPT = 1_000  # characters of what a program said of its failure, the last ones


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
    words = self._words()
    if WAV not in self.line:
      raise ConfigError(
        f"--asr-command needs {WAV} where the path of a recording is to stand, as in "
        f"'transcribe {WAV}', but is {self.line!r}."
      )
    if shutil.which(words[0]) is None:
      raise ConfigError(
        f"--asr-command {self.line!r} cannot be started: {words[0]!r} is no program that can be "
        "run. Give its path, and look whether it is executable."
      )

  def hear(self, recording: Recording) -> Transcript:
    path, language = str(recording.path.resolve()), recording.language
    words = [word.replace(WAV, path).replace(LANGUAGE, language) for word in self._words()]
    try:
      done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
      )
      text = done.stdout.decode("utf-8")
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
      return Transcript("", f"{recording.path}: {words[0]}: {error}")
    if done.returncode:
      said = done.stderr.decode("utf-8", "replace").strip()[-KEPT:]
      return Transcript(
        "", f"{recording.path}: {words[0]} ended with code {done.returncode}: {said or 'no word'}"
      )
    return Transcript(" ".join(text.split()))

  def _words(self) -> list[str]:
    try:
      words = shlex.split(self.line)
    except ValueError as error:
      raise ConfigError(
        f"--asr-command {self.line!r} cannot be read as a command line: {error}. Close its quotes."
      ) from error
    if not words:
      raise ConfigError(f"--asr-command is empty: give a program and {WAV}.")
    return words


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
  heard = list(executor.map(recogniser.hear, recordings))
  faults = [one.fault for one in heard if one.fault is not None]
  if heard and len(faults) == len(heard):
    raise DataError(
      f"Not one of {len(heard)} recordings could be transcribed by {recogniser.rule}. The first: "
      f"{faults[0]}"
    )
  return heard


@functools.cache  # a process reads the model once
def _decoder() -> Any:
  import pocketsphinx

  return pocketsphinx.Decoder(samprate=waveform.RATE_HZ, loglevel="FATAL")


def _samples(wave_S: np.ndarray) -> bytes:
  """Returns a wave as 16-bit samples."""
  return (np.clip(wave_S, -1, 1) * (2**15 - 1)).astype(np.int16).tobytes()
