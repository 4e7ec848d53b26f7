"""Named machines, `--machine NAME`: the hardware side of a run, which may change at every resume.

Without a name the first device's kind decides, and the run prints what it chose.
"""

import difflib

import jax

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
  """Returns the machine of that name; a ConfigError that lists the names for any other."""
  if name in TABLE:
    return TABLE[name]
  near = difflib.get_close_matches(name, TABLE, n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  raise ConfigError(f"Unknown machine {name!r}.{hint} Known: {', '.join(TABLE)}.")


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
