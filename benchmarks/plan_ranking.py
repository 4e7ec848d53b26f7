"""Compares predicted and measured step times of six meshes of eight CPU devices.

  python benchmarks/plan_ranking.py

Measures the rates of the devices first, then plans each mesh and times its training step: medians
of 7 repeats of all meshes in turn. Kendall's tau is the agreement of both orders (1: full, 0: by
chance), over pairs of meshes whose times differ by more than 5 %.
Results are in benchmarks/results/plan_ranking-MACHINE.json.
"""

import dataclasses
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import contenders
import figures
import jax
import jax.numpy as jnp
import numpy as np
import score
import steps
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

if TYPE_CHECKING:
  from audiopalm.experiment import Experiment
  from audiopalm.planning.topology import Chip

MESHES = (
  {"data": 8},
  {"fsdp": 8},
  {"data": 2, "fsdp": 2, "tensor": 2},
  {"fsdp": 2, "tensor": 4},
  {"fsdp": 2, "context": 4},
  {"context": 2, "tensor": 4},
)
TIES = 0.05
REPEATS = 7  # of each measured rate
MATRIX_SIZE = 512
COPY_ELEMENTS, COPY_PASSES = 2**20, 16  # each pass reads and writes every element
REDUCED_ELEMENTS = (2**8, 2**20)  # of a small and of a large all-reduce
TITLE = "Planned and measured step times"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--repeats", type=int, default=7)
  arguments = parser.parse_args()
  os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # read at the first device
  jax.config.update("jax_platforms", "cpu")
  from audiopalm.planning import plan, program, topology
  from audiopalm.settings import Machine

  target = topology.named("cpu:8")
  target = dataclasses.replace(target, chip=measured_rates(target.chip))
  experiment = planned_experiment()
  machines = [
    Machine(name="benchmark", **{"data": 1, "fsdp": 1, **sizes}, loss_chunk_cells=256)
    for sizes in MESHES
  ]
  predicted = [plan.training(experiment, machine, target).bounds for machine in machines]
  data = experiment.data
  batch = steps.batch_of(steps.tokens(2_000, data.batch_rows, data.row_length))
  vocabulary = program.space_of(experiment).sizes[0]
  runs = [steps.prepared(experiment.model, vocabulary, batch, machine) for machine in machines]
  for run in runs:
    run(1)
  seconds = [[] for _ in runs]
  for _ in range(arguments.repeats):
    for number, run in enumerate(runs):
      seconds[number].append(contenders.timed(lambda run=run: run(1))[1])
  measured = [statistics.median(times) for times in seconds]
  tau, pairs = kendall([bounds.bound_s for bounds in predicted], measured)
  result = {
    "command": score.command(__file__),
    **score.conditions(("jax", "flax", "optax", "numpy")),
    "rates": vars(target.chip),
    "repeats": arguments.repeats,
    "meshes": [
      {
        "mesh": sizes,
        "predicted_s": round(bounds.bound_s, 4),
        "of_which": {
          "arithmetic": round(bounds.arithmetic_s, 4),
          "memory": round(bounds.memory_s, 4),
          "links": round(bounds.interconnect_s, 4),
        },
        "measured_s": figures.spread(times),
      }
      for sizes, bounds, times in zip(MESHES, predicted, seconds, strict=True)
    ],
    "pairs": pairs,
    "kendall_tau": round(tau, 3),
  }
  score.write(f"plan_ranking-{score.machine_name()}", result)
  print(json.dumps(result, indent=1))


def measured_rates(chip: "Chip") -> "Chip":
  """Returns the rates of one CPU device while all of them work.

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
  return dataclasses.replace(
    chip,
    name=f"cpu:{devices}",
    flops=2 * MATRIX_SIZE**3 / product_s,
    memory_bandwidth=2 * 4 * COPY_ELEMENTS / copy_s,
    link=sent_bytes / max(large_s - small_s, 1e-9),
    latency_s=small_s,
    source=f"measured on {platform.processor() or platform.machine()}, {devices} devices",
  )


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


def kendall(predicted: list[float], measured: list[float]) -> tuple[float, int]:
  """Returns (tau, number of pairs) over the pairs whose measured times differ by more than TIES.

  Tau is the share of pairs in the same order minus the share in the opposite order.
  """
  pairs = [
    (a, b)
    for a, b in itertools.combinations(range(len(measured)), 2)
    if abs(measured[a] - measured[b]) > TIES * min(measured[a], measured[b])
  ]
  agree = sum(
    np.sign(predicted[a] - predicted[b]) * np.sign(measured[a] - measured[b]) for a, b in pairs
  )
  return float(agree / max(len(pairs), 1)), len(pairs)


def planned_experiment() -> "Experiment":
  """Returns the experiment to plan and to run."""
  from audiopalm.data.corpora import Synthetic
  from audiopalm.data.packed import Packed
  from audiopalm.experiment import Experiment
  from audiopalm.parts import mixtures, tokenizers

  corpus = Synthetic(languages=("en", "fr"))
  return Experiment(
    name="ranking",
    tokenizers=(tokenizers.text(size=2_000), tokenizers.units(size=256)),
    mixture=mixtures.blend((mixtures.asr(corpus), 1.0)),
    model=steps.SIZES["4M"].settings,
    data=Packed(row_length=256, batch_rows=16),
  )


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  parts = [
    figures.paragraph(f"""
      Seconds of a training step on eight forced CPU devices: predicted by `audiopalm plan` from the
      compiled program and the measured rates of the devices, and measured. A plan serves to choose
      between meshes, so their order matters. Kendall's tau is the share of pairs of meshes in the
      same order minus the share in the opposite order, over pairs whose times differ by more than
      {100 * TIES:.0f} %.
    """)
  ]
  for result in results:
    rows = [
      (
        ", ".join(f"{axis}={size}" for axis, size in mesh["mesh"].items()),
        f"{mesh['predicted_s']:.3f}",
        *(f"{mesh['of_which'][part]:.3f}" for part in ("arithmetic", "memory", "links")),
        figures.shown(mesh["measured_s"], 3),
      )
      for mesh in result["meshes"]
    ]
    header = "mesh", "predicted", "arithmetic", "memory", "links", "measured"
    tau = f"{result['on']}: tau {result['kendall_tau']:.2f} over {result['pairs']} pairs"
    parts += [tau, figures.table(header, rows)]
  return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
  main()
