"""Listeners of installed packages: PocketSphinx, DNSMOS and Resemblyzer. Needs no jax."""

import dataclasses
import functools
import importlib.metadata
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from audiopalm import language_tags
from audiopalm.audio import waveform
from audiopalm.errors import AudioError, ConfigError
from audiopalm.evaluation import listeners
from audiopalm.evaluation.listeners import Listener, Measurement, Score, WavFile

if TYPE_CHECKING:
  import pocketsphinx
  import resemblyzer


@dataclasses.dataclass(frozen=True)
class PocketSphinx(Listener):
  """CMU PocketSphinx with the English model that its package brings, for read speech.

  It compares runs with each other, not with published figures: it misses many words of real voices,
  and nearly all of those that a formant synthesizer such as espeak-ng speaks.
  """

  score: Score = "asr"
  repeatable = True

  @property
  def rule(self) -> str:
    return f"pocketsphinx {_version('pocketsphinx')} with its en-us model, from the written WAV"

  def hears(self, language: str) -> bool:
    return language_tags.canonical(language) == "en"

  def check(self, languages: Collection[str] = ()) -> None:
    listeners.check_installed("--asr pocketsphinx", ["pocketsphinx"], "asr")
    others = sorted(language for language in set(languages) if not self.hears(language))
    if others:
      raise ConfigError(
        f"--asr pocketsphinx hears English alone, and tasks to be scored speak {', '.join(others)} "
        "too. Leave these out (--tasks), leave out --asr for the run's own recognition, or name a "
        "program by --asr-command."
      )

  def hear(self, wav: WavFile) -> Measurement:
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(listeners.samples(waveform.read(wav.path)), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return Measurement(hypothesis.hypstr if hypothesis else "")


@dataclasses.dataclass(frozen=True)
class Dnsmos(Listener):
  """DNSMOS, overall: trained on opinions of noise suppressors, so it hears noise before prosody.

  Source: Reddy et al. 2022, "DNSMOS P.835", arXiv:2110.01763, with the weights in `speechmos`.
  """

  score: Score = "mos"

  @property
  def rule(self) -> str:
    return f"DNSMOS P.835 overall, speechmos {_version('speechmos')}, from the written WAV"

  def check(self, languages: Collection[str] = ()) -> None:
    modules = ["speechmos", "onnxruntime", "librosa", "requests"]
    listeners.check_installed("--mos dnsmos", modules, "voices")

  def hear(self, wav: WavFile) -> Measurement:
    from speechmos import dnsmos

    try:
      wave_S = waveform.read(wav.path)
    except AudioError:
      return Measurement(None)  # silence, which `evaluation.sound` reports
    return Measurement(float(dnsmos.run(np.clip(wave_S, -1, 1), waveform.RATE_HZ)["ovrl_mos"]))


@dataclasses.dataclass(frozen=True)
class Resemblyzer(Listener):
  """The cosine of two voices' embeddings by Resemblyzer: about 0.6 for two speakers, over 0.8 for
  one.

  Source: Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv:1710.10467.
  """

  score: Score = "similarity"

  @property
  def rule(self) -> str:
    version = _version("Resemblyzer")
    return f"cosine to the reference recording's voice, Resemblyzer {version}, of the written WAV"

  def check(self, languages: Collection[str] = ()) -> None:
    modules = ["resemblyzer", "webrtcvad", "librosa", "torch"]
    listeners.check_installed("--similarity resemblyzer", modules, "voices")

  def hear(self, wav: WavFile) -> Measurement:
    assert wav.reference is not None, wav.path
    try:
      waves = (waveform.read(wav.path), waveform.read_flac(wav.reference))
    except AudioError:
      return Measurement(None)  # silence, which `evaluation.sound` reports
    voices = [_voice(wave_S) for wave_S in waves]
    return Measurement(None if any(voice is None for voice in voices) else float(np.dot(*voices)))


NAMED: dict[Score, dict[str, Listener]] = {
  "asr": {"pocketsphinx": PocketSphinx()},
  "mos": {"dnsmos": Dnsmos()},
  "similarity": {"resemblyzer": Resemblyzer()},
}


@functools.cache  # a process reads the model once
def _decoder() -> "pocketsphinx.Decoder":
  import pocketsphinx

  return pocketsphinx.Decoder(samprate=waveform.RATE_HZ, loglevel="FATAL")


@functools.cache  # a process reads the weights once
def _encoder() -> "resemblyzer.VoiceEncoder":
  import resemblyzer

  return resemblyzer.VoiceEncoder("cpu", verbose=False)


def _voice(wave_S: np.ndarray) -> np.ndarray | None:
  """Returns the embedding, of length 1, of whoever speaks; None where nobody does."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of the names it imports
    import resemblyzer

  if not np.any(wave_S):
    return None  # its loudness has no logarithm
  spoken_S = resemblyzer.preprocess_wav(wave_S, waveform.RATE_HZ)
  return _encoder().embed_utterance(spoken_S) if len(spoken_S) else None


def _version(package: str) -> str:
  return importlib.metadata.version(package)
