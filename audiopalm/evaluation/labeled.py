"""Recordings with labeled time spans, on which speech tokenizers are compared.

phones      the column `phones` of a manifest           words      the column `words`
recordings  the text of recordings of one word each     items      an item file of libri-light:
                                        #file onset offset #phone prev-phone next-phone speaker
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data import records, streams
from audiopalm.data.manifest import corpus as manifests
from audiopalm.data.manifest.lines import SOMEBODY
from audiopalm.errors import DataError, RecordError
from audiopalm.types import CorpusSettings, Utterance, Word

UNNAMED = frozenset(("", SOMEBODY))  # speakers of utterances that do not name one
Labels = Literal["phones", "words", "recordings"]
KINDS: tuple[Labels, ...] = ("phones", "words", "recordings")
ITEM_COLUMNS = ("#file", "onset", "offset", "#phone", "prev-phone", "next-phone", "speaker")
EXPECTED = {
  "phones": "a column phones, [[phone, start, end], ...] in seconds",
  "words": "a column words, [[word, start, end], ...] in seconds",
  "recordings": "recordings that say one word each",
}


@dataclasses.dataclass(frozen=True)
class LabeledSpan:
  """A labeled span of a recording. ABX compares spans of the same `context`: neighboring phones."""

  recording: int
  label: str
  start_s: float
  end_s: float
  speaker: str
  context: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """Recordings, their labeled spans, and the `faults` of recordings that were skipped.

  `labels` is the kind of `spans`, None if there are none; `tokens` are the spans that ABX compares.
  """

  names: tuple[str, ...]
  utterances: tuple[Utterance, ...]
  labels: Labels | None
  spans: tuple[LabeledSpan, ...]
  tokens: tuple[LabeledSpan, ...]
  faults: tuple[str, ...]

  @property
  def seconds(self) -> float:
    return sum(len(utterance.wave_S) / utterance.rate_hz for utterance in self.utterances)

  @property
  def speakers(self) -> list[str]:
    """The speakers whose names are known, sorted."""
    return sorted({utterance.speaker for utterance in self.utterances} - UNNAMED)


def read(
  corpora: Sequence[CorpusSettings],
  split: str,
  *,
  most: int,
  seed: int = 0,
  labels: Labels | None = None,
  items: Path | None = None,
  any_context: bool = False,
  advance: Callable[[float], None] = lambda share: None,
) -> Sample:
  """Returns at most `most` recordings of a split, drawn at random by `seed`, with their labels.

  If `labels` is None, the first of `KINDS` that the recordings have is used. With `items`, only
  recordings that the item file names are drawn. Raises DataError if no recording can be used, or
  if the recordings lack `labels`.
  """
  item_spans = _items(items) if items else {}
  places = [
    (corpus, number)
    for corpus in corpora
    if split in corpus.splits
    for number in _numbers(corpus, split, item_spans)
  ]
  if not places:
    known = sorted({name for corpus in corpora for name in corpus.splits})
    what = f"that {items} names" if items else f"in the split {split!r} ({', '.join(known)})"
    raise DataError(
      f"Expected recordings {what}, found none. Name another split, or a manifest that lists them."
    )
  names, utterances, faults = [], [], []
  order = np.random.default_rng(seed).permutation(len(places)).tolist()
  for done, place in enumerate(order):
    if len(names) == most:
      break
    corpus, number = places[place]
    try:
      for record in records.read(corpus, split, number, number + 1):
        utterance = _spoken(streams.at_working_rate(record).utterances.values())
        if utterance is not None:
          names.append(_file_of(corpus, split, number) or record.id)
          utterances.append(utterance)
    except RecordError as error:
      faults.append(str(error))
    advance(max(len(names) / most, (done + 1) / len(order)))
  if not names:
    raise DataError(
      f"Expected recordings of at least {waveform.SHORTEST_S * 1_000:.0f} ms, but none of the "
      f"{len(order)} of the split {split!r} can be used. The first: {(faults or ['text only'])[0]}"
    )
  kind = labels or next((kind for kind in KINDS if _has(kind, utterances)), None)
  if labels and not _has(labels, utterances):
    raise DataError(
      f"--labels {labels} expects {EXPECTED[labels]}, which the {len(names)} recordings lack. Add "
      "them, or omit --labels to compare without."
    )
  spans = tuple(_spans(kind, utterances, any_context)) if kind else ()
  tokens = spans
  if items:
    tokens = tuple(
      dataclasses.replace(span, recording=number, context="" if any_context else span.context)
      for number, name in enumerate(names)
      for span in item_spans.get(Path(name).stem, ())
    )
  return Sample(tuple(names), tuple(utterances), kind, spans, tokens, tuple(faults))


def frames(span: LabeledSpan, rate_hz: float, count: int) -> slice:
  """Returns the slice of the frames, `count` in all, that have their center in the span."""
  first = math.ceil(round(span.start_s * rate_hz - 0.5, 6))
  last = math.floor(round(span.end_s * rate_hz - 0.5, 6))
  return slice(max(first, 0), max(min(last + 1, count), 0))


def _spoken(utterances: Iterable[Utterance]) -> Utterance | None:
  """Returns the first utterance with a wave, None if there is none.

  Raises RecordError if it is too short.
  """
  for utterance in utterances:
    if utterance.wave_S is None:
      continue
    seconds = len(utterance.wave_S) / utterance.rate_hz
    if seconds < waveform.SHORTEST_S:
      raise RecordError(
        f"A recording of {utterance.speaker!r} has {seconds * 1_000:.0f} ms, expected at least "
        f"{waveform.SHORTEST_S * 1_000:.0f} ms. Remove the recording."
      )
    return utterance
  return None


def _numbers(
  corpus: CorpusSettings, split: str, item_spans: Mapping[str, Sequence[LabeledSpan]]
) -> Iterator[int]:
  """Yields the indices of records, of only those in the item file if `item_spans` has any."""
  for number in range(records.count(corpus, split)):
    file = _file_of(corpus, split, number) if item_spans else None
    if not item_spans or (file is not None and Path(file).stem in item_spans):
      yield number


def _file_of(corpus: CorpusSettings, split: str, number: int) -> str | None:
  """Returns the audio file of a record of a manifest, None for other corpora."""
  if not isinstance(corpus, manifests.Manifest):
    return None
  return manifests.records(corpus, split)[number][0].audio


def _has(kind: Labels, utterances: Sequence[Utterance]) -> bool:
  if kind == "recordings":
    return all(len(utterance.text.split()) == 1 for utterance in utterances)
  return any(getattr(utterance, kind) for utterance in utterances)


def _spans(
  kind: Labels, utterances: Sequence[Utterance], any_context: bool
) -> Iterator[LabeledSpan]:
  for number, utterance in enumerate(utterances):
    if kind == "recordings":
      seconds = len(utterance.wave_S) / utterance.rate_hz
      words: Sequence[Word] = (Word(utterance.text, 0.0, seconds),)
    else:
      words = getattr(utterance, kind)
    labels = [word.text.lower() if kind != "phones" else word.text for word in words]
    for place, word in enumerate(words):
      previous, following = ("", *labels)[place], (*labels, "")[place + 1]
      context = "" if any_context or kind != "phones" else f"{previous} {following}"
      yield LabeledSpan(number, labels[place], word.start_s, word.end_s, utterance.speaker, context)


def _items(path: Path) -> dict[str, list[LabeledSpan]]:
  """Returns {recording: spans} of an item file; raises DataError for another format."""
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(f"--items {path} cannot be read: {error}. Name an item file.") from error
  spans = collections.defaultdict(list)
  for number, line in enumerate(lines[1:], 2):
    cells = line.split()
    try:
      file, start, end, phone, previous, following, speaker = cells
      span = LabeledSpan(0, phone, float(start), float(end), speaker, f"{previous} {following}")
      if not 0 <= span.start_s <= span.end_s < math.inf:
        raise ValueError("times out of order")
    except ValueError as error:
      raise DataError(
        f"{path}, line {number}: expected {' '.join(ITEM_COLUMNS)}, separated by spaces, with "
        f"times in seconds, got {line!r}. Correct the line."
      ) from error
    spans[file].append(span)
  if not spans or lines[0].split() != list(ITEM_COLUMNS):
    raise DataError(
      f"{path}: expected the header {' '.join(ITEM_COLUMNS)} and lines below it, got "
      f"{(lines or [''])[0][:80]!r}. Name an item file in the format of libri-light."
    )
  return spans
