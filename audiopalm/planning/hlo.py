"""Parses optimized HLO text, and counts how often a run executes each instruction.

The text is what XLA prints for a compiled program of one device (`compiled.as_text()`). The counts
include the bodies of fusions, calls and asynchronous wrappers, every iteration of a loop, and the
branch of a conditional with the largest cost. The grammar follows xla/hlo/parser/hlo_parser.cc;
attributes that are not needed here stay text. `HloModuleProto` holds the same, but only TensorFlow
ships its Python classes.
"""

import collections
import dataclasses
import functools
import math
import operator
import re
from collections.abc import Callable, Iterator

INSTRUCTION = re.compile(r"\s+(ROOT )?%?([^\s=]+) = ")
HEADER = re.compile(r"(ENTRY )?%?([^\s({]+)")
END = re.compile(r'\}(?:, execution_thread="[^"]*")?\s*$')
SHAPE_TOKEN = re.compile(r"\(|\)|([a-z]\w*)\[([^\]]*)\](?:\{[^}]*\})?")
NESTED_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}(),]')
COMMENT = re.compile(r"/\*.*?\*/")
TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
MAX_TRIPS = 10_000  # a longer loop counts as one of unknown length
COMPARISONS = {
  "EQ": operator.eq, "NE": operator.ne, "LT": operator.lt, "LE": operator.le, "GT": operator.gt,
  "GE": operator.ge,
}  # fmt: skip
CALLS = ("fusion", "call", "call-start", "async-start", "custom-call")
COPIES = (
  "bitcast", "broadcast", "convert", "copy", "copy-done", "copy-start", "opt-barrier", "reshape",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class HloShape:
  """An array's element type and dimensions, or the `parts` of a tuple."""

  dtype: str
  dims: tuple[int, ...] = ()
  parts: tuple["HloShape", ...] = ()

  @property
  def bytes(self) -> int:
    """The bytes of the elements, of all parts of a tuple, without the padding of the layout."""
    if self.dtype == "tuple":
      return sum(part.bytes for part in self.parts)
    return math.ceil(math.prod(self.dims) * _bits(self.dtype) / 8)

  def __str__(self) -> str:
    if self.dtype == "tuple":
      return f"({', '.join(str(part) for part in self.parts)})"
    return f"{self.dtype}[{','.join(str(size) for size in self.dims)}]"


def _bits(dtype: str) -> int:
  """Returns the bits of an element: 8 for "f8e4m3fn", 8 for "pred", 0 for "token"."""
  digits = re.match(r"(?:bf|[sufc])(\d+)", dtype)
  return int(digits[1]) if digits else 8 * (dtype == "pred")


@functools.lru_cache(maxsize=4096)
def shape(text: str) -> HloShape:
  """Returns the shape that a text such as "bf16[8,128]{1,0:T(8,128)}", or a tuple, describes."""
  open_tuples: list[list[HloShape]] = [[]]
  for token in SHAPE_TOKEN.finditer(text):
    if token[0] == "(":
      open_tuples.append([])
    elif token[0] == ")":
      parts = tuple(open_tuples.pop())
      open_tuples[-1].append(HloShape("tuple", (), parts))
    else:
      sizes = tuple(int(size) for size in re.findall(r"\d+", token[2]))
      open_tuples[-1].append(HloShape(token[1], sizes))
  return open_tuples[0][0]


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
  """One line of the text: `inside` is the text in its parentheses, `attributes` what follows."""

  name: str
  shape_text: str
  opcode: str
  inside: str
  attributes: str
  metadata: str
  backend_config: str

  @property
  def shape(self) -> HloShape:
    return shape(self.shape_text)

  @property
  def operands(self) -> tuple[str, ...]:
    """The names of its operands, which a text writes with or without `%`."""
    if "%" in self.inside:
      return tuple(re.findall(r"%([^\s,()]+)", self.inside))
    return tuple(name.split()[-1] for name in self.inside.split(",") if name.strip())

  def attribute(self, name: str) -> str:
    """Returns the text of an attribute, '' where the instruction has none of this name."""
    match = re.search(rf"(?:^|[ ,{{]){re.escape(name)}=", self.attributes)
    return self.attributes[match.end() : _end(self.attributes, match.end(), ",")] if match else ""

  def computations(self, *attributes: str) -> list[str]:
    """Returns the names of the computations that these attributes list."""
    texts = [self.attribute(name) for name in attributes]
    return [name for text in texts for name in re.findall(r"[^\s,{}%]+", text)]


@dataclasses.dataclass(frozen=True)
class Computation:
  """The instructions of a function of the program by name; `root` names the one it returns."""

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
  """A program for `partitions` devices."""

  computations: dict[str, Computation]
  entry: str
  partitions: int


def parse(text: str | Module) -> Module:
  """Returns the program in an HLO text; returns a parsed program unchanged."""
  if isinstance(text, Module):
    return text
  computations, entry, name, lines = {}, "", "", []
  for line in text.splitlines():
    if name and END.match(line):
      computations[name] = _computation(name, lines)
      name, lines = "", []
    elif name and (INSTRUCTION.match(line) or not lines):
      lines.append(line)
    elif name:
      lines[-1] += line  # attributes of Pallas kernels and long constants span several lines
    elif line.rstrip().endswith("{") and not line.startswith(("HloModule", " ")):
      is_entry, name = HEADER.match(line).groups()
      entry = name if is_entry else entry
  if not entry:
    raise ValueError("Expected HLO text, but no computation begins with ENTRY.")
  partitions = re.search(r"num_partitions=(\d+)", text.partition("\n")[0])
  return Module(computations, entry, int(partitions[1]) if partitions else 1)


def _computation(name: str, lines: list[str]) -> Computation:
  instructions, root = {}, ""
  for line in lines:
    instruction, is_root = _instruction(line)
    if instruction:
      instructions[instruction.name] = instruction
      root = instruction.name if is_root else root
  return Computation(name, instructions, root or next(reversed(instructions), ""))


def _instruction(line: str) -> tuple[Instruction | None, bool]:
  """Returns (the instruction of a line, whether it is the root); None for other lines."""
  start = INSTRUCTION.match(line)
  if not start:
    return None, False
  rest = COMMENT.sub("", line[start.end() :])
  length = _end(rest, 1) + 1 if rest.startswith("(") else rest.find(" ")
  shape_text, rest = rest[:length], rest[length:].lstrip()
  opened = rest.find("(")
  if length < 0 or opened < 0:
    return None, False
  closed = _end(rest, opened + 1)
  after, _, backend_config = rest[closed + 1 :].lstrip(", ").partition("backend_config=")
  attributes, _, metadata = after.partition("metadata={")
  opcode, inside = rest[:opened], rest[opened + 1 : closed]
  instruction = Instruction(
    start[2], shape_text, opcode, inside, attributes, metadata, backend_config
  )
  return instruction, bool(start[1])


def _end(text: str, start: int, delimiter: str = "") -> int:
  """Returns the index of the bracket that closes the text at `start`, or of the first delimiter
  outside of inner brackets; the length of the text where there is neither."""
  depth = 0
  for token in NESTED_TOKEN.finditer(text, start):
    depth += (token[0] in "[{(") - (token[0] in "]})")
    if depth < 0 or (depth == 0 and token[0] == delimiter):
      return token.start()
  return len(text)


@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
  """An instruction at the place where it runs: `caller` calls the computation it is in.

  `times` is the product of the trip counts of all loops around it; a loop of unknown length counts
  once and sets `unknown_trips`.
  """

  instruction: Instruction
  computation: Computation
  times: int = 1
  in_loop: bool = False
  unknown_trips: bool = False
  caller: "Execution | None" = None

  @property
  def stack(self) -> "Iterator[Execution]":
    """This execution and its callers, innermost first."""
    execution = self
    while execution is not None:
      yield execution
      execution = execution.caller


def executions(module: Module, weight: Callable[[Execution], float]) -> Iterator[Execution]:
  """Yields every instruction that a run executes.

  Of a conditional these are the instructions of the branch with the largest sum of `weight` times
  `times`.
  """
  yield from _executions(module, module.entry, (), {}, weight)


def _executions(
  module: Module, name: str, arguments: tuple, context: dict, weight: Callable
) -> Iterator[Execution]:
  """Yields the executions of a computation, all with the fields in `context`."""
  computation = module.computations[name]
  for instruction in computation.instructions.values():
    execution = Execution(instruction, computation, **context)
    inner = context | {"caller": execution}
    yield execution
    if instruction.opcode in CALLS:
      for called in instruction.computations("calls", "to_apply", "called_computations"):
        yield from _executions(module, called, (), inner, weight)
    elif instruction.opcode == "conditional":
      names = ("branch_computations", "true_computation", "false_computation")
      branches = [
        list(_executions(module, branch, (), inner, weight))
        for branch in instruction.computations(*names)
      ]
      yield from max(branches, key=lambda branch: sum(weight(e) * e.times for e in branch))
    elif instruction.opcode == "while":
      trips, constants = _loop(module, computation, instruction, arguments)
      inner |= {
        "times": execution.times * (1 if trips is None else trips),
        "in_loop": True,
        "unknown_trips": execution.unknown_trips or trips is None,
      }
      for called in instruction.computations("condition", "body"):
        yield from _executions(module, called, (constants,), inner, weight)


def _loop(
  module: Module, computation: Computation, loop: Instruction, arguments: tuple
) -> tuple[int | None, tuple]:
  """Returns the trip count of a loop, and the integers of its tuple that never change.

  The trip count is None where it is unknown. TPU programs do not state it, so the loop's integers
  are computed here, iteration by iteration. Integers that change are None in the second result;
  inner loops may take the others as their limits.
  """
  condition, body = (
    module.computations[loop.computations(name)[0]] for name in ("condition", "body")
  )
  unknown = (None,) * len(loop.shape.parts)

  def tuple_of(value: object) -> tuple:
    return value if isinstance(value, tuple) and len(value) == len(unknown) else unknown

  def next_values(values: tuple) -> tuple:
    return tuple_of(_value(module, body, body.root, (values,)))

  values = tuple_of(_value(module, computation, loop.operands[0], arguments))
  markers = tuple(object() for _ in values)
  constants = tuple(
    value if after is marker else None
    for value, after, marker in zip(values, next_values(markers), markers, strict=True)
  )
  known = TRIPS.search(loop.backend_config)
  if known:
    return int(known[1]), constants
  for trips in range(MAX_TRIPS):
    continues = _value(module, condition, condition.root, (values,))
    if not continues:
      return (None if continues is None else trips), constants
    values = next_values(values)
  return None, constants


def _value(
  module: Module, computation: Computation, name: str, arguments: tuple
) -> int | tuple | object | None:
  """Returns the integer, the truth value, or the tuple of such values that an instruction computes;
  None where it depends on data.

  `arguments` are the values of the computation's parameters. A marker among them, which is any
  other object, comes back only where the instruction passes it on unchanged.
  """
  instruction = computation.instructions.get(name)
  if instruction is None:
    return None
  result = instruction.shape
  is_integer = result.dtype[0] in "su" or result.dtype == "pred"
  if result.dtype != "tuple" and not (is_integer and math.prod(result.dims) == 1):
    return None
  opcode = instruction.opcode
  if opcode == "parameter":
    number = int(instruction.inside)
    return arguments[number] if number < len(arguments) else None
  if opcode == "constant":
    digits = re.fullmatch(r"[{\s]*(-?\d+)[}\s]*", instruction.inside)
    return int(digits[1]) if digits else None
  if opcode not in (
    *COPIES, "get-tuple-element", "tuple", "fusion", "call", "add", "subtract", "compare",
  ):  # fmt: skip
    return None
  values = tuple(
    _value(module, computation, operand, arguments) for operand in instruction.operands
  )
  if opcode in COPIES:
    return values[0]
  if opcode == "tuple":
    return values
  if opcode == "get-tuple-element":
    return values[0][int(instruction.attribute("index"))] if isinstance(values[0], tuple) else None
  if opcode in ("fusion", "call"):
    inner = module.computations[instruction.computations("calls", "to_apply")[0]]
    return _value(module, inner, inner.root, values)
  if not all(isinstance(value, int) for value in values):
    return None
  if opcode == "compare":
    return COMPARISONS[instruction.attribute("direction")](*values)
  return values[0] + values[1] if opcode == "add" else values[0] - values[1]
