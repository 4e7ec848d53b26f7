"""The files of an evaluation, and its scores, which are computed from them. Needs no jax.

WORKDIR/evaluation/results.json                     the scores
WORKDIR/evaluation/checkpoint.json                  which step, the mixture's tasks and their suites
WORKDIR/evaluation/outputs/<system>-<split>-<task>.jsonl   `lines.Answer` by line
WORKDIR/evaluation/waves/<system>/<split>/<task>/*.wav     generated speech
WORKDIR/evaluation/recordings/<system>-<split>-<corpus>-<role>.jsonl   recordings as heard by --asr
WORKDIR/evaluation/transcripts.jsonl                what --asr heard before, at other steps too
WORKDIR/evaluation/pairs.json, pairs/<manifest>.jsonl      what `pairs` says

All files are of one checkpoint: tasks evaluated apart are scored together, outputs of another step
are removed.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.evaluation import lines, pairs, scoring, suites, voice_scores
from audiopalm.evaluation.lines import Answer
from audiopalm.evaluation.suites import TaskKind
from audiopalm.metrics.tally import Scores

RESULTS = "results.json"
CHECKPOINT = "checkpoint.json"


def folder_of(workdir: Path) -> Path:
  """Returns the folder of a run's evaluation."""
  return Path(workdir) / "evaluation"


def begin(folder: Path, step: int, kinds: Mapping[str, TaskKind], asked: Sequence[str]) -> None:
  """Removes outputs of other steps than `step`, and older ones of the tasks `asked`.

  Writes checkpoint.json. `kinds` are all tasks of the
  mixture by name, in the order of the scores.
  """
  if scored_step(folder) != step:
    for name in ("outputs", "waves", pairs.FOLDER, voice_scores.FOLDER):
      shutil.rmtree(folder / name, ignore_errors=True)
    for name in (RESULTS, pairs.RESULTS):
      (folder / name).unlink(missing_ok=True)
  for task in asked:
    for path in (folder / "outputs").glob(f"*-{task}.jsonl"):
      path.unlink()
  written = {
    "step": step,
    "tasks": list(kinds),
    "suites": suites.members(kinds.values()),
    "read_aloud": [name for name, kind in kinds.items() if kind.reads_aloud],
  }
  files.write_json(folder / CHECKPOINT, written)


def keep(folder: Path, answers: Sequence[Answer]) -> None:
  """Writes the answers of a system to one task and split."""
  if answers:
    first = answers[0]
    lines.write(folder / "outputs" / f"{first.system}-{first.split}-{first.task}.jsonl", answers)


def score(folder: Path) -> dict:
  """Returns `scoring.score` of every output in the folder, after writing results.json.

  "suites" holds `suites.sections` of these scores and those of pairs; "recordings", where a
  recognizer heard some, those of `voice_scores.score`. DataError where there are no outputs.
  """
  paths = sorted((folder / "outputs").glob("*.jsonl"))
  answers = [answer for path in paths for answer in lines.read(path)]
  judged = pairs.score(folder)
  if not answers and not judged:
    raise DataError(
      f"There are no outputs in {folder / 'outputs'} to score. They are made by "
      f"`audiopalm evaluate --workdir {folder.parent}`."
    )
  checkpoint = _checkpoint(folder)
  scores = scoring.score(ordered(answers, checkpoint.get("tasks", ())))
  zero_shot = {(answer.task, answer.language) for answer in answers if answer.zero_shot}
  tasks_of = checkpoint.get("suites", {})  # older versions wrote none
  scores[scoring.SUITES] = suites.sections(scores, tasks_of, zero_shot, judged)
  heard = voice_scores.score(folder, answers, checkpoint.get("read_aloud", ()))
  if heard:
    scores[scoring.RECORDINGS] = heard
  write(folder / RESULTS, scores)
  return scores


def scored_step(folder: Path) -> int | None:
  """Returns the step of the checkpoint evaluated last; None where there is none."""
  return _checkpoint(folder).get("step")


def ordered(answers: Iterable[Answer], tasks: Sequence[str]) -> list[Answer]:
  """Returns answers by system, then by task as in `tasks`; others come after them, by name."""
  places = {task: number for number, task in enumerate(tasks)}

  def place(answer: Answer) -> tuple[int, int, str]:
    task = answer.task
    return lines.SYSTEMS.index(answer.system), places.get(task, len(places)), task

  return sorted(answers, key=place)


def write(path: Path, scores: Scores) -> None:
  """Writes scores as JSON, in their order."""
  with files.replacing(path) as part:
    part.write_text(json.dumps(scores, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _checkpoint(folder: Path) -> dict:
  path = folder / CHECKPOINT
  return files.read_json(path) if path.exists() else {}
