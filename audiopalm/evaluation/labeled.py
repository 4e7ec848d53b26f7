"""Recordings on which speech tokenizers are compared, and what is said in them when.

phones      the column `phones` of a manifest           words      the column `words`
recordings  each says one word, its text                items      an item file of libri-light:
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
  """A labeled stretch of a recording, and what it lies between where that is to be the same."""

  recording: int
  label: str
  start_s: float
  end_s: float
  speaker: str
  context: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
  """Recordings by name, what is said in them, and what was left out.

  `labels` are the kind of `spans`, None without any; `tokens` are the spans that ABX tells apart.
  """

  names: tuple[str, ...]
  utterances: tuple[Utterance, ...]
  labels: Labels | None
  spans: tuple[LabeledSpan, ...]
  tokens: tuple[LabeledSpan, ...]
  faults: tuple[str, ...]

  @property
  def seconds(self) -> float:
    return sum(len(each.wave_S) / each.rate_hz for each in self.utterances)

  @property
  def speakers(self) -> list[str]:
    """The speakers whose names are known, sorted."""
    return sorted({each.speaker for each in self.utterances} - {"", SOMEBODY})


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
  """Returns at most `most` recordings of a split, drawn by the seed, with their labels.

  `labels` None takes the first of `KINDS` that there are. With `items`, recordings are those that
  the file names. DataError without recordings, and where labels that were asked for are missing.
  """
  asked = _items(items) if items else {}
  places = [
    (corpus, number)
    for corpus in corpora
    if split in corpus.splits
    for number in _numbers(corpus, split, asked)
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
      f"Expected recordings of at least {waveform.SHORTEST_S * 1_000:.0f} ms, none of the "
      f"{len(order)} of the split {split!r} can be used. The first: {(faults or ['text alone'])[0]}"
    )
  kind = labels or next((kind for kind in KINDS if _has(kind, utterances)), None)
  if labels and not _has(labels, utterances):
    raise DataError(
      f"--labels {labels} expects {EXPECTED[labels]}, which none of the {len(names)} recordings "
      "have. Add it, or leave --labels out to compare without."
    )
  spans = tuple(_spans(kind, utterances, any_context)) if kind else ()
  tokens = spans
  if items:
    tokens = tuple(
      dataclasses.replace(span, recording=number, context="" if any_context else span.context)
      for number, name in enumerate(names)
      for span in asked.get(Path(name).stem, ())
    )
  return Sample(tuple(names), tuple(utterances), kind, spans, tokens, tuple(faults))


def frames(span: LabeledSpan, rate_hz: float, count: int) -> slice:
  """Returns which of `count` frames have their center in a span."""
  first = math.ceil(round(span.start_s * rate_hz - 0.5, 6))
  last = math.floor(round(span.end_s * rate_hz - 0.5, 6))
  return slice(max(first, 0), max(min(last + 1, count), 0))


def _spoken(utterances: Iterable[Utterance]) -> Utterance | None:
  """Returns the first utterance with a wave; RecordError where it is too short."""
  for utterance in utterances:
    if utterance.wave_S is None:
      continue
    seconds = len(utterance.wave_S) / utterance.rate_hz
    if seconds < waveform.SHORTEST_S:
      raise RecordError(
        f"{seconds * 1_000:.0f} ms of {utterance.speaker!r} are too short, expected at least "
        f"{waveform.SHORTEST_S * 1_000:.0f} ms. Leave the recording out."
      )
    return utterance
  return None


def _numbers(
  corpus: CorpusSettings, split: str, asked: Mapping[str, Sequence[LabeledSpan]]
) -> Iterator[int]:
  """Yields the numbers of records, of those that an item file names if there is one."""
  for number in range(records.count(corpus, split)):
    file = _file_of(corpus, split, number) if asked else None
    if not asked or (file is not None and Path(file).stem in asked):
      yield number


def _file_of(corpus: CorpusSettings, split: str, number: int) -> str | None:
  """Returns the audio file of a record that a manifest lists, None for another."""
  if not isinstance(corpus, manifests.Manifest):
    return None
  return manifests.records(corpus, split)[number][0].audio


def _has(kind: Labels, utterances: Sequence[Utterance]) -> bool:
  if kind == "recordings":
    return all(len(each.text.split()) == 1 for each in utterances)
  return any(getattr(each, kind) for each in utterances)


def _spans(
  kind: Labels, utterances: Sequence[Utterance], any_context: bool
) -> Iterator[LabeledSpan]:
  for number, utterance in enumerate(utterances):
    if kind == "recordings":
      seconds = len(utterance.wave_S) / utterance.rate_hz
      said: Sequence[Word] = (Word(utterance.text, 0.0, seconds),)
    else:
      said = getattr(utterance, kind)
    labels = [word.text.lower() if kind != "phones" else word.text for word in said]
    for place, word in enumerate(said):
      before, after = ("", *labels)[place], (*labels, "")[place + 1]
      context = "" if any_context or kind != "phones" else f"{before} {after}"
      yield LabeledSpan(number, labels[place], word.start_s, word.end_s, utterance.speaker, context)


def _items(path: Path) -> dict[str, list[LabeledSpan]]:
  """Returns the spans of an item file by the name of their recording."""
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise DataError(f"--items {path} cannot be read: {error}. Give an item file.") from error
  spans = collections.defaultdict(list)
  for number, line in enumerate(lines[1:], 2):
    cells = line.split()
    try:
      file, start, end, phone, before, after, speaker = cells
      span = LabeledSpan(0, phone, float(start), float(end), speaker, f"{before} {after}")
    except ValueError as error:
      raise DataError(
        f"{path}, line {number}: expected {' '.join(ITEM_COLUMNS)}, separated by spaces, with "
        f"times in seconds, got {line!r}. Copy the file again."
      ) from error
    spans[file].append(span)
  if not spans or lines[0].split() != list(ITEM_COLUMNS):
    raise DataError(
      f"{path}: expected the header {' '.join(ITEM_COLUMNS)} and lines below it, got "
      f"{(lines or [''])[0][:80]!r}. Give an item file as of libri-light."
    )
  return spans
