"""Scores of a mixture: its suites decoded, speech listened to, outputs saved, then counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import executors
from audiopalm.evaluation import answers, baselines, saved, scoring, speech, suites
from audiopalm.inference import prompting


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
  compared: bool = True,
) -> dict:
  """Returns the scores of the tasks named (None: all), after saving every output and the scores.

  Saved with them are those of other tasks at the same `step`, the step of the parameters. Decoding
  is greedy. The keys are those of `scoring.score`; `say` is told what is being done; `workers`
  processes make sound (None: one per core, 0: this one); baselines are asked if the scores are to
  be `compared`. ConfigError for an unknown task.
  """
  names = [task.name for task in suites.chosen(experiment, tasks)]
  generator = prompting.Generator(experiment, prepared, model, params, machine)
  folder = saved.folder_of(workdir)
  saved.begin(folder, step, [task.name for task in experiment.tasks], names)
  seen = []
  with executors.Local(workers) as executor:
    listener = speech.Listener(generator, executor)
    for suite in suites.suites(experiment, prepared, names):
      say(f"{suite.task.name} on {suite.split}: {len(suite.examples)} examples")
      saved.keep(folder, answers.answer(generator, suite, folder, listener))
      if suite.split == scoring.SEEN and suite.decoded and suite.examples:
        seen.append(suite)
    if compared:
      for answered in baselines.answer(generator, seen, folder, listener, say):
        saved.keep(folder, answered)
  return scoring.of_tasks(saved.score(folder), names)
