"""Plans as tables for a terminal."""

import rich.console
import rich.table

from audiopalm import quantities
from audiopalm.planning import collectives, search, topology
from audiopalm.planning import plan as plans

GIB = 2**30
PROVES = (
  "Proven by compiling: that it compiles, fits and sends so much. Not proven: speed. The seconds "
  "follow from the rates of {name} ({source}); a real step is slower."
)


def plan(console: rich.console.Console, made: plans.Plan, on: topology.Topology) -> None:
  """Prints a plan: memory, what is sent, the bounds, and what all that proves."""
  mesh = ", ".join(f"{axis}={size}" for axis, size in made.mesh.items())
  machine = made.machine
  console.print(
    f"{len(on.devices)} x {on.chip.name}, mesh {mesh}, {machine.compute_dtype}, "
    f"{machine.attention} attention, remat {machine.remat}"
  )
  if made.usage is None:
    console.print(
      f"[bold red]Does not fit[/]: the compiler needs at least {made.over / GIB:.2f} GiB a device "
      f"more than there is. Try another --mesh, --remat full, a smaller batch_rows, or --search."
    )
    return
  console.print(f"compiled in {made.compile_s:.0f} s")
  for table in (_memory(made), _sent(made), _bounds(made)):
    console.print(table)
  for each in made.whole:
    console.print(
      f"whole on a device outside the layers: {each.kind} "
      f"{quantities.traffic(each.result_bytes)} {each.shape}, {made.name_of(each)}",
      markup=False,
    )
  console.print(PROVES.format(name=on.chip.name, source=on.chip.source))


def _memory(made: plans.Plan) -> rich.table.Table:
  table = rich.table.Table("memory a device", "GiB")
  for name, size in made.resident.items():
    table.add_row(name, f"{size / GIB:.3f}")
  table.add_row("made on the way (activations, gradients)", f"{made.usage.temporaries / GIB:.3f}")
  table.add_row("whole", f"{made.usage.peak / GIB:.3f}")
  word = "[green]fits[/]" if made.fits else "[red]does not fit[/]"
  spare = (made.limit - made.usage.peak) / GIB
  table.add_row(f"{word} in", f"{made.limit / GIB:.3f} ({spare:+.3f})")
  return table


def _sent(made: plans.Plan) -> rich.table.Table:
  table = rich.table.Table("over", "collective", "times a step", "arrays", "sent by a device")
  for axes, kinds in collectives.by_axis(made.sent).items():
    for kind, sums in kinds.items():
      name = " x ".join(axes) or "itself"
      table.add_row(
        name,
        kind,
        f"{sums['count']:,}",
        quantities.traffic(sums["bytes"]),
        quantities.traffic(sums["wire_bytes"]),
      )
  if any(each.unknown_trips for each in made.sent):
    table.caption = "a loop of unknown length is counted once"
  return table


def _bounds(made: plans.Plan) -> rich.table.Table:
  found = made.bounds
  table = rich.table.Table("a step takes at least", "ms", "for")
  amounts = {
    "arithmetic": (found.arithmetic_s, f"{found.flops / 1e12:.3f} TFLOP of matrix products"),
    "memory": (found.memory_s, f"{quantities.traffic(found.bytes_moved)} read and written"),
    **{f"links, {axes}": (seconds, "") for axes, seconds in found.links_s.items()},
  }
  for name, (seconds, why) in amounts.items():
    table.add_row(name, f"{1e3 * seconds:.2f}", why)
  table.add_row(
    f"[bold]bound: {found.binds}[/]",
    f"{1e3 * found.bound_s:.2f}",
    f"at most {made.tokens_per_s:,.0f} tokens/s and {100 * made.mfu:.1f} % MFU",
  )
  return table


def line(one: search.Candidate) -> str:
  """Returns one line about a candidate as it is done."""
  return " | ".join(_row(one))


def ranking(found: list[search.Candidate]) -> rich.table.Table:
  """Returns the candidates as a table, in their order."""
  table = rich.table.Table("mesh", "remat", "batch_rows", "whole, GiB", "bound, ms", "tokens/s",
                           "binds")  # fmt: skip
  for one in found:
    table.add_row(*_row(one))
  return table


def _row(one: search.Candidate) -> tuple[str, ...]:
  sizes = one.machine.mesh_sizes if one.plan is None else one.plan.mesh
  mesh = ", ".join(f"{axis}={size}" for axis, size in sizes.items() if size != 1) or "one device"
  head = mesh, one.machine.remat, f"{one.batch_rows:,}"
  if one.plan is None:
    return *head, "", "", "", one.refused
  if one.plan.usage is None:
    return *head, f"+{one.plan.over / GIB:.2f} too large", "", "", "does not fit"
  found = one.plan.bounds
  binds = found.binds if one.plan.fits else "does not fit"
  return (
    *head, f"{one.plan.usage.peak / GIB:.2f}", f"{1e3 * found.bound_s:.2f}",
    f"{one.plan.tokens_per_s:,.0f}", binds,
  )  # fmt: skip
