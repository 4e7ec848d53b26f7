"""What a compiled program sends between devices: its collectives, and the mesh axes they run over.

Read from the optimized HLO, so it is what the compiler made of the program and not what was asked
for: a gradient may have become an all-reduce where a reduce-scatter would do. Sizes are of one
device.
"""

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

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
PASSED_ON = ("bitcast", "copy", "get-tuple-element", "reshape", "transpose")
STILL_WHOLE = (
  "bitcast", "convert", "copy", "copy-done", "copy-start", "slice-done", "slice-start",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective of a program, once for each place it is executed at.

  `axes` are the mesh axes its groups run over: () for groups of one device, ("?",) where no set of
  axes makes them. A run executes it `times` times: all turns of the loops around it, which count
  once where their number is unknown (`unknown_trips`). `in_branch` is one of a conditional, whose
  other branches sent less; `between_slices` goes over the network between slices of TPUs.
  `op_name` is that of the JAX operation, or of the nearest one around it; `parameter` the argument
  of the program that is sent as it came (or cast), as "params['embedding']", '' where it is none.
  """

  kind: str
  axes: tuple[str, ...]
  result_bytes: int
  operand_bytes: int
  group_size: int
  times: int
  in_loop: bool
  op_name: str
  source: str
  shape: str
  parameter: str = ""
  unknown_trips: bool = False
  in_branch: bool = False
  between_slices: bool = False

  @property
  def bytes(self) -> int:
    """The bytes of the array in whole: what a gather returns, what a scatter takes."""
    return max(self.result_bytes, self.operand_bytes)


def collectives(
  program: str | hlo.Module,
  mesh_sizes: Mapping[str, int],
  device_order: Sequence[int] | None = None,
) -> tuple[Collective, ...]:
  """Returns the collectives of a program compiled for a mesh, in the order of its text.

  `mesh_sizes` are the sizes of the mesh axes, the outermost first. `device_order` holds the
  partition id at each position of the mesh, row by row; JAX numbers partitions in that order
  whatever its devices are, so only programs made otherwise need it.

  What the TPU compiler writes in its own way is counted as what it does: an all-gather that stands
  in several fusions of a chain once, where `AsyncCollectiveStart` begins it; an all-reduce in a
  fusion that keeps a slice alone (`all-reduce-scatter`) as a reduce-scatter; a `send` to the host
  for the network between slices of TPUs as the collective it names.
  """
  module = hlo.parse(program)
  mesh = groups.Mesh.of(mesh_sizes, device_order)
  started = _started_chains(module)

  def weigh(execution: hlo.Execution) -> float:
    made = _collective(module, mesh, execution, started)
    return made.bytes if made else 0

  made = (
    _collective(module, mesh, execution, started) for execution in hlo.executions(module, weigh)
  )
  return tuple(each for each in made if each)


def _collective(module, mesh, execution, started) -> Collective | None:
  """Returns the collective an instruction is; None for others, and for parts of one that is counted
  elsewhere."""
  instruction, computation = execution.instruction, execution.computation
  kind = KINDS.get(instruction.opcode.removesuffix("-start"))
  between_slices = instruction.opcode == "send" and "xla_megascale" in instruction.attributes
  if between_slices:
    kind, result, operand = _between_slices(instruction, computation)
    axes, group_size = mesh.axes[:1], max(1, mesh.size // module.partitions)
  elif kind is None or _goes_on(instruction, computation, started):
    return None
  else:
    result = (_result(kind, instruction),)
    operand = _operands(instruction, computation)
    axes, group_size = _axes(instruction, mesh)
    fused = execution.caller and execution.caller.instruction.opcode == "fusion"
    slices = _kept(instruction, computation) if fused and kind == "all-reduce" else ()
    kind, result = ("reduce-scatter", slices) if slices else (kind, result)
  result_bytes = sum(shape.bytes for shape in result)
  operand_bytes = sum(shape.bytes for shape in operand)
  if not operand:
    operand_bytes = {
      "all-gather": result_bytes // group_size, "reduce-scatter": result_bytes * group_size
    }.get(kind, result_bytes)  # fmt: skip
  around = [each.instruction for each in execution.around]
  return Collective(
    kind=kind,
    axes=axes,
    result_bytes=result_bytes,
    operand_bytes=operand_bytes,
    group_size=group_size,
    times=execution.times,
    in_loop=execution.in_loop,
    op_name=next(filter(None, map(_op_name, around)), ""),
    source=next(filter(None, map(module.source, around)), ""),
    shape=", ".join(str(shape) for shape in result),
    parameter=_parameter(module, execution),
    unknown_trips=execution.unknown_trips,
    in_branch=execution.in_branch,
    between_slices=between_slices,
  )


def _axes(instruction: hlo.Instruction, mesh: groups.Mesh) -> tuple[tuple[str, ...], int]:
  """Returns the mesh axes of a collective and how many devices are in each of its groups."""
  pairs = instruction.attribute("source_target_pairs")
  if pairs:
    axes = mesh.axes_of_pairs(groups.pairs(pairs))
    return axes, mesh.ways(axes)
  text, order = (instruction.attribute(name) for name in ("replica_groups", "device_ids"))
  found = groups.replica_groups(text + f", device_ids={order}" * bool(order), mesh.size)
  one_replica = found == ((0,),) and instruction.attribute("channel_id")
  if one_replica and "use_global_device_ids=true" not in instruction.attributes:
    found = (tuple(range(mesh.size)),)  # ids of replicas, each of which is all partitions
  return mesh.axes_of_groups(found), max(len(group) for group in found)


def _result(kind: str, instruction: hlo.Instruction) -> hlo.Shape:
  """Returns the shape of a collective's result, without what a `-start` keeps beside it.

  An all-reduce-start returns the result alone; others (operand, result, ...), and any that was made
  by the general async-start ((operands), result, ...).
  """
  shape = instruction.shape
  if not instruction.opcode.endswith("-start") or shape.dtype != "tuple":
    return shape
  if kind == "all-reduce" and shape.parts[0].dtype != "tuple":
    return shape
  return shape.parts[1]


def _operands(instruction, computation) -> tuple[hlo.Shape, ...]:
  known = computation.instructions
  return tuple(known[name].shape for name in instruction.operands if name in known)


def _started_chains(module: hlo.Module) -> set[str]:
  """Returns the chains of fusions in which an asynchronous collective is begun."""
  return {
    _chain(instruction)
    for computation in module.computations.values()
    for instruction in computation.instructions.values()
    if _begins(instruction, computation)
  }


def _chain(instruction: hlo.Instruction) -> str:
  found = re.search(r'chain_id="([^"]*)"', instruction.attribute("frontend_attributes"))
  return found[1] if found else ""


def _begins(instruction, computation) -> bool:
  return bool(_chain(instruction)) and any(
    "AsyncCollectiveStart" in user.attributes for user in computation.users[instruction.name]
  )


def _goes_on(instruction, computation, started: set[str]) -> bool:
  """Returns whether a collective was begun in another fusion of its chain."""
  return _chain(instruction) in started and not _begins(instruction, computation)


def _kept(instruction, computation) -> tuple[hlo.Shape, ...]:
  """Returns the slices of a collective's result where nothing else of it is used; else ()."""
  slices, open_names = [], [instruction.name]
  while open_names:
    name = open_names.pop(0)
    if name == computation.root:
      return ()
    for user in computation.users[name]:
      if user.opcode == "dynamic-slice" and user.operands[0] == name:
        slices.append(user.shape)
      elif user.opcode in PASSED_ON:
        open_names.append(user.name)
      else:
        return ()
  return tuple(slices)


def _parameter(module: hlo.Module, execution: hlo.Execution) -> str:
  """Returns the names of the arguments an instruction takes whole; '' where it takes others."""
  names = [_argument(module, name, execution) for name in execution.instruction.operands]
  return ", ".join(names) if all(names) else ""


def _argument(module: hlo.Module, name: str, execution: hlo.Execution | None) -> str:
  while execution is not None and name in execution.computation.instructions:
    instruction = execution.computation.instructions[name]
    if instruction.opcode == "fusion":
      inside = module.computations[instruction.computations("calls")[0]]
      called = hlo.Execution(instruction, execution.computation, caller=execution.caller)
      execution = hlo.Execution(inside.instructions[inside.root], inside, caller=called)
      name = inside.root
    elif instruction.opcode in STILL_WHOLE or "ConcatBitcast" in instruction.attributes:
      name = instruction.operands[0]
    elif instruction.opcode == "parameter" and execution.caller is None:
      return _op_name(instruction)
    elif instruction.opcode == "parameter" and execution.caller.instruction.opcode in hlo.CALLS:
      execution = execution.caller
      name = execution.instruction.operands[int(instruction.inside)]
    else:
      return ""
  return ""


def _op_name(instruction: hlo.Instruction) -> str:
  found = re.search(r'op_name="((?:[^"\\]|\\.)*)"', instruction.metadata)
  return re.sub(r"\\(.)", r"\1", found[1]) if found else ""


def _between_slices(instruction, computation) -> tuple:
  """Returns kind, result and operand of a send to the network between slices of TPUs."""
  attributes = instruction.attribute("frontend_attributes")
  kind = re.search(r'transfer_type="(\w+)"', attributes)
  kind = kind[1].lower().replace("_", "-") if kind else ""
  met = re.search(r'rendezvous="[^"]*"', attributes)
  received = [
    each.shape.parts[0]
    for each in computation.instructions.values()
    if each.opcode == "recv" and met and met[0] in each.attributes
  ]
  sent = instruction.shape.parts[0]
  return KINDS.get(kind, "collective-permute"), received[:1] or (sent,), (sent,)


def bytes_on_wire(collective: Collective) -> float:
  """Returns the bytes that each device sends in one execution, by the usual ring algorithms.

  With g devices: (g-1)/g of the whole array for all-gather, reduce-scatter and all-to-all, twice
  that for all-reduce, the operand for a permutation. Source: NCCL tests, doc/PERFORMANCE.md, "bus
  bandwidth"; the same in "How to Scale Your Model" (jax-ml.github.io/scaling-book), section 3. On a
  ring without a switch the parts of an all-to-all are passed on, by a quarter of the ring in the
  mean; that is not counted here.
  """
  share = (collective.group_size - 1) / collective.group_size
  return float(
    {
      "all-gather": share * collective.result_bytes,
      "reduce-scatter": share * collective.operand_bytes,
      "all-reduce": 2 * share * collective.operand_bytes,
      "all-to-all": share * collective.operand_bytes,
    }.get(collective.kind, collective.operand_bytes)
  )


def by_axis(found: Iterable[Collective]) -> dict[tuple[str, ...], dict[str, dict[str, float]]]:
  """Returns sums by mesh axes and kind: executions (`count`), and of all of them the `bytes` of the
  whole arrays and those each device sends (`wire_bytes`).

  What goes between slices of TPUs is a kind of its own, as "all-reduce between slices".
  """
  sums = collections.defaultdict(dict)
  for each in found:
    kind = f"{each.kind} between slices" if each.between_slices else each.kind
    sums_of_kind = sums[each.axes].setdefault(kind, {"count": 0, "bytes": 0, "wire_bytes": 0.0})
    sums_of_kind["count"] += each.times
    sums_of_kind["bytes"] += each.times * each.bytes
    sums_of_kind["wire_bytes"] += each.times * bytes_on_wire(each)
  return dict(sums)


def whole_outside_loops(found: Iterable[Collective], smallest_bytes: int) -> list[Collective]:
  """Returns what a device holds whole of at least so many bytes outside the loops: gathered, or
  summed, as which a compiler may write a gather too.

  In a model whose layers are scanned they are of the embedding and the head. For several slices of
  TPUs the compiler takes the first turn out of a loop, so there are a layer's, too; those have no
  `parameter`.
  """
  kinds = ("all-gather", "all-reduce")
  outside = [each for each in found if each.kind in kinds and not each.in_loop]
  return [each for each in outside if each.result_bytes >= smallest_bytes]
