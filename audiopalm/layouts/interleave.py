"""Interleaving: an utterance that alternates between text and speech at word boundaries."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from audiopalm.errors import LayoutError
from audiopalm.layouts import cells, columns
from audiopalm.tokens.space import Specs

# Specials for the modality that follows: [Text], [Speech].
TO_TEXT, TO_SPEECH = "to_text", "to_speech"
END = "speech_end"  # ends every column of a span of speech in several columns


@dataclasses.dataclass(frozen=True)
class Interleave(cells.Part):
  """An utterance in spans of words, alternately as text and as speech.

  Each span begins with a special, `to_text` or `to_speech`, and holds its words in one modality
  only. The first modality and the numbers of words are drawn by the key, uniformly within
  `text_words` and `unit_words`; the last span may be shorter. `collapse` removes repeated frames
  within a span, as language models of units do; the stream itself must have frames of a fixed
  length, so that words can be located. With a single stream, Interleave(units="source.units"), the
  whole stream follows its special: data of one modality in the same format.

      Interleave("source.text", "source.units"), four words

          to_text  the cat  to_speech  u4 u5 u6 u7 u8  to_text  down  stop

  Speech with several codes per frame is a name, whose codes follow one another in column 0, or a
  `Delay` with one column per codebook. Then `speech_end` ends every column of a span.

      Interleave("source.text", Delay("source.codes", (0, 1))), three words

          to_text  the cat  to_speech  a2  a3  end  .    to_text  down  stop
          .        .   .    .          .   b2  b3   end  .        .     .

  Source: SPIRIT LM, arXiv:2402.05755, section 3.1, which draws 10 to 30 and 5 to 15 words.
  """

  text: str | None = None
  units: str | columns.Delay | None = None
  text_words: tuple[int, int] = (10, 30)
  unit_words: tuple[int, int] = (5, 15)
  collapse: bool = False

  def __post_init__(self):
    if not isinstance(self.units, str | columns.Delay | None):
      raise LayoutError(
        f"Interleave cannot hold {self.units!r}. Its speech is a name, or a Delay for several "
        "columns."
      )
    if not self.names:
      raise LayoutError("Interleave() has no stream. Name a text, units, or both.")
    super().__post_init__()
    if len(set(self.names)) < len(self.names):
      raise LayoutError(
        f"Interleave has {self.text!r} twice. Name a stream of text and one of units."
      )
    for field in ("text_words", "unit_words"):
      cells.check_bounds(self, field)

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(name for name in (self.text, self._speech) if name is not None)

  @property
  def _speech(self) -> str | None:
    return self.units.stream if isinstance(self.units, columns.Delay) else self.units

  @property
  def arranges(self) -> bool:
    return self.draws or (self.collapse and self.units is not None)

  @property
  def draws(self) -> bool:
    return len(self.names) == 2

  def word_streams(self) -> tuple[str, ...]:
    return self.names if self.draws else ()

  def grammar(self, specs: Specs) -> cells.Grammar:
    blocks = []
    for name in self.names:
      spec = cells.spec_of(name, specs)
      modality, special = ("text", TO_TEXT) if name == self.text else ("speech", TO_SPEECH)
      if spec.modality != modality:
        raise LayoutError(
          f"Interleave has {name!r} for its {modality}, but tokenizer {spec.name!r} gives "
          f"{spec.modality}. Name its text first, then its units."
        )
      if self.draws and modality == "speech" and spec.rate_hz is None:
        raise LayoutError(
          f"Interleave cuts {name!r} between words, but frames of tokenizer {spec.name!r} have no "
          f"fixed length. Set {spec.name}.collapse=False, and collapse=True here to leave repeated "
          "frames out."
        )
      if modality == "speech" and isinstance(self.units, columns.Delay):
        (block,) = self.units.blocks(specs)
        block = dataclasses.replace(block, end=END, end_given=False) if self.draws else block
      else:
        block = cells.Block((cells.Column(name, spec, tuple(range(spec.codebooks))),))
      blocks += [cells.mark(special), block]
    if len(self.names) == 1:
      return cells.chain(*blocks)
    return cells.Grammar(tuple(blocks), follows=((1,), (2, 4), (3,), (0, 4)), first=(0, 2))

  def pieces(
    self, streams: cells.Streams, word_ends: cells.WordEnds, random: np.random.Generator
  ) -> list[cells.Piece]:
    if len(self.names) == 1:
      return [cells.Piece(0), cells.Piece(1, self._kept(streams, self.names[0], 0, None))]
    lengths = {name: len(streams[name]) for name in self.names}
    ends_2W = self._cuts(lengths, word_ends)
    words = ends_2W.shape[1] - 1
    pieces, word, side = [], 0, int(random.integers(2))
    while word < words:
      least, most = self._words[side]
      upto = min(words, word + int(random.integers(least, most + 1)))
      frames = self._kept(streams, self.names[side], *ends_2W[side, [word, upto]].tolist())
      pieces += [cells.Piece(2 * side), cells.Piece(2 * side + 1, frames)]
      word, side = upto, 1 - side
    return pieces

  def begun(self, begun: cells.Streams) -> list[cells.Piece]:
    order = [self.names.index(name) for name in begun if name in self.names]
    empty = [len(begun[self.names[side]]) == 0 for side in order]
    if not order or any(empty[:-1]):
      raise LayoutError(
        f"{self} can begin with {' and '.join(map(repr, self.names))}, in any order, the last one "
        f"empty if it is to come; {', '.join(map(repr, begun)) or 'nothing'} came."
      )
    pieces = [cells.Piece(2 * side + n) for side in order for n in (0, 1)]
    return pieces[:-1] if empty[-1] else pieces

  def most_rows(
    self,
    blocks: Sequence[cells.Block],
    lengths: Mapping[str, cells.Count],
    word_ends: cells.WordEnds | None,
  ) -> cells.Count:
    spans = [block for block in blocks if not block.mark]
    counts = [lengths[name] for name in self.names]
    body = sum(count * span.period for count, span in zip(counts, spans, strict=True))
    if len(self.names) == 1:
      return 1 + body + spans[0].extra_rows
    if word_ends is not None:
      return self._most_of_words(lengths, word_ends, spans)
    # At most as many words as frames of either stream, in spans as short as possible, the shorter
    # kind first.
    words = np.minimum(*counts)
    least = sorted(least for least, _ in self._words)
    left = words % sum(least)
    turns = words // sum(least)
    speech = turns + (left > 0)
    return body + 2 * turns + (left > 0) + (left > least[0]) + speech * spans[1].extra_rows

  @property
  def _words(self) -> tuple[tuple[int, int], tuple[int, int]]:
    return self.text_words, self.unit_words

  def _most_of_words(
    self, lengths: Mapping[str, int], word_ends: cells.WordEnds, spans: Sequence[cells.Block]
  ) -> int:
    """Returns the rows of the longest sequence of spans, by dynamic programming from the last word
    to the first."""
    ends_2W = self._cuts(lengths, word_ends) * np.asarray([[span.period] for span in spans])
    words = ends_2W.shape[1] - 1
    best_2W = np.zeros((2, words + 1), np.int64)
    for word in range(words - 1, -1, -1):
      for side, (least, most) in enumerate(self._words):
        upto = np.arange(min(word + least, words), min(word + most, words) + 1)
        rows = ends_2W[side, upto] - ends_2W[side, word] + best_2W[1 - side, upto]
        best_2W[side, word] = 1 + rows.max() + spans[side].extra_rows
    return int(best_2W[:, 0].max())

  def _cuts(self, lengths: Mapping[str, int], word_ends: cells.WordEnds) -> np.ndarray:
    """Returns int64 [2, W + 1]: where text and units can be cut, from 0 to their lengths.

    A word without a frame in one of the streams is joined with the next word, the last one with the
    word before.
    """
    missing = [name for name in self.names if name not in word_ends]
    if missing:
      raise LayoutError(
        f"{self} needs to know where each word of {missing[0]!r} ends. Pass "
        f"word_ends={{{missing[0]!r}: frames, ...}}, one number for each word."
      )
    ends = [np.asarray(word_ends[name], np.int64) for name in self.names]
    last = [lengths[name] for name in self.names]
    if len(ends[0]) != len(ends[1]):
      raise LayoutError(
        f"{self.text!r} has {len(ends[0])} words, {self._speech!r} has {len(ends[1])}. Give the "
        "ends of the same words in both."
      )
    cuts = [(0, 0)]
    for text, units in zip(*(ends_N.tolist() for ends_N in ends), strict=True):
      if cuts[-1][0] < text < last[0] and cuts[-1][1] < units < last[1]:
        cuts.append((text, units))
    return np.asarray([*cuts, last], np.int64).T

  def _kept(
    self, streams: cells.Streams, name: str, start: int, stop: int | None
  ) -> slice | np.ndarray:
    """Returns which frames of a span are placed."""
    if not self.collapse or name != self._speech:
      return slice(start, stop)
    ids = np.asarray(streams[name])[start:stop]
    changes = ids[1:] != ids[:-1]
    if changes.ndim > 1:
      changes = changes.any(axis=1)
    return start + np.flatnonzero(np.append(True, changes))
