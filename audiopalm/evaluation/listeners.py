"""Listeners: whoever judges a written WAV, beside the run itself. Needs no jax.

    asr          the words that are said
    mos          how good people would find it, 1 to 5, as a model predicts
    similarity   how alike its voice is to that of a reference recording: at most 1

A listener is a frozen value that worker processes take along, so `hear` is a unit of work for
`data.executors`.
"""

import dataclasses
import hashlib
import importlib.util
import math
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from audiopalm import orthography
from audiopalm.audio import waveform
from audiopalm.data.commands import CommandLine
from audiopalm.data.executors import Local
from audiopalm.errors import AudioError, ConfigError, DataError
from audiopalm.evaluation.transcripts import Kept

Score = Literal["asr", "mos", "similarity"]
WAV, LANGUAGE, REFERENCE = "{wav}", "{language}", "{reference}"
# What a command line may hold for each score; all but the language it must.
PLACES = {"asr": (WAV, LANGUAGE), "mos": (WAV,), "similarity": (WAV, REFERENCE)}
EACH = 8  # recordings of every voice: enough to see which voices a recognizer cannot follow


@dataclasses.dataclass(frozen=True, eq=False)
class WavFile:
  """A WAV to be heard, the code of the language spoken in it, and what it is compared with.

  `reference` is a recording as FLAC, None where there is none.
  """

  path: Path
  language: str
  reference: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Measurement:
  """What a listener says of a WAV: a transcript or a number (None: nothing to measure).

  `fault` says why it failed: the transcript then is empty, the number None.
  """

  value: str | float | None
  fault: str | None = None


class Listener(Protocol):
  """`Command`, `installed.PocketSphinx`, `.Dnsmos`, `.Resemblyzer` or `whisper.Whisper`.

  `repeatable` is True where the same rule always gives the same value, so that one may be kept.
  """

  score: Score
  repeatable: bool = False

  @property
  def rule(self) -> str:
    """How the values of this listener are described beside the scores."""
    ...

  def hears(self, language: str) -> bool:
    """Returns whether it knows a language, by its code."""
    return True

  def check(self, languages: Collection[str] = ()) -> None:
    """Raises ConfigError if it cannot be used, here or for speech of these languages."""
    ...

  def hear(self, wav: WavFile) -> Measurement:
    """Returns what it says of a WAV."""
    ...


@dataclasses.dataclass(frozen=True)
class Command(Listener):
  """A program that prints the words of the WAV whose path replaces {wav} in its line, or a number.

  The code of the language spoken replaces {language}, the path of a WAV of the reference recording
  {reference}. No shell reads the line.
  """

  score: Score
  line: str

  @property
  def rule(self) -> str:
    return f"the command {self.line!r}, from the written WAV"

  def check(self, languages: Collection[str] = ()) -> None:
    needed = [place for place in PLACES[self.score] if place != LANGUAGE]
    usage = " ".join(needed)
    self._command.words(usage)
    for place in needed:
      if place not in self.line:
        raise ConfigError(
          f"{self._command.option} needs {place} where the path of a recording is to stand, as in "
          f"'PROGRAM {usage}', but is {self.line!r}."
        )
    self._command.check(usage)

  def hear(self, wav: WavFile) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
      values = {WAV: str(wav.path.resolve()), LANGUAGE: wav.language}
      if self.score == "similarity":
        values[REFERENCE] = str(Path(folder) / "reference.wav")
        assert wav.reference is not None, wav.path
        waveform.write(values[REFERENCE], waveform.read_flac(wav.reference), waveform.RATE_HZ)
      ended = self._command.run({place: values[place] for place in PLACES[self.score]})
    try:
      fault, printed = ended.fault, orthography.plain(ended.output.decode("utf-8"))
    except UnicodeDecodeError as error:
      fault, printed = f"{self.line}: {error}", ""
    if self.score == "asr" and fault is None:
      return Measurement(printed)
    if fault is None:
      try:
        value = float(printed)
      except ValueError:
        fault = f"expected a number to be printed, but it was {printed!r}"
      else:
        if math.isfinite(value):
          return Measurement(value)
        fault = f"{value} was printed"
    return Measurement("" if self.score == "asr" else None, f"{wav.path}: {fault}")

  @property
  def _command(self) -> CommandLine:
    return CommandLine(self.line, f"--{self.score}-command")


def hear(
  listener: Listener, wavs: Sequence[WavFile], executor: Local, kept: Kept | None = None
) -> list[Measurement]:
  """Returns what a listener says of each WAV, heard by the workers of `executor`.

  Of a `repeatable` one, what `kept` holds is not heard again, and what is heard is written there as
  it is made. DataError, with the first fault, where the listener fails for every WAV it is asked.
  """
  keys: list[str | None] = [None] * len(wavs)
  measurements: dict[int, Measurement] = {}
  for number, wav in enumerate(wavs):
    if kept is None or not listener.repeatable:
      continue
    try:
      keys[number] = _key(listener, wav)
    except AudioError as error:
      measurements[number] = Measurement("", str(error))
    if keys[number] in kept:
      measurements[number] = Measurement(kept[keys[number]])
  asked = [number for number in range(len(wavs)) if number not in measurements]
  for number, measured in zip(
    asked, executor.map(listener.hear, [wavs[number] for number in asked]), strict=True
  ):
    measurements[number] = measured
    if keys[number] is not None and measured.fault is None:
      kept.add(keys[number], measured.value)
  faults = [measurements[number].fault for number in asked]
  if faults and None not in faults:
    done = "transcribed" if listener.score == "asr" else "measured"
    raise DataError(
      f"Not one of {len(faults)} recordings could be {done} by {listener.rule}. The first: "
      f"{faults[0]}"
    )
  return [measurements[number] for number in range(len(wavs))]


def check_installed(option: str, modules: Sequence[str], extra: str) -> None:
  """Raises ConfigError, with how to install them, where modules an option needs are missing."""
  missing = [name for name in modules if importlib.util.find_spec(name) is None]
  if missing:
    raise ConfigError(
      f"{option} needs packages that are not installed: {', '.join(missing)}. Install them: "
      f"pip install 'audiopalm[{extra}]'."
    )


def samples(wave_S: np.ndarray) -> bytes:
  """Returns a wave as 16-bit samples."""
  return (np.clip(wave_S, -1, 1) * (2**15 - 1)).astype(np.int16).tobytes()


def _key(listener: Listener, wav: WavFile) -> str:
  """Returns what a transcript depends on as one checksum: rule, language and samples."""
  digest = hashlib.sha256(f"{listener.rule}\n{wav.language}\n".encode())
  digest.update(samples(waveform.read(wav.path)))
  return digest.hexdigest()
