"""A plan: one config on one machine of one topology, compiled, weighed and bounded."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from audiopalm import sharding
from audiopalm.planning import collectives, hlo, memory, program, roofline, topology
from audiopalm.settings import Machine

LARGE = 2**25  # bytes of an array outside the loops that is worth a name


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """What compiling says of a program on a topology. Bytes, operations and seconds are of a device.

  `over` is by how many bytes it does not fit, 0 where it does. The rest is not known where the
  compiler gave up; then `over` is the least it lacks.
  """

  mesh: dict[str, int]
  machine: Machine
  limit: float
  over: int
  compile_s: float = 0.0
  resident: dict[str, int] = dataclasses.field(default_factory=dict)
  named: dict[str, str] = dataclasses.field(default_factory=dict)
  usage: memory.Usage | None = None
  sent: tuple[collectives.Collective, ...] = ()
  bounds: roofline.Roofline | None = None
  tokens: int = 0
  model_flops: float = 0.0
  peak_flops: float = 0.0

  @property
  def fits(self) -> bool:
    return not self.over

  @property
  def whole(self) -> list[collectives.Collective]:
    """Large arrays that a device holds whole outside the loop over layers."""
    return collectives.whole_outside_loops(self.sent, LARGE)

  def name_of(self, each: collectives.Collective) -> str:
    """Returns what a collective is of: a parameter, an operation, or a parameter of its shape."""
    like = self.named.get(each.shape.partition("[")[2].rstrip("]"))
    return each.parameter or each.op_name or (f"like {like}" if like else "of no name")

  @property
  def tokens_per_s(self) -> float:
    """At most, of all devices."""
    return self.tokens / self.bounds.bound_s

  @property
  def mfu(self) -> float:
    """The share of the peak that the model's operations have at most (PaLM, appendix B)."""
    return self.model_flops / (self.bounds.bound_s * self.peak_flops)


def training(experiment: Any, machine: Machine, on: topology.Topology) -> Plan:
  """Returns the plan of a training step."""
  mesh = sharding.mesh(machine, on.devices)
  data = experiment.data
  tokens = data.batch_rows * data.length
  space = program.space_of(experiment)
  per_token = experiment.model.flops_per_token(space, data.length)
  products = experiment.model.flops_per_token(space, 0)
  # The kernel of splash attention does not say what it computes.
  hidden = (per_token - products) * tokens / mesh.size if machine.attention == "splash" else 0.0
  make = functools.partial(program.train_step, experiment, machine, mesh)
  return _plan(make, mesh, machine, on, tokens, per_token * tokens / mesh.size, hidden)


def generation(
  experiment: Any, machine: Machine, on: topology.Topology, rows: int, slots: int
) -> Plan:
  """Returns the plan of decoding one row in each of `rows` sequences with caches of `slots`."""
  mesh = sharding.mesh(machine, on.devices)
  space = program.space_of(experiment)
  per_token = experiment.model.flops_per_token(space, slots) / 3  # forward alone
  make = functools.partial(program.decode_step, experiment, machine, mesh, rows, slots)
  return _plan(make, mesh, machine, on, rows, per_token * rows / mesh.size)


def _plan(
  make: Callable, mesh: Mesh, machine: Machine, on: topology.Topology, tokens: int,
  model_flops: float, hidden_flops: float = 0.0,
) -> Plan:  # fmt: skip
  sizes = {axis: int(size) for axis, size in mesh.shape.items()}
  known = {"mesh": sizes, "machine": machine, "limit": on.chip.memory}
  try:
    compiled = make()
  except memory.TooLarge as error:
    return Plan(**known, over=error.needed - error.limit)
  module = hlo.parse(compiled.hlo)
  found = collectives.collectives(module, sizes)
  return Plan(
    **known,
    over=max(0, int(compiled.usage.peak - on.chip.memory)),
    compile_s=compiled.seconds,
    resident=compiled.resident,
    named=compiled.named,
    usage=compiled.usage,
    sent=found,
    bounds=roofline.of(module, found, mesh, on.chip, hidden_flops),
    tokens=tokens,
    model_flops=model_flops,
    peak_flops=on.chip.flops,
  )


def to_json(plan: Plan) -> dict[str, Any]:
  """Returns a plan as JSON."""
  head = {
    "mesh": plan.mesh,
    "machine": dataclasses.asdict(plan.machine),
    "fits": plan.fits,
    "memory_limit": plan.limit,
  }
  if plan.usage is None:
    return {**head, "over": plan.over}
  return {
    **head,
    **({"over": plan.over} if plan.over else {"spare": int(plan.limit - plan.usage.peak)}),
    "compile_s": round(plan.compile_s, 1),
    "memory": {**plan.resident, **dataclasses.asdict(plan.usage)},
    "flops": plan.bounds.flops,
    "model_flops": plan.model_flops,
    "bytes_moved": plan.bounds.bytes_moved,
    "collectives": {
      " x ".join(axes) or "itself": kinds for axes, kinds in collectives.by_axis(plan.sent).items()
    },
    "whole_outside_layers": [
      {
        "kind": each.kind,
        "shape": each.shape,
        "bytes": each.result_bytes,
        "of": plan.name_of(each),
      }
      for each in plan.whole
    ],
    "seconds": {
      "arithmetic": plan.bounds.arithmetic_s,
      "memory": plan.bounds.memory_s,
      "interconnect": dict(plan.bounds.links_s),
      "bound": plan.bounds.bound_s,
    },
    "binds": plan.bounds.binds,
    "tokens": plan.tokens,
    "tokens_per_s_at_most": plan.tokens_per_s,
    "mfu_at_most": plan.mfu,
    "versions": {"jax": jax.__version__},
  }
