"""The speakers of the synthesizers: `speaker.speak(text)` has the same wave on every machine."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from audiopalm import servers
from audiopalm.audio import waveform
from audiopalm.data import commands
from audiopalm.data.takes import Phrase
from audiopalm.errors import AudioError, DataError, RecordError
from audiopalm.types import Phone, Word

PACKAGE = "audiopalm.data_pipelines.speech"
AUDIBLE = 0.005  # of full scale: the peak of speech is above it


@dataclasses.dataclass(frozen=True)
class EspeakSpeaker:
  """An espeak-ng voice with a variant ("en-us+f2"), and its parameters.

  `pitch` and `range` (of the pitch) are in 0..99, `speed` is in words per minute.
  """

  voice: str
  pitch: int = 50
  range: int = 50
  speed: int = 175

  def speak(self, text: str) -> Phrase:
    """Returns the speech of a text, with the words of `text.split()`, and phones of the IPA."""
    header, samples_S = servers.ask(self._server, dataclasses.asdict(self) | {"text": text})
    wave_S = waveform.resample(samples_S, header["rate_hz"], waveform.RATE_HZ)
    return Phrase(wave_S, align(text, header), phones(header))

  def check(self) -> None:
    """Raises DataError if espeak-ng does not have the voice or its variant."""
    servers.ask(self._server, {"voice": self.voice})

  @property
  def _server(self) -> servers.Server:
    install = "Install espeakng-loader 0.2.4 or newer: pip install 'audiopalm[data]'."
    language = self.voice.partition("+")[0]
    return servers.Server(
      "espeak", f"{PACKAGE}.espeak", "espeakng-loader", "espeakng_loader", install, (language,)
    )


@dataclasses.dataclass(frozen=True)
class PicoSpeaker:
  """A Pico voice ("en-US") with factors for its pitch, speed and formants (`warp`).

  The speech is played `warp` times as fast, which raises the formants as a shorter vocal tract
  does; it is synthesized lower and slower to keep pitch and speed.
  """

  voice: str
  pitch: float = 1.0
  speed: float = 1.0
  warp: float = 1.0

  def speak(self, text: str) -> Phrase:
    request = {"text": text, "voice": self.voice}
    request |= {"pitch": self.pitch / self.warp, "speed": self.speed / self.warp}
    return _spoken(PICO, request, "Pico", self.warp)


PICO = servers.Server(
  "pico",
  f"{PACKAGE}.pico",
  "py-nanotts",
  "py_nanotts",
  "Install it on Linux: pip install 'audiopalm[data]'. Or choose synthesizer=\"espeak\".",
)


@dataclasses.dataclass(frozen=True)
class PiperSpeaker:
  """A Piper voice: the file `model`, and the number of a speaker if it has several."""

  model: str
  speaker: int | None = None

  def speak(self, text: str) -> Phrase:
    install = "Install piper-tts: pip install 'audiopalm[piper]', and check the voice's files."
    server = servers.Server(
      "piper", f"{PACKAGE}.piper", "piper-tts", "piper", install, (self.model,)
    )
    return _spoken(server, {"text": text, "speaker": self.speaker}, "Piper")


@dataclasses.dataclass(frozen=True)
class ProgramSpeaker:
  """A voice of the user's own program, which is started for every text."""

  line: str
  voice: str
  language: str

  def speak(self, text: str) -> Phrase:
    command = commands.CommandLine(self.line, "The synthesizer's line")
    with tempfile.TemporaryDirectory(prefix="audiopalm-speech-") as folder:
      wav = Path(folder) / "speech.wav"
      values = {"{text}": text, "{voice}": self.voice, "{language}": self.language}
      command.check("{text}")
      ended = command.run(values | {"{wav}": str(wav)})
      if ended.fault is None and "{wav}" not in self.line:
        wav.write_bytes(ended.output)
      fault = ended.fault
      if fault is None:
        try:
          return Phrase(waveform.read(wav, name="its output"))
        except AudioError as error:
          fault = str(error)
    # Any sentence of a corpus can be spoken, so a failure is not a fault of the record.
    raise DataError(
      f"The synthesizer's line {self.line!r} gave no recording of {text!r} by voice "
      f"{self.voice!r}: {fault} Expected a WAV, printed or written to {{wav}}: run it by hand."
    )


def _spoken(server: servers.Server, request: dict, name: str, warp: float = 1.0) -> Phrase:
  """Returns the speech of a request, `warp` times as fast; RecordError if it is inaudible."""
  header, samples_S = servers.ask(server, request)
  if np.abs(samples_S).max(initial=0.0) < AUDIBLE:
    text = request["text"]
    raise RecordError(f"{name} gives no sound for {text!r}. Correct the text, or leave it out.")
  return Phrase(waveform.resample(samples_S, header["rate_hz"] * warp, waveform.RATE_HZ))


def align(text: str, header: dict) -> tuple[Word, ...]:
  """Returns the words of `text.split()` with the times and phonemes of an espeak-ng answer.

  espeak-ng may merge words ("il y a"): they share its time in proportion to their lengths, and the
  first one gets all phonemes. It may also split a word ("vingt-deux"): its parts are joined.
  """
  tokens, first = [], 0
  for token in text.split():
    first = text.index(token, first)
    tokens.append((token, first))
    first += len(token)
  if not tokens:
    return ()
  starts = [None] * len(tokens)
  for character, sample in header["words"]:
    place = _place(tokens, character)
    if starts[place] is None:
      starts[place] = sample
  starts[0] = starts[0] or 0
  known = [place for place, sample in enumerate(starts) if sample is not None]
  times = np.interp(
    [first for _, first in tokens] + [len(text)],
    [tokens[place][1] for place in known] + [len(text)],
    [starts[place] for place in known] + [header["samples"]],
  )
  phonemes = [""] * len(tokens)
  for character, _, phone in header["phones"]:
    phonemes[_place(tokens, character)] += phone
  seconds = times / header["rate_hz"]
  return tuple(
    Word(token, float(seconds[place]), float(seconds[place + 1]), phonemes[place])
    for place, (token, _) in enumerate(tokens)
  )


def phones(header: dict) -> tuple[Phone, ...]:
  """Returns the phones of an espeak-ng answer; each ends where the next one begins."""
  starts = [sample / header["rate_hz"] for _, sample, _ in header["phones"]]
  ends = [*starts[1:], header["samples"] / header["rate_hz"]]
  named = zip(header["phones"], starts, ends, strict=True)
  return tuple(Phone(text, start_s, end_s) for (_, _, text), start_s, end_s in named if text)


def _place(tokens: list[tuple[str, int]], character: int) -> int:
  """Returns the index of the token that contains a character."""
  return max(0, sum(first <= character for _, first in tokens) - 1)
