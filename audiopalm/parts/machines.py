"""Machines by name, from a file or for the first device: the hardware of a run, chosen at each
start (`--machine`). The dtype of matrix products is chosen once per run (`choose_products`).
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

# On a CPU a micro-batch of this size fits the caches of one core, which is 1.2 times as fast.
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

# (part of JAX's device_kind, machine, dense bfloat16 FLOPS of a device without sparsity, source).
# More specific kinds come first. The peak of other devices is unknown.
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
  """Returns the machine with a name in TABLE, or in the JSON file at a path (`read`)."""
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

  Missing fields get the defaults of Machine, and a missing name that of the file. The file may not
  set `product_dtype`, which belongs to a run.
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
      f"{path} is a plan that does not fit its devices. Use a plan with another --mesh, --remat or "
      "batch size: audiopalm plan --search tries them."
    )
  fields = contents.get("machine")
  if not isinstance(fields, dict):
    raise ConfigError(f'{path}: expected a machine under "machine", as in {EXAMPLE}.')
  hints = typing.get_type_hints(Machine)
  kinds = {field.name: hints[field.name] for field in dataclasses.fields(Machine)}
  changes = {}
  for name, value in fields.items():
    name = Machine.renamed.get(name, name)
    if name not in kinds:
      raise ConfigError(f"{path}: {values.unknown_path(name, kinds)}")
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    changes[name] = values.parse(text, kinds[name], f"{path}: {name}")
  if changes.get("product_dtype") is not None:
    raise ConfigError(
      f"{path}: product_dtype belongs to a run, not to a machine. Leave it out, and choose it by "
      f"--products {changes['product_dtype']}."
    )
  machine = Machine(**{"name": path.stem, **changes})
  if not re.fullmatch(r"[\w.-]+", machine.name):
    raise ConfigError(
      f"{path}: the name of a machine consists of letters, digits, '.', '_' and '-', because files "
      f"of plans contain it, not {machine.name!r}."
    )
  return machine


def to_json(machine: Machine) -> str:
  """Returns the text of a JSON file with a machine. Inverse: `read`."""
  return json.dumps({"machine": dataclasses.asdict(machine)}, indent=1) + "\n"


def utilization(flops: float, seconds: float, device_kind: str, devices: int) -> float | str:
  """Returns the model FLOPs utilization (MFU) from 0 to 1, or "unknown".

  `flops` are the model's operations in `seconds` on all devices, without recomputation. Source:
  PaLM, arXiv:2204.02311, appendix B.
  """
  peak = next((peak for part, _, peak, _ in KINDS if part in device_kind), None)
  return "unknown" if peak is None or seconds <= 0 else flops / (seconds * peak * devices)


def default(kind: str | None = None, platform: str | None = None) -> Machine:
  """Returns the machine for a device kind and platform, by default of the first device.

  A GPU or TPU that is not in KINDS gets "gpu" or "tpu". ConfigError for other platforms.
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
  requested: str | None = None,
  saved: str | None = None,
  *,
  platform: str | None = None,
  cpuinfo: str | None = None,
) -> tuple[Machine, str]:
  """Returns the machine with a `product_dtype`, and the reason for it.

  The dtype is `requested` (`--products`), else the machine's, else the one `saved` in the run's
  checkpoint, else bfloat16 on a CPU with one of BFLOAT16_FLAGS and `compute_dtype` elsewhere.
  ConfigError if the machine does not support it. `platform` and `cpuinfo`, the text of
  /proc/cpuinfo, are by default those of the first device and of this computer.
  """
  sources = (
    (requested, "--products"), (machine.product_dtype, "the machine"), (saved, "this run"),
  )  # fmt: skip
  dtype, source = next((pair for pair in sources if pair[0]), (None, ""))
  if dtype is None:
    flags = _bfloat16_flags(machine, platform, cpuinfo)
    dtype = "bfloat16" if flags else machine.compute_dtype
    why = NO_FLAG if flags == () else f"the compute_dtype of machine {machine.name!r}"
    if flags:
      why = f"this CPU has {flags[0]}"
    return dataclasses.replace(machine, product_dtype=dtype), why
  why = lacking(machine, dtype, platform=platform, cpuinfo=cpuinfo)
  if why:
    other = "float32" if dtype == "bfloat16" else "bfloat16"
    raise ConfigError(
      f"Matrix products in {dtype} are set by {source}, but {why}. Choose another dtype with "
      f"--products {other}, which changes the losses as rounding does, or another machine."
    )
  return dataclasses.replace(machine, product_dtype=dtype), f"set by {source}"


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
  """Returns which of BFLOAT16_FLAGS a CPU has; None for other devices, and for an accelerator's
  machine that is tried on a CPU, which computes in bfloat16 even if that is slow."""
  if machine.compute_dtype == "bfloat16" or (platform or jax.devices()[0].platform) != "cpu":
    return None
  if cpuinfo is None:
    cpuinfo = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
  lines = (line.partition(":") for line in cpuinfo.splitlines())
  flags = next((text.split() for name, _, text in lines if name.strip() == "flags"), [])
  return tuple(flag for flag in BFLOAT16_FLAGS if flag in flags)
