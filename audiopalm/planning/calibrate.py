"""The rates of this machine's CPU devices, measured: what a plan for `cpu:N` reckons with."""

import dataclasses
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from audiopalm.data import files
from audiopalm.planning.topology import Chip

REPEATS = 7
SIDE = 512  # of a matrix
COPIED, PASSES = 2**20, 16  # elements, and how often one program reads and writes them
SENT = (2**8, 2**20)  # elements of a small and of a large all-reduce


def measure(path: Path) -> Chip:
  """Returns the rates of one of the CPU devices while all of them work, and writes them to `path`.

  Matrix products, copies, and all-reduces of two sizes: their difference gives the bytes a second,
  the small one the latency.
  """
  mesh = jax.make_mesh((jax.device_count(),), ("all",), axis_types=(AxisType.Explicit,))
  with jax.set_mesh(mesh):
    product_s = _seconds(lambda x: x @ x, (SIDE, SIDE), mesh)
    copy_s = _seconds(_copies, (COPIED,), mesh) / PASSES
    small_s, large_s = (_seconds(lambda x: jax.lax.psum(x, "all"), (size,), mesh) for size in SENT)
  ways = jax.device_count()
  sent = 2 * (ways - 1) / ways * 4 * (SENT[1] - SENT[0])
  chip = Chip(
    name=f"cpu:{ways}",
    flops=2 * SIDE**3 / product_s,
    memory=_memory() / ways,
    memory_bandwidth=2 * 4 * COPIED / copy_s,
    link=sent / max(large_s - small_s, 1e-9),
    network=0.0,
    rings=0,
    latency_s=small_s,
    serial=True,
    source=f"measured on {platform.processor() or platform.machine()}, {ways} devices",
  )
  files.write_json(path, {"chip": dataclasses.asdict(chip), "jax": jax.__version__})
  return chip


def _copies(x):
  """Returns x after passes in its own memory: none of them asks the system for pages."""
  return jax.lax.fori_loop(0, PASSES, lambda _, x: x + 1, x)


def _seconds(local: Callable, shape: tuple[int, ...], mesh) -> float:
  """Returns the median seconds of `local` on every device at the same time."""
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


def _memory() -> float:
  lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
  total = next(line for line in lines if line.startswith("MemTotal"))
  return 1024.0 * int(total.split()[1])
