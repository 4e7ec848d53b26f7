"""Machines by name or from a file, `--machine`: the hardware side of a run, chosen at each start.

Without a name the first device's kind decides, and the run prints what it chose. On a CPU a run
chooses besides, once, in which dtype it multiplies: see `settled`.
"""

import dataclasses
import difflib
import json
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from audiopalm import values
from audiopalm.errors import ConfigError
from audiopalm.settings import Machine


def _accelerator(name: str, attention: str = "xla", loss_chunk_rows: int = 4096) -> Machine:
  """Returns a machine that shards parameters over all its devices and computes in bfloat16."""
  return Machine(
    name=name,
    fsdp=-1,
    attention=attention,
    remat="dots",
    compute_dtype="bfloat16",
    loss_chunk_rows=loss_chunk_rows,
  )


# What a step of a small model works on then fits the caches of one core: 1.2 times as fast.
CACHED = 1024

TABLE: dict[str, Machine] = {
  machine.name: machine
  for machine in (
    Machine(name="cpu", data=1, fsdp=1, tensor=1, micro_batch_tokens=CACHED),
    # Eight forced devices: XLA_FLAGS=--xla_force_host_platform_device_count=8
    Machine(name="cpu8", data=1, fsdp=4, tensor=2, micro_batch_tokens=CACHED),
    _accelerator("a100"),
    _accelerator("h100", loss_chunk_rows=8192),
    _accelerator("h200", loss_chunk_rows=8192),
    _accelerator("b200", loss_chunk_rows=8192),
    _accelerator("gpu"),
    _accelerator("v4", "splash"),
    _accelerator("v5e", "splash", loss_chunk_rows=1024),
    _accelerator("v5p", "splash", loss_chunk_rows=8192),
    _accelerator("v6e", "splash"),
    _accelerator("tpu"),
  )
}

# Parts of `device_kind` as JAX reports it, the more special first ("TPU v5" alone is a v5p).
KINDS: tuple[tuple[str, str], ...] = (
  ("A100", "a100"),
  ("H100", "h100"),
  ("H200", "h200"),
  ("B200", "b200"),
  ("TPU v4", "v4"),
  ("TPU v5 lite", "v5e"),
  ("TPU v5e", "v5e"),
  ("TPU v5", "v5p"),
  ("TPU v6", "v6e"),
)


def named(name: str) -> Machine:
  """Returns the machine of that name, or that in the JSON file of that path (`read`); a ConfigError
  that lists the names for any other."""
  if name in TABLE:
    return TABLE[name]
  if name.endswith(".json") or Path(name).is_file():
    return read(Path(name))
  near = difflib.get_close_matches(name, TABLE, n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  raise ConfigError(
    f"Unknown machine {name!r}.{hint} Known: {', '.join(TABLE)}; or the path of a JSON file with a "
    "machine, as audiopalm plan --json writes it."
  )


EXAMPLE = '{"machine": {"data": 8, "fsdp": 64, "remat": "dots", "compute_dtype": "bfloat16"}}'


def read(path: Path) -> Machine:
  """Returns the machine in a JSON file: a plan that fits, or EXAMPLE and whatever else it says.

  Fields that are left out are those of Machine(), and the name is that of the file. The dtype of
  products belongs to a run and not to a file.
  """
  if not path.is_file():
    raise ConfigError(f"There is no file {path} with a machine. Write it, as {EXAMPLE}.")
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:  # UnicodeDecodeError is one too
    raise ConfigError(f"{path}: expected JSON with a machine, but {error}.") from error
  if not isinstance(found, dict):
    found = {}
  if found.get("fits") is False:
    raise ConfigError(
      f"{path} is a plan that does not fit its devices. Take that of another --mesh, --remat or "
      "batch: audiopalm plan --search tries them."
    )
  fields = found.get("machine")
  if not isinstance(fields, dict):
    raise ConfigError(f'{path}: expected a machine under "machine", as in {EXAMPLE}.')
  return _machine(fields, path)


def to_json(machine: Machine) -> str:
  """Returns a machine as the text of a file for `read`."""
  return json.dumps({"machine": dataclasses.asdict(machine)}, indent=1) + "\n"


def _machine(fields: Mapping[str, Any], path: Path) -> Machine:
  """Returns the machine with fields of JSON, each checked by its type."""
  kinds = typing.get_type_hints(Machine)
  given = {}
  for name, value in fields.items():
    if name not in kinds:
      raise ConfigError(f"{path}: {values.unknown_path(name, kinds)}")
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    given[name] = values.parse(text, kinds[name], f"{path}: {name}")
  if given.get("product_dtype") is not None:
    raise ConfigError(
      f"{path}: product_dtype is of a run, which keeps it, and not of a machine. Leave it out, and "
      f"choose it by --products {given['product_dtype']}."
    )
  machine = Machine(**({"name": path.stem} | given))
  if not re.fullmatch(r"[\w.-]+", machine.name):
    raise ConfigError(
      f"{path}: a machine is called by letters, digits, '.', '_' and '-', not {machine.name!r}: "
      "plans are kept under its name."
    )
  return machine


def default(kind: str | None = None, platform: str | None = None) -> Machine:
  """Returns the machine for the first device JAX finds, or for a device kind and platform given.

  A GPU or TPU that is not in the table is the general "gpu" or "tpu".
  """
  if kind is None or platform is None:
    device = jax.devices()[0]
    kind, platform = device.device_kind, device.platform
  if platform == "cpu":
    return TABLE["cpu"]
  for part, name in KINDS:
    if part in kind:
      return TABLE[name]
  if platform in TABLE:
    return TABLE[platform]
  raise ConfigError(
    f"No machine is known for the device {kind!r} of platform {platform!r}. "
    f"Choose one with --machine: {', '.join(TABLE)}."
  )


CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")  # of CPUs that multiply bfloat16 faster than float32
NO_FLAG = f"this CPU has none of the flags {', '.join(BFLOAT16_FLAGS)}"


def settled(
  machine: Machine,
  asked: str | None = None,
  kept: str | None = None,
  *,
  platform: str | None = None,
  cpuinfo: str | None = None,
) -> tuple[Machine, str]:
  """Returns the machine with a `product_dtype`, and why it is that one.

  What is `asked` for (`--products`) comes first, then what the machine itself says, then what a
  run's checkpoint has `kept`. Where nobody says anything, a CPU with one of BFLOAT16_FLAGS
  multiplies in bfloat16, any other machine in its `compute_dtype`. ConfigError for a dtype that the
  machine does not have. `platform` and `cpuinfo`, the text of /proc/cpuinfo, are by default those
  of the first device and of this computer.
  """
  sources = ((asked, "--products"), (machine.product_dtype, "the machine"), (kept, "this run"))
  dtype, source = next(((each, who) for each, who in sources if each), (None, ""))
  if dtype is None:
    flags = _bfloat16_flags(machine, platform, cpuinfo)
    dtype = "bfloat16" if flags else machine.compute_dtype
    why = f"this CPU has {flags[0]}" if flags else f"what machine {machine.name!r} computes in"
    if flags == ():
      why = NO_FLAG
    return dataclasses.replace(machine, product_dtype=dtype), why
  why = lacking(machine, dtype, platform=platform, cpuinfo=cpuinfo)
  if why:
    other = "float32" if dtype == "bfloat16" else "bfloat16"
    raise ConfigError(
      f"Products in {dtype} are what {source} asks for, but {why}. Choose other products with "
      f"--products {other}, which changes the losses as rounding does, or another machine."
    )
  return dataclasses.replace(machine, product_dtype=dtype), f"as {source} says"


def lacking(
  machine: Machine, dtype: str, *, platform: str | None = None, cpuinfo: str | None = None
) -> str:
  """Returns why a machine does not multiply in a dtype, "" if it does."""
  if machine.compute_dtype == "bfloat16" and dtype == "float32":
    return f"machine {machine.name!r} computes in bfloat16"
  if dtype == "bfloat16" and _bfloat16_flags(machine, platform, cpuinfo) == ():
    return NO_FLAG
  return ""


def _bfloat16_flags(
  machine: Machine, platform: str | None, cpuinfo: str | None
) -> tuple[str, ...] | None:
  """Returns which of BFLOAT16_FLAGS a CPU has, None for another device and where it does not
  matter: a machine of accelerators tried on a CPU computes in bfloat16, however slowly."""
  if machine.compute_dtype == "bfloat16" or (platform or jax.devices()[0].platform) != "cpu":
    return None
  if cpuinfo is None:
    cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
  lines = (line.partition(":") for line in cpuinfo.splitlines())
  flags = next((text.split() for name, _, text in lines if name.strip() == "flags"), [])
  return tuple(flag for flag in BFLOAT16_FLAGS if flag in flags)
