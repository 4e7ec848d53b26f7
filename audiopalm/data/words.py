"""Word ends in the streams of an utterance, at which layouts may cut."""

from collections.abc import Callable, Sequence

import numpy as np

from audiopalm.types import Utterance, Word


def ends_in_text(
  utterance: Utterance, ids: Sequence[int], encode_text: Callable[[str], Sequence[int]]
) -> list[int] | None:
  """Returns for each word the number of ids before its end; the last word ends with the text.

  Returns None if the words are not in the text, in this order. A text can be cut after a word if
  the text up to there has the same ids on its own; a word after which it cannot be cut has the end
  of the previous word, so that its ids belong to the next.
  """
  cuts = cuts_in_text(utterance)
  if cuts is None:
    return None
  ids, ends, last = list(ids), [], 0
  for cut in cuts[:-1]:
    prefix = list(encode_text(utterance.text[:cut]))
    if prefix == ids[: len(prefix)]:
      last = max(last, len(prefix))
    ends.append(last)
  return [*ends, len(ids)]


def ends_in_frames(words: Sequence[Word], frames: int, rate_hz: float) -> list[int]:
  """Returns for each word the number of frames before its end; the last word has all the rest.

  A pause between two words is cut in the middle; frames before the first word belong to it.
  """
  between_s = [
    (word.end_s + following.start_s) / 2
    for word, following in zip(words[:-1], words[1:], strict=True)
  ]
  ends = np.rint(np.asarray(between_s) * rate_hz).astype(int)
  return [*np.maximum.accumulate(ends.clip(0, frames)).tolist(), frames]


def cuts_in_text(utterance: Utterance) -> list[int] | None:
  """Returns the character index after each word, and after its punctuation up to the next space;
  None if the words are not in the text, in this order."""
  text, words = utterance.text, [word.text for word in utterance.words]
  lower = text.lower()
  if len(lower) == len(text):  # some letters have a longer lowercase form
    text, words = lower, [word.lower() for word in words]
  starts, place = [], 0
  for word in words:
    start = text.find(word, place)
    if start < 0:
      return None
    starts.append(start)
    place = start + len(word)
  cuts = []
  for word, start, until in zip(words, starts, [*starts[1:], len(text)], strict=True):
    stop = start + len(word)
    spaces = (place for place in range(stop, until) if text[place].isspace())
    cuts.append(next(spaces, stop))
  return cuts
