"""The device memory a compiled program needs, or by how much it does not fit."""

import dataclasses
import re

import jax

from audiopalm.errors import AudiopalmError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# Compilers report either the memory of the whole program or that of its temporaries.
MESSAGES = (
  r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm",
  r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
)


@dataclasses.dataclass(frozen=True)
class Usage:
  """Bytes on one device: the arguments, the temporaries, and the peak, which includes both."""

  arguments: int
  temporaries: int
  peak: int


class TooLarge(AudiopalmError):
  """The compiler ran out of device memory: it needs at least `needed` bytes and has `limit`."""

  def __init__(self, needed: int, limit: int, text: str):
    super().__init__(text)
    self.needed, self.limit = needed, limit


def usage(compiled: jax.stages.Compiled) -> Usage:
  """Returns XLA's memory analysis of a compiled program. Donated arguments count once."""
  analysis = compiled.memory_analysis()
  outputs = analysis.output_size_in_bytes - analysis.alias_size_in_bytes
  arguments, temporaries = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
  peak = arguments + temporaries + outputs + analysis.generated_code_size_in_bytes
  return Usage(arguments, temporaries, peak)


def compile_(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
  """Returns the compiled program; TooLarge where the compiler runs out of device memory."""
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    match = next(filter(None, (re.search(text, str(error)) for text in MESSAGES)), None)
    if match is None:
      raise
    needed, needed_unit, limit, limit_unit = match.groups()
    raise TooLarge(
      int(float(needed) * UNITS[needed_unit]),
      int(float(limit) * UNITS[limit_unit]),
      match.group(0),
    ) from error
