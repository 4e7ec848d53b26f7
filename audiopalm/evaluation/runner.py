"""Scores of a mixture: its trials decoded, speech listened to, outputs saved, then counted."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from audiopalm.data import executors, feeds
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError
from audiopalm.evaluation import (
  answers,
  baselines,
  hearing,
  judging,
  pairs,
  saved,
  scoring,
  speech,
  suites,
  transcripts,
  trials,
)
from audiopalm.evaluation.meters import Meter
from audiopalm.evaluation.pairs import Pair
from audiopalm.evaluation.recognizers import EACH, Recognizer
from audiopalm.inference import prompting, sampling
from audiopalm.inference.trained import Trained
from audiopalm.types import Task


def evaluate(
  trained: Trained,
  workdir: Path,
  *,
  tasks: Sequence[str] | None = None,
  within: Sequence[str] | None = None,
  manifests: Sequence[Path] = (),
  recognizer: Recognizer | None = None,
  recordings_each: int | None = EACH,
  meters: Sequence[Meter] = (),
  say: Callable[[str], None] = lambda text: None,
  workers: int | None = None,
  compared: bool = True,
) -> dict:
  """Returns the scores of the tasks named (None: all), after saving every output and the scores.

  Tasks are named, or chosen by the suites that they are `within`, of which "zero_resource" judges
  the pairs in `manifests`. Saved with them are those of other tasks at the same step. The keys are
  those of `saved.score`; speech is transcribed by the run itself and by a `recognizer` beside it,
  which also hears `recordings_each` recordings of every voice (None: all) as they are and through
  units. `meters` measure it; `say` is told what is being done; `workers` processes make sound
  (None: one per core, 0: this one); baselines are asked if the scores are to be `compared`.
  ConfigError for an unknown task or suite, for one that cannot be decoded by
  `experiment.evaluation.beams`, and for speech in languages that the recognizer does not know.
  """
  experiment, prepared = trained.experiment, trained.prepared
  feeds.check_answers(experiment.data)
  chosen = None
  if within is not None:
    if tasks is not None:
      raise ConfigError("Tasks are chosen by their names or by suites: leave out one of the two.")
    chosen, tasks = suites.chosen(within, experiment.tasks, prepared, pairs=bool(manifests))
  asked = trials.chosen(experiment, tasks)
  names = [task.name for task in asked]
  search = sampling.chosen(experiment.evaluation.beams, experiment.evaluation.length_penalty)
  for task in asked:
    if task.inputs:
      prompting.check_sampling(trained, task, search)
  chosen_recordings = []
  if recognizer is not None:
    recognizer.check(_spoken(asked, prepared))
    if recordings_each != 0:
      chosen_recordings = hearing.choose(prepared, asked, recognizer, recordings_each)
  for meter in meters:
    meter.check()
  found = _read(trained, manifests, None)
  folder = saved.folder_of(workdir)
  seen = []
  with executors.Local(workers) as executor:
    judged = _judge(trained, found, executor, say)  # first: a recording may be unreadable
    _begin(folder, trained, names)
    _keep(folder, judged)
    kept = transcripts.Kept(folder / transcripts.FILE)
    listener = speech.Listener(trained, executor, recognizer, tuple(meters), kept)
    for trial in trials.trials(experiment, prepared, names):
      say(f"{trial.task.name} on {trial.split}: {len(trial.examples)} examples")
      saved.keep(folder, answers.answer(trained, trial, folder, listener))
      if trial.split == scoring.SEEN and trial.decoded and trial.examples:
        seen.append(trial)
    if compared:
      for answered in baselines.answer(trained, seen, folder, listener, say):
        saved.keep(folder, answered)
    if chosen_recordings:
      hearing.hear(listener, chosen_recordings, folder, say)
  scores = scoring.of_tasks(saved.score(folder), [*names, *judged])
  if chosen is not None:
    sections = scores[scoring.SUITES]
    scores[scoring.SUITES] = {name: sections[name] for name in chosen if name in sections}
  return scores


def judge(
  trained: Trained,
  workdir: Path,
  *,
  task: str | None,
  manifests: Sequence[Path],
  say: Callable[[str], None] = lambda text: None,
  workers: int | None = None,
) -> dict:
  """Returns {manifest: scores} of the pairs in these files, after saving the likelihoods of each.

  They are judged by the task named, which has no inputs; None for the first that fits each file.
  The keys are those of `pairs.score_pairs`, `say` and `workers` as for `evaluate`, which it leaves
  alone at the same step.
  """
  feeds.check_answers(trained.experiment.data)
  found = _read(trained, manifests, task)
  folder = saved.folder_of(workdir)
  with executors.Local(workers) as executor:
    judged = _judge(trained, found, executor, say)
  _begin(folder, trained, [])
  _keep(folder, judged)
  saved.score(folder)
  scores = pairs.score(folder)
  return {name: scores[name] for name in judged}


def _spoken(tasks: Iterable[Task], prepared: Prepared) -> set[str]:
  """Returns the languages that are spoken in outputs of tasks that are decoded."""
  return {
    spoken[side[0]]
    for task in tasks
    if task.inputs
    for side in task.outputs
    if suites.modality(side, prepared) == "speech"
    for spoken in task.corpus.pairs(suites.roles(task))
  }


def _begin(folder: Path, trained: Trained, asked: Sequence[str]) -> None:
  tasks = trained.experiment.tasks
  members = suites.members(tasks, trained.prepared)
  read_aloud = [task.name for task in tasks if suites.reads_aloud(task, trained.prepared)]
  saved.begin(folder, trained.step, [task.name for task in tasks], members, asked, read_aloud)


def _read(
  trained: Trained, manifests: Sequence[Path], task: str | None
) -> list[tuple[Path, tuple[Pair, ...], Task]]:
  """Returns the pairs of each manifest, and the task that is to judge them."""
  names = [Path(path).stem for path in manifests]
  doubles = [name for name in names if names.count(name) > 1]
  if doubles:
    raise ConfigError(f"Two files of pairs are called {doubles[0]!r}. Rename one.")
  named = None if task is None else prompting.find_task(trained.experiment, task)
  found = []
  for path in map(Path, manifests):
    read = pairs.read(path)
    found.append((path, read, named or judging.find_task(trained, read, path)))
  return found


def _judge(
  trained: Trained,
  found: Sequence[tuple[Path, tuple[Pair, ...], Task]],
  executor: executors.Local,
  say: Callable[[str], None],
) -> dict[str, list[pairs.Judged]]:
  judged = {}
  for path, read, task in found:
    say(f"{path.stem} by {task.name}: {len(read)} pairs")
    judged[path.stem] = judging.judge(trained, task, read, path.parent, executor)
  return judged


def _keep(folder: Path, judged: dict[str, list[pairs.Judged]]) -> None:
  for name, each in judged.items():
    pairs.keep(folder, name, each)
