"""Compiles candidates to find the best mesh, remat policy and batch size for a topology."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.planning import plan
from audiopalm.planning.topology import Topology
from audiopalm.settings import Machine

REMAT = ("dots", "full", "none")
BATCH_FACTORS = (1, 2, 4)  # times the config's batch
MAX_MESHES = 8  # the simplest ones
MAX_WAYS = 8  # largest size of the data, context and tensor axes


@dataclasses.dataclass(frozen=True, eq=False)
class Candidate:
  """A plan, or None with an error message in `refused` if the config cannot use the mesh."""

  machine: Machine
  batch_rows: int
  plan: plan.HardwarePlan | None
  refused: str = ""

  @property
  def tokens_per_s(self) -> float:
    """The upper bound; 0 for a candidate that does not fit."""
    return self.plan.tokens_per_s if self.plan is not None and self.plan.fits else 0.0


def meshes(devices: int) -> Iterator[dict[str, int]]:
  """Yields meshes over all devices, simplest first: fsdp alone, then with tensor, context, data."""
  ways = [size for size in (1, 2, 4, MAX_WAYS) if devices % size == 0]
  candidates = [
    {"data": data, "fsdp": devices // (data * context * tensor), "context": context,
     "tensor": tensor}
    for tensor, context, data in itertools.product(ways, ways, ways)
    if devices % (data * context * tensor) == 0
  ]  # fmt: skip
  yield from sorted(candidates, key=lambda mesh: mesh["data"] * mesh["context"] * mesh["tensor"])


def search(
  experiment: Experiment,
  machine: Machine,
  topology: Topology,
  budget_s: float,
  report: Callable[[Candidate], None],
) -> list[Candidate]:
  """Returns candidates sorted by their upper bound on tokens per second, best first.

  Tries meshes, then remat policies and batch sizes on the best mesh, until `budget_s` seconds have
  passed, but at least one candidate. Calls `report` with each candidate when it is done.
  """
  end_s = time.monotonic() + budget_s
  done: list[Candidate] = []

  def attempt(machine: Machine, batch_rows: int) -> None:
    tried = any((other.machine, other.batch_rows) == (machine, batch_rows) for other in done)
    if tried or (done and time.monotonic() >= end_s):
      return
    data = dataclasses.replace(experiment.data, batch_rows=batch_rows)
    changed = dataclasses.replace(experiment, data=data)
    try:
      done.append(Candidate(machine, batch_rows, plan.training(changed, machine, topology)))
    except ConfigError as error:  # the mesh does not divide heads, rows or widths
      done.append(Candidate(machine, batch_rows, None, str(error).splitlines()[0]))
    report(done[-1])

  batch_rows = experiment.data.batch_rows
  for mesh in itertools.islice(meshes(len(topology.devices)), MAX_MESHES):
    attempt(dataclasses.replace(machine, **mesh), batch_rows)
  for factor, remat in itertools.product(BATCH_FACTORS, REMAT):
    best = max(done, key=lambda candidate: candidate.tokens_per_s).machine
    attempt(dataclasses.replace(best, remat=remat), factor * batch_rows)
  return sorted(done, key=lambda candidate: -candidate.tokens_per_s)


def to_json(ranked: Sequence[Candidate]) -> dict[str, Any]:
  """Returns a JSON object with the best candidate's plan, if it fits, and the whole "ranking"."""
  ranking = []
  for candidate in ranked:
    head = {"machine": dataclasses.asdict(candidate.machine), "batch_rows": candidate.batch_rows}
    outcome = plan.to_json(candidate.plan) if candidate.plan else {"refused": candidate.refused}
    ranking.append(head | outcome)
  best = ranking[0] if ranked[0].tokens_per_s else {"fits": False}
  return {**best, "ranking": ranking}
