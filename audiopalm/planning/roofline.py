"""Lower bounds on the time of a compiled program, from its operations, memory traffic and
collectives, each at the full rate of the device."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from audiopalm.planning import collectives, hlo, topology

NO_TRAFFIC = (
  "after-all", "bitcast", "call", "conditional", "constant", "get-tuple-element", "iota",
  "opt-barrier", "parameter", "partition-id", "replica-id", "tuple", "while",
)  # fmt: skip
SLICES = ("dynamic-slice", "gather", "slice")
SCRATCHPAD = "S(1)"  # memory space of TPU VMEM in a layout
VIEWS = ("bitcast", "copy", "convert", "reshape")


@dataclasses.dataclass(frozen=True)
class Roofline:
  """Lower bounds in seconds on a run of a program on one device, and the amounts behind them.

  `links_s` are the seconds of collectives by mesh axes, such as "fsdp x tensor". On a `serial`
  device nothing overlaps.
  """

  flops: float
  bytes_moved: float
  arithmetic_s: float
  memory_s: float
  links_s: Mapping[str, float]
  serial: bool = False

  @property
  def parts_s(self) -> dict[str, float]:
    """Seconds of "arithmetic", "memory" and "interconnect": all collectives one after another."""
    links_s = sum(self.links_s.values())
    return {"arithmetic": self.arithmetic_s, "memory": self.memory_s, "interconnect": links_s}

  @property
  def bound_s(self) -> float:
    """The slowest part; the sum of all parts on a serial device, where none overlap."""
    return (sum if self.serial else max)(self.parts_s.values())

  @property
  def bottleneck(self) -> str:
    """The slowest part: "arithmetic", "memory" or "interconnect"."""
    return max(self.parts_s, key=self.parts_s.get)


def bounds(
  program: hlo.Module,
  sent: Sequence[collectives.Collective],
  mesh: Mesh,
  chip: topology.Chip,
  undeclared_flops: float = 0.0,
) -> Roofline:
  """Returns the roofline of a program for a mesh of chips.

  `undeclared_flops` are operations of one device in kernels that do not declare them.
  """
  operations, moved = flops(program) + undeclared_flops, bytes_moved(program)
  links_s: dict[str, float] = {}
  for collective in sent:
    wire_s = collective.bytes_on_wire / bandwidth(collective, mesh, chip)
    seconds = collective.times * (wire_s + chip.latency_s)
    links_s[collective.over] = links_s.get(collective.over, 0.0) + seconds
  arithmetic_s, memory_s = operations / chip.flops, moved / chip.memory_bandwidth
  return Roofline(operations, moved, arithmetic_s, memory_s, links_s, chip.serial)


def bandwidth(collective: collectives.Collective, mesh: Mesh, chip: topology.Chip) -> float:
  """Returns the bytes per second that a device can send for a collective.

  A device uses its links along all torus axes of its group at once, in both directions if the ring
  is closed. Source: "How to Scale Your Model" (jax-ml.github.io/scaling-book), section 2.
  """
  if collective.between_slices:
    return chip.network
  if not chip.rings:
    return chip.link
  index = tuple(slice(None) if axis in collective.axes else 0 for axis in mesh.axis_names)
  coords = np.array([device.coords for device in np.ravel(mesh.devices[index])])
  spanned = [len(set(along)) for along in coords.T]  # chips along each axis of the torus
  links = [2 if size % chip.rings == 0 else 1 for size in spanned if size > 1] or [1]
  return chip.link * sum(links)


def flops(program: hlo.Module) -> float:
  """Returns the operations of all `dot` and `convolution` instructions in a run on one device.

  XLA's own count (`compiled.cost_analysis()`) counts a loop body once and includes element-wise
  operations; this counts every iteration, and matrix products only. Of a convolution it counts the
  positions where kernel and input overlap, because the TPU compiler turns some products into
  convolutions. A custom kernel counts the `cost_estimate` of its Pallas call, 0 without one.
  """
  return float(sum(_flops(execution) * execution.times for execution in program.executions))


def _flops(execution: hlo.Execution) -> float:
  instruction = execution.instruction
  if instruction.opcode == "custom-call":
    estimate = re.search(
      r'"cost_estimate":\s*\{[^}]*?"flops":\s*"?(\d+)', instruction.backend_config
    )
    return float(estimate[1]) if estimate else 0.0
  if instruction.opcode not in ("dot", "convolution"):
    return 0.0
  instructions, result = execution.computation.instructions, instruction.shape.dims
  left, right = (instructions[name].shape.dims for name in instruction.operands[:2])
  if instruction.opcode == "dot":
    contracted = re.findall(r"\d+", instruction.attribute("lhs_contracting_dims"))
    return 2.0 * math.prod(result) * math.prod(left[int(dim)] for dim in contracted)
  # "dim_labels=bf0_io0->bf0" names the dimensions.
  labels = re.split("_|->", instruction.attribute("dim_labels"))
  inputs, kernel, output = (
    dict(zip(names, sizes, strict=True))
    for names, sizes in zip(labels, (left, right, result), strict=True)
  )
  window = dict(re.findall(r"(\w+)=([\w\-]+)", instruction.attribute("window")))
  spatial = sorted(filter(str.isdigit, kernel))
  overlaps = math.prod(
    _overlaps(inputs[label], kernel[label], output[label], window, axis)
    for axis, label in enumerate(spatial)
  )
  return 2.0 * output["b"] * output["f"] * kernel["i"] * overlaps


def _overlaps(inputs: int, kernel: int, outputs: int, window: dict[str, str], axis: int) -> int:
  """Returns how often, along one dimension, an element of the kernel meets one of the input."""

  def setting(name: str, default: int) -> int:
    return int(re.match(r"-?\d+", window[name].split("x")[axis])[0]) if name in window else default

  starts = np.arange(outputs) * setting("stride", 1) - setting("pad", 0)
  dilation, total = setting("lhs_dilate", 1), 0
  for element in range(kernel):
    positions = starts + element * setting("rhs_dilate", 1)
    inside = (positions >= 0) & (positions <= (inputs - 1) * dilation)
    total += int(np.count_nonzero(inside & (positions % dilation == 0)))
  return total


def bytes_moved(program: hlo.Module) -> float:
  """Returns the bytes one device reads from its memory and writes to it in a run.

  Each operation reads its operands and writes its result once; instructions inside a fusion move
  nothing. A slice or an in-place update counts the part it touches. This is an estimate for
  comparisons: it ignores padding of layouts, and arrays in a TPU's scratchpad.
  """
  moved = (_moved(program, execution) * execution.times for execution in program.executions)
  return float(sum(moved))


def _size(instruction: hlo.Instruction) -> int:
  """Returns the bytes of a result in device memory, 0 in the scratchpad."""
  is_array = instruction.shape.dtype != "tuple"
  return 0 if is_array and SCRATCHPAD in instruction.shape_text else instruction.shape.bytes


def _moved(module: hlo.Module, execution: hlo.Execution) -> int:
  instruction, instructions = execution.instruction, execution.computation.instructions
  opcode = instruction.opcode
  if execution.is_fused or opcode in NO_TRAFFIC or opcode.endswith("-done"):
    return 0
  operands = [_size(instructions[name]) for name in instruction.operands if name in instructions]
  result = _size(instruction)
  if opcode in SLICES:
    return 2 * result
  if opcode == "dynamic-update-slice":
    return 2 * operands[1]
  if opcode == "fusion":
    return _moved_by_fusion(module, instruction, operands, result)
  return sum(operands) + result


def _moved_by_fusion(
  module: hlo.Module, fusion: hlo.Instruction, operands: list[int], result: int
) -> int:
  body = module.computations[fusion.computations("calls")[0]]
  root = body.instructions[body.root]
  while root.opcode in VIEWS and root.operands:
    root = body.instructions[root.operands[0]]
  updated = None
  if root.opcode == "dynamic-update-slice":
    updated, result = root.operands[0], body.instructions[root.operands[1]].shape.bytes
  total = result
  for parameter in body.instructions.values():
    if parameter.opcode != "parameter":
      continue
    users = body.users[parameter.name]
    if parameter.name == updated and len(users) == 1:
      continue
    if users and all(user.opcode in SLICES for user in users):
      total += sum(user.shape.bytes for user in users)
    elif int(parameter.inside) < len(operands):
      total += operands[int(parameter.inside)]
  return total
