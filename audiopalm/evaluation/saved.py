"""What an evaluation leaves in a workdir, and the scores counted again from it. Needs no jax.

WORKDIR/evaluation/results.json                     the scores
WORKDIR/evaluation/checkpoint.json                  which step was scored, and the mixture's tasks
WORKDIR/evaluation/outputs/<system>-<split>-<task>.jsonl   what was said, `lines.Line` by line
WORKDIR/evaluation/waves/<system>/<split>/<task>/*.wav     how it sounds

All of it is of one checkpoint: tasks evaluated apart come together, those of another step go.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.evaluation import lines, scoring
from audiopalm.evaluation.lines import Line

RESULTS = "results.json"
CHECKPOINT = "checkpoint.json"


def folder_of(workdir: Path) -> Path:
  """Returns where the evaluation of a run lies."""
  return Path(workdir) / "evaluation"


def begin(folder: Path, step: int, tasks: Sequence[str], asked: Sequence[str]) -> None:
  """Makes room for the outputs of the tasks `asked` at `step`: what is there of another step, and
  older outputs of theirs, are removed. `tasks` are all of the mixture, in the order of the scores.
  """
  if scored_step(folder) != step:
    for made in (folder / "outputs", folder / "waves"):
      shutil.rmtree(made, ignore_errors=True)
    (folder / RESULTS).unlink(missing_ok=True)
  for task in asked:
    for path in (folder / "outputs").glob(f"*-{task}.jsonl"):
      path.unlink()
  files.write_json(folder / CHECKPOINT, {"step": step, "tasks": list(tasks)})


def keep(folder: Path, answered: Sequence[Line]) -> None:
  """Writes the lines of a system's answers to one task and split."""
  if answered:
    first = answered[0]
    lines.write(folder / "outputs" / f"{first.system}-{first.split}-{first.task}.jsonl", answered)


def score(folder: Path) -> dict:
  """Returns `scoring.score` of every output in the folder, which lies in its results.json too.

  DataError where there is none.
  """
  paths = sorted((folder / "outputs").glob("*.jsonl"))
  found = [line for path in paths for line in lines.read(path)]
  if not found:
    raise DataError(
      f"There are no outputs in {folder / 'outputs'} to score. They are made by "
      f"`audiopalm evaluate --workdir {folder.parent}`."
    )
  scores = scoring.score(ordered(found, _checkpoint(folder).get("tasks", ())))
  write(folder / RESULTS, scores)
  return scores


def scored_step(folder: Path) -> int | None:
  """Returns the step of the checkpoint that was asked last; None where none was."""
  return _checkpoint(folder).get("step")


def ordered(found: Iterable[Line], tasks: Sequence[str]) -> list[Line]:
  """Returns lines by system, then by task as in `tasks`; others come after them, by name."""
  place = {task: number for number, task in enumerate(tasks)}
  return sorted(
    found,
    key=lambda line: (
      lines.SYSTEMS.index(line.system), place.get(line.task, len(place)), line.task
    ),
  )  # fmt: skip


def write(path: Path, scores: Mapping[str, Any]) -> None:
  """Writes scores as JSON, in their order."""
  with files.replacing(path) as part:
    part.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _checkpoint(folder: Path) -> Mapping[str, Any]:
  path = folder / CHECKPOINT
  return files.read_json(path) if path.exists() else {}
