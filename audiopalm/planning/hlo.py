"""Parses optimized HLO text, and counts how often a run executes each instruction.

XLA prints the text for a compiled program of one device (`compiled.as_text()`). The grammar follows
xla/hlo/parser/hlo_parser.cc; attributes that are not needed here stay text. `HloModuleProto` has
the same contents, but only TensorFlow ships its Python classes.
"""

import collections
import dataclasses
import functools
import math
import operator
import re
from collections.abc import Iterator

INSTRUCTION = re.compile(r"\s+(ROOT )?%?([^\s=]+) = ")
HEADER = re.compile(r"(ENTRY )?%?([^\s({]+)")
END = re.compile(r'\}(?:, execution_thread="[^"]*")?\s*$')
SHAPE_TOKEN = re.compile(r"\(|\)|([a-z]\w*)\[([^\]]*)\](?:\{[^}]*\})?")
NESTED_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}(),]')
COMMENT = re.compile(r"/\*.*?\*/")
TRIPS = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"')
MAX_TRIPS = 10_000  # a longer loop counts as one of unknown length
CALLS = ("fusion", "call", "call-start", "async-start", "custom-call")
COPIES = (
  "bitcast", "broadcast", "convert", "copy", "copy-done", "copy-start", "opt-barrier", "reshape",
)  # fmt: skip
# By opcode; comparisons by their direction.
ARITHMETIC = {
  "add": operator.add, "subtract": operator.sub, "EQ": operator.eq, "NE": operator.ne,
  "LT": operator.lt, "LE": operator.le, "GT": operator.gt, "GE": operator.ge,
}  # fmt: skip

# The result of an instruction if it does not depend on data: an integer or a tuple of such values,
# else None. Any other object is a marker, which instructions that change nothing pass on.
Value = int | tuple | object | None


@dataclasses.dataclass(frozen=True)
class HloShape:
  """An array's element type and dimensions, or the `parts` of a tuple."""

  dtype: str
  dims: tuple[int, ...] = ()
  parts: tuple["HloShape", ...] = ()

  @property
  def bytes(self) -> int:
    """The bytes of the elements, summed over a tuple's parts, without padding of the layout."""
    if self.dtype == "tuple":
      return sum(part.bytes for part in self.parts)
    digits = re.match(r"(?:bf|[sufc])(\d+)", self.dtype)  # "f8e4m3fn" too; a token has no bytes
    bits = int(digits[1]) if digits else 8 * (self.dtype == "pred")
    return math.ceil(math.prod(self.dims) * bits / 8)

  def __str__(self) -> str:
    if self.dtype == "tuple":
      return f"({', '.join(map(str, self.parts))})"
    return f"{self.dtype}[{','.join(map(str, self.dims))}]"


@functools.lru_cache(maxsize=4096)
def shape(text: str) -> HloShape:
  """Returns the shape described by text such as "bf16[8,128]{1,0:T(8,128)}", or by a tuple."""
  open_tuples: list[list[HloShape]] = [[]]
  for token in SHAPE_TOKEN.finditer(text):
    if token[0] == "(":
      open_tuples.append([])
    elif token[0] == ")":
      parts = tuple(open_tuples.pop())
      open_tuples[-1].append(HloShape("tuple", (), parts))
    else:
      sizes = tuple(map(int, re.findall(r"\d+", token[2])))
      open_tuples[-1].append(HloShape(token[1], sizes))
  return open_tuples[0][0]


@dataclasses.dataclass(frozen=True, slots=True)
class Instruction:
  """One line of the text: `inside` is the text in its parentheses, `attributes` what follows."""

  name: str
  is_root: bool
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
    """The names of its operands, written with or without `%`."""
    if "%" in self.inside:
      return tuple(re.findall(r"%([^\s,()]+)", self.inside))
    return tuple(name.split()[-1] for name in self.inside.split(",") if name.strip())

  @property
  def op_name(self) -> str:
    """The JAX operation it implements, or the name of an argument of the program; "" for none."""
    match = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.metadata)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else ""

  def attribute(self, name: str) -> str:
    """Returns the text of an attribute, "" if the instruction does not have it."""
    match = re.search(rf"(?:^|[ ,{{]){re.escape(name)}=", self.attributes)
    return self.attributes[match.end() : _end(self.attributes, match.end(), ",")] if match else ""

  def computations(self, *attributes: str) -> list[str]:
    """Returns the names of the computations that these attributes list."""
    texts = [self.attribute(name) for name in attributes]
    return [name for text in texts for name in re.findall(r"[^\s,{}%]+", text)]


@dataclasses.dataclass(frozen=True)
class Computation:
  """The instructions of a function of the program by name; `root` names the one it returns."""

  instructions: dict[str, Instruction]
  root: str

  @functools.cached_property
  def users(self) -> dict[str, list[Instruction]]:
    """{instruction name: the instructions that have it as an operand}."""
    users = collections.defaultdict(list)
    for instruction in self.instructions.values():
      for operand in instruction.operands:
        users[operand].append(instruction)
    return users


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
  def is_fused(self) -> bool:
    return self.caller is not None and self.caller.instruction.opcode == "fusion"

  @property
  def stack(self) -> "Iterator[Execution]":
    """This execution and its callers, innermost first."""
    execution = self
    while execution is not None:
      yield execution
      execution = execution.caller


@dataclasses.dataclass(frozen=True)
class Module:
  """A program for `partitions` devices."""

  computations: dict[str, Computation]
  entry: str
  partitions: int

  @functools.cached_property
  def executions(self) -> list[Execution]:
    """Every instruction that a run executes, including those in fusions, calls, loops, and the
    branch of each conditional that writes the most bytes."""
    return list(_executions(self, self.entry, ()))


def parse(text: str) -> Module:
  """Returns the program in HLO text; ValueError if the text has no entry computation."""
  computations, entry, name, lines = {}, "", "", []
  for line in text.splitlines():
    if name and END.match(line):
      parsed = list(filter(None, map(_instruction, lines)))
      root = next((line.name for line in parsed if line.is_root), parsed[-1].name if parsed else "")
      computations[name] = Computation({line.name: line for line in parsed}, root)
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


def _instruction(line: str) -> Instruction | None:
  """Returns the instruction of a line, None for other lines."""
  start = INSTRUCTION.match(line)
  if not start:
    return None
  rest = COMMENT.sub("", line[start.end() :])
  length = _end(rest, 1) + 1 if rest.startswith("(") else rest.find(" ")
  shape_text, rest = rest[:length], rest[length:].lstrip()
  opened = rest.find("(")
  if length < 0 or opened < 0:
    return None
  closed = _end(rest, opened + 1)
  after, _, backend_config = rest[closed + 1 :].lstrip(", ").partition("backend_config=")
  attributes, _, metadata = after.partition("metadata={")
  opcode, inside = rest[:opened], rest[opened + 1 : closed]
  return Instruction(
    start[2], bool(start[1]), shape_text, opcode, inside, attributes, metadata, backend_config
  )


def _end(text: str, start: int, delimiter: str = "") -> int:
  """Returns the index of the bracket that closes the text at `start`, or of the first delimiter
  outside of inner brackets; the length of the text if there is neither."""
  depth = 0
  for token in NESTED_TOKEN.finditer(text, start):
    depth += (token[0] in "[{(") - (token[0] in "]})")
    if depth < 0 or (depth == 0 and token[0] == delimiter):
      return token.start()
  return len(text)


def _executions(
  module: Module, name: str, arguments: tuple[Value, ...], caller: Execution | None = None,
  times: int = 1, in_loop: bool = False, unknown_trips: bool = False,
) -> Iterator[Execution]:  # fmt: skip
  """Yields the executions of a computation that is called with `arguments`."""
  computation = module.computations[name]
  for instruction in computation.instructions.values():
    execution = Execution(instruction, computation, times, in_loop, unknown_trips, caller)
    yield execution
    context = (execution, times, in_loop, unknown_trips)
    if instruction.opcode in CALLS:
      for called in instruction.computations("calls", "to_apply", "called_computations"):
        yield from _executions(module, called, (), *context)
    elif instruction.opcode == "conditional":
      names = ("branch_computations", "true_computation", "false_computation")
      called = instruction.computations(*names)
      branches = [list(_executions(module, branch, (), *context)) for branch in called]
      yield from max(branches, key=_bytes)
    elif instruction.opcode == "while":
      trips, constants = _loop(module, computation, instruction, arguments)
      context = (
        execution,
        times * (1 if trips is None else trips),
        True,
        unknown_trips or trips is None,
      )
      for called in instruction.computations("condition", "body"):
        yield from _executions(module, called, (constants,), *context)


def _bytes(executions: list[Execution]) -> int:
  return sum(execution.times * execution.instruction.shape.bytes for execution in executions)


def _loop(
  module: Module, computation: Computation, loop: Instruction, arguments: tuple[Value, ...]
) -> tuple[int | None, tuple[Value, ...]]:
  """Returns the trip count of a loop, None if unknown, and the values of its tuple: integers that
  never change, which may be limits of inner loops, and None for the others.

  TPU programs do not state trip counts, so the loop's integers are computed iteration by iteration.
  """
  condition, body = (
    module.computations[loop.computations(name)[0]] for name in ("condition", "body")
  )
  unknown = (None,) * len(loop.shape.parts)

  def tuple_of(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) and len(value) == len(unknown) else unknown

  def next_values(values: tuple[Value, ...]) -> tuple[Value, ...]:
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
  module: Module, computation: Computation, name: str, arguments: tuple[Value, ...]
) -> Value:
  """Returns the value of an instruction in a computation called with `arguments`, or None."""
  instruction = computation.instructions.get(name)
  if instruction is None:
    return None
  opcode, result = instruction.opcode, instruction.shape
  is_integer = result.dtype[0] in "su" or result.dtype == "pred"
  if result.dtype != "tuple" and not (is_integer and math.prod(result.dims) == 1):
    return None
  if opcode == "parameter":
    return dict(enumerate(arguments)).get(int(instruction.inside))
  if opcode == "constant":
    digits = re.fullmatch(r"[{\s]*(-?\d+)[}\s]*", instruction.inside)
    return int(digits[1]) if digits else None
  operation = ARITHMETIC.get(instruction.attribute("direction") or opcode)
  if not operation and opcode not in (*COPIES, "get-tuple-element", "tuple", "fusion", "call"):
    return None
  operands = instruction.operands
  values = tuple(_value(module, computation, operand, arguments) for operand in operands)
  if opcode in ("fusion", "call"):
    inner = module.computations[instruction.computations("calls", "to_apply")[0]]
    return _value(module, inner, inner.root, values)
  if opcode in COPIES:
    return values[0]
  if opcode == "tuple":
    return values
  if opcode == "get-tuple-element":
    return values[0][int(instruction.attribute("index"))] if isinstance(values[0], tuple) else None
  return operation(*values) if all(isinstance(value, int) for value in values) else None
