"""A plan: the training or decoding step of a config, compiled for one machine and topology.

WORKDIR/plans/v5e-16x16-v5e.json     the plan of a topology and machine that `audiopalm plan
                                     --workdir` writes and preflight reads
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from audiopalm import sharding
from audiopalm.experiment import Experiment
from audiopalm.planning import collectives, hlo, program, roofline
from audiopalm.planning.topology import Topology
from audiopalm.settings import Machine

LARGE_BYTES = 2**25  # full arrays outside loops are listed by name from this size on

JsonObject = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class HardwarePlan:
  """The result of compiling a program for a topology. Bytes, operations, seconds are per device.

  `excess_bytes` are the bytes that do not fit in memory, 0 if the program fits. If the compiler
  itself ran out of memory, they are a lower bound and the fields with defaults are unknown.
  """

  mesh: dict[str, int]
  machine: Machine
  memory_limit: float
  excess_bytes: int
  compiled: program.Compiled | None = None
  sent: tuple[collectives.Collective, ...] = ()
  bounds: roofline.Roofline | None = None
  tokens: int = 0
  model_flops: float = 0.0
  peak_flops: float = 0.0

  @property
  def fits(self) -> bool:
    return not self.excess_bytes

  @property
  def full_arrays(self) -> list[collectives.Collective]:
    """The collectives that leave a large full array on a device outside the loop over layers."""
    return collectives.full_outside_loops(self.sent, LARGE_BYTES)

  def name_of(self, collective: collectives.Collective) -> str:
    """Returns the parameter or operation a collective belongs to, else a parameter of its shape."""
    dims = collective.shape.partition("[")[2].rstrip("]")
    like = self.compiled.parameters_by_dims.get(dims)
    return collective.parameter or collective.op_name or (f"like {like}" if like else "unnamed")

  @property
  def tokens_per_s(self) -> float:
    """The upper bound of all devices together."""
    return self.tokens / self.bounds.bound_s

  @property
  def mfu(self) -> float:
    """The upper bound of model FLOPs utilization (PaLM, appendix B)."""
    return self.model_flops / (self.bounds.bound_s * self.peak_flops)


def training(experiment: Experiment, machine: Machine, topology: Topology) -> HardwarePlan:
  """Returns the plan of a training step."""
  mesh = sharding.mesh(machine, topology.devices)
  data, model, space = experiment.data, experiment.model, program.space_of(experiment)
  tokens = data.batch_rows * data.length
  per_token, undeclared = model.flops_per_token(space, data.length), 0.0
  if machine.attention == "splash":  # its kernel declares no operations
    undeclared = (per_token - model.flops_per_token(space, 0)) * tokens / mesh.size
  compile_ = functools.partial(program.train_step, experiment, machine, mesh)
  return _plan(compile_, mesh, machine, topology, tokens, per_token, undeclared)


def generation(
  experiment: Experiment, machine: Machine, topology: Topology, rows: int, slots: int
) -> HardwarePlan:
  """Returns the plan of decoding one grid row in each of `rows` sequences with caches of `slots`
  grid rows."""
  mesh = sharding.mesh(machine, topology.devices)
  per_token = experiment.model.flops_per_token(program.space_of(experiment), slots) / 3  # forward
  compile_ = functools.partial(program.decode_step, experiment, machine, mesh, rows, slots)
  return _plan(compile_, mesh, machine, topology, rows, per_token)


def _plan(
  compile_: Callable[[], program.Compiled], mesh: Mesh, machine: Machine, topology: Topology,
  tokens: int, flops_per_token: float, undeclared_flops: float = 0.0,
) -> HardwarePlan:  # fmt: skip
  sizes = {axis: int(size) for axis, size in mesh.shape.items()}
  chip = topology.chip
  try:
    compiled = compile_()
  except program.TooLarge as error:
    return HardwarePlan(sizes, machine, chip.memory, error.excess)
  module = hlo.parse(compiled.hlo)
  sent = collectives.collectives(module, sizes)
  return HardwarePlan(
    sizes,
    machine,
    chip.memory,
    max(0, int(compiled.memory["peak"] - chip.memory)),
    compiled,
    sent,
    roofline.bounds(module, sent, mesh, chip, undeclared_flops),
    tokens,
    flops_per_token * tokens / mesh.size,
    chip.flops,
  )


def to_json(plan: HardwarePlan) -> dict[str, Any]:
  """Returns a plan as a JSON object."""
  head = {
    "mesh": plan.mesh,
    "machine": dataclasses.asdict(plan.machine),
    "fits": plan.fits,
    "memory_limit": plan.memory_limit,
  }
  if not plan.fits:
    head["over"] = plan.excess_bytes
  if plan.compiled is None:
    return head
  if plan.fits:
    head["spare"] = int(plan.memory_limit - plan.compiled.memory["peak"])
  bounds = plan.bounds
  return {
    **head,
    "compile_s": round(plan.compiled.seconds, 1),
    "memory": plan.compiled.memory,
    "flops": bounds.flops,
    "model_flops": plan.model_flops,
    "bytes_moved": bounds.bytes_moved,
    "collectives": collectives.by_axis(plan.sent),
    "whole_outside_layers": [
      {
        "kind": collective.kind,
        "shape": collective.shape,
        "bytes": collective.result_bytes,
        "of": plan.name_of(collective),
      }
      for collective in plan.full_arrays
    ],
    "seconds": {
      "arithmetic": bounds.arithmetic_s,
      "memory": bounds.memory_s,
      "interconnect": dict(bounds.links_s),
      "bound": bounds.bound_s,
    },
    "bottleneck": bounds.bottleneck,
    "tokens": plan.tokens,
    "tokens_per_s_at_most": plan.tokens_per_s,
    "mfu_at_most": plan.mfu,
    "versions": {"jax": jax.__version__},
  }


def path_in(workdir: Path, topology: str, machine: Machine) -> Path:
  """Returns the path in a workdir of the plan for a topology and machine."""
  return workdir / "plans" / f"{topology.replace(':', '-')}-{machine.name}.json"


def difference(stored: JsonObject, experiment: Experiment, machine: Machine) -> str:
  """Returns how the config or machine of a stored plan differs from these, "" if equal."""
  if stored.get("digest") != experiment.digest:
    return f"another config (digest {stored.get('digest')}, now {experiment.digest})"
  fields = json.loads(json.dumps(dataclasses.asdict(machine)))
  other = stored.get("machine", {})
  changed = [name for name, value in fields.items() if other.get(name) != value]
  return f"a machine with another {', '.join(changed)}" if changed else ""
