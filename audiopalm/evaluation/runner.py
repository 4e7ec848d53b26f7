"""Scores of a mixture: its suites decoded, speech listened to, outputs saved, then counted.

WORKDIR/evaluation/results.json                     the scores
WORKDIR/evaluation/checkpoint.json                  which step was scored
WORKDIR/evaluation/outputs/<system>-<split>-<task>.jsonl   what was said, `lines.Line` by line
WORKDIR/evaluation/waves/<system>/<split>/<task>/*.wav     how it sounds

All of it is of one checkpoint: tasks evaluated apart come together, those of another step go.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from audiopalm.data import executors, files
from audiopalm.evaluation import answers, baselines, lines, scoring, speech, suites
from audiopalm.inference import prompting

RESULTS = "results.json"
CHECKPOINT = "checkpoint.json"


def evaluate(
  experiment: Any,
  prepared: Any,
  model: Any,
  params: Any,
  machine: Any,
  *,
  workdir: Path,
  step: int,
  tasks: Sequence[str] | None = None,
  say: Callable[[str], None] = lambda text: None,
  workers: int | None = None,
) -> dict:
  """Returns the scores of the tasks named (None: all), after saving every output and the scores.

  Saved with them are those of other tasks at the same `step`, the step of the parameters. Decoding
  is greedy. The keys are those of `scoring.score`; `say` is told what is being done; `workers`
  processes make sound (None: one per core, 0: this one). ConfigError for an unknown task.
  """
  names = [task.name for task in suites.chosen(experiment, tasks)]
  generator = prompting.Generator(experiment, prepared, model, params, machine)
  folder = folder_of(workdir)
  others = _others(folder, step, set(names))
  saved: list[lines.Line] = []
  seen = []
  with executors.Local(workers) as executor:
    listener = speech.Listener(generator, executor)
    for suite in suites.suites(experiment, prepared, names):
      say(f"{suite.task.name} on {suite.split}: {len(suite.examples)} examples")
      saved += _keep(folder, answers.answer(generator, suite, folder, listener))
      if suite.split == scoring.SEEN and suite.decoded and suite.examples:
        seen.append(suite)
    for answered in baselines.answer(generator, seen, folder, listener, say):
      saved += _keep(folder, answered)
  order = [task.name for task in experiment.tasks]

  def place(line: lines.Line) -> tuple[int, int]:
    return baselines.SYSTEMS.index(line.system), order.index(line.task)

  write(folder / RESULTS, scoring.score(sorted([*others, *saved], key=place)))
  return scoring.score(saved)


def write(path: Path, scores: Mapping[str, Any]) -> None:
  """Writes scores as JSON, tasks first in the order of the mixture."""
  with files.replacing(path) as part:
    part.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def folder_of(workdir: Path) -> Path:
  """Returns where the evaluation of a run lies."""
  return Path(workdir) / "evaluation"


def _others(folder: Path, step: int, names: Set[str]) -> list[lines.Line]:
  """Returns the lines of other tasks at this step; what is there of another step is removed."""
  checkpoint, outputs = folder / CHECKPOINT, folder / "outputs"
  if not checkpoint.exists() or files.read_json(checkpoint) != {"step": step}:
    for made in (outputs, folder / "waves"):
      shutil.rmtree(made, ignore_errors=True)
    (folder / RESULTS).unlink(missing_ok=True)
    files.write_json(checkpoint, {"step": step})
  found = [line for path in sorted(outputs.glob("*.jsonl")) for line in lines.read(path)]
  return [line for line in found if line.task not in names]


def _keep(folder: Path, answered: Sequence[lines.Line]) -> Sequence[lines.Line]:
  """Returns the lines of one suite, saved."""
  if answered:
    first = answered[0]
    lines.write(folder / "outputs" / f"{first.system}-{first.split}-{first.task}.jsonl", answered)
  return answered
