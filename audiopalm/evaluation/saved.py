"""What an evaluation leaves in a workdir, and the scores counted again from it. Needs no jax.

WORKDIR/evaluation/results.json                     the scores
WORKDIR/evaluation/checkpoint.json                  which step, the mixture's tasks and their suites
WORKDIR/evaluation/outputs/<system>-<split>-<task>.jsonl   what was said, `lines.Line` by line
WORKDIR/evaluation/waves/<system>/<split>/<task>/*.wav     how it sounds
WORKDIR/evaluation/recordings/<system>-<split>-<corpus>-<role>.jsonl   recordings as heard by --asr
WORKDIR/evaluation/transcripts.jsonl                what --asr heard before, at other steps too
WORKDIR/evaluation/pairs.json, pairs/<manifest>.jsonl      what `pairs` says

All of it is of one checkpoint: tasks evaluated apart come together, those of another step go.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.data import files
from audiopalm.errors import DataError
from audiopalm.evaluation import lines, pairs, scoring, suites, voice_scores
from audiopalm.evaluation.lines import Line

RESULTS = "results.json"
CHECKPOINT = "checkpoint.json"


def folder_of(workdir: Path) -> Path:
  """Returns where the evaluation of a run lies."""
  return Path(workdir) / "evaluation"


def begin(
  folder: Path,
  step: int,
  tasks: Sequence[str],
  members: suites.Members,
  asked: Sequence[str],
  read_aloud: Sequence[str],
) -> None:
  """Makes room for the outputs of the tasks `asked` at `step`: what is there of another step, and
  older outputs of theirs, are removed. `tasks` are all of the mixture, in the order of the scores,
  `members` those of its suites, and `read_aloud` those that are given the words they are to say.
  """
  if scored_step(folder) != step:
    for made in ("outputs", "waves", pairs.FOLDER, voice_scores.FOLDER):
      shutil.rmtree(folder / made, ignore_errors=True)
    for made in (RESULTS, pairs.RESULTS):
      (folder / made).unlink(missing_ok=True)
  for task in asked:
    for path in (folder / "outputs").glob(f"*-{task}.jsonl"):
      path.unlink()
  written = {"step": step, "tasks": list(tasks), "suites": members, "read_aloud": list(read_aloud)}
  files.write_json(folder / CHECKPOINT, written)


def keep(folder: Path, answered: Sequence[Line]) -> None:
  """Writes the lines of a system's answers to one task and split."""
  if answered:
    first = answered[0]
    lines.write(folder / "outputs" / f"{first.system}-{first.split}-{first.task}.jsonl", answered)


def score(folder: Path) -> dict:
  """Returns `scoring.score` of every output in the folder and, as "suites", `suites.sections` of
  these scores and those of pairs, and as "recordings" those of `voice_scores.score` where some were
  heard, which lie in its results.json too.

  DataError where there is nothing.
  """
  paths = sorted((folder / "outputs").glob("*.jsonl"))
  found = [line for path in paths for line in lines.read(path)]
  judged = pairs.score(folder)
  if not found and not judged:
    raise DataError(
      f"There are no outputs in {folder / 'outputs'} to score. They are made by "
      f"`audiopalm evaluate --workdir {folder.parent}`."
    )
  checkpoint = _checkpoint(folder)
  scores = scoring.score(ordered(found, checkpoint.get("tasks", ())))
  zero_shot = {(line.task, line.language) for line in found if line.zero_shot}
  there = checkpoint.get("suites", {})  # outputs that older versions left know of none
  scores[scoring.SUITES] = suites.sections(scores, there, zero_shot, judged)
  heard = voice_scores.score(folder, found, checkpoint.get("read_aloud", ()))
  if heard:
    scores[scoring.RECORDINGS] = heard
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
