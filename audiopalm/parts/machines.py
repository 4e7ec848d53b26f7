"""Machines by name, from a file or by the first device: the hardware of a run, chosen at each start
(`--machine`). The dtype of matrix products is chosen once per run (`choose_products`).
"""

import dataclasses
import difflib
import json
import re
import typing
from pathlib import Path

import jax

from audiopalm import values
from audiopalm.errors import ConfigError
from audiopalm.settings import Machine

# On a CPU a micro-batch of so many tokens fits the caches of one core: 1.2 times as fast.
_CPU = {"data": 1, "micro_batch_tokens": 1024}
_ACCELERATOR = {"fsdp": -1, "remat": "dots", "compute_dtype": "bfloat16"}
_TPU = {**_ACCELERATOR, "attention": "splash"}

TABLE: dict[str, Machine] = {
  name: Machine(name=name, **fields)
  for name, fields in {
    "cpu": {**_CPU, "fsdp": 1},
    # Eight forced devices: XLA_FLAGS=--xla_force_host_platform_device_count=8
    "cpu8": {**_CPU, "fsdp": 4, "tensor": 2},
    "a100": _ACCELERATOR,
    "h100": {**_ACCELERATOR, "loss_chunk_cells": 8192},
    "h200": {**_ACCELERATOR, "loss_chunk_cells": 8192},
    "b200": {**_ACCELERATOR, "loss_chunk_cells": 8192},
    "gpu": _ACCELERATOR,
    "v4": _TPU,
    "v5e": {**_TPU, "loss_chunk_cells": 1024},
    "v5p": {**_TPU, "loss_chunk_cells": 8192},
    "v6e": _TPU,
    "tpu": _ACCELERATOR,
  }.items()
}

# Part of JAX's device_kind, the more special first; its machine; dense bfloat16 floating-point
# operations per second of a chip, without sparsity, and their source. Other peaks are unknown.
KINDS: tuple[tuple[str, str, float, str], ...] = (
  ("A100", "a100", 312e12, "NVIDIA A100 datasheet"),
  ("H100 PCIe", "h100", 756e12, "NVIDIA H100 datasheet"),
  ("H100 NVL", "h100", 835e12, "NVIDIA H100 NVL datasheet"),
  ("H100", "h100", 989e12, "NVIDIA H100 SXM datasheet"),
  ("H200 NVL", "h200", 835e12, "NVIDIA H200 NVL datasheet"),
  ("H200", "h200", 989e12, "NVIDIA H200 SXM datasheet"),
  ("GB200", "b200", 2500e12, "NVIDIA GB200 NVL72 datasheet, per GPU"),
  ("B200", "b200", 2250e12, "NVIDIA DGX B200 datasheet, per GPU"),
  ("TPU v4", "v4", 275e12, "cloud.google.com/tpu/docs/v4"),
  ("TPU v5 lite", "v5e", 197e12, "cloud.google.com/tpu/docs/v5e"),
  ("TPU v5e", "v5e", 197e12, "cloud.google.com/tpu/docs/v5e"),
  ("TPU v5", "v5p", 459e12, "cloud.google.com/tpu/docs/v5p"),
  ("TPU v6", "v6e", 918e12, "cloud.google.com/tpu/docs/v6e"),
)


def named(name: str) -> Machine:
  """Returns the machine of a name in TABLE, or in the JSON file of that path (`read`)."""
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
  """Returns the machine in a JSON file, such as EXAMPLE or a plan that fits.

  Missing fields are those of Machine(), and the name is that of the file. The dtype of products
  belongs to a run and not to a file.
  """
  if not path.is_file():
    raise ConfigError(f"There is no file {path} with a machine. Write it, as {EXAMPLE}.")
  try:
    contents = json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:  # UnicodeDecodeError is one too
    raise ConfigError(f"{path}: expected JSON with a machine, but {error}.") from error
  if not isinstance(contents, dict):
    contents = {}
  if contents.get("fits") is False:
    raise ConfigError(
      f"{path} is a plan that does not fit its devices. Take that of another --mesh, --remat or "
      "batch: audiopalm plan --search tries them."
    )
  fields = contents.get("machine")
  if not isinstance(fields, dict):
    raise ConfigError(f'{path}: expected a machine under "machine", as in {EXAMPLE}.')
  hints = typing.get_type_hints(Machine)
  kinds = {field.name: hints[field.name] for field in dataclasses.fields(Machine)}
  given = {}
  for name, value in fields.items():
    name = Machine.renamed.get(name, name)
    if name not in kinds:
      raise ConfigError(f"{path}: {values.unknown_path(name, kinds)}")
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    given[name] = values.parse(text, kinds[name], f"{path}: {name}")
  if given.get("product_dtype") is not None:
    raise ConfigError(
      f"{path}: product_dtype is of a run, which keeps it, and not of a machine. Leave it out, and "
      f"choose it by --products {given['product_dtype']}."
    )
  machine = Machine(**{"name": path.stem, **given})
  if not re.fullmatch(r"[\w.-]+", machine.name):
    raise ConfigError(
      f"{path}: a machine is called by letters, digits, '.', '_' and '-', not {machine.name!r}: "
      "plans are kept under its name."
    )
  return machine


def to_json(machine: Machine) -> str:
  """Returns a machine as the text of a file for `read`."""
  return json.dumps({"machine": dataclasses.asdict(machine)}, indent=1) + "\n"


def utilization(flops: float, seconds: float, device_kind: str, devices: int) -> float | str:
  """Returns the share of the devices' peak that was used (MFU), or "unknown".

  Operations are those of the model, without recomputation. Source: PaLM, arXiv:2204.02311,
  appendix B.
  """
  peak = next((peak for part, _, peak, _ in KINDS if part in device_kind), None)
  return "unknown" if peak is None or seconds <= 0 else flops / (seconds * peak * devices)


def default(kind: str | None = None, platform: str | None = None) -> Machine:
  """Returns the machine for a device kind and platform, by default of the first device.

  A GPU or TPU that is not in KINDS gets the general "gpu" or "tpu".
  """
  if kind is None or platform is None:
    device = jax.devices()[0]
    kind, platform = device.device_kind, device.platform
  if platform == "cpu":
    return TABLE["cpu"]
  name = next((name for part, name, _, _ in KINDS if part in kind), platform)
  if name in TABLE:
    return TABLE[name]
  raise ConfigError(
    f"No machine is known for the device {kind!r} of platform {platform!r}. "
    f"Choose one with --machine: {', '.join(TABLE)}."
  )


CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")  # of CPUs that multiply bfloat16 faster than float32
NO_FLAG = f"this CPU has none of the flags {', '.join(BFLOAT16_FLAGS)}"


def choose_products(
  machine: Machine,
  asked: str | None = None,
  kept: str | None = None,
  *,
  platform: str | None = None,
  cpuinfo: str | None = None,
) -> tuple[Machine, str]:
  """Returns the machine with a `product_dtype`, and the reason for it.

  It is the one `asked` for (`--products`), else the machine's, else the one that the run's
  checkpoint has `kept`, else bfloat16 on a CPU with one of BFLOAT16_FLAGS and `compute_dtype`
  elsewhere. ConfigError for a dtype that the machine lacks. `platform` and `cpuinfo`, the text of
  /proc/cpuinfo, are by default those of the first device and of this computer.
  """
  sources = ((asked, "--products"), (machine.product_dtype, "the machine"), (kept, "this run"))
  dtype, source = next((pair for pair in sources if pair[0]), (None, ""))
  if dtype is None:
    flags = _bfloat16_flags(machine, platform, cpuinfo)
    dtype = "bfloat16" if flags else machine.compute_dtype
    why = NO_FLAG if flags == () else f"what machine {machine.name!r} computes in"
    if flags:
      why = f"this CPU has {flags[0]}"
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
  """Returns which of BFLOAT16_FLAGS a CPU has; None for another device, and for a machine of
  accelerators tried on a CPU, which computes in bfloat16, however slowly."""
  if machine.compute_dtype == "bfloat16" or (platform or jax.devices()[0].platform) != "cpu":
    return None
  if cpuinfo is None:
    cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
  lines = (line.partition(":") for line in cpuinfo.splitlines())
  flags = next((text.split() for name, _, text in lines if name.strip() == "flags"), [])
  return tuple(flag for flag in BFLOAT16_FLAGS if flag in flags)
