"""Scores of a mixture: its suites decoded, speech listened to, outputs saved, then counted.

WORKDIR/evaluation/results.json                     the scores
WORKDIR/evaluation/checkpoint.json                  which step was scored
WORKDIR/evaluation/outputs/<system>-<split>-<task>.jsonl   what was said, `lines.Line` by line
WORKDIR/evaluation/waves/<system>/<split>/<task>/*.wav     how it sounds
"""

import json
from collections.abc import Callable, Mapping, Sequence
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
  """Returns the scores of the tasks named (None: all), after saving them and every output.

  `step` is that of the parameters, written beside the scores. Decoding is greedy. The keys are
  those of `scoring.score`; `say` is told what is being done;
  `workers` processes make sound (None: one per core, 0: this one).
  ConfigError for an unknown task.
  """
  generator = prompting.Generator(experiment, prepared, model, params, machine)
  folder = folder_of(workdir)
  saved: list[lines.Line] = []
  seen = []
  with executors.Local(workers) as executor:
    listener = speech.Listener(generator, executor)
    for suite in suites.suites(experiment, prepared, tasks):
      say(f"{suite.task.name} on {suite.split}: {len(suite.examples)} examples")
      saved += _keep(folder, answers.answer(generator, suite, folder, listener))
      if suite.split == scoring.SEEN and suite.decoded and suite.examples:
        seen.append(suite)
    for answered in baselines.answer(generator, seen, folder, listener, say):
      saved += _keep(folder, answered)
  scores = scoring.score(saved)
  write(folder / RESULTS, scores)
  files.write_json(folder / CHECKPOINT, {"step": step})
  return scores


def write(path: Path, scores: Mapping[str, Any]) -> None:
  """Writes scores as JSON, tasks first in the order of the mixture."""
  with files.replacing(path) as part:
    part.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def folder_of(workdir: Path) -> Path:
  """Returns where the evaluation of a run lies."""
  return Path(workdir) / "evaluation"


def _keep(folder: Path, answered: Sequence[lines.Line]) -> Sequence[lines.Line]:
  """Returns the lines of one suite, saved."""
  if answered:
    first = answered[0]
    lines.write(folder / "outputs" / f"{first.system}-{first.split}-{first.task}.jsonl", answered)
  return answered
