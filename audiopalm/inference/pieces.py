"""Cuts of recordings and texts that are too long for one row, at places where little is lost."""

import re
from collections.abc import Callable

import numpy as np

from audiopalm.audio import silence

ENDS_S = 0.08  # whole frames of any stream: two of 25 Hz
SENTENCE_PAUSE_S = 0.5  # longer than pauses between the words of a sentence

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+")
_SPACE = re.compile(r"\s+")


def cut_wave(
  wave_S: np.ndarray, rate_hz: int, fits: Callable[[np.ndarray], bool]
) -> tuple[list[np.ndarray], int]:
  """Returns (pieces in order, number of cuts inside speech) such that every piece fits.

  Every piece has ENDS_S of silence before and after what it says, like the recordings a model
  learns from. A wave that does not fit is cut in the middle of every pause that only lies between
  sentences (SENTENCE_PAUSE_S or more). Without one it is cut in the middle of the longest pause of
  its middle half, else of the pause nearest to its middle, else, inside speech, where its middle
  half is quietest. Each piece again, until it fits: together they hold all that is said. A piece
  shorter than two frames of 10 ms is not cut any further.
  """
  wave_S = silence.with_ends(wave_S, rate_hz, ENDS_S)
  return _cut(wave_S, rate_hz, fits)


def _cut(
  wave_S: np.ndarray, rate_hz: int, fits: Callable[[np.ndarray], bool]
) -> tuple[list[np.ndarray], int]:
  if fits(wave_S) or len(wave_S) < rate_hz // 50:
    return [wave_S], 0
  places, inside = _cuts(wave_S, rate_hz)
  pieces = []
  for part_S in np.split(wave_S, places):
    if not inside:
      part_S = silence.with_ends(part_S, rate_hz, ENDS_S)
    found, more = _cut(part_S, rate_hz, fits)
    pieces += found
    inside += more
  return pieces, inside


def cut_text(text: str, fits: Callable[[str], bool]) -> list[str]:
  """Returns pieces in order such that every piece fits: cut between sentences, else between words.

  Each cut is the one nearest to the middle. A single word that does not fit is given back whole.
  """
  if fits(text):
    return [text]
  for boundary in (_SENTENCE_END, _SPACE):
    cuts = list(boundary.finditer(text.strip()))
    if cuts:
      text = text.strip()
      cut = min(cuts, key=lambda match: abs(match.start() - len(text) / 2))
      return cut_text(text[: cut.start()], fits) + cut_text(text[cut.end() :], fits)
  return [text]


def _cuts(wave_S: np.ndarray, rate_hz: int) -> tuple[list[int], int]:
  """Returns (the samples to cut before, 1 if that is inside speech)."""
  seconds = len(wave_S) / rate_hz
  spans = [
    (start, end)
    for start, end in silence.pauses(wave_S, rate_hz)
    if 0 < start and end < seconds  # a cut in the silence at an end makes no piece shorter
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
