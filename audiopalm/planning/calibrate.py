"""Measures the rates of this machine's CPU devices, which plans for `cpu:N` use."""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from audiopalm.data import files
from audiopalm.planning.topology import Chip

REPEATS = 7
MATRIX_SIZE = 512
COPY_ELEMENTS, COPY_PASSES = 2**20, 16  # each pass reads and writes every element
REDUCED_ELEMENTS = (2**8, 2**20)  # of a small and of a large all-reduce


def measure(path: Path) -> Chip:
  """Returns the rates of one CPU device while all of them work, and writes them to `path`.

  Times matrix products, copies and all-reduces of two sizes. The small all-reduce gives the
  latency, the difference between both the bandwidth.
  """
  mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Explicit,))
  with jax.set_mesh(mesh):
    product_s = _seconds(lambda x: x @ x, (MATRIX_SIZE, MATRIX_SIZE), mesh)
    copy_s = _seconds(_copies, (COPY_ELEMENTS,), mesh) / COPY_PASSES
    small_s, large_s = (
      _seconds(lambda x: jax.lax.psum(x, "all"), (size,), mesh) for size in REDUCED_ELEMENTS
    )
  devices = jax.device_count()
  sent_bytes = 2 * (devices - 1) / devices * 4 * (REDUCED_ELEMENTS[1] - REDUCED_ELEMENTS[0])
  chip = Chip(
    name=f"cpu:{devices}",
    flops=2 * MATRIX_SIZE**3 / product_s,
    memory=_memory_bytes() / devices,
    memory_bandwidth=2 * 4 * COPY_ELEMENTS / copy_s,
    link=sent_bytes / max(large_s - small_s, 1e-9),
    network=0.0,
    rings=0,
    latency_s=small_s,
    serial=True,
    source=f"measured on {platform.processor() or platform.machine()}, {devices} devices",
  )
  files.write_json(path, {"chip": dataclasses.asdict(chip), "jax": jax.__version__})
  return chip


def _copies(x: jax.Array) -> jax.Array:
  """Returns x plus the number of passes, updated in place so that no memory is allocated."""
  return jax.lax.fori_loop(0, COPY_PASSES, lambda _, x: x + 1, x)


def _seconds(local: Callable, shape: tuple[int, ...], mesh: Mesh) -> float:
  """Returns the median seconds of `local` when all devices run it at the same time."""
  split = PartitionSpec("all")
  run = jax.jit(jax.shard_map(lambda x: local(x[0])[None], in_specs=split, out_specs=split,
                              check_vma=False))  # fmt: skip
  ones = jnp.ones((mesh.size, *shape), out_sharding=NamedSharding(mesh, split))
  run(ones).block_until_ready()
  times = []
  for _ in range(REPEATS):
    start_s = time.perf_counter()
    run(ones).block_until_ready()
    times.append(time.perf_counter() - start_s)
  return statistics.median(times)


def _memory_bytes() -> float:
  lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
  total = next(line for line in lines if line.startswith("MemTotal"))
  return 1024.0 * int(total.split()[1])
