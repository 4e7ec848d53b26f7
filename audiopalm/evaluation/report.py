"""The scores of an evaluation as a table for people."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from audiopalm.evaluation import lines
from audiopalm.evaluation.lines import MODEL
from audiopalm.evaluation.scoring import HELD_OUT, SEEN

# Column title, key of the scores, factor, digits.
COLUMNS = (
  ("WER %", "wer", 100, 1),
  ("CER %", "cer", 100, 1),
  ("exact %", "exact", 100, 1),
  ("BLEU", "bleu", 1, 1),
  ("chrF", "chrf", 1, 1),
  ("ASR-BLEU", "asr_bleu", 1, 1),
  ("MCD dB", "mcd", 1, 2),
  ("nats/token", "nll", 1, 3),
  ("right tokens %", "token_accuracy", 100, 1),
)
BASELINES = {
  "untrained": "untrained",
  "nearest_copy": "nearest copied",
  "units_ceiling": "recordings through units (ceiling)",
}


def table(scores: Mapping[str, Any]) -> Table:
  """Returns a table of what `scoring.score` returns: a block of rows per task, best known first.

  The task itself, each language, held-out voices with each voice and the worst, then the baselines
  on the same examples. Columns without any value are left out.
  """
  rows = [row for task in _tasks(scores) for row in _block(task, scores)]
  used = [column for column in COLUMNS if any(column[1] in values for _, _, values in rows)]
  drawn = Table(title="Held-out data: test split", title_justify="left")
  drawn.add_column("task")
  drawn.add_column("", no_wrap=True)
  for title, *_ in (*used, ("examples",)):
    drawn.add_column(title, justify="right")
  for number, (task, what, values) in enumerate(rows):
    last = number + 1 == len(rows) or rows[number + 1][0] != ""
    numbers = [_number(values, *column[1:]) for column in used]
    examples = str(values["examples"]) if "examples" in values else ""
    drawn.add_row(task, what, *numbers, examples, end_section=last, style="bold" if task else None)
  return drawn


def _tasks(scores: Mapping[str, Any]) -> list[str]:
  named = [task for task in scores if task not in (HELD_OUT, "baselines")]
  return list(dict.fromkeys([*named, *scores[HELD_OUT]]))


def _block(task: str, scores: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
  """Yields (task, what, scores) for the rows of one task; the task's name on the first alone."""
  values = scores.get(task, {})
  yield task, "seen voices" if "voices" in values else "", values
  if len(values.get("languages", {})) > 1:
    for language, of_language in values["languages"].items():
      yield "", f"  {language}", of_language
  held_out = scores[HELD_OUT].get(task)
  if held_out:
    yield "", "held-out voices", held_out
    for voice, of_voice in held_out.get("voices", {}).items():
      worst = held_out["worst_voice"].get("voice") == voice and len(held_out["voices"]) > 1
      yield "", f"  {voice}" + (" (worst)" if worst else ""), of_voice
  for system, name in BASELINES.items():
    if task in scores["baselines"].get(system, {}):
      yield "", name, scores["baselines"][system][task]


def _number(values: Mapping[str, Any], name: str, factor: float, digits: int) -> str:
  return f"{values[name] * factor:.{digits}f}" if name in values else ""


def to_listen(folder: Path, tasks: Sequence[str], each: int) -> list[str]:
  """Returns lines that point to the first `each` recordings of every task that speaks."""
  found = []
  for task in tasks:
    saved = folder / "outputs" / f"{MODEL}-{SEEN}-{task}.jsonl"
    spoken = [
      (said, line)
      for line in (lines.read(saved) if saved.is_file() else ())
      for said in line.said
      if said.wave is not None
    ]
    for said, line in spoken[:each]:
      heard = "" if said.hypothesis is None else f", heard as {said.hypothesis!r}"
      found.append(f"{task} {line.language}: {folder / said.wave}")
      found.append(f"  should say {said.reference!r}{heard}")
  return ["Listen:", *found] if found else []
