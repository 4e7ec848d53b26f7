"""Optimized HLO text as instructions, and how often a run of the program executes each.

The text is what XLA prints of a compiled program (`compiled.as_text()`), of one device. Fusions,
calls and asynchronous wrappers are looked into, a loop body counts as often as the loop turns, and
of a conditional the heavier branch counts. The grammar is that of XLA's own parser,
xla/hlo/parser/hlo_parser.cc; what is not needed here is left as text.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

INSTRUCTION = re.compile(r"\s+(ROOT )?%?([^\s=]+) = ")
HEADER = re.compile(r"(ENTRY )?%?([^\s({]+)")
END = re.compile(r'\}(?:, execution_thread="[^"]*")?\s*$')
SHAPE_TOKEN = re.compile(r"\(|\)|([a-z]\w*)\[([^\]]*)\](?:\{[^}]*\})?")
COMMENT = re.compile(r"/\*.*?\*/")
TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
CALLS = ("fusion", "call", "call-start", "async-start", "custom-call")
PASSED_ON = (
  "bitcast", "broadcast", "convert", "copy", "copy-done", "copy-start", "opt-barrier", "reshape",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shape:
  """An array's element type and dimensions, or the `parts` of a tuple."""

  dtype: str
  dims: tuple[int, ...] = ()
  parts: tuple["Shape", ...] = ()

  @property
  def bytes(self) -> int:
    """The bytes of its elements, those of all parts of a tuple; padding of a layout is not in."""
    if self.dtype == "tuple":
      return sum(part.bytes for part in self.parts)
    return math.ceil(math.prod(self.dims) * _bits(self.dtype) / 8)

  def __str__(self) -> str:
    if self.dtype == "tuple":
      return f"({', '.join(str(part) for part in self.parts)})"
    return f"{self.dtype}[{','.join(str(size) for size in self.dims)}]"


def _bits(dtype: str) -> int:
  """Returns the bits of an element: "f8e4m3fn" has 8, "pred" a byte, "token" none."""
  digits = re.match(r"(?:bf|[sufc])(\d+)", dtype)
  return int(digits[1]) if digits else 8 * (dtype == "pred")


@functools.lru_cache(maxsize=4096)
def shape(text: str) -> Shape:
  """Returns the shape that "bf16[8,128]{1,0:T(8,128)}" or a tuple of such writes."""
  open_tuples: list[list[Shape]] = [[]]
  for token in SHAPE_TOKEN.finditer(text):
    if token[0] == "(":
      open_tuples.append([])
    elif token[0] == ")":
      parts = tuple(open_tuples.pop())
      open_tuples[-1].append(Shape("tuple", (), parts))
    else:
      sizes = tuple(int(size) for size in re.findall(r"\d+", token[2]))
      open_tuples[-1].append(Shape(token[1], sizes))
  return open_tuples[0][0]


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
  """One line: `inside` is the text in its parentheses, `attributes` what follows them."""

  name: str
  shape_text: str
  opcode: str
  inside: str
  attributes: str
  metadata: str
  backend_config: str

  @property
  def shape(self) -> Shape:
    return shape(self.shape_text)

  @property
  def operands(self) -> tuple[str, ...]:
    """The names of its operands; older texts write their shapes before them."""
    if "%" in self.inside:
      return tuple(re.findall(r"%([^\s,()]+)", self.inside))
    return tuple(name.split()[-1] for name in self.inside.split(",") if name.strip())

  def attribute(self, name: str) -> str:
    """Returns the text of an attribute up to the comma that ends it; '' where it has none."""
    found = re.search(rf"(?:^|[ ,{{]){re.escape(name)}=", self.attributes)
    if not found:
      return ""
    depth, start = 0, found.end()
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[][{}(),]', self.attributes[start:]):
      depth += (token[0] in "[{(") - (token[0] in "]})")
      if depth < 0 or (depth == 0 and token[0] == ","):
        return self.attributes[start : start + token.start()]
    return self.attributes[start:]

  def computations(self, *attributes: str) -> list[str]:
    """Returns the computations that these attributes name."""
    texts = [self.attribute(name) for name in attributes]
    return [name for text in texts for name in re.findall(r"[^\s,{}%]+", text)]


@dataclasses.dataclass(frozen=True)
class Computation:
  """The instructions of a function of the program, by name; `root` is what it returns."""

  name: str
  instructions: dict[str, Instruction]
  root: str

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    """The instructions that take each one as operand."""
    users = collections.defaultdict(list)
    for instruction in self.instructions.values():
      for operand in instruction.operands:
        users[operand].append(instruction)
    return users


@dataclasses.dataclass(frozen=True)
class Module:
  """A program; `partitions` are the devices its ids count, `frames` its source positions."""

  computations: dict[str, Computation]
  entry: str
  partitions: int
  frames: dict[int, str]

  def source(self, instruction: Instruction) -> str:
    """Returns "file:line" of the Python code an instruction comes from; '' where unknown."""
    file = re.search(r'source_file="([^"]*)"', instruction.metadata)
    if file:
      line = re.search(r"source_line=(\d+)", instruction.metadata)
      return f"{file[1]}:{line[1]}" if line else file[1]
    frame = re.search(r"stack_frame_id=(\d+)", instruction.metadata)
    return self.frames.get(int(frame[1]), "") if frame else ""


def parse(text: "str | Module") -> Module:
  """Returns the program that an HLO text writes; a program that is parsed stays as it is."""
  if isinstance(text, Module):
    return text
  computations, tables, entry = {}, collections.defaultdict(list), ""
  name, lines, table = "", [], ""
  for line in text.splitlines():
    if name and END.match(line):
      computations[name] = _computation(name, lines)
      name, lines = "", []
    elif name and (INSTRUCTION.match(line) or not lines):
      lines.append(line)
    elif name:
      lines[-1] += line  # attributes of a Pallas kernel and long constants go over several lines
    elif line.rstrip().endswith("{") and not line.startswith(("HloModule", " ")):
      is_entry, name = HEADER.match(line).groups()
      entry = name if is_entry else entry
    elif re.fullmatch(r"FileNames|FunctionNames|FileLocations|StackFrames", line.strip()):
      table = line.strip()
    elif table and line.strip():
      tables[table].append(line)
  if not entry:
    raise ValueError("This is no HLO text: it has no computation that begins with ENTRY.")
  partitions = re.search(r"num_partitions=(\d+)", text.partition("\n")[0])
  return Module(computations, entry, int(partitions[1]) if partitions else 1, _frames(tables))


def _computation(name: str, lines: list[str]) -> Computation:
  instructions, root = {}, ""
  for line in lines:
    instruction, is_root = _instruction(line)
    if instruction:
      instructions[instruction.name] = instruction
      root = instruction.name if is_root else root
  return Computation(name, instructions, root or next(reversed(instructions), ""))


def _instruction(line: str) -> tuple[Instruction | None, bool]:
  begin = INSTRUCTION.match(line)
  if not begin:
    return None, False
  rest = COMMENT.sub("", line[begin.end() :])
  length = _closed(rest, 0) if rest.startswith("(") else rest.find(" ")
  shape_text, rest = rest[:length], rest[length:].lstrip()
  opened = rest.find("(")
  if length < 0 or opened < 0:
    return None, False
  closed = _closed(rest, opened)
  after = rest[closed:].lstrip(", ")
  after, _, backend_config = after.partition("backend_config=")
  attributes, _, metadata = after.partition("metadata={")
  opcode, inside = rest[:opened], rest[opened + 1 : closed - 1]
  instruction = Instruction(
    begin[2], shape_text, opcode, inside, attributes, metadata, backend_config
  )
  return instruction, bool(begin[1])


def _closed(text: str, start: int) -> int:
  """Returns where the parenthesis that opens at `start` has closed."""
  depth = 0
  for token in re.compile(r'"(?:[^"\\]|\\.)*"|[()]').finditer(text, start):
    depth += (token[0] == "(") - (token[0] == ")")
    if not depth:
      return token.end()
  return len(text)


def _frames(tables: dict[str, list[str]]) -> dict[int, str]:
  """Returns "file:line" by the numbers that `stack_frame_id` gives."""
  number = re.compile(r"\d+").search
  files = {int(number(line)[0]): line.split('"')[1] for line in tables["FileNames"]}
  places = {}
  for line in tables["FileLocations"]:
    file, at = (re.search(rf"\b{key}=(\d+)", line) for key in ("file_name_id", "line"))
    places[int(number(line)[0])] = f"{files.get(int(file[1]), '?')}:{at[1] if at else '?'}"
  frames = {}
  for line in tables["StackFrames"]:
    place = re.search(r"file_location_id=(\d+)", line)
    frames[int(number(line)[0])] = places.get(int(place[1]), "") if place else ""
  return frames


@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
  """An instruction where it is executed: `caller` is the one that calls its computation.

  `times` is the product of the turns of all loops around it; a loop of unknown length counts once,
  with `unknown_trips`.
  """

  instruction: Instruction
  computation: Computation
  times: int = 1
  in_loop: bool = False
  unknown_trips: bool = False
  in_branch: bool = False
  caller: "Execution | None" = None

  @property
  def around(self) -> "Iterator[Execution]":
    """Itself and its callers, the innermost first."""
    here = self
    while here is not None:
      yield here
      here = here.caller


def executions(module: Module, weigh: Callable[[Execution], float]) -> Iterator[Execution]:
  """Yields every instruction a run executes; of a conditional the branch whose sum of `weigh`
  times `times` is largest."""
  yield from _executed(module, module.entry, (), {}, weigh)


def _executed(
  module: Module, name: str, arguments: tuple, where: dict, weigh: Callable
) -> Iterator[Execution]:
  """Yields the executions of a computation; `where` holds what all of them have in common."""
  computation = module.computations[name]
  for instruction in computation.instructions.values():
    here = Execution(instruction, computation, **where)
    yield here
    if instruction.opcode in CALLS:
      for called in instruction.computations("calls", "to_apply", "called_computations"):
        yield from _executed(module, called, (), where | {"caller": here}, weigh)
    elif instruction.opcode == "conditional":
      inside = where | {"caller": here, "in_branch": True}
      names = ("branch_computations", "true_computation", "false_computation")
      branches = [
        list(_executed(module, branch, (), inside, weigh))
        for branch in instruction.computations(*names)
      ]
      yield from max(branches, key=lambda branch: sum(weigh(each) * each.times for each in branch))
    elif instruction.opcode == "while":
      loop = _Loop(module, computation, instruction, arguments)
      inside = where | {
        "caller": here,
        "times": here.times * (1 if loop.trips is None else loop.trips),
        "in_loop": True,
        "unknown_trips": here.unknown_trips or loop.trips is None,
      }
      for called in instruction.computations("condition", "body"):
        yield from _executed(module, called, (loop.constants,), inside, weigh)


@dataclasses.dataclass(frozen=True)
class _Carried:
  """An integer a loop carries at place `index` of its tuple, plus `offset`."""

  index: int
  offset: int = 0


class _Loop:
  """A while loop: its number of turns (`trips`, None where unknown), and the integers of its tuple
  that stay as they were (`constants`, None for the others), which loops inside may turn by."""

  def __init__(self, module, computation, loop: Instruction, arguments: tuple):
    size = len(loop.shape.parts)
    first = _value(module, computation, loop.operands[0], arguments)
    first = first if isinstance(first, tuple) and len(first) == size else (None,) * size
    self.first = first
    self.condition, body = (
      module.computations[loop.computations(which)[0]] for which in ("condition", "body")
    )
    self.carried = (tuple(_Carried(index) for index in range(size)),)
    after = _value(module, body, body.root, self.carried)
    after = after if isinstance(after, tuple) and len(after) == size else (None,) * size
    self.steps = tuple(
      value.offset if isinstance(value, _Carried) and value.index == index else None
      for index, value in enumerate(after)
    )
    self.constants = tuple(
      value if step == 0 and isinstance(value, int) else None
      for value, step in zip(first, self.steps, strict=True)
    )
    known = TRIPS.search(loop.backend_config)
    self.trips = int(known[1]) if known else self._counted(module)

  def _counted(self, module: Module) -> int | None:
    """Returns the turns that the comparison of a counter with a constant allows."""
    direction, *sides = _comparison(module, self.condition, self.condition.root, self.carried)
    sides = [self._at_first(side) for side in sides]
    if not direction or None in sides:
      return None
    (left, left_step), (right, right_step) = sides
    distance, step = right - left, left_step - right_step  # it turns while distance > 0
    if direction in ("GT", "GE"):
      distance, step = -distance, -step
    if direction in ("LE", "GE"):
      distance += 1
    if direction == "NE" and distance < 0:
      distance, step = -distance, -step
    if distance <= 0:
      return 0
    if step <= 0 or (direction == "NE" and distance % step):
      return None
    return math.ceil(distance / step)

  def _at_first(self, side: Any) -> tuple[int, int] | None:
    """Returns the value in the first turn and what each turn adds."""
    if isinstance(side, int):
      return side, 0
    if not isinstance(side, _Carried) or self.steps[side.index] is None:
      return None
    first = self.first[side.index]
    return (first + side.offset, self.steps[side.index]) if isinstance(first, int) else None


def _comparison(module: Module, computation: Computation, name: str, arguments: tuple) -> tuple:
  """Returns the direction and both sides of the comparison that a condition returns."""
  instruction = computation.instructions[name]
  if instruction.opcode == "compare" and instruction.attribute("direction") != "EQ":
    sides = [_value(module, computation, side, arguments) for side in instruction.operands]
    return (instruction.attribute("direction"), *sides)
  if instruction.opcode in ("fusion", "call"):
    inner = module.computations[instruction.computations("calls", "to_apply")[0]]
    values = tuple(_value(module, computation, side, arguments) for side in instruction.operands)
    return _comparison(module, inner, inner.root, values)
  if instruction.opcode in PASSED_ON:
    return _comparison(module, computation, instruction.operands[0], arguments)
  return None, None, None


def _value(module: Module, computation: Computation, name: str, arguments: tuple) -> Any:
  """Returns an integer that can be known without running: an int, a _Carried, a tuple of those; or
  None. `arguments` are the values of the computation's parameters."""
  instruction = computation.instructions.get(name)
  if instruction is None:
    return None
  made = instruction.shape
  if made.dtype != "tuple" and (made.dtype[0] not in "su" or math.prod(made.dims) != 1):
    return None
  opcode = instruction.opcode
  if opcode == "parameter":
    number = int(instruction.inside)
    return arguments[number] if number < len(arguments) else None
  if opcode == "constant":
    digits = re.fullmatch(r"[{\s]*(-?\d+)[}\s]*", instruction.inside)
    return int(digits[1]) if digits else None
  if opcode in PASSED_ON:
    return _value(module, computation, instruction.operands[0], arguments)
  if opcode == "get-tuple-element":
    whole = _value(module, computation, instruction.operands[0], arguments)
    return whole[int(instruction.attribute("index"))] if isinstance(whole, tuple) else None
  if opcode not in ("tuple", "fusion", "call", "add", "subtract"):
    return None
  values = tuple(_value(module, computation, each, arguments) for each in instruction.operands)
  if opcode == "tuple":
    return values
  if opcode in ("fusion", "call"):
    inner = module.computations[instruction.computations("calls", "to_apply")[0]]
    return _value(module, inner, inner.root, values)
  return _sum(*values, sign=1 if opcode == "add" else -1)


def _sum(left: Any, right: Any, sign: int) -> Any:
  if isinstance(left, int) and isinstance(right, int):
    return left + sign * right
  if isinstance(left, _Carried) and isinstance(right, int):
    return dataclasses.replace(left, offset=left.offset + sign * right)
  if isinstance(left, int) and isinstance(right, _Carried) and sign == 1:
    return dataclasses.replace(right, offset=right.offset + left)
  return None
