"""Floating-point operations in the matrix products of a compiled program."""

import math
import re

import numpy as np

from audiopalm.planning import hlo


def flops(program: str | hlo.Module) -> float:
  """Returns the operations of all `dot` and `convolution` instructions in a run of one device.

  XLA's own count (`compiled.cost_analysis()`) counts a loop body once and includes element-wise
  operations; this counts every iteration, and matrix products only. A convolution counts the
  positions where kernel and input overlap, because the TPU compiler writes some products as
  convolutions. A custom kernel counts the `cost_estimate` of its Pallas call, 0 without one.
  """
  module = hlo.parse(program)
  executions = hlo.executions(module, _flops)
  return float(sum(_flops(execution) * execution.times for execution in executions))


def _flops(execution: hlo.Execution) -> float:
  instruction = execution.instruction
  if instruction.opcode == "custom-call":
    estimate = re.search(
      r'"cost_estimate":\s*\{[^}]*?"flops":\s*"?(\d+)', instruction.backend_config
    )
    return float(estimate[1]) if estimate else 0.0
  if instruction.opcode not in ("dot", "convolution"):
    return 0.0
  instructions = execution.computation.instructions
  left, right = (instructions[name].shape.dims for name in instruction.operands[:2])
  if instruction.opcode == "convolution":
    return _convolution_flops(instruction, left, right)
  contracted = re.findall(r"\d+", instruction.attribute("lhs_contracting_dims"))
  return 2.0 * math.prod(instruction.shape.dims) * math.prod(left[int(dim)] for dim in contracted)


def _convolution_flops(
  instruction: hlo.Instruction, left: tuple[int, ...], right: tuple[int, ...]
) -> float:
  """Returns the operations of a convolution; "dim_labels=bf0_io0->bf0" names its dimensions."""
  labels = re.split("_|->", instruction.attribute("dim_labels"))
  inputs, kernel, output = (
    dict(zip(names, sizes, strict=True))
    for names, sizes in zip(labels, (left, right, instruction.shape.dims), strict=True)
  )
  window = dict(re.findall(r"(\w+)=([\w\-]+)", instruction.attribute("window")))
  spatial = [label for label in sorted(kernel) if label.isdigit()]
  products = 1
  for axis, label in enumerate(spatial):
    products *= _overlaps(inputs[label], kernel[label], output[label], window, axis)
  return 2.0 * output["b"] * output["f"] * kernel["i"] * products


def _overlaps(inputs: int, kernel: int, outputs: int, window: dict[str, str], axis: int) -> int:
  """Returns how often, along one dimension, an element of the kernel lies on one of the input."""

  def setting(name: str, default: str) -> str:
    return window[name].split("x")[axis] if name in window else default

  stride = int(setting("stride", "1"))
  input_dilation = int(setting("lhs_dilate", "1"))
  kernel_dilation = int(setting("rhs_dilate", "1"))
  padding = int(re.match(r"-?\d+", setting("pad", "0"))[0])
  starts = np.arange(outputs) * stride - padding
  total = 0
  for element in range(kernel):
    positions = starts + element * kernel_dilation
    inside = (positions >= 0) & (positions <= (inputs - 1) * input_dilation)
    total += int(np.count_nonzero(inside & (positions % input_dilation == 0)))
  return total
