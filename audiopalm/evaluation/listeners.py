"""Listeners: recognizers and meters of written WAVs, beside the run's own ASR. Needs no jax.

    asr          a transcript
    mos          the predicted mean opinion score, 1 to 5
    similarity   the similarity of its voice to that of a reference recording, at most 1

A listener is a frozen value that is pickled to worker processes, so `hear` is a unit of work for
`data.executors`.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import math
import tempfile
import warnings
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from audiopalm import language_tags, orthography
from audiopalm.audio import waveform
from audiopalm.data import json_lines
from audiopalm.data.commands import CommandLine
from audiopalm.data.executors import Local
from audiopalm.errors import AudioError, ConfigError, DataError

if TYPE_CHECKING:
  import pocketsphinx
  import resemblyzer

Score = Literal["asr", "mos", "similarity"]
WAV, LANGUAGE, REFERENCE = "{wav}", "{language}", "{reference}"
# The placeholders of a command line by score; all but {language} are required.
PLACES = {"asr": (WAV, LANGUAGE), "mos": (WAV,), "similarity": (WAV, REFERENCE)}
VOICE_RECORDINGS = 8  # per voice: enough to find the voices that a recognizer misunderstands
CACHE_FILE = "transcripts.jsonl"
CACHE_ADVICE = "Remove the file: the recordings are then transcribed again."


@dataclasses.dataclass(frozen=True, eq=False)
class WavFile:
  """A WAV file, its language, and the FLAC bytes of its reference recording, None without one."""

  path: Path
  language: str
  reference: bytes | None = None


@dataclasses.dataclass(frozen=True)
class Measurement:
  """The transcript or number that a listener returns for a WAV (None: nothing to measure).

  `fault` is the reason of a failure, None on success; the transcript is then empty, the number
  None.
  """

  value: str | float | None
  fault: str | None = None


class Listener(Protocol):
  """`Command`, `PocketSphinx`, `Dnsmos`, `Resemblyzer` or `whisper.Whisper`.

  `repeatable` is True if the same rule always gives the same value, which may then be cached.
  """

  score: Score
  repeatable: bool = False

  @property
  def rule(self) -> str:
    """The description of this listener that is saved with its scores."""
    ...

  def hears(self, language: str) -> bool:
    """Returns whether this listener supports a language, given its code."""
    return True

  def check(self, languages: Collection[str] = ()) -> None:
    """Raises ConfigError if this listener is not installed, or not usable for these languages."""
    ...

  def hear(self, wav: WavFile) -> Measurement:
    """Returns the listener's measurement of a WAV file."""
    ...


class TranscriptCache(dict[str, str]):
  """Transcripts by key, saved as lines of JSON; `add` writes its line before it returns.

  Recognizers take seconds per recording, so an interrupted evaluation reuses its transcripts; a
  truncated last line is dropped when the file is opened. Nothing is saved if `path` is None.
  """

  def __init__(self, path: Path | None = None):
    super().__init__()
    self._path = path
    if path is None or not path.exists():
      return
    json_lines.mend(path)
    for number, line in json_lines.read(path, again=CACHE_ADVICE):
      try:
        self[line["key"]] = line["text"]
      except (TypeError, KeyError) as error:
        raise DataError(
          f"{path}, line {number}: expected a transcript with key and text, got {line!r}. "
          f"{CACHE_ADVICE}"
        ) from error

  def add(self, key: str, text: str) -> None:
    self[key] = text
    if self._path is not None:
      self._path.parent.mkdir(parents=True, exist_ok=True)
      with self._path.open("ab") as file:
        file.write(json_lines.dumps({"key": key, "text": text}).encode())


def hear(
  listener: Listener,
  wavs: Sequence[WavFile],
  executor: Local,
  cache: TranscriptCache | None = None,
) -> list[Measurement]:
  """Returns the listener's measurement of each WAV, computed by the workers of `executor`.

  A `repeatable` listener skips WAVs whose transcripts are cached, and caches the others at once.
  Raises DataError, with the first fault, if the listener fails for every WAV that it processes.
  """
  keys: list[str | None] = [None] * len(wavs)
  measurements: dict[int, Measurement] = {}
  if cache is not None and listener.repeatable:
    for number, wav in enumerate(wavs):
      try:
        keys[number] = _key(listener, wav)
      except AudioError as error:
        measurements[number] = Measurement("", str(error))
      if keys[number] in cache:
        measurements[number] = Measurement(cache[keys[number]])
  missing = [number for number in range(len(wavs)) if number not in measurements]
  values = executor.map(listener.hear, [wavs[number] for number in missing])
  for number, measurement in zip(missing, values, strict=True):
    measurements[number] = measurement
    if keys[number] is not None and measurement.fault is None:
      cache.add(keys[number], measurement.value)
  faults = [measurements[number].fault for number in missing]
  if faults and None not in faults:
    done = "transcribed" if listener.score == "asr" else "measured"
    raise DataError(
      f"None of {len(faults)} recordings could be {done} by {listener.rule}. The first fault: "
      f"{faults[0]}"
    )
  return [measurements[number] for number in range(len(wavs))]


def check_installed(option: str, modules: Sequence[str], extra: str) -> None:
  """Raises ConfigError, with the install command, if modules that an option needs are missing."""
  missing = [name for name in modules if importlib.util.find_spec(name) is None]
  if missing:
    raise ConfigError(
      f"{option} needs packages that are not installed: {', '.join(missing)}. Install them: "
      f"pip install 'audiopalm[{extra}]'."
    )


def check_languages(
  recognizer: Listener, languages: Collection[str], option: str, known: str, advice: str
) -> None:
  """Raises ConfigError for languages that a recognizer does not support; `known` are those it
  does."""
  unknown = sorted(language for language in set(languages) if not recognizer.hears(language))
  if unknown:
    raise ConfigError(
      f"{option} supports {known}, but tasks to be scored output speech in {', '.join(unknown)}. "
      f"Exclude these tasks (--tasks), {advice}."
    )


@dataclasses.dataclass(frozen=True)
class Command(Listener):
  """A command line that prints the transcript of a WAV, or a number.

  {wav} in the line is replaced by the path of the WAV, {language} by its language code, and
  {reference} by the path of a WAV of the reference recording. It runs without a shell.
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
          f"{self._command.option} needs {place} in place of the path of a recording, as in "
          f"'PROGRAM {usage}', got {self.line!r}."
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
    fault, printed = ended.fault, ""
    if fault is None:
      try:
        printed = orthography.plain(ended.output.decode("utf-8"))
        if self.score == "asr":
          return Measurement(printed)
        if math.isfinite(value := float(printed)):
          return Measurement(value)
        fault = f"expected a finite number to be printed, but it was {value}"
      except UnicodeDecodeError as error:
        fault = f"{self.line}: {error}"
      except ValueError:
        fault = f"expected a number to be printed, but it was {printed!r}"
    return Measurement("" if self.score == "asr" else None, f"{wav.path}: {fault}")

  @property
  def _command(self) -> CommandLine:
    return CommandLine(self.line, f"--{self.score}-command")


@dataclasses.dataclass(frozen=True)
class PocketSphinx(Listener):
  """CMU PocketSphinx with the English model of its package, for read speech.

  It serves to compare runs with each other, not with published figures: it misses many words of
  real voices, and nearly all words of a formant synthesizer such as espeak-ng.
  """

  score: Score = "asr"
  repeatable = True

  @property
  def rule(self) -> str:
    version = metadata.version("pocketsphinx")
    return f"pocketsphinx {version} with its en-us model, from the written WAV"

  def hears(self, language: str) -> bool:
    return language_tags.canonical(language) == "en"

  def check(self, languages: Collection[str] = ()) -> None:
    check_installed("--asr pocketsphinx", ["pocketsphinx"], "asr")
    advice = "omit --asr to use only the run's own recognition, or set --asr-command"
    check_languages(self, languages, "--asr pocketsphinx", "only English", advice)

  def hear(self, wav: WavFile) -> Measurement:
    decoder = _sphinx_decoder()
    decoder.start_utt()
    decoder.process_raw(_samples(waveform.read(wav.path)), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return Measurement(hypothesis.hypstr if hypothesis else "")


@dataclasses.dataclass(frozen=True)
class Dnsmos(Listener):
  """The overall score of DNSMOS, which was trained to rate noise suppression, not prosody.

  Source: Reddy et al. 2022, "DNSMOS P.835", arXiv:2110.01763, with the weights in `speechmos`.
  """

  score: Score = "mos"

  @property
  def rule(self) -> str:
    version = metadata.version("speechmos")
    return f"DNSMOS P.835 overall, speechmos {version}, from the written WAV"

  def check(self, languages: Collection[str] = ()) -> None:
    check_installed("--mos dnsmos", ["speechmos", "onnxruntime", "librosa", "requests"], "voices")

  def hear(self, wav: WavFile) -> Measurement:
    from speechmos import dnsmos

    try:
      wave_S = waveform.read(wav.path)
    except AudioError:
      return Measurement(None)  # silence, which `evaluation.sound` reports
    return Measurement(float(dnsmos.run(np.clip(wave_S, -1, 1), waveform.RATE_HZ)["ovrl_mos"]))


@dataclasses.dataclass(frozen=True)
class Resemblyzer(Listener):
  """The cosine similarity of two Resemblyzer embeddings: about 0.6 for recordings of two speakers,
  above 0.8 for recordings of the same one.

  Source: Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv:1710.10467.
  """

  score: Score = "similarity"

  @property
  def rule(self) -> str:
    version = metadata.version("Resemblyzer")
    return f"cosine to the reference recording's voice, Resemblyzer {version}, of the written WAV"

  def check(self, languages: Collection[str] = ()) -> None:
    modules = ["resemblyzer", "webrtcvad", "librosa", "torch"]
    check_installed("--similarity resemblyzer", modules, "voices")

  def hear(self, wav: WavFile) -> Measurement:
    assert wav.reference is not None, wav.path
    try:
      waves = (waveform.read(wav.path), waveform.read_flac(wav.reference))
    except AudioError:
      return Measurement(None)  # silence, which `evaluation.sound` reports
    voices = [_voice(wave_S) for wave_S in waves]
    return Measurement(None if any(voice is None for voice in voices) else float(np.dot(*voices)))


PACKAGES: dict[Score, dict[str, Listener]] = {
  "asr": {"pocketsphinx": PocketSphinx()},
  "mos": {"dnsmos": Dnsmos()},
  "similarity": {"resemblyzer": Resemblyzer()},
}


@functools.cache  # once per process
def _sphinx_decoder() -> "pocketsphinx.Decoder":
  import pocketsphinx

  return pocketsphinx.Decoder(samprate=waveform.RATE_HZ, loglevel="FATAL")


@functools.cache  # once per process
def _voice_encoder() -> "resemblyzer.VoiceEncoder":
  import resemblyzer

  return resemblyzer.VoiceEncoder("cpu", verbose=False)


def _voice(wave_S: np.ndarray) -> np.ndarray | None:
  """Returns the speaker embedding, of norm 1, of a wave; None if it has no speech."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # from its imports
    import resemblyzer

  if not np.any(wave_S):
    return None  # the level of silence in dB is undefined
  spoken_S = resemblyzer.preprocess_wav(wave_S, waveform.RATE_HZ)
  return _voice_encoder().embed_utterance(spoken_S) if len(spoken_S) else None


def _samples(wave_S: np.ndarray) -> bytes:
  return (np.clip(wave_S, -1, 1) * (2**15 - 1)).astype(np.int16).tobytes()


def _key(listener: Listener, wav: WavFile) -> str:
  """Returns the SHA-256 of all that a transcript depends on: rule, language and samples."""
  digest = hashlib.sha256(f"{listener.rule}\n{wav.language}\n".encode())
  digest.update(_samples(waveform.read(wav.path)))
  return digest.hexdigest()
