"""Floating-point operations of a compiled program's matrix products, turn by turn of its loops."""

import math
import re

import numpy as np

from audiopalm.planning import hlo


def flops(program: str | hlo.Module) -> float:
  """Returns the operations that one device does in all `dot` and `convolution` of a run.

  XLA's own count (`compiled.cost_analysis()`) takes a loop body once and adds what is done by
  element; here every turn counts, and matrix products alone. A convolution counts the positions at
  which kernel and input meet, which is what it is where a TPU writes a product as one. Kernels that
  XLA cannot look into count as what they declare (`cost_estimate` of a Pallas call), else nothing.
  """
  module = hlo.parse(program)
  return float(sum(_flops(each) * each.times for each in hlo.executions(module, _flops)))


def _flops(execution: hlo.Execution) -> float:
  instruction = execution.instruction
  known = execution.computation.instructions
  if instruction.opcode == "custom-call":
    declared = re.search(
      r'"cost_estimate":\s*\{[^}]*?"flops":\s*"?(\d+)', instruction.backend_config
    )
    return float(declared[1]) if declared else 0.0
  if instruction.opcode not in ("dot", "convolution"):
    return 0.0
  left, right = (known[name].shape.dims for name in instruction.operands[:2])
  if instruction.opcode == "dot":
    summed = re.findall(r"\d+", instruction.attribute("lhs_contracting_dims"))
    return 2.0 * math.prod(instruction.shape.dims) * math.prod(left[int(each)] for each in summed)
  return _convolution_flops(instruction, left, right)


def _convolution_flops(instruction, left, right) -> float:
  """Returns the operations of a convolution; "dim_labels=bf0_io0->bf0" names its dimensions."""
  labels = re.split("_|->", instruction.attribute("dim_labels"))
  inputs, kernel, output = (
    dict(zip(names, sizes, strict=True))
    for names, sizes in zip(labels, (left, right, instruction.shape.dims), strict=True)
  )
  window = dict(re.findall(r"(\w+)=([\w\-]+)", instruction.attribute("window")))
  spatial = [label for label in sorted(kernel) if label.isdigit()]
  products = 1
  for place, label in enumerate(spatial):
    products *= _meetings(inputs[label], kernel[label], output[label], window, place)
  return 2.0 * output["b"] * output["f"] * kernel["i"] * products


def _meetings(inputs: int, kernel: int, outputs: int, window: dict, place: int) -> int:
  """Returns how often, along one dimension, an element of the kernel lies on one of the input."""

  def setting(name: str, default: str) -> str:
    return window[name].split("x")[place] if name in window else default

  stride = int(setting("stride", "1"))
  input_dilation = int(setting("lhs_dilate", "1"))
  kernel_dilation = int(setting("rhs_dilate", "1"))
  before = int(re.match(r"-?\d+", setting("pad", "0"))[0])
  starts = np.arange(outputs) * stride - before
  total = 0
  for element in range(kernel):
    at = starts + element * kernel_dilation
    inside = (at >= 0) & (at <= (inputs - 1) * input_dilation)
    total += int(np.count_nonzero(inside & (at % input_dilation == 0)))
  return total
