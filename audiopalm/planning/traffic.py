"""Bytes that a compiled program moves between a device's memory and its arithmetic."""

from audiopalm.planning import hlo

FREE = (
  "after-all", "bitcast", "call", "conditional", "constant", "get-tuple-element", "iota",
  "opt-barrier", "parameter", "partition-id", "replica-id", "tuple", "while",
)  # fmt: skip
CUT = ("dynamic-slice", "gather", "slice")
SCRATCHPAD = "S(1)"  # how the layout of an array in a TPU's VMEM is written
VIEWS = ("bitcast", "copy", "convert", "reshape")


def bytes_moved(program: str | hlo.Module) -> float:
  """Returns the bytes one device reads and writes in a run, every turn of its loops counted.

  Each operation reads its operands and writes its result, once; what is fused moves nothing inside.
  Of an array that is only cut or written in part, that part counts. Layouts' padding is not
  counted, and neither is what stays in a scratchpad: an estimate, to compare with.
  """
  module = hlo.parse(program)
  return float(sum(_moved(module, each) * each.times for each in hlo.executions(module, _weight)))


def _weight(execution: hlo.Execution) -> float:
  return _size(execution.instruction)


def _size(instruction: hlo.Instruction) -> int:
  """Returns the bytes of a result in the device's memory: none for what is in its scratchpad."""
  alone = instruction.shape.dtype != "tuple"
  return 0 if alone and SCRATCHPAD in instruction.shape_text else instruction.shape.bytes


def _moved(module: hlo.Module, execution: hlo.Execution) -> float:
  instruction, computation = execution.instruction, execution.computation
  inside = execution.caller is not None and execution.caller.instruction.opcode == "fusion"
  if inside or instruction.opcode in FREE or instruction.opcode.endswith("-done"):
    return 0.0
  known = computation.instructions
  operands = [_size(known[name]) for name in instruction.operands if name in known]
  result = _size(instruction)
  if instruction.opcode in CUT:
    return 2.0 * result
  if instruction.opcode == "dynamic-update-slice":
    return 2.0 * operands[1]
  if instruction.opcode == "fusion":
    return _fused(module, instruction, operands, result)
  return float(sum(operands) + result)


def _fused(module: hlo.Module, instruction, operands: list[int], result: int) -> float:
  inner = module.computations[instruction.computations("calls")[0]]
  written = inner.instructions[inner.root]
  while written.opcode in VIEWS and written.operands:
    written = inner.instructions[written.operands[0]]
  updated = None
  if written.opcode == "dynamic-update-slice":
    updated, result = written.operands[0], inner.instructions[written.operands[1]].shape.bytes
  total = float(result)
  for parameter in inner.instructions.values():
    if parameter.opcode != "parameter":
      continue
    users = inner.users[parameter.name]
    if parameter.name == updated and len(users) == 1:
      continue
    if users and all(user.opcode in CUT for user in users):
      total += sum(user.shape.bytes for user in users)
    elif int(parameter.inside) < len(operands):
      total += operands[int(parameter.inside)]
  return total
