"""Recording conditions for synthesized speech: random silence, pauses, level and noise.

A synthesizer speaks without pauses, at a constant level, and stops at the end of the last word. A
model trained on that alone takes silence for speech. So each utterance is recorded as a random
take.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.types import Phone, Word

LEAST_WORDS = 3  # on either side of a pause
SPEECH_DB = 46.0  # below the peak: quieter sound at the ends of a phrase is not speech
BURST_DB = 32.0  # below the peak: quieter sound that is APART_S from other sound is a noise burst
APART_S = 0.2
MARGIN_S = 0.03  # kept around the speech
FADE_S = 0.005
ANSWER_PEAK_DB = -3.0


Timed = TypeVar("Timed", Word, Phone)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Takes:
  """Ranges from which the takes of a corpus are sampled uniformly, and probabilities.

  `ends_s` is the silence before and after, missing with probability `no_end` at each end.
  `answer_ends_s` is that of targets and answers, which have studio quality: no pauses, no noise, a
  constant level. Between two words, at least three from either end, a pause of `pause_s` occurs
  with probability `pauses`. `peak_db` is the level of the peak. With probability `hiss` a recording
  has noise `hiss_db` below the speech, otherwise silence is zeros. With `snr_db` all have noise
  with a signal-to-noise ratio in that range instead.
  """

  ends_s: tuple[float, float] = (0.02, 0.5)
  no_end: float = 0.15
  answer_ends_s: tuple[float, float] = (0.0, 0.0)
  pauses: float = 0.04
  pause_s: tuple[float, float] = (0.1, 0.4)
  peak_db: tuple[float, float] = (-16.0, -1.0)
  hiss: float = 0.5
  hiss_db: tuple[float, float] = (35.0, 60.0)
  snr_db: tuple[float, float] | None = None

  def __post_init__(self):
    for field in ("ends_s", "answer_ends_s", "pause_s", "peak_db", "hiss_db", "snr_db"):
      value = getattr(self, field)
      if value is None and field == "snr_db":
        continue
      if not (isinstance(value, tuple) and len(value) == 2 and value[0] <= value[1]):
        raise ConfigError(f"Takes: {field}={value!r} must be a pair (lowest, highest).")
      if field.endswith("_s") and value[0] < 0:
        raise ConfigError(f"Takes: {field}={value!r} must be seconds of at least 0.")
    if self.peak_db[1] > 0:
      raise ConfigError(f"Takes: peak_db={self.peak_db!r} must be at most 0, which is full scale.")
    for field in ("no_end", "pauses", "hiss"):
      if not 0 <= getattr(self, field) <= 1:
        raise ConfigError(
          f"Takes: {field}={getattr(self, field)!r} must be a probability from 0 to 1."
        )

  @property
  def identity(self) -> list:
    values = (getattr(self, field.name) for field in dataclasses.fields(self))
    return [MARGIN_S, BURST_DB, APART_S, *values]


@dataclasses.dataclass(frozen=True, eq=False)
class Phrase:
  """Speech without pauses at waveform.RATE_HZ, its words and phones if their times are known."""

  wave_S: np.ndarray
  words: tuple[Word, ...] = ()
  phones: tuple[Phone, ...] = ()


@dataclasses.dataclass(frozen=True)
class Take:
  """The random choices for one utterance; `silences_s` are before, between and after `phrases`."""

  phrases: tuple[str, ...]
  silences_s: tuple[float, ...]
  peak_db: float
  noise_db: float | None  # below the speech; None: silence is zeros
  seed: int


def draw(takes: Takes, text: str, key: str, *, answer: bool) -> Take:
  """Returns the take of a text, sampled by a key such as "0 synthetic/test/000003 source".

  `answer` marks a target or an answer.
  """
  digest = hashlib.sha256(key.encode()).digest()
  random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
  shortest, longest = takes.answer_ends_s if answer else takes.ends_s
  # All values are sampled, used or not, so that changing one range changes nothing else.
  ends_s = random.uniform(shortest, longest, 2) * (random.random(2) >= takes.no_end)
  peak_db = random.uniform(*takes.peak_db)
  hisses = random.random() < takes.hiss
  hiss_db = random.uniform(*takes.hiss_db)
  share = random.random()
  seed = int(random.integers(2**32))
  noise_db = hiss_db if hisses else None
  if takes.snr_db is not None:
    noise_db = takes.snr_db[0] + share * (takes.snr_db[1] - takes.snr_db[0])
  before_s, after_s = map(float, ends_s)
  if answer:
    return Take((text,), (before_s, after_s), ANSWER_PEAK_DB, None, seed)
  words = text.split()
  phrases, pauses_s, start = [], [], 0
  for place in range(1, len(words)):
    chance, pause_s = random.random(), random.uniform(*takes.pause_s)
    if chance < takes.pauses and min(place - start, len(words) - place) >= LEAST_WORDS:
      phrases.append(" ".join(words[start:place]))
      pauses_s.append(pause_s)
      start = place
  phrases = (*phrases, " ".join(words[start:])) if phrases else (text,)
  return Take(phrases, (before_s, *pauses_s, after_s), peak_db, noise_db, seed)


def record(take: Take, phrases: Sequence[Phrase]) -> Phrase:
  """Returns the utterance of the spoken phrases, recorded according to a take.

  Silence around a synthesized phrase is cut off first.
  """
  silences = [np.zeros(round(s * waveform.RATE_HZ), np.float32) for s in take.silences_s]
  pieces, words, phones, speech = [silences[0]], [], [], []
  for phrase, silence_S in zip(phrases, silences[1:], strict=True):
    first, stop = _speech_span(phrase.wave_S)
    at_samples = sum(map(len, pieces))
    words += _shifted(phrase.words, first, stop, at_samples)
    phones += _shifted(phrase.phones, first, stop, at_samples)
    speech.append(_faded(phrase.wave_S[first:stop]))
    pieces += [speech[-1], silence_S]
  wave_S, speech_S = np.concatenate(pieces), np.concatenate(speech)
  if not speech_S.any():
    return Phrase(wave_S, tuple(words), tuple(phones))
  wave_S = wave_S * np.float32(10 ** (take.peak_db / 20) / np.abs(speech_S).max())
  if take.noise_db is not None:
    power = float(np.square(speech_S, dtype=np.float64).mean())
    power *= 10 ** (take.peak_db / 10) / float(np.abs(speech_S).max()) ** 2
    noise_S = _noise(len(wave_S), take.seed)
    wave_S = wave_S + noise_S * np.float32(np.sqrt(power * 10 ** (-take.noise_db / 10)))
    wave_S = wave_S / np.float32(max(1.0, np.abs(wave_S).max()))
  return Phrase(wave_S, tuple(words), tuple(phones))


def _speech_span(wave_S: np.ndarray) -> tuple[int, int]:
  """Returns (first sample, stop sample) of the speech in a wave.

  Separate weak bursts are not speech: Pico's American voice ends with one, 40 dB below the speech
  and half a second after it.
  """
  level_S = np.abs(wave_S)
  peak = level_S.max(initial=0.0)
  if not peak:
    return 0, len(wave_S)
  audible = np.flatnonzero(level_S > peak * 10 ** (-SPEECH_DB / 20))
  gaps = np.flatnonzero(np.diff(audible) > APART_S * waveform.RATE_HZ)
  speech = [
    part
    for part in np.split(audible, gaps + 1)
    if level_S[part].max() > peak * 10 ** (-BURST_DB / 20)
  ]
  margin = round(MARGIN_S * waveform.RATE_HZ)
  return max(0, int(speech[0][0]) - margin), min(len(wave_S), int(speech[-1][-1]) + 1 + margin)


def _faded(wave_S: np.ndarray) -> np.ndarray:
  """Returns the wave with faded ends, so that the cuts do not click."""
  count = min(round(FADE_S * waveform.RATE_HZ), len(wave_S) // 2)
  faded_S = wave_S.copy()
  rise_S = np.linspace(0, 1, count, endpoint=False, dtype=np.float32)
  faded_S[:count] *= rise_S
  faded_S[len(faded_S) - count :] *= rise_S[::-1]
  return faded_S


def _shifted(timed: Sequence[Timed], first: int, stop: int, at_samples: int) -> list[Timed]:
  """Returns words or phones of a phrase whose samples `first` to `stop` move to `at_samples`."""
  low_s, high_s = first / waveform.RATE_HZ, stop / waveform.RATE_HZ
  shift_s = at_samples / waveform.RATE_HZ - low_s
  return [
    dataclasses.replace(
      item,
      start_s=min(max(item.start_s, low_s), high_s) + shift_s,
      end_s=min(max(item.end_s, low_s), high_s) + shift_s,
    )
    for item in timed
  ]


def _noise(samples: int, seed: int) -> np.ndarray:
  """Returns noise of power 1 with louder low frequencies, to a degree sampled by the seed."""
  from scipy import signal  # here: its import takes longer than JAX's, and configs need Takes

  random = np.random.default_rng(seed)
  pole = random.uniform(0, 0.9)
  white_S = random.standard_normal(samples)
  noise_S = signal.lfilter([1.0], [1.0, -pole], white_S)
  return (noise_S / max(np.sqrt(np.square(noise_S).mean()), 1e-9)).astype(np.float32)
