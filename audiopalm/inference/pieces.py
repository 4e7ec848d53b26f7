"""Cutting of long recordings and texts into pieces, at places where little is lost."""

import re
from collections.abc import Callable, Sized
from typing import TypeVar

import numpy as np

from audiopalm import orthography
from audiopalm.audio import silence

Ids = TypeVar("Ids", bound=Sized)  # the encoded form of a piece
SENTENCE_PAUSE_S = 0.5  # longer than pauses between the words of a sentence

# Sentence-final punctuation that needs no space after it: of Chinese and Japanese, Arabic and Urdu,
# Devanagari, Armenian, Ethiopic, Khmer, Burmese, Tibetan; with closing quotes and brackets.
_ENDS = "。！？｡؟؛۔।॥։።។៕။།"
_CLOSING = "[’”»）〕］｝〉》」』】]*"
# Where a text may be cut, the best first.
_BOUNDARIES = (
  re.compile(rf"(?<=[.!?;:])\s+|(?<=[{_ENDS}]){_CLOSING}\s*(?![{_ENDS}])"),
  re.compile(r"(?<=[；：，、､၊])\s*"),
  re.compile(r"\s+"),
)


def cut_wave(
  wave_S: np.ndarray, rate_hz: int, encode: Callable[[np.ndarray], Ids], most: int
) -> tuple[list[Ids], int]:
  """Returns (encoded pieces in order, number of cuts inside speech), each of at most `most` ids.

  Every piece has `silence.ENDS_S` of silence before and after its speech, like the recordings of
  training. A wave that does not fit is cut in the middle of every pause that is long enough to lie
  between sentences (SENTENCE_PAUSE_S or more). Without such a pause it is cut in the middle of the
  longest pause of its middle half, else of the pause nearest to its middle, else, inside speech,
  where its middle half is quietest. Pieces are cut again until they fit, and no speech is dropped.
  A piece shorter than two frames of 10 ms is not cut any further. Each piece is encoded once.
  """
  wave_S = silence.with_ends(wave_S, rate_hz)
  return _cut(wave_S, rate_hz, encode, most)


def _cut(
  wave_S: np.ndarray, rate_hz: int, encode: Callable[[np.ndarray], Ids], most: int
) -> tuple[list[Ids], int]:
  ids = encode(wave_S)
  if len(ids) <= most or len(wave_S) < rate_hz // 50:
    return [ids], 0
  places, inside = _cuts(wave_S, rate_hz)
  pieces = []
  for part_S in np.split(wave_S, places):
    if not inside:
      part_S = silence.with_ends(part_S, rate_hz)
    parts, more = _cut(part_S, rate_hz, encode, most)
    pieces += parts
    inside += more
  return pieces, inside


def cut_text(text: str, encode: Callable[[str], Ids], most: int) -> list[Ids]:
  """Returns encoded pieces in order, each of at most `most` ids: cut between sentences, else words.

  In scripts without spaces a sentence is cut between its clauses, and a text without any boundary
  between two characters. Each cut is the one nearest to the middle. A letter and its combining
  marks stay together: one that does not fit is returned whole. Each piece is encoded once.
  """
  text = text.strip()
  ids = encode(text)
  if len(ids) <= most:
    return [ids]
  at = next(filter(None, (_nearest_cut(text, boundary) for boundary in _BOUNDARIES)), None)
  if at is None:
    letters = orthography.graphemes(text)
    if len(letters) < 2:
      return [ids]
    at = len("".join(letters[: len(letters) // 2]))
  return cut_text(text[:at], encode, most) + cut_text(text[at:], encode, most)


def _nearest_cut(text: str, boundary: re.Pattern[str]) -> int | None:
  """Returns where the boundary nearest to the middle ends; None without a boundary."""
  ends = [match.end() for match in boundary.finditer(text) if 0 < match.end() < len(text)]
  return min(ends, key=lambda end: abs(end - len(text) / 2), default=None)


def _cuts(wave_S: np.ndarray, rate_hz: int) -> tuple[list[int], int]:
  """Returns (samples before which to cut, 1 if that is inside speech)."""
  seconds = len(wave_S) / rate_hz
  spans = [
    (start, end)
    for start, end in silence.pauses(wave_S, rate_hz)
    if 0 < start and end < seconds  # not in leading or trailing silence
  ]
  between = [span for span in spans if span[1] - span[0] >= SENTENCE_PAUSE_S]
  central = [span for span in spans if seconds / 4 <= sum(span) / 2 <= seconds * 3 / 4]
  if not spans:
    return [_quietest(wave_S, rate_hz)], 1
  if not between:
    longest = max(central, key=lambda span: span[1] - span[0], default=None)
    between = [longest or min(spans, key=lambda span: abs(sum(span) - seconds))]
  return [round((start + end) / 2 * rate_hz) for start, end in between], 0


def _quietest(wave_S: np.ndarray, rate_hz: int) -> int:
  hop_samples = rate_hz // 100
  frames = len(wave_S) // hop_samples
  energy_T = np.square(wave_S[: frames * hop_samples].reshape(frames, hop_samples)).sum(axis=1)
  first, last = frames // 4, max(frames // 4 + 1, frames * 3 // 4)
  frame = first + int(np.argmin(energy_T[first:last]))
  return max(1, frame) * hop_samples
