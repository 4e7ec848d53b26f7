"""The best mesh, remat policy and batch for a topology, by compiling what could be."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from audiopalm.errors import ConfigError
from audiopalm.planning import plan, topology
from audiopalm.settings import Machine

REMAT = ("dots", "full", "none")
BATCHES = (1, 2, 4)  # times the config's batch
MESHES = 8  # tried at most, the simplest
WIDEST = 8  # ways of tensor and of context: more is never better where memory suffices


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
  """A plan, or why none could be made: `refused`."""

  machine: Machine
  batch_rows: int
  plan: plan.Plan | None
  refused: str = ""

  @property
  def tokens_per_s(self) -> float:
    """At most; 0 for what does not fit."""
    return self.plan.tokens_per_s if self.plan is not None and self.plan.fits else 0.0


def meshes(devices: int) -> Iterator[dict[str, int]]:
  """Yields meshes of so many devices, the simplest first: fsdp, with tensor, with context, with
  data."""
  ways = [size for size in (1, 2, 4, WIDEST) if devices % size == 0]
  found = [
    {"data": data, "fsdp": devices // (data * context * tensor), "context": context,
     "tensor": tensor}
    for tensor, context, data in itertools.product(ways, ways, ways)
    if devices % (data * context * tensor) == 0
  ]  # fmt: skip
  yield from sorted(found, key=lambda mesh: mesh["data"] * mesh["context"] * mesh["tensor"])


def search(
  experiment: Any,
  machine: Machine,
  on: topology.Topology,
  budget_s: float,
  *,
  over: Sequence[dict[str, int]] | None = None,
  tried: Callable[[Candidate], None] = lambda candidate: None,
) -> list[Candidate]:
  """Returns candidates by the tokens a second they could reach, the best first.

  Tries meshes (only those in `over`, where given), then remat policies and batches on what was
  best, until `budget_s` seconds are over, but one at least. `tried` is told of each as it is done.
  """
  end_s = time.monotonic() + budget_s
  done: list[Candidate] = []

  def attempt(machine: Machine, batch_rows: int) -> None:
    if not done or time.monotonic() < end_s:
      done.append(_attempt(experiment, machine, on, batch_rows))
      tried(done[-1])

  for mesh in over or itertools.islice(meshes(len(on.devices)), MESHES):
    attempt(dataclasses.replace(machine, **mesh), experiment.data.batch_rows)
  if over:
    return _ranked(done)
  for batch, remat in itertools.product(BATCHES, REMAT):
    best = max(done, key=lambda candidate: candidate.tokens_per_s).machine
    other = dataclasses.replace(best, remat=remat)
    if (other, batch * experiment.data.batch_rows) not in [(c.machine, c.batch_rows) for c in done]:
      attempt(other, batch * experiment.data.batch_rows)
  return _ranked(done)


def _ranked(done: list[Candidate]) -> list[Candidate]:
  return sorted(done, key=lambda candidate: -candidate.tokens_per_s)


def _attempt(experiment: Any, machine: Machine, on: topology.Topology, rows: int) -> Candidate:
  data = dataclasses.replace(experiment.data, batch_rows=rows)
  changed = dataclasses.replace(experiment, data=data)
  try:
    return Candidate(machine, rows, plan.training(changed, machine, on))
  except ConfigError as error:  # heads, rows or widths that such a mesh cannot split
    return Candidate(machine, rows, None, str(error).splitlines()[0])


def to_json(candidate: Candidate) -> dict[str, Any]:
  """Returns a candidate as JSON."""
  about = {"machine": dataclasses.asdict(candidate.machine), "batch_rows": candidate.batch_rows}
  if candidate.plan is None:
    return {**about, "refused": candidate.refused}
  return {**about, **plan.to_json(candidate.plan)}


def ranking(ranked: Sequence[Candidate]) -> dict[str, Any]:
  """Returns the candidates of a search as JSON: the best as a plan, if it fits, and all of them."""
  best = to_json(ranked[0]) if ranked[0].tokens_per_s else {"fits": False}
  return {**best, "ranking": [to_json(candidate) for candidate in ranked]}
