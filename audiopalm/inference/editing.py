"""Speech editing with `Infill`: from a recording and its new transcript to a prompt.

transcript   the cat   sat down                words that differ, and their time in the wave
text         the small dog sat down
recording    frames 0-9 | hole 9-21 | 21-40    the model fills the hole from its context
"""

import difflib
from collections.abc import Sequence

import numpy as np

from audiopalm import layouts, orthography
from audiopalm.audio import silence, waveform
from audiopalm.errors import ConfigError
from audiopalm.inference import prompting
from audiopalm.inference.trained import Trained
from audiopalm.metrics import text as text_metrics
from audiopalm.types import Task

# Seconds added on either side of a changed word, as in VoiceCraft's code: the sound of a word
# depends on its neighbors.
MARGIN_S = 0.08

Span = tuple[float, float | None]  # start and end in seconds; None is the end of the recording


def check(trained: Trained, task: Task) -> None:
  """Raises ConfigError for a task that cannot replace a part of a recording."""
  layout = prompting.asked_layout(trained.experiment.layout, task)
  fills = any(isinstance(part, layouts.Infill) for part in getattr(layout, "parts", ()))
  streams = [trained.prepared.tokenizers[stream].spec for _, stream in task.inputs + task.outputs]
  if not fills or [spec.modality for spec in streams] != ["text", "speech"]:
    raise ConfigError(
      f"Task {task.name!r} cannot edit a recording: that takes a task from text to speech whose "
      "layout fills spans, layout=Infilling((...)), as in configs/systems/voicecraft.py."
    )
  if streams[1].rate_hz is None:
    raise ConfigError(
      f"Task {task.name!r} cannot edit a recording: frames of its tokenizer {streams[1].name!r} "
      "have no fixed length, so a time cannot be turned into frames. Train it with collapse=False."
    )


def spans_between(transcript: str, text: str, wave_S: np.ndarray, language: str) -> list[Span]:
  """Returns the spans of a recording where `text` differs from its present `transcript`.

  Words are compared without case and punctuation. The time of each word is estimated: the time
  between pauses is divided in proportion to the number of letters. A span holds the changed words,
  or the pause where words are inserted, plus `MARGIN_S` on either side; at the ends of the text it
  reaches the ends of the recording. ConfigError for equal texts.
  """
  old, new = (
    text_metrics.words(orthography.plain(words), language) for words in (transcript, text)
  )
  if not old:
    raise ConfigError("The transcript of the recording is empty. Give what it says, or spans.")
  if old == new:
    raise ConfigError(
      "The recording says this already: transcript and text are equal. Change the text, or name "
      "the spans to be spoken anew."
    )
  end_s = len(wave_S) / waveform.RATE_HZ
  ends_s, starts_s = _word_times(old, wave_S)
  spans: list[Span] = []
  for kind, first, stop, _, _ in difflib.SequenceMatcher(None, old, new, False).get_opcodes():
    if kind != "equal":
      from_s, to_s = (ends_s, starts_s) if kind == "insert" else (starts_s, ends_s)
      start_s = from_s[first] - MARGIN_S if first else 0.0
      stop_s = to_s[stop] + MARGIN_S if stop < len(old) else end_s
      spans.append((max(0.0, float(start_s)), min(end_s, float(stop_s))))
  return spans


def _word_times(words: Sequence[str], wave_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns two float arrays [W + 1]: the estimated seconds at which the first 0, 1, ..., W words
  have ended, and at which the next word begins. They differ by the pause between the words."""
  duration_s = len(wave_S) / waveform.RATE_HZ
  edges = [0.0, *np.ravel(silence.pauses(wave_S, waveform.RATE_HZ)).tolist(), duration_s]
  starts_s, stops_s = np.asarray(edges[::2]), np.asarray(edges[1::2])  # between the pauses
  spoken_s = np.concatenate(([0.0], np.cumsum(stops_s - starts_s)))
  letters = np.concatenate(([0], np.cumsum([len(word) for word in words])))
  asked_s = spoken_s[-1] * letters / letters[-1]

  def at(nudge_s: float) -> np.ndarray:
    pieces = np.searchsorted(spoken_s, asked_s + nudge_s) - 1
    pieces = np.clip(pieces, 0, len(starts_s) - 1)
    return starts_s[pieces] + asked_s - spoken_s[pieces]

  return at(-1e-6), at(1e-6)


def holes_of(
  spans: Sequence[Span], frames: int, rate_hz: float, duration_s: float
) -> list[tuple[int, int]]:
  """Returns the frames (start, stop) of spans of a recording, in order; adjacent spans are merged.

  A span that begins where the recording ends asks for more of it: (frames, frames). ConfigError for
  a span that is empty or not within the recording.
  """
  holes: list[tuple[int, int]] = []
  for start_s, end_s in sorted((start, duration_s if end is None else end) for start, end in spans):
    if not 0 <= start_s <= end_s <= duration_s + 1 / rate_hz:
      raise ConfigError(
        f"The span {start_s:g}:{end_s:g} is not within the recording, which lasts {duration_s:.2f} "
        "s. Give START:END in seconds, or START: for all from there on."
      )
    # Rounded, so that 0.28 s at 25 Hz, which is 7.000000000000001 frames, is 7 of them.
    start = int(np.floor(round(start_s * rate_hz, 6)))
    stop = min(int(np.ceil(round(end_s * rate_hz, 6))), frames)
    if start_s >= duration_s:
      start = stop = frames
    elif start >= stop:
      raise ConfigError(
        f"The span {start_s:g}:{end_s:g} is empty. To put something in between, let it reach into "
        "the words around it; to go on where the recording ends, give its length as START:"
      )
    if holes and start <= holes[-1][1]:
      start, stop = holes[-1][0], max(stop, holes.pop()[1])
    holes.append((start, stop))
  return holes
