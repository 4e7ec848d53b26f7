"""Tables of the scores of an evaluation: printed on the console, and as rows for other reports."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table

from audiopalm.evaluation import answers, saved, scoring
from audiopalm.evaluation.answers import MODEL, NEAREST_COPY, UNITS_CEILING, UNTRAINED
from audiopalm.evaluation.scoring import HELD_OUT, SEEN
from audiopalm.evaluation.suites import SUITES
from audiopalm.metrics.tally import Scores


@dataclasses.dataclass(frozen=True)
class ScoreColumn:
  """How a score is shown: the title of its column, its name in the scores, factor and digits."""

  title: str
  name: str
  factor: float = 1
  digits: int = 1

  def number(self, values: Scores) -> str:
    """Returns the formatted score, '' if it is missing."""
    return f"{values[self.name] * self.factor:.{self.digits}f}" if self.name in values else ""

  def half(self, values: Scores) -> str:
    """Returns half the width of the score's interval: " ±0.8"; '' if it has none."""
    interval = values.get("intervals", {}).get(self.name)
    if not interval:
      return ""
    return f" ±{(interval[1] - interval[0]) / 2 * self.factor:.{self.digits}f}"


COLUMNS = (
  ScoreColumn("WER %", "wer", 100),
  ScoreColumn("CER %", "cer", 100),
  ScoreColumn("exact %", "exact", 100),
  ScoreColumn("BLEU", "bleu"),
  ScoreColumn("chrF", "chrf"),
  ScoreColumn("ASR-BLEU", "asr_bleu"),
  ScoreColumn("MCD", "mcd", digits=2),
  ScoreColumn("MOS", "mos", digits=2),
  ScoreColumn("voice", "similarity", digits=2),
  ScoreColumn("nats", "nll", digits=2),
  ScoreColumn("token %", "token_accuracy", 100),
)
# Scores by the recognizer of --asr; "raw": numbers as it writes them.
INDEPENDENT = (
  ScoreColumn("indep. WER %", scoring.INDEPENDENT_WER, 100),
  ScoreColumn("raw %", scoring.INDEPENDENT_RAW_WER, 100),
  ScoreColumn("indep. CER %", scoring.INDEPENDENT_CER, 100),
  ScoreColumn("indep. ASR-BLEU", scoring.INDEPENDENT_ASR_BLEU),
)
PAIR_COLUMNS = (
  ScoreColumn("pairs %", "accuracy", 100),
  ScoreColumn("per token %", "accuracy_per_token", 100),
)
BASELINES = {
  UNTRAINED: "untrained",
  NEAREST_COPY: "nearest copied",
  UNITS_CEILING: "via units (ceiling)",
}
LEGEND = """\
Test split, n examples. MCD in dB; nats: loss per token; token %: accuracy.
MOS: predicted opinion, 1 to 5; voice: similarity to the reference, at most 1.
new words, zero-shot: words, or pairs of languages, that this task was not
trained on, though other tasks were; other rows exclude zero-shot examples.
nearest copied: the target of the training example with the most similar input.
via units: the reference recordings as units and back, the best for speech out.
±: half of the 95% bootstrap interval over examples."""

# Scores by both recognizers, side by side.
_BOTH = sorted(
  (*(column for column in COLUMNS if column.name in ("wer", "cer", "asr_bleu")), *INDEPENDENT),
  key=lambda column: ("wer", "cer", "bleu").index(column.name.rpartition("_")[2]),
)

PAIRS_LEGEND = """\
pairs %: the right one is more likely; per token %: per token; chance is 50.
±: half of the 95% bootstrap interval over pairs."""

RECORDINGS_LEGEND = """\
Error rates of the recognizer of --asr per voice: on the recordings themselves,
the same as units and back, and texts that the model reads aloud in this voice;
CER instead of WER for languages without spaces between words.
±: half of the 95% bootstrap interval over examples."""

BOTH_LEGEND = """\
Speech as transcribed by the run itself and, indep., by the recognizer of --asr,
with numbers as words on both sides; raw: numbers as it writes them."""

SUITES_LEGEND = """\
Suites group tasks by what they do, each scored on its last output of that kind.
zero-shot: never trained on; other rows exclude these examples."""


@dataclasses.dataclass(frozen=True)
class _ScoreTable:
  """A table to print: its rows of scores, and the name of its most important score."""

  title: str
  rows: Sequence[tuple[str, Scores]]
  leading: str | None


def show(
  scores: Scores,
  console: Console,
  columns: Sequence[ScoreColumn] = COLUMNS,
  legend: str = LEGEND,
) -> None:
  """Prints a table for each task in the result of `scoring.score`, never truncated.

  Rows are the task, its languages, held-out voices (each, and the worst), then the baselines on the
  same examples. Columns without values are omitted. On a narrow console only the leading score has
  an interval, or none has.
  """
  tables = [
    _ScoreTable(
      task, list(rows(task, scores)), scoring.leading(scores.get(task) or scores[HELD_OUT][task])
    )
    for task in tasks(scores)
  ]
  _print(tables, columns, legend, console)
  both = [
    dataclasses.replace(table, title=f"{table.title}, both recognizers")
    for table in tables
    if any(column.name in values for _, values in table.rows for column in INDEPENDENT)
  ]
  if both:
    _print(both, _BOTH, BOTH_LEGEND, console)


def show_pairs(scores: Scores, console: Console) -> None:
  """Prints one table of scores per file of pairs."""
  show({**scores, HELD_OUT: {}, "baselines": {}}, console, PAIR_COLUMNS, PAIRS_LEGEND)


def show_suites(scores: Scores, console: Console) -> None:
  """Prints a table for each suite in `scores`: a row per task, its languages below."""
  tables = []
  for suite, section in scores[scoring.SUITES].items():
    names = {name for values in section.values() for name in values}
    leading = next((name for name in SUITES[suite].scores if name in names), None)
    if leading is not None:  # continuations of speech have no reference text
      tables.append(_ScoreTable(suite, list(suite_rows(section)), leading))
  if tables:
    console.print()
    _print(tables, (*COLUMNS, *INDEPENDENT, *PAIR_COLUMNS), SUITES_LEGEND, console)


def show_recordings(scores: Scores, console: Console) -> None:
  """Prints the error rates of the recognizer of --asr for each voice; nothing if it had none."""
  section = scores.get(scoring.RECORDINGS)
  if section is None:
    return
  columns = {column.name: column for column in INDEPENDENT}
  systems = recording_systems(section)
  lines = []
  for label, by_system in recording_rows(section):
    lines.append([label])
    for values in (by_system.get(system, {}) for system in systems):
      column = columns[scoring.independent_error_rate(values)]
      lines[-1] += [column.number(values) + column.half(values), str(values.get("examples", ""))]
  heads = [head for title in systems.values() for head in (title, "n")]
  console.print()
  _print_whole(Group(_table(["indep. WER %", *heads], lines)), console, RECORDINGS_LEGEND)


def tasks(scores: Scores) -> list[str]:
  """Returns the names of the scored tasks, in the order of the mixture."""
  named = [task for task in scores if task not in scoring.PARTS]
  return list(dict.fromkeys([*named, *scores.get(HELD_OUT, ())]))


def rows(task: str, scores: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (label, scores) for the rows of one task; parts of the row above are indented."""
  values = scores.get(task, {})
  if values:
    yield "test" if "voices" in values else "all", values
  if len(values.get("languages", {})) > 1:
    yield from _indented(values["languages"])
  yield from _indented(values.get("kinds", {}))
  for name, label in (("new_words", "with new words"), ("zero_shot", "zero-shot")):
    if name in values:
      yield f"  {label}", values[name]
  held_out = scores[HELD_OUT].get(task)
  if held_out:
    yield "held-out voices", held_out
    voices = held_out.get("voices", {})
    worst = held_out["worst_voice"].get("voice") if len(voices) > 1 else None
    yield from _indented(
      {voice + " (worst)" * (voice == worst): of_voice for voice, of_voice in voices.items()}
    )
  for system, label in BASELINES.items():
    if task in scores["baselines"].get(system, {}):
      yield label, scores["baselines"][system][task]


def suite_rows(section: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (label, scores) for the rows of a suite; languages are indented below their task."""
  for task, values in section.items():
    yield task, values
    for language, of_language in values.get("languages", {}).items():
      yield f"  {language}" + ", zero-shot" * of_language.get("zero_shot", False), of_language


def recording_systems(section: Scores) -> dict[str, str]:
  """Returns {system: title} of the section "recordings", in order: "recordings", "through units",
  "model's speech"."""
  names = {name for _, by_system in recording_rows(section) for name in by_system} - {"voices"}
  titles = {scoring.AS_RECORDED: "recordings", MODEL: "model's speech"}
  return {
    name: titles.get(name, name.replace("_", " "))
    for name in sorted(names, key=scoring.system_order)
  }


def recording_rows(section: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (label, {system: scores}) for each language, its voices indented below."""
  for split in (SEEN, HELD_OUT):
    for language, by_system in section.get(split, {}).items():
      yield language + ", held-out voices" * (split == HELD_OUT), by_system
      yield from _indented(by_system["voices"])


def to_listen(folder: Path, tasks: Sequence[str], count: int) -> list[str]:
  """Returns lines with the paths and texts of the first `count` WAVs of each task."""
  pointers = []
  for task in tasks:
    path = saved.path_of(folder, MODEL, SEEN, task)
    spoken = [
      (answer, output)
      for answer in (answers.read(path) if path.is_file() else ())
      for output in answer.outputs
      if output.wave is not None
    ]
    for answer, output in spoken[:count]:
      heard = "" if output.hypothesis is None else f", heard as {output.hypothesis!r}"
      pointers.append(f"{task} {answer.language}: {folder / output.wave}")
      pointers.append(f"  should say {output.reference!r}{heard}")
  return ["Listen:", *pointers] if pointers else []


def _indented(parts: Scores) -> Iterator[tuple[str, Scores]]:
  for label, values in parts.items():
    yield f"  {label}", values


def _print(
  tables: Sequence[_ScoreTable], columns: Sequence[ScoreColumn], legend: str, console: Console
) -> None:
  """Prints tables with as many intervals as fit the width of the console."""
  names = {column.name for column in columns}
  for intervals in (lambda table: names, lambda table: {table.leading}, lambda table: ()):
    group = Group(*(_score_table(table, columns, intervals(table)) for table in tables))
    if _width(group, console) <= console.width:
      break
  _print_whole(group, console, legend)


def _score_table(
  table: _ScoreTable, columns: Sequence[ScoreColumn], intervals: Collection[str | None]
) -> Table:
  used = [column for column in columns if any(column.name in values for _, values in table.rows)]
  lines = []
  for label, values in table.rows:
    halves = [column.half(values) if column.name in intervals else "" for column in used]
    cells = [column.number(values) + half for column, half in zip(used, halves, strict=True)]
    lines.append([label, *cells, str(values.get("examples", ""))])
  return _table([table.title, *(column.title for column in used), "n"], [*lines, []])


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
  table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
  table.add_column(heads[0], no_wrap=True, min_width=19)
  for head in heads[1:]:
    table.add_column(head, justify="right", no_wrap=True)
  for line in lines:
    table.add_row(*line)
  return table


def _width(group: Group, console: Console) -> int:
  return Measurement.get(console, console.options.update(width=1000), group).maximum


def _print_whole(group: Group, console: Console, legend: str) -> None:
  # rich truncates cells to the console's width; the terminal wraps long lines instead.
  width = max(console.width, _width(group, console))
  Console(file=console.file, width=width, force_terminal=console.is_terminal).print(group, legend)
