"""The token space: the ids of each column of the grid, and their description as JSON.

    column 0   [ text model's rows | sep stop ... | other streams, codebook by codebook ]
    column k   [ stop ...          | the streams and codebooks layouts put there        ]

The text model's rows come first and unchanged, so that a text model is imported by copying a
prefix. The specials of every space are followed by those that layouts and the objective ask for.
Ids are local to their column. The description (`manifest`) contains everything that an id depends
on. Its hash is in every row index, checkpoint and export, because ids that silently change their
meaning are the worst bug of such code.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from audiopalm.errors import LayoutError, TokenSpaceError
from audiopalm.types import StreamSpec

FORMAT = 1
TEXT, SPEECH, SPECIAL, PADDING = 0, 1, 2, -1
MODALITIES = {"text": TEXT, "speech": SPEECH, "special": SPECIAL}  # of cells, in `modality_KV`

Specs = Mapping[str, StreamSpec]  # specs of the fitted tokenizers, by stream
Encode = Callable[[str], Sequence[int]]  # from text to ids


class Layout(Protocol):
  """The methods of `audiopalm.layouts.cells.Part` that a token space needs."""

  def cells(self, specs: Specs) -> frozenset[tuple[int, str, int]]: ...

  def specials(self, specs: Specs) -> tuple[tuple[int, str], ...]: ...

  def tag_strings(self) -> tuple[str, ...]: ...

  def describe(self) -> dict[str, Any]: ...


class Range(NamedTuple):
  """The ids of one codebook of a stream in a column: `size` ids, beginning at `start`."""

  column: int
  stream: str
  level: int
  start: int
  size: int


class Special(NamedTuple):
  """One id of a column that belongs to no stream: 'stop' in every column, 'sep' in column 0, and
  those that layouts and the objective ask for."""

  column: int
  name: str
  id: int


@dataclasses.dataclass(frozen=True)
class TokenSpace:
  """The ids of all columns, built by `build` or read by `from_manifest`.

  `tags` has the text ids of each tag string, `layouts` the description of each task's layout. Do
  not modify it in place: its hash is computed only once.
  """

  columns: int
  ranges: tuple[Range, ...]
  specials: tuple[Special, ...]
  tags: Mapping[str, tuple[int, ...]]
  streams: Mapping[str, StreamSpec]
  layouts: Mapping[str, Any]
  pad_to: int = 128

  def __hash__(self) -> int:
    return self._hash

  @functools.cached_property
  def _hash(self) -> int:
    return int(manifest_hash(self), 16)

  @functools.cached_property
  def _ranges(self) -> dict[tuple[int, str, int], tuple[int, int]]:
    return {(r.column, r.stream, r.level): (r.start, r.size) for r in self.ranges}

  @functools.cached_property
  def _specials(self) -> dict[tuple[str, int], int]:
    return {(s.name, s.column): s.id for s in self.specials}

  @functools.cached_property
  def sizes(self) -> tuple[int, ...]:
    """The number of ids of each column."""
    ends = [(r.column, r.start + r.size) for r in self.ranges]
    ends += [(s.column, s.id + 1) for s in self.specials]
    return tuple(max(end for k, end in ends if k == column) for column in range(self.columns))

  @functools.cached_property
  def padded(self) -> tuple[int, ...]:
    """The embedding rows of each column: `sizes` rounded up to multiples of `pad_to`, for
    sharding."""
    return tuple(-(-size // self.pad_to) * self.pad_to for size in self.sizes)

  @functools.cached_property
  def modality_KV(self) -> tuple[np.ndarray, ...]:
    """The kind of each embedding row, int8 per column: TEXT, SPEECH, SPECIAL or PADDING."""
    modality_KV = tuple(np.full(size, PADDING, np.int8) for size in self.padded)
    for r in self.ranges:
      kind = MODALITIES[self.streams[r.stream].modality]
      modality_KV[r.column][r.start : r.start + r.size] = kind
    for s in self.specials:
      modality_KV[s.column][s.id] = SPECIAL
    return modality_KV

  @functools.cached_property
  def both_ways(self) -> bool:
    """Whether a layout has rows that attend to later rows."""
    return _holds(self.layouts, "both_ways")

  def range_of(self, column: int, stream: str, level: int = 0) -> tuple[int, int]:
    """Returns (start, size) of a stream's codebook in a column."""
    if (column, stream, level) not in self._ranges:
      known = ", ".join(f"{r.stream} level {r.level}" for r in self.ranges if r.column == column)
      raise LayoutError(
        f"Column {column} of the token space has no range for stream {stream!r} level {level}; "
        f"it has: {known or 'none'}. Prepare again with this layout among the tasks."
      )
    return self._ranges[column, stream, level]

  def special(self, name: str, column: int = 0) -> int:
    """Returns the id of a special in a column."""
    if (name, column) not in self._specials:
      known = ", ".join(f"{s.name} (column {s.column})" for s in self.specials)
      raise LayoutError(f"Column {column} has no special {name!r}. Known: {known}.")
    return self._specials[name, column]

  def tag_ids(self, string: str) -> tuple[int, ...]:
    """Returns the text ids of a tag."""
    if string not in self.tags:
      raise LayoutError(
        f"The tag {string!r} is not in the token space. Known tags: "
        f"{', '.join(map(repr, self.tags)) or 'none'}."
      )
    return self.tags[string]


def build(
  streams: Sequence[StreamSpec],
  layouts: Mapping[str, Layout],
  encode_text: Encode,
  pad_to: int = 128,
  *,
  specials: Sequence[str] = (),
) -> TokenSpace:
  """Returns the token space of these streams and layouts.

  The first text stream is at the start of column 0 even if no layout uses it; `encode_text` is its
  tokenizer and is called once per tag string. Every column has the `specials` of the objective.
  """
  names = [spec.name for spec in streams]
  if len(set(names)) < len(names):
    raise LayoutError(f"Two tokenizers give a stream of one name: {', '.join(names)}. Rename one.")
  specs = {spec.name: spec for spec in streams}
  written = set().union(*(layout.cells(specs) for layout in layouts.values()))
  column_specials = [special for layout in layouts.values() for special in layout.specials(specs)]
  columns = 1 + max((column for column, _, _ in written), default=0)
  text = text_stream(specs)
  ranges, placed = [], []
  for column in range(columns):
    start = 0
    if column == 0 and text is not None:
      written.discard((0, text.name, 0))
      ranges.append(Range(0, text.name, 0, 0, text.sizes[0]))
      start = text.sizes[0]
    first = ("sep", "stop") if column == 0 else ("stop",)
    own = (name for at, name in column_specials if at == column)
    for name in dict.fromkeys((*first, *own, *specials)):
      placed.append(Special(column, name, start))
      start += 1
    for spec in streams:
      for level, size in enumerate(spec.sizes):
        if (column, spec.name, level) in written:
          ranges.append(Range(column, spec.name, level, start, size))
          start += size
  strings = dict.fromkeys(tag for layout in layouts.values() for tag in layout.tag_strings())
  return TokenSpace(
    columns=columns,
    ranges=tuple(ranges),
    specials=tuple(placed),
    tags=_encode_tags(strings, text, encode_text),
    streams=specs,
    layouts={task: layout.describe() for task, layout in layouts.items()},
    pad_to=pad_to,
  )


def text_stream(streams: Specs) -> StreamSpec | None:
  """Returns the stream that encodes tags, the first text stream; None if there is none."""
  return next((spec for spec in streams.values() if spec.modality == "text"), None)


def _holds(description: object, field: str) -> bool:
  """Returns whether a field is set anywhere in the description of a layout."""
  if isinstance(description, Mapping):
    return bool(description.get(field)) or any(_holds(v, field) for v in description.values())
  return isinstance(description, list | tuple) and any(_holds(v, field) for v in description)


def _encode_tags(
  strings: Iterable[str], text: StreamSpec | None, encode_text: Encode
) -> dict[str, tuple[int, ...]]:
  """Returns {tag: text ids}; LayoutError if two tags have the same ids. Without a text tokenizer no
  layout has tags."""
  tags, seen = {}, {}
  for string in strings:
    ids = tuple(int(id_) for id_ in encode_text(string))
    if not ids or min(ids) < 0 or max(ids) >= text.sizes[0]:
      raise LayoutError(
        f"Tokenizer {text.name!r} of {text.sizes[0]} ids encodes the tag {string!r} as "
        f"{list(ids)}. Expected at least one id, all of them in its range."
      )
    if ids in seen:
      raise LayoutError(
        f"Tokenizer {text.name!r} encodes the tags {seen[ids]!r} and {string!r} alike, so a grid "
        "could not tell them apart. Reword one of them."
      )
    seen[ids] = string
    tags[string] = ids
  return tags


def manifest(space: TokenSpace) -> dict[str, Any]:
  """Returns the token space as JSON: everything that ids depend on. Inverse: `from_manifest`."""
  return {
    "format": FORMAT,
    "columns": space.columns,
    "pad_to": space.pad_to,
    "streams": [
      {**dataclasses.asdict(spec), "sizes": list(spec.sizes)} for spec in space.streams.values()
    ],
    "ranges": [r._asdict() for r in space.ranges],
    "specials": [s._asdict() for s in space.specials],
    "tags": {tag: list(ids) for tag, ids in space.tags.items()},
    "layouts": dict(space.layouts),
  }


def manifest_hash(space: TokenSpace) -> str:
  """Returns a checksum of the token space in 16 hex digits."""
  text = json.dumps(manifest(space), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def from_manifest(described: Mapping[str, Any]) -> TokenSpace:
  """Returns the token space that `manifest` wrote."""
  if described.get("format") != FORMAT:
    raise TokenSpaceError(
      f"The token space has format {described.get('format')!r}, this version of audiopalm reads "
      f"format {FORMAT}. Use the version it was written with, or prepare again in a new workdir."
    )
  try:
    streams = [
      StreamSpec(**{**spec, "sizes": tuple(spec["sizes"])}) for spec in described["streams"]
    ]
    return TokenSpace(
      columns=described["columns"],
      ranges=tuple(Range(**r) for r in described["ranges"]),
      specials=tuple(Special(**s) for s in described["specials"]),
      tags={tag: tuple(ids) for tag, ids in described["tags"].items()},
      streams={spec.name: spec for spec in streams},
      layouts=dict(described["layouts"]),
      pad_to=described["pad_to"],
    )
  except (KeyError, TypeError) as error:
    raise TokenSpaceError(
      f"The token space is damaged ({error}): expected the fields that `audiopalm prepare` writes. "
      "Prepare again in a new workdir."
    ) from error


def difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
  """Returns one line per difference between two token spaces, '' if they are equal.

  streams / units / fingerprint: "3f2a" became "90bc"
  tags / [ASR French]: only in the second: [5, 9]
  """
  first, second = _flat(a), _flat(b)
  lines = []
  for path in first | second:
    if path not in second:
      lines.append(f"{path}: only in the first: {json.dumps(first[path])}")
    elif path not in first:
      lines.append(f"{path}: only in the second: {json.dumps(second[path])}")
    elif first[path] != second[path]:
      lines.append(f"{path}: {json.dumps(first[path])} became {json.dumps(second[path])}")
  return "\n".join(lines)


def check(expected: Mapping[str, Any], actual: Mapping[str, Any], what: str) -> None:
  """Raises TokenSpaceError with the difference unless `what` has the expected token space."""
  lines = difference(expected, actual)
  if lines:
    indented = "\n".join(f"  {line}" for line in lines.splitlines())
    raise TokenSpaceError(
      f"{what} has another token space (first: expected by this run, second: found in it):\n"
      f"{indented}\nIts ids have other meanings. Use the tokenizers, tasks and layout it was made "
      "with, or a new workdir."
    )


def _flat(value: object, path: str = "") -> dict[str, Any]:
  """Returns {path: leaf}; items of a list of objects are addressed by name, not by index."""
  if isinstance(value, Mapping):
    children = value.items()
  elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
    children = [(_address(item, number), item) for number, item in enumerate(value)]
  else:
    return {path: list(value) if isinstance(value, tuple) else value}
  flat = {}
  for name, child in children:
    flat |= _flat(child, f"{path} / {name}" if path else name)
  return flat


def _address(item: object, number: int) -> str:
  if not isinstance(item, Mapping) or "kind" in item:
    return f"part {number}"
  if "column" in item:
    stream = f"{item['stream']} level {item['level']}" if "stream" in item else item["name"]
    return f"column {item['column']} {stream}"
  return item.get("name", str(number))
