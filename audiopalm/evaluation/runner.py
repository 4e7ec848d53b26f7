"""Scores of a trained run: trials -> answers -> listening -> scores.

trials      records of each task and split, laid out as the task sees them
answers     likelihoods of the reference answers, and the model's own outputs
listening   speech outputs are written as WAVs, transcribed and measured
scores      computed only from the files in WORKDIR/evaluation
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from audiopalm.data import executors
from audiopalm.errors import ConfigError
from audiopalm.evaluation import (
  baselines,
  hearing,
  judging,
  listeners,
  pairs,
  saved,
  scoring,
  suites,
  trials,
)
from audiopalm.evaluation.listeners import Listener, TranscriptCache
from audiopalm.evaluation.speech import Listening
from audiopalm.evaluation.suites import TaskKind
from audiopalm.inference import prompting, sampling
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained


@dataclasses.dataclass(frozen=True)
class Options:
  """What to evaluate, and how.

  Tasks are chosen by name, or by the `suites` they are in (None for both: all tasks). `pairs` are
  files of pairs, judged by the task `judged_by`, None for the first that fits. `recognizer`
  transcribes speech outputs, besides the run's own ASR, and `recordings_each` recordings of each
  voice (None: all); `meters` measure speech outputs. `compared` adds the baselines. `beams` and
  `length_penalty` are those of decoding, None for the config's. `workers` is the number of
  processes for synthesis and listening (None: one per core, 0: this process).
  """

  tasks: Sequence[str] | None = None
  suites: Sequence[str] | None = None
  pairs: Sequence[str | os.PathLike] = ()
  judged_by: str | None = None
  recognizer: Listener | None = None
  recordings_each: int | None = listeners.VOICE_RECORDINGS
  meters: Sequence[Listener] = ()
  compared: bool = True
  beams: int | None = None
  length_penalty: float | None = None
  workers: int | None = None


def evaluate(
  trained: Trained,
  workdir: Path,
  options: Options = Options(),  # noqa: B008  a frozen value
  say: Callable[[str], None] = lambda text: None,
) -> dict:
  """Evaluates the chosen tasks, saves all outputs and scores, and returns the scores.

  The keys are those of `saved.score`; saved scores of other tasks at the same step are kept. `say`
  receives progress messages. Raises ConfigError, before any work, for options that this run or
  machine does not support.
  """
  plan = _plan(trained, options)
  folder = saved.folder_of(workdir)
  with executors.Local(options.workers) as executor:
    # Pairs first, so that an unreadable recording of a pair fails early.
    judged = judging.judge(trained, plan.pairs, executor, say)
    kinds = [plan.kinds[name] for name in plan.tasks]
    saved.begin(folder, trained.step, plan.kinds)
    pairs.keep(folder, judged)
    cache = TranscriptCache(folder / listeners.CACHE_FILE)
    listening = Listening(trained, folder, executor, options.recognizer, options.meters, cache)
    seen = []
    for trial in trials.trials(trained, kinds):
      say(f"{trial.task.name} on {trial.split}: {len(trial.questions)} examples")
      saved.keep(folder, trials.answer(trained, trial, listening, plan.search))
      if trial.split == scoring.SEEN and trial.task.inputs and trial.questions:
        seen.append(trial)
    if options.compared:
      for answers in baselines.answer(listening, seen, plan.search, say):
        saved.keep(folder, answers)
    if plan.recordings:
      hearing.hear(listening, plan.recordings, say)
  saved.finish(folder, plan.tasks)
  scores = scoring.of_tasks(saved.score(folder), [*plan.tasks, *judged])
  if plan.suites is not None:
    sections = scores[scoring.SUITES]
    scores[scoring.SUITES] = {name: sections[name] for name in plan.suites if name in sections}
  return scores


def judge(
  trained: Trained,
  workdir: Path,
  options: Options,
  say: Callable[[str], None] = lambda text: None,
) -> dict:
  """Judges only the pairs, saves their likelihoods, and returns {file: `pairs.score_pairs`}.

  Results that `evaluate` saved at the same step are kept.
  """
  options = dataclasses.replace(options, tasks=[], compared=False)
  evaluate(trained, workdir, options, say)
  scores = pairs.scored(saved.folder_of(workdir))
  return {name: scores[name] for name in (Path(path).stem for path in options.pairs)}


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
  """What an evaluation will do: `kinds` has all tasks of the run, `tasks` names the chosen ones.

  `suites` are the suites to report, None if tasks were not chosen by suite.
  """

  kinds: dict[str, TaskKind]
  tasks: Sequence[str]
  suites: Sequence[str] | None
  search: Sampling | Beams
  pairs: Sequence[judging.PairFile]
  recordings: Sequence[hearing.Recording]


def _plan(trained: Trained, options: Options) -> _Plan:
  """Returns the plan that options specify for this run; raises ConfigError if it is impossible."""
  trained.check_answers()
  experiment, prepared = trained.experiment, trained.prepared
  kinds = suites.kinds(experiment.tasks, prepared.space.streams)
  chosen, tasks = None, options.tasks
  if options.suites is not None:
    if tasks is not None:
      raise ConfigError("Tasks are chosen by their names or by suites: omit one of the two.")
    chosen, tasks = suites.choose(options.suites, kinds, pairs=bool(options.pairs))
  if tasks is not None:
    tasks = [prompting.find_task(trained, name).name for name in tasks]
  selected = [kind for name, kind in kinds.items() if tasks is None or name in tasks]
  config = experiment.evaluation
  search = sampling.choose(
    config.beams if options.beams is None else options.beams,
    config.length_penalty if options.length_penalty is None else options.length_penalty,
  )
  spoken = set()  # languages
  for kind in selected:
    if kind.task.inputs:
      prompting.check_sampling(trained, kind.task, search)
      pairs_of = kind.task.corpus.pairs(kind.task.roles)
      spoken |= {languages[role] for role, _ in kind.spoken for languages in pairs_of}
  recordings = []
  if options.recognizer is not None:
    options.recognizer.check(spoken)
    if options.recordings_each != 0:
      recordings = hearing.choose(prepared, selected, options.recognizer, options.recordings_each)
  for meter in options.meters:
    meter.check()
  files = judging.read(trained, options.pairs, options.judged_by)
  return _Plan(kinds, [kind.task.name for kind in selected], chosen, search, files, recordings)
