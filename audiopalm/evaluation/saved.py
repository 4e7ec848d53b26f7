"""The files of an evaluation, and its scores, which are computed from them. Needs no jax.

    WORKDIR/evaluation/
      results.json                                     the scores
      checkpoint.json                                  the step, the tasks and their suites
      outputs/<system>-<split>-<task>.jsonl            one `answers.Answer` per line
      unfinished/                                      the same, until the evaluation is complete
      waves/<system>/<split>/<task>/*.wav              generated speech
      recordings/<system>-<split>-<corpus>-<role>.jsonl    recordings as transcribed by --asr
      transcripts.jsonl                                transcripts of --asr, also of earlier steps
      pairs.json, pairs/<manifest>.jsonl               the scores and likelihoods of pairs

All files but transcripts.jsonl are of one checkpoint: separately evaluated tasks are scored
together, and outputs of another step are removed. Outputs replace older ones of their tasks only
when the whole evaluation is complete, so an interrupted one loses none.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.evaluation import answers, pairs, scoring, suites
from audiopalm.evaluation.answers import SYSTEMS, Answer
from audiopalm.evaluation.suites import TaskKind
from audiopalm.metrics.tally import Scores

RESULTS = "results.json"
CHECKPOINT = "checkpoint.json"
RECORDINGS = "recordings"
OUTPUTS = "outputs"
UNFINISHED = "unfinished"


def folder_of(workdir: Path) -> Path:
  """Returns the folder of a run's evaluation."""
  return Path(workdir) / "evaluation"


def path_of(folder: Path, system: str, split: str, task: str) -> Path:
  """Returns the path of the answers of a system to one task and split."""
  return folder / OUTPUTS / f"{system}-{split}-{task}.jsonl"


def begin(folder: Path, step: int, kinds: Mapping[str, TaskKind]) -> None:
  """Removes outputs of steps other than `step` and of interrupted evaluations.

  Writes checkpoint.json. `kinds` are all tasks of the mixture by name, in the order of the scores.
  """
  shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
  if scored_step(folder) != step:
    for name in (OUTPUTS, "waves", pairs.FOLDER, RECORDINGS):
      shutil.rmtree(folder / name, ignore_errors=True)
    for name in (RESULTS, pairs.RESULTS):
      (folder / name).unlink(missing_ok=True)
  checkpoint = {
    "step": step,
    "tasks": list(kinds),
    "suites": suites.members(kinds.values()),
    "read_aloud": [name for name, kind in kinds.items() if kind.reads_aloud],
  }
  files.write_json(folder / CHECKPOINT, checkpoint)


def keep(folder: Path, task_answers: Sequence[Answer]) -> None:
  """Writes the answers of a system to one task and split; `finish` makes them final."""
  if task_answers:
    path = path_of(folder, task_answers[0].system, task_answers[0].split, task_answers[0].task)
    answers.write(folder / UNFINISHED / path.name, task_answers)


def finish(folder: Path, tasks: Sequence[str]) -> None:
  """Replaces all older answers of the `tasks` by those that `keep` wrote since `begin`."""
  kept = list((folder / UNFINISHED).glob("*.jsonl"))
  for path in kept:
    (folder / OUTPUTS).mkdir(exist_ok=True)
    path.replace(folder / OUTPUTS / path.name)
  names = {path.name for path in kept}
  for task in tasks:
    for path in (folder / OUTPUTS).glob(f"*-{task}.jsonl"):
      if path.name not in names:  # such as those of baselines that were omitted this time
        path.unlink()
  shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def score(folder: Path) -> dict:
  """Returns `scoring.score` of all outputs in the folder and writes results.json.

  It adds `suites.sections` of these scores and those of pairs as "suites", and
  `scoring.score_recordings` as "recordings" if there are any. Raises DataError without outputs.
  """
  outputs, heard = _read(folder / OUTPUTS), _read(folder / RECORDINGS)
  judged = pairs.score(folder)
  if not outputs and not judged:
    raise DataError(
      f"There are no outputs in {folder / OUTPUTS} to score. They are made by "
      f"`audiopalm evaluate --workdir {folder.parent}`."
    )
  checkpoint = _checkpoint(folder)
  scores = scoring.score(ordered(outputs, checkpoint.get("tasks", ())))
  zero_shot = {(answer.task, answer.language) for answer in outputs if answer.zero_shot}
  tasks_of = checkpoint.get("suites", {})  # older versions wrote none
  scores[scoring.SUITES] = suites.sections(scores, tasks_of, zero_shot, judged)
  voices = scoring.score_recordings(heard, outputs, checkpoint.get("read_aloud", ()))
  if voices:
    scores[scoring.RECORDINGS] = voices
  write(folder / RESULTS, scores)
  return scores


def scored_step(folder: Path) -> int | None:
  """Returns the step of the checkpoint that was evaluated last; None if there is none."""
  return _checkpoint(folder).get("step")


def ordered(given: Iterable[Answer], tasks: Sequence[str]) -> list[Answer]:
  """Returns answers sorted by system, then by the order of `tasks`; others follow, by name."""
  places = {task: number for number, task in enumerate(tasks)}

  def place(answer: Answer) -> tuple[int, int, str]:
    return SYSTEMS.index(answer.system), places.get(answer.task, len(places)), answer.task

  return sorted(given, key=place)


def write(path: Path, scores: Scores) -> None:
  """Writes scores as JSON without sorting them."""
  with files.replacing(path) as part:
    part.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(folder: Path) -> list[Answer]:
  return [answer for path in sorted(folder.glob("*.jsonl")) for answer in answers.read(path)]


def _checkpoint(folder: Path) -> dict[str, Any]:
  path = folder / CHECKPOINT
  return files.read_json(path) if path.exists() else {}
