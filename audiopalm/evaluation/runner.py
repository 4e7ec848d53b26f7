"""Scores of a mixture: its suites decoded, speech listened to, outputs saved, then counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import executors
from audiopalm.errors import ConfigError
from audiopalm.evaluation import answers, baselines, judging, pairs, saved, scoring, speech, suites
from audiopalm.inference import prompting, sampling


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

  Saved with them are those of other tasks at the same `step`, the step of the parameters. The keys
  are those of `scoring.score`; `say` is told what is being done; `workers` processes make sound
  (None: one per core, 0: this one); baselines are asked if the scores are to be `compared`.
  ConfigError for an unknown task, and for one that cannot be decoded by
  `experiment.evaluation.beams`.
  """
  asked = suites.chosen(experiment, tasks)
  names = [task.name for task in asked]
  generator = prompting.Generator(experiment, prepared, model, params, machine)
  search = sampling.chosen(experiment.evaluation.beams, experiment.evaluation.length_penalty)
  for task in asked:
    if task.inputs:
      prompting.check_sampling(generator, task, search)
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


def judge(
  experiment: Any,
  prepared: Any,
  model: Any,
  params: Any,
  machine: Any,
  *,
  workdir: Path,
  step: int,
  task: str,
  manifests: Sequence[Path],
  say: Callable[[str], None] = lambda text: None,
  workers: int | None = None,
) -> dict:
  """Returns {manifest: scores} of the pairs in these files, after saving the likelihoods of each.

  They are judged by the task named, which has no inputs. The keys are those of `pairs.score_pairs`,
  `say` and `workers` as for `evaluate`, which it leaves alone at the same `step`.
  """
  names = [Path(path).stem for path in manifests]
  doubles = [name for name in names if names.count(name) > 1]
  if doubles:
    raise ConfigError(f"Two files of pairs are called {doubles[0]!r}. Rename one.")
  generator = prompting.Generator(experiment, prepared, model, params, machine)
  asked = prompting.find_task(experiment, task)
  found = [pairs.read(path) for path in manifests]
  folder = saved.folder_of(workdir)
  with executors.Local(workers) as executor:
    judged = {}
    for name, path, read in zip(names, manifests, found, strict=True):
      say(f"{name} by {task}: {len(read)} pairs")
      judged[name] = judging.judge(generator, asked, read, Path(path).parent, executor)
  saved.begin(folder, step, [each.name for each in experiment.tasks], [])
  for name, each in judged.items():
    pairs.keep(folder, name, each)
  scores = pairs.score(folder)
  return {name: scores[name] for name in names}
