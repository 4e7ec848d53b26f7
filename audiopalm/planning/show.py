"""Prints plans as tables in a terminal."""

import rich.console
import rich.table

from audiopalm import quantities
from audiopalm.planning import collectives
from audiopalm.planning.plan import HardwarePlan
from audiopalm.planning.search import Candidate
from audiopalm.planning.topology import Topology

GIB = 2**30
EVIDENCE = (
  "Memory and communication are those of the compiled program. Times are computed from the rates "
  "of {name} ({source}); a real step is slower."
)


def show(console: rich.console.Console, plan: HardwarePlan, topology: Topology) -> None:
  """Prints a plan: memory, communication, bounds, and how reliable they are."""
  mesh = ", ".join(f"{axis}={size}" for axis, size in plan.mesh.items())
  machine, chip = plan.machine, topology.chip
  console.print(
    f"{len(topology.devices)} x {chip.name}, mesh {mesh}, {machine.compute_dtype}, "
    f"{machine.attention} attention, remat {machine.remat}"
  )
  if plan.compiled is None:
    console.print(
      f"[bold red]Does not fit[/]: the compiler needs at least {plan.excess_bytes / GIB:.2f} GiB "
      "more memory per device. Try another --mesh, --remat full, a smaller batch_rows, or --search."
    )
    return
  console.print(f"compiled in {plan.compiled.seconds:.0f} s")
  for table in (_memory(plan), _communication(plan), _bounds(plan)):
    console.print(table)
  for collective in plan.full_arrays:
    console.print(
      f"full array on each device outside the layers: {collective.kind} "
      f"{quantities.traffic(collective.result_bytes)} {collective.shape}, "
      f"{plan.name_of(collective)}",
      markup=False,
    )
  console.print(EVIDENCE.format(name=chip.name, source=chip.source))


def _memory(plan: HardwarePlan) -> rich.table.Table:
  table, limit = rich.table.Table("memory per device", "GiB"), plan.memory_limit
  names = {"temporaries": "temporaries (activations, gradients)"}
  for name, size in plan.compiled.memory.items():
    if name != "arguments":  # the sum of the named resident arrays
      table.add_row(names.get(name, name), f"{size / GIB:.3f}")
  verdict = "[green]fits[/]" if plan.fits else "[red]does not fit[/]"
  spare = (limit - plan.compiled.memory["peak"]) / GIB
  table.add_row(f"{verdict} in", f"{limit / GIB:.3f} ({spare:+.3f})")
  return table


def _communication(plan: HardwarePlan) -> rich.table.Table:
  table = rich.table.Table(
    "mesh axes", "collective", "per step", "full arrays", "sent by each device"
  )
  for axes, kinds in collectives.by_axis(plan.sent).items():
    for kind, total in kinds.items():
      amounts = (quantities.traffic(total[name]) for name in ("bytes", "wire_bytes"))
      table.add_row(axes, kind, f"{total['count']:,}", *amounts)
  if any(collective.unknown_trips for collective in plan.sent):
    table.caption = "a loop of unknown length counts once"
  return table


def _bounds(plan: HardwarePlan) -> rich.table.Table:
  bounds = plan.bounds
  table = rich.table.Table("lower bound on a step", "ms", "amount")
  parts = {
    "arithmetic": (bounds.arithmetic_s, f"{bounds.flops / 1e12:.3f} TFLOP of matrix products"),
    "memory": (bounds.memory_s, f"{quantities.traffic(bounds.bytes_moved)} read and written"),
    **{f"links, {axes}": (seconds, "") for axes, seconds in bounds.links_s.items()},
  }
  for name, (seconds, amount) in parts.items():
    table.add_row(name, f"{1e3 * seconds:.2f}", amount)
  table.add_row(
    f"[bold]bottleneck: {bounds.bottleneck}[/]",
    f"{1e3 * bounds.bound_s:.2f}",
    f"at most {plan.tokens_per_s:,.0f} tokens/s and {100 * plan.mfu:.1f} % MFU",
  )
  return table


def ranking(candidates: list[Candidate]) -> rich.table.Table:
  """Returns the candidates as a table, in their order."""
  table = rich.table.Table("mesh", "remat", "batch_rows", "peak, GiB", "bound, ms", "tokens/s",
                           "bottleneck")  # fmt: skip
  for candidate in candidates:
    table.add_row(*cells(candidate))
  return table


def cells(candidate: Candidate) -> tuple[str, ...]:
  """Returns the row of a candidate in the table of a search."""
  plan = candidate.plan
  sizes = candidate.machine.mesh_sizes if plan is None else plan.mesh
  mesh = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if size != 1) or "one device"
  head = mesh, candidate.machine.remat, f"{candidate.batch_rows:,}"
  if plan is None:
    return *head, "", "", "", candidate.refused
  if plan.compiled is None:
    return *head, f"+{plan.excess_bytes / GIB:.2f} too large", "", "", "does not fit"
  return (
    *head, f"{plan.compiled.memory['peak'] / GIB:.2f}", f"{1e3 * plan.bounds.bound_s:.2f}",
    f"{plan.tokens_per_s:,.0f}", plan.bounds.bottleneck if plan.fits else "does not fit",
  )  # fmt: skip
