"""One example of every kind of layout, on small tokenizers, for the properties all share."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.layouts import (
  CoarseFirst,
  Columns,
  Concat,
  Delay,
  Flat,
  Given,
  Infill,
  Interleave,
  Repeat,
  Stop,
  Tag,
  placing,
)
from audiopalm.tokens import space as token_space
from audiopalm.types import Grid, StreamSpec

STREAMS = (
  StreamSpec("text", "text", (40,), None, "t1"),
  StreamSpec("phones", "text", (9,), None, "p1"),
  StreamSpec("units", "speech", (12,), 25.0, "u1"),
  StreamSpec("collapsed", "speech", (11,), None, "u2"),
  StreamSpec("codes", "speech", (5, 6, 7), 50.0, "c1"),
  StreamSpec("rvq", "speech", (4,) * 8, 50.0, "c2"),
)

OUTPUTS = ("source.text", "target.text", "target.units", "target.collapsed")
COARSE, FINE = (0, 1, 2, 3), (4, 5, 6, 7)


def chain(outputs: int) -> Concat:
  parts = [Flat(name) for name in OUTPUTS[:outputs]]
  return Concat(Tag("[ASR AST S2ST]"), Given(Flat("source.units")), *parts, Stop())


def after_tag(*parts) -> Concat:
  return Concat(Tag("[X]"), *parts, Stop())


LAYOUTS = {
  "chain of one": chain(1),
  "chain of two": chain(2),
  "chain of three": chain(3),
  "chain of four": chain(4),
  "collapsed to text": after_tag(Given(Flat("source.collapsed")), Flat("target.text")),
  "text to text": after_tag(Given(Flat("source.text")), Flat("target.text")),
  "loss on inputs": after_tag(Flat("source.text"), Flat("target.text")),
  "plain text": after_tag(Flat("source.text")),
  "continuation": after_tag(Flat("source.units")),
  "no tag": Concat(Given(Flat("source.units")), Flat("source.text"), Stop()),
  "both ways": after_tag(
    Given(Flat("source.units"), both_ways=True),
    Given(Flat("source.text"), both_ways=True),
    Flat("target.text"),
  ),
  "phones": after_tag(Given(Flat("source.phones")), Flat("source.units")),
  "codes frame by frame": after_tag(Given(Flat("source.codes")), Flat("target.codes")),
  "audiolm semantic": after_tag(Flat("source.units")),
  "audiolm coarse": after_tag(Given(Flat("source.units")), CoarseFirst("source.rvq", (COARSE,))),
  "audiolm fine": after_tag(
    Given(CoarseFirst("source.rvq", (COARSE,))), CoarseFirst("source.rvq", (FINE,))
  ),
  "audiolm in one": after_tag(CoarseFirst("source.rvq", (COARSE, FINE))),
  "level by level": after_tag(CoarseFirst("source.codes", (0, 1, 2))),
  "soundstorm": after_tag(
    Columns(Given(Repeat(Flat("source.units"), 2)), Delay("source.codes", (0, 0, 0)))
  ),
  "valle first codebook": after_tag(Given(Flat("source.text")), CoarseFirst("source.codes", (0,))),
  "valle all codebooks": after_tag(Given(Flat("source.text")), Delay("source.codes", (0, 0, 0))),
  "eight delayed": after_tag(Given(Flat("source.text")), Delay("source.rvq", tuple(range(8)))),
  "delays out of order": after_tag(Given(Flat("source.text")), Delay("source.codes", (3, 0, 1))),
  "dgslm": after_tag(Columns(Flat("left.units"), Flat("right.units"))),
  "moshi": after_tag(Columns(Delay("own.codes", (0, 1, 1)), Given(Delay("user.codes", (0, 1, 1))))),
  "moshi with units": after_tag(
    Columns(Flat("own.units"), Delay("own.codes", (1, 2, 2)), Given(Delay("user.codes", (0, 1, 1))))
  ),
  "delayed prompt": after_tag(
    Given(Delay("speaker.codes", (0, 1, 2))), Delay("source.codes", (0, 1, 2))
  ),
  "delayed then delayed": after_tag(
    Delay("source.codes", (1, 0, 2)), Delay("target.codes", (0, 1, 2))
  ),
  "text then delayed": after_tag(
    Given(Flat("source.units")), Flat("target.text"), Delay("target.codes", (0, 1, 2))
  ),
  "delayed then text": after_tag(Delay("source.codes", (0, 0, 1)), Flat("source.text")),
  "repeated and predicted": after_tag(
    Columns(Repeat(Flat("source.units"), 2), Delay("source.codes", (0, 1, 1)))
  ),
  "frames of three rows": after_tag(Columns(Repeat(Flat("source.units"), 3), Flat("source.codes"))),
  "repeated delay": after_tag(Repeat(Delay("source.codes", (0, 1, 2)), 2)),
  "speech alone": after_tag(Interleave(units="source.units")),
  "interleave": after_tag(Interleave("source.text", "source.units", (1, 2), (1, 2))),
  "interleave codes": after_tag(
    Given(Flat("source.phones")), Interleave("source.text", "source.codes", (1, 3), (2, 2))
  ),
  "speech columns alone": after_tag(Interleave(units=Delay("source.codes", (0, 1, 2)))),
  "interleave side by side": after_tag(
    Interleave("source.text", Delay("source.codes", (0, 0, 0)), (1, 2), (1, 2))
  ),
  "interleave delayed": after_tag(
    Given(Flat("source.phones")),
    Interleave("source.text", Delay("source.codes", (0, 2, 1)), (1, 3), (2, 2)),
  ),
  "interleave delayed then text": after_tag(
    Interleave("source.text", Delay("source.codes", (0, 1, 1)), (1, 2), (1, 2)),
    Flat("target.text"),
  ),
  "interleave then text": after_tag(
    Interleave("source.text", "source.units", (1, 2), (1, 2)), Flat("target.text")
  ),
  "interleave twice": after_tag(
    Interleave("left.text", "left.units", (1, 2), (1, 2)),
    Interleave("right.text", "right.units", (1, 2), (1, 2)),
  ),
  "infill": after_tag(Given(Flat("source.text")), Infill(Flat("source.units"), (2, 3), (1, 2), 1)),
  "infill one": after_tag(
    Given(Flat("speaker.units")), Infill(Flat("source.units"), (1, 1), (1, 3), 1, to_end=0.3)
  ),
  "infill codes": after_tag(Infill(Flat("source.codes"), (1, 2), (1, 2), 1)),
  "infill delayed": after_tag(
    Given(Flat("source.text")),
    Infill(Delay("source.codes", (0, 1, 2)), (2, 3), (1, 2), 1, to_end=0.2, context_loss=False),
  ),
  "infill out of order": after_tag(Infill(Delay("source.codes", (2, 0, 1)), (1, 2), (1, 2), 1)),
}

# Streams that advance together: frames of the stream per tick.
TICKS = {
  "soundstorm": {"source.units": 1, "source.codes": 2},
  "repeated and predicted": {"source.units": 1, "source.codes": 2},
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """A layout in a space, and examples for it."""

  name: str
  layout: Concat
  space: token_space.TokenSpace

  @property
  def tag(self) -> str:
    return next(iter(self.space.tags), "")

  def streams(
    self, rng: np.random.Generator, ids: str = "random", ticks: int | None = None
  ) -> Mapping[str, np.ndarray]:
    """Returns ids for every stream: 'random', all 'first' or all 'last' of their range.

    Streams that must have one length share one number of ticks; others have their own.
    """
    found = {}
    together = int(rng.integers(1, 7)) if ticks is None else ticks
    for name in layouts.stream_names(self.layout):
      spec = self.space.streams[name.split(".")[1]]
      blocks = self.layout.grammar(self.space.streams).blocks
      coupled = any(len(block.columns) > 1 for block in blocks)
      free = int(rng.integers(1, 7)) if ticks is None else ticks
      per_tick = TICKS.get(self.name, {}).get(name, 1)
      frames = together * per_tick if coupled and spec.modality == "speech" else free
      found[name] = _ids(rng, frames, spec.sizes, ids)
    return found

  @property
  def infills(self) -> bool:
    return self.name.startswith("infill")

  @property
  def partly(self) -> tuple[str, ...]:
    """Streams of which a grid holds some words only."""
    return self.layout.word_streams()

  def word_ends(self, rng: np.random.Generator, streams: Mapping) -> Mapping[str, np.ndarray]:
    """Returns ends of words at random, some of them without a frame of their own."""
    words = int(rng.integers(1, 6))
    return {name: np.sort(rng.integers(0, len(streams[name]) + 1, words)) for name in self.partly}

  def realize(self, streams: Mapping[str, np.ndarray], rng: np.random.Generator) -> Grid:
    """Returns the grid of an example by a key at random."""
    word_ends, key = self.word_ends(rng, streams), rng.integers(0, 2**32, 3).tolist()
    return layouts.realize(self.layout, streams, self.tag, self.space, key, word_ends=word_ends)

  def again(self, found: layouts.Recovered) -> Grid:
    """Returns the grid that what was recovered realizes to."""
    pieces = found.pieces if self.layout.arranges else None
    return layouts.realize(self.layout, found.streams, found.tag, self.space, pieces=pieces)

  def prompt(self, streams: Mapping[str, np.ndarray], grid: Grid) -> Grid:
    """Returns the beginning of a grid as decoding gets it: from given streams, or around holes."""
    if not self.infills:
      given = {name: streams[name] for name in layouts.given_streams(self.layout)}
      return layouts.prompt(self.layout, given, self.tag, self.space)
    blocks = placing.place(self.layout, self.space).grammar.blocks
    pieces = layouts.recover(self.layout, grid.tokens_LK, self.space).pieces
    ends = {special for special in blocks if special.end == "span_end"}
    spans = [piece.frames for piece in pieces if blocks[piece.block] in ends]
    holes = [(span.start, span.stop) for span in spans]
    return layouts.prompt(self.layout, streams, self.tag, self.space, holes=holes)

  def grid(self, rng: np.random.Generator, **kwargs):
    return self.realize(self.streams(rng, **kwargs), rng)


def _ids(rng, frames, sizes, ids):
  high = np.asarray(sizes)
  ids_TQ = {
    "random": lambda: rng.integers(0, high, (frames, len(sizes))),
    "first": lambda: np.zeros((frames, len(sizes))),
    "last": lambda: np.tile(high - 1, (frames, 1)),
  }[ids]().astype(np.int32)
  return ids_TQ[:, 0] if len(sizes) == 1 else ids_TQ


def encode_text(string: str) -> list[int]:
  return [ord(letter) % 40 for letter in string]


def make_space(**named: Concat) -> token_space.TokenSpace:
  return token_space.build(STREAMS, named, encode_text)


def case_of(name: str) -> Case:
  return Case(name, LAYOUTS[name], make_space(task=LAYOUTS[name]))


@pytest.fixture(params=LAYOUTS)
def case(request) -> Case:
  return case_of(request.param)


@pytest.fixture(params=[name for name in LAYOUTS if not LAYOUTS[name].arranges])
def whole_case(request) -> Case:
  """A case whose grids hold each stream whole, in one place."""
  return case_of(request.param)


@pytest.fixture(params=[name for name in LAYOUTS if LAYOUTS[name].arranges])
def arranged_case(request) -> Case:
  """A case whose grids hold pieces of streams, as each record and a key have them."""
  return case_of(request.param)


@pytest.fixture
def space_of():
  """Returns the function from a layout to a token space that holds it, all tokenizers present."""
  return lambda layout: make_space(task=layout)


@pytest.fixture
def rng() -> np.random.Generator:
  return np.random.default_rng(0)
