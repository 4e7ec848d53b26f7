"""What a compiled program takes of a device's memory, or by how much it does not fit."""

import dataclasses
import re
from typing import Any

import jax

from audiopalm.errors import AudiopalmError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Usage:
  """Bytes on one device: what goes in and stays, what is made on the way, and the whole."""

  arguments: int
  temporaries: int
  peak: int


class TooLarge(AudiopalmError):
  """The compiler found no way into the device's memory: `limit` bytes, of which it needs `needed`
  at least."""

  def __init__(self, needed: int, limit: int, text: str):
    super().__init__(text)
    self.needed, self.limit = needed, limit


def usage(compiled: Any) -> Usage:
  """Returns what XLA says of a compiled program. Donated arguments are counted once."""
  found = compiled.memory_analysis()
  made = found.output_size_in_bytes - found.alias_size_in_bytes
  arguments = found.argument_size_in_bytes
  peak = arguments + found.temp_size_in_bytes + made + found.generated_code_size_in_bytes
  return Usage(arguments, found.temp_size_in_bytes, peak)


# What compilers say of a program that is too large: all it would take, or its temporaries alone.
SAID = (
  r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm",
  r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
)


def compile_(lowered: Any) -> Any:
  """Returns the compiled program; TooLarge where the compiler says that memory does not suffice."""
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found = next(filter(None, (re.search(said, str(error)) for said in SAID)), None)
    if found is None:
      raise
    used, used_unit, limit, limit_unit = found.groups()
    raise TooLarge(
      int(float(used) * UNITS[used_unit]),
      int(float(limit) * UNITS[limit_unit]),
      found.group(0),
    ) from error
