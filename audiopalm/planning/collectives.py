"""The collectives of a compiled program: what each sends, and over which mesh axes.

They are read from the optimized HLO, so they are those the compiler chose: a gradient may use an
all-reduce where a reduce-scatter would do. Sizes are per device.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from audiopalm.planning import groups, hlo

KINDS = {
  "all-gather": "all-gather",
  "all-reduce": "all-reduce",
  "reduce-scatter": "reduce-scatter",
  "all-to-all": "all-to-all",
  "ragged-all-to-all": "all-to-all",
  "collective-permute": "collective-permute",
  "collective-broadcast": "collective-broadcast",
}
RESHAPES = ("bitcast", "copy", "get-tuple-element", "reshape", "transpose")
COPIES = (
  "bitcast", "convert", "copy", "copy-done", "copy-start", "slice-done", "slice-start",
)  # fmt: skip

Shapes = tuple[hlo.HloShape, ...]


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of a program, listed once for each place that executes it.

  `axes` are the mesh axes of its groups: () for groups of one device, ("?",) if no set of axes has
  these groups. `times` is how often a run executes it; a loop whose trip count is unknown counts
  once (`unknown_trips`). A collective `between_slices` uses the network between TPU slices.
  `op_name` names the JAX operation, or the nearest one that encloses it. `parameter` names the
  argument of the program that is sent unchanged or cast, as in "params['embedding']", else "".
  """

  kind: str
  axes: tuple[str, ...]
  result_bytes: int
  operand_bytes: int
  group_size: int
  times: int
  in_loop: bool
  op_name: str
  shape: str
  parameter: str = ""
  unknown_trips: bool = False
  between_slices: bool = False

  @property
  def bytes(self) -> int:
    """The bytes of the full array: the result of a gather, the operand of a scatter."""
    return max(self.result_bytes, self.operand_bytes)

  @property
  def bytes_on_wire(self) -> float:
    """The bytes that each device sends in one execution of a ring algorithm.

    With g devices: (g-1)/g of the full array for all-gather, reduce-scatter and all-to-all, twice
    that for all-reduce, and the operand for a permutation. Source: NCCL tests, doc/PERFORMANCE.md,
    "bus bandwidth"; the same in "How to Scale Your Model" (jax-ml.github.io/scaling-book), section
    3. On a ring without a switch the parts of an all-to-all also pass through other devices, a
    quarter of the ring on average; this is not counted.
    """
    share = (self.group_size - 1) / self.group_size
    sent = {
      "all-gather": share * self.result_bytes,
      "reduce-scatter": share * self.operand_bytes,
      "all-reduce": 2 * share * self.operand_bytes,
      "all-to-all": share * self.operand_bytes,
    }
    return float(sent.get(self.kind, self.operand_bytes))

  @property
  def over(self) -> str:
    """The mesh axes as text: "fsdp x tensor", "itself" for groups of one device."""
    return " x ".join(self.axes) or "itself"


def collectives(module: hlo.Module, mesh_sizes: Mapping[str, int]) -> tuple[Collective, ...]:
  """Returns the collectives of a program compiled for a mesh, in the order of its text.

  `mesh_sizes` are the sizes of the mesh axes, outermost first.

  The TPU compiler has special forms of some collectives. An all-gather spread over a chain of
  fusions counts once, where `AsyncCollectiveStart` starts it. An all-reduce in a fusion that keeps
  only a slice (`all-reduce-scatter`) counts as a reduce-scatter. A `send` to the host for the
  network between slices counts as the collective it names.
  """
  started = {
    _chain(instruction)
    for computation in module.computations.values()
    for instruction in computation.instructions.values()
    if _starts_chain(instruction, computation)
  }
  sent = (_collective(module, mesh_sizes, execution, started) for execution in module.executions)
  return tuple(filter(None, sent))


def _collective(
  module: hlo.Module, sizes: Mapping[str, int], execution: hlo.Execution, started: set[str]
) -> Collective | None:
  """Returns the collective of an instruction, None for other instructions and for those that
  continue one of the `started` chains."""
  instruction, computation = execution.instruction, execution.computation
  kind = KINDS.get(instruction.opcode.removesuffix("-start"))
  between_slices = instruction.opcode == "send" and "xla_megascale" in instruction.attributes
  if between_slices:
    kind, result, operand = _between_slices(instruction, computation)
    axes = tuple(axis for axis, size in sizes.items() if size > 1)[:1]
    group_size = max(1, math.prod(sizes.values()) // module.partitions)
  elif not kind or _chain(instruction) in started and not _starts_chain(instruction, computation):
    return None
  else:
    instructions = computation.instructions
    operand = tuple(instructions[n].shape for n in instruction.operands if n in instructions)
    result = (_result(kind, instruction),)
    axes, group_size = _axes(instruction, sizes)
    if kind == "all-reduce" and execution.is_fused:
      slices = _kept_slices(instruction, computation)
      kind, result = ("reduce-scatter", slices) if slices else (kind, result)
  result_bytes = sum(shape.bytes for shape in result)
  operand_bytes = sum(shape.bytes for shape in operand)
  if not operand:
    operand_bytes = {
      "all-gather": result_bytes // group_size, "reduce-scatter": result_bytes * group_size
    }.get(kind, result_bytes)  # fmt: skip
  parameters = [_parameter(module, name, execution) for name in instruction.operands]
  return Collective(
    kind=kind,
    axes=axes,
    result_bytes=result_bytes,
    operand_bytes=operand_bytes,
    group_size=group_size,
    times=execution.times,
    in_loop=execution.in_loop,
    op_name=next(filter(None, (outer.instruction.op_name for outer in execution.stack)), ""),
    shape=", ".join(map(str, result)),
    parameter=", ".join(parameters) if all(parameters) else "",
    unknown_trips=execution.unknown_trips,
    between_slices=between_slices,
  )


def _axes(instruction: hlo.Instruction, sizes: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
  """Returns the mesh axes of a collective, and the number of devices in each of its groups."""
  devices = math.prod(sizes.values())
  pairs = instruction.attribute("source_target_pairs")
  if pairs:
    axes = groups.axes_of_pairs(sizes, pairs)
    return axes, devices if axes == groups.NO_AXES else math.prod(sizes[axis] for axis in axes)
  text, order = (instruction.attribute(name) for name in ("replica_groups", "device_ids"))
  members = groups.replica_groups(text + f", device_ids={order}" * bool(order), devices)
  is_one_replica = members == ((0,),) and instruction.attribute("channel_id")
  if is_one_replica and "use_global_device_ids=true" not in instruction.attributes:
    members = (tuple(range(devices)),)  # the ids are of replicas, each of which has all partitions
  return groups.axes_of_groups(sizes, members), max(map(len, members))


def _result(kind: str, instruction: hlo.Instruction) -> hlo.HloShape:
  """Returns the shape of a collective's result.

  An all-reduce-start returns the result itself, other `-start` instructions (operand, result, ...),
  and the general async-start ((operands), result, ...).
  """
  shape = instruction.shape
  if not instruction.opcode.endswith("-start") or shape.dtype != "tuple":
    return shape
  if kind == "all-reduce" and shape.parts[0].dtype != "tuple":
    return shape
  return shape.parts[1]


def _chain(instruction: hlo.Instruction) -> str:
  match = re.search(r'chain_id="([^"]*)"', instruction.attribute("frontend_attributes"))
  return match[1] if match else ""


def _starts_chain(instruction: hlo.Instruction, computation: hlo.Computation) -> bool:
  """Returns whether an instruction starts a collective that a chain of fusions continues."""
  return bool(_chain(instruction)) and any(
    "AsyncCollectiveStart" in user.attributes for user in computation.users[instruction.name]
  )


def _kept_slices(instruction: hlo.Instruction, computation: hlo.Computation) -> Shapes:
  """Returns the slices of a collective's result if nothing else uses the result, else ()."""
  slices, pending = [], [instruction.name]
  while pending:
    name = pending.pop(0)
    if name == computation.root:
      return ()
    for user in computation.users[name]:
      if user.opcode == "dynamic-slice" and user.operands[0] == name:
        slices.append(user.shape)
      elif user.opcode in RESHAPES:
        pending.append(user.name)
      else:
        return ()
  return tuple(slices)


def _parameter(module: hlo.Module, name: str, execution: hlo.Execution | None) -> str:
  """Returns the name of the program's argument that an operand is, unchanged or cast; "" for any
  other operand."""
  while execution is not None and name in execution.computation.instructions:
    instruction = execution.computation.instructions[name]
    if instruction.opcode == "fusion":
      body = module.computations[instruction.computations("calls")[0]]
      fusion = hlo.Execution(instruction, execution.computation, caller=execution.caller)
      execution = hlo.Execution(body.instructions[body.root], body, caller=fusion)
      name = body.root
    elif instruction.opcode in COPIES or "ConcatBitcast" in instruction.attributes:
      name = instruction.operands[0]
    elif instruction.opcode == "parameter" and execution.caller is None:
      return instruction.op_name
    elif instruction.opcode == "parameter" and execution.caller.instruction.opcode in hlo.CALLS:
      execution = execution.caller
      name = execution.instruction.operands[int(instruction.inside)]
    else:
      return ""
  return ""


def _between_slices(
  instruction: hlo.Instruction, computation: hlo.Computation
) -> tuple[str, Shapes, Shapes]:
  """Returns kind, result and operand of a send to the network between TPU slices."""
  attributes = instruction.attribute("frontend_attributes")
  kind = re.search(r'transfer_type="(\w+)"', attributes)
  kind = kind[1].lower().replace("_", "-") if kind else ""
  rendezvous = re.search(r'rendezvous="[^"]*"', attributes)
  received = tuple(
    other.shape.parts[0]
    for other in computation.instructions.values()
    if other.opcode == "recv" and rendezvous and rendezvous[0] in other.attributes
  )
  sent = instruction.shape.parts[0]
  return KINDS.get(kind, "collective-permute"), received[:1] or (sent,), (sent,)


def by_axis(sent: Iterable[Collective]) -> dict[str, dict[str, dict[str, float]]]:
  """Returns totals by mesh axes and kind: executions (`count`), the `bytes` of the full arrays, and
  the bytes that each device sends (`wire_bytes`).

  Collectives between TPU slices have a kind of their own, as in "all-reduce between slices".
  """
  totals = collections.defaultdict(dict)
  for collective in sent:
    kind = f"{collective.kind} between slices" if collective.between_slices else collective.kind
    total = totals[collective.over].setdefault(kind, {"count": 0, "bytes": 0, "wire_bytes": 0.0})
    total["count"] += collective.times
    total["bytes"] += collective.times * collective.bytes
    total["wire_bytes"] += collective.times * collective.bytes_on_wire
  return dict(totals)


def full_outside_loops(sent: Iterable[Collective], min_bytes: int) -> list[Collective]:
  """Returns the all-gathers and all-reduces outside loops whose result has at least `min_bytes`.

  Each leaves a full array on every device; the compiler may implement a gather by an all-reduce. In
  a model with scanned layers they belong to the embedding and the head. With several TPU slices the
  compiler moves the first iteration out of a loop, so arrays of one layer appear too; those have no
  `parameter`.
  """
  return [
    collective
    for collective in sent
    if collective.kind in ("all-gather", "all-reduce")
    and not collective.in_loop
    and collective.result_bytes >= min_bytes
  ]
