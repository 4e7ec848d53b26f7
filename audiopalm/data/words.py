"""Where the words of an utterance end in its streams, so that a layout may cut between them."""

from collections.abc import Callable, Sequence

import numpy as np

from audiopalm.types import Utterance, Word


def ends_in_text(
  utterance: Utterance, ids: Sequence[int], encode_text: Callable[[str], Sequence[int]]
) -> list[int] | None:
  """Returns for each word how many of the text's ids come before its end, the last one all of them.

  None where the words are not in the text, in their order. A text can be cut behind a word if what
  comes before it has the same ids alone; a word behind which it cannot be has the end of the one
  before, so that its ids go with those of the next.
  """
  cuts = cuts_in_text(utterance)
  if cuts is None:
    return None
  ids, ends, last = list(ids), [], 0
  for cut in cuts[:-1]:
    begun = list(encode_text(utterance.text[:cut]))
    if begun == ids[: len(begun)]:
      last = max(last, len(begun))
    ends.append(last)
  return [*ends, len(ids)]


def ends_in_frames(words: Sequence[Word], frames: int, rate_hz: float) -> list[int]:
  """Returns for each word how many frames come before its end, the last one all of them.

  A pause between two words is cut in the middle; what lies before the first word and behind the
  last one is theirs.
  """
  between_s = [
    (word.end_s + following.start_s) / 2
    for word, following in zip(words[:-1], words[1:], strict=True)
  ]
  ends = np.rint(np.asarray(between_s) * rate_hz).astype(int)
  return [*np.maximum.accumulate(ends.clip(0, frames)).tolist(), frames]


def cuts_in_text(utterance: Utterance) -> list[int] | None:
  """Returns the place in the text behind each word, with the punctuation up to the next space; None
  where the words are not in the text, in their order."""
  text, words = utterance.text, [word.text for word in utterance.words]
  lower = text.lower()
  if len(lower) == len(text):  # there are letters whose small form is longer
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
