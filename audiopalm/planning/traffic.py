"""Bytes that a compiled program moves between a device's memory and its compute units."""

from audiopalm.planning import hlo

FREE = (
  "after-all", "bitcast", "call", "conditional", "constant", "get-tuple-element", "iota",
  "opt-barrier", "parameter", "partition-id", "replica-id", "tuple", "while",
)  # fmt: skip
SLICES = ("dynamic-slice", "gather", "slice")
SCRATCHPAD = "S(1)"  # memory space of TPU VMEM in a layout
VIEWS = ("bitcast", "copy", "convert", "reshape")


def bytes_moved(program: str | hlo.Module) -> float:
  """Returns the bytes one device reads and writes in a run, with all iterations of loops.

  Each operation reads its operands and writes its result once; a fusion moves nothing inside. A
  slice or an update in place counts the part it touches. This is an estimate for comparisons: it
  leaves out the padding of layouts and arrays in a TPU's scratchpad.
  """
  module = hlo.parse(program)
  executions = hlo.executions(module, lambda execution: _size(execution.instruction))
  return float(sum(_moved(module, execution) * execution.times for execution in executions))


def _size(instruction: hlo.Instruction) -> int:
  """Returns the bytes of a result in device memory, 0 in the scratchpad."""
  is_array = instruction.shape.dtype != "tuple"
  if is_array and SCRATCHPAD in instruction.shape_text:
    return 0
  return instruction.shape.bytes


def _moved(module: hlo.Module, execution: hlo.Execution) -> float:
  instruction, instructions = execution.instruction, execution.computation.instructions
  is_fused = execution.caller is not None and execution.caller.instruction.opcode == "fusion"
  if is_fused or instruction.opcode in FREE or instruction.opcode.endswith("-done"):
    return 0.0
  operands = [_size(instructions[name]) for name in instruction.operands if name in instructions]
  result = _size(instruction)
  if instruction.opcode in SLICES:
    return 2.0 * result
  if instruction.opcode == "dynamic-update-slice":
    return 2.0 * operands[1]
  if instruction.opcode == "fusion":
    return _moved_by_fusion(module, instruction, operands, result)
  return float(sum(operands) + result)


def _moved_by_fusion(
  module: hlo.Module, fusion: hlo.Instruction, operands: list[int], result: int
) -> float:
  body = module.computations[fusion.computations("calls")[0]]
  root = body.instructions[body.root]
  while root.opcode in VIEWS and root.operands:
    root = body.instructions[root.operands[0]]
  updated = None
  if root.opcode == "dynamic-update-slice":
    updated, result = root.operands[0], body.instructions[root.operands[1]].shape.bytes
  total = float(result)
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
