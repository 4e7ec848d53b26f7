"""Parts that follow one another down the grid: streams, tags, given parts, the stop."""

import dataclasses
import string as strings_of
from typing import ClassVar

from audiopalm.errors import ConfigError, LayoutError
from audiopalm.layouts import cells
from audiopalm.tokens import space as token_space
from audiopalm.tokens.space import Specs


@dataclasses.dataclass(frozen=True)
class Flat(cells.Part):
  """A stream's cells one after another in one column, the codebooks of a frame together.

  Flat("source.codes"), a b = codebooks, two frames:   a0 b0 a1 b1
  """

  stream: str

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    spec = cells.spec_of(self.stream, specs)
    return (cells.Block((cells.Column(self.stream, spec, tuple(range(spec.codebooks))),)),)


@dataclasses.dataclass(frozen=True)
class CoarseFirst(cells.Part):
  """All frames of the first group of codebooks, then all frames of the next, in one column.

  `levels` are the groups in order; a single number is a group of one. Codebooks in no group are
  left out, so the stages of AudioLM (arXiv:2209.03143, section III-C) are CoarseFirst(codes, ((0,
  1, 2, 3),)) and CoarseFirst(codes, ((4, 5, 6, 7),)).

      CoarseFirst("source.codes", ((0, 1), 2)), two frames:   a0 b0 a1 b1 c0 c1
  """

  stream: str
  levels: tuple[int | tuple[int, ...], ...]

  def __post_init__(self):
    super().__post_init__()
    flat = [level for group in self.groups for level in group]
    whole = all(isinstance(level, int) and level >= 0 for level in flat)
    if not self.groups or not all(self.groups) or not whole or len(set(flat)) < len(flat):
      raise LayoutError(
        f"CoarseFirst({self.stream!r}) has levels {self.levels}. Give groups of codebook numbers, "
        "each number once, such as ((0, 1, 2, 3), (4, 5, 6, 7))."
      )

  @property
  def groups(self) -> tuple[tuple[int, ...], ...]:
    return tuple(group if isinstance(group, tuple) else (group,) for group in self.levels)

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    spec = cells.spec_of(self.stream, specs)
    highest = max(level for group in self.groups for level in group)
    if highest >= spec.codebooks:
      raise LayoutError(
        f'CoarseFirst({self.stream!r}) names level {highest} but tokenizer "{spec.name}" gives '
        f"{spec.codebooks} codebooks, 0 to {spec.codebooks - 1}. Leave it out, or set "
        f"{spec.name}.codebooks={highest + 1}."
      )
    return tuple(cells.Block((cells.Column(self.stream, spec, group),)) for group in self.groups)


@dataclasses.dataclass(frozen=True)
class Tag(cells.Part):
  """The task and its languages as plain text: [AST English French]. Always given.

  `template` names roles in braces, "[AST {source} {target}]"; `strings` are all tags that it can
  produce, each encoded once when the token space is built. A template without roles is its only
  string.
  """

  template: str
  strings: tuple[str, ...] = ()

  @property
  def roles(self) -> tuple[str, ...]:
    """The roles the template names, in order."""
    try:
      fields = [field for _, field, _, _ in strings_of.Formatter().parse(self.template)]
    except ValueError as error:
      raise ConfigError(f"The tag {self.template!r} cannot be read: {error}.") from error
    roles = [field for field in fields if field is not None]
    if not all(role.isidentifier() for role in roles):
      raise ConfigError(
        f"The tag {self.template!r} names a role that is no name. Write it as {{source}}."
      )
    return tuple(dict.fromkeys(roles))

  def tag_strings(self) -> tuple[str, ...]:
    if self.roles and not self.strings:
      raise LayoutError(
        f"Tag({self.template!r}) names {', '.join(self.roles)} but not the strings it can become. "
        "Give them as strings=(...), or let Chain().layout_of(task) enumerate them."
      )
    return self.strings or (self.template,)

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    text = token_space.text_stream(specs)
    if text is None:
      raise LayoutError(
        f"Tag({self.template!r}) needs a text tokenizer, but the streams are "
        f"{', '.join(specs)}. Add one."
      )
    return (
      cells.Block((cells.Column(cells.TAG, text, (0,), given=True),), tags=self.tag_strings()),
    )


@dataclasses.dataclass(frozen=True)
class Given(cells.Part):
  """A part that is seen but not predicted; with `both_ways` its rows also attend to later rows of
  it."""

  part: cells.Part
  both_ways: bool = False

  makes_given: ClassVar[bool] = True

  def blocks(self, specs: Specs) -> tuple[cells.Block, ...]:
    blocks = self.part.grammar(specs).blocks if isinstance(self.part, cells.Part) else ()
    if not blocks or isinstance(self.part, Given | Tag | Concat) or any(b.mark for b in blocks):
      raise LayoutError(
        f"Given cannot hold {self.part!r}. It takes Flat, CoarseFirst, Delay, Columns or Repeat."
      )
    given = (block.with_columns(given=True) for block in blocks)
    return tuple(dataclasses.replace(block, both_ways=int(self.both_ways)) for block in given)


@dataclasses.dataclass(frozen=True)
class Stop(cells.Part):
  """The end, always last: `stop` in the first free row of each column."""


@dataclasses.dataclass(frozen=True, init=False)
class Concat(cells.Part):
  """Parts one after another.

  The id `sep` goes between neighbors that share a range of ids (a Tag counts as text), and between
  predicted parts if one of them has several columns. It is given up to the last Given part, and
  predicted after it.

      Concat(Tag("[MT]"), Given(Flat("source.text")), Flat("target.text"), Stop())

          [ M T ]  sep  s0 s1 s2  sep  t0 t1  stop        weights are 1 on t0 t1 stop, else 0
  """

  parts: tuple[cells.Part, ...]

  def __init__(self, *parts: cells.Part):
    object.__setattr__(self, "parts", parts)

  def __repr__(self) -> str:
    return f"Concat({', '.join(map(repr, self.parts))})"

  @property
  def arranges(self) -> bool:
    return any(part.arranges for part in self.parts)

  def grammar(self, specs: Specs) -> cells.Grammar:
    joined, both_ways = cells.Grammar((), (), ()), 0
    ends = len(self.parts) > 1 and isinstance(self.parts[-1], Stop)
    for number, part in enumerate(self.parts[:-1] if ends else self.parts, start=1):
      if isinstance(part, Stop):
        raise LayoutError(f"{self} has Stop() before its end. Put it last, after a predicted part.")
      if not isinstance(part, cells.Part) or isinstance(part, Concat):
        raise LayoutError(
          f"Concat cannot hold {part!r}. It takes parts that are no Concat themselves."
        )
      grammar = part.grammar(specs)
      changes = {"part": number} if part.arranges else {}
      if any(block.both_ways for block in grammar.blocks):
        both_ways += 1
        changes["both_ways"] = both_ways
      blocks = tuple(dataclasses.replace(block, **changes) for block in grammar.blocks)
      first = [blocks[begin] for begin in grammar.first]
      if _must_separate(joined, first):
        given = any(block.given for block in (*first, *(joined.blocks[n] for n in joined.last)))
        joined = _ended(joined, "sep", given)
      joined = _joined(
        joined, dataclasses.replace(grammar, blocks=blocks), part if part.arranges else None
      )
    return _ended(joined, "stop", given=False) if ends else joined


def _joined(
  before: cells.Grammar, grammar: cells.Grammar, arranging: cells.Part | None = None
) -> cells.Grammar:
  """Returns the concatenation of grammars: the last blocks of one are followed by the first of the
  next."""
  end = len(before.blocks)
  first = tuple(end + number for number in grammar.first)
  follows = [
    (*(number for number in following if number < end), *(first if end in following else ()))
    for following in before.follows
  ]
  follows += [tuple(end + number for number in following) for following in grammar.follows]
  section = cells.Section(arranging, end, end + len(grammar.blocks))
  return cells.Grammar(
    blocks=before.blocks + grammar.blocks,
    follows=tuple(follows),
    first=before.first or first,
    sections=(*before.sections, section),
  )


def _ended(grammar: cells.Grammar, name: str, given: bool) -> cells.Grammar:
  """Returns a grammar with an end: in every column of its last block, or in a separate row if that
  block already has an end or there are several last blocks."""
  blocks, last = list(grammar.blocks), grammar.last
  if len(last) > 1 or any(blocks[number].end or blocks[number].mark for number in last):
    return _joined(grammar, cells.chain(cells.mark(name)))
  blocks[last[0]] = dataclasses.replace(blocks[last[0]], end=name, end_given=given)
  return dataclasses.replace(grammar, blocks=tuple(blocks))


def _must_separate(before: cells.Grammar, first: list[cells.Block]) -> bool:
  """Returns whether a next block could be read as more of a block before it, or would be beside its
  end."""
  blocks, end = before.blocks, len(before.blocks)
  may_come = {blocks[n].opening for last in before.last for n in before.follows[last] if n < end}
  if may_come & {block.opening for block in first}:
    return True
  for last in (blocks[number] for number in before.last):
    if not (last.end or last.mark):
      given = last.given or any(block.given for block in first)
      several = max(len(block.columns) for block in (last, *first)) > 1
      if (several and not given) or any(last.cells() & block.cells() for block in first):
        return True
  return False
