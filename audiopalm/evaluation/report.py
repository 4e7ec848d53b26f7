"""The scores of an evaluation as tables on the console."""

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

from rich.console import Console, Group
from rich.measure import Measurement
from rich.table import Table

from audiopalm.evaluation import ears, lines, scoring, voice_scores
from audiopalm.evaluation.lines import MODEL, NEAREST_COPY, UNITS_CEILING, UNTRAINED
from audiopalm.evaluation.scoring import HELD_OUT, SEEN
from audiopalm.evaluation.suites import SUITES
from audiopalm.metrics.tally import Scores

# Column title, key of the scores, factor, digits.
COLUMNS = (
  ("WER %", "wer", 100, 1),
  ("CER %", "cer", 100, 1),
  ("exact %", "exact", 100, 1),
  ("BLEU", "bleu", 1, 1),
  ("chrF", "chrf", 1, 1),
  ("ASR-BLEU", "asr_bleu", 1, 1),
  ("MCD", "mcd", 1, 2),
  ("MOS", "mos", 1, 2),
  ("voice", "similarity", 1, 2),
  ("nats", "nll", 1, 2),
  ("token %", "token_accuracy", 100, 1),
)
# Of the recognizer that is not the run's own; "raw": numbers as it writes them.
INDEPENDENT = (
  ("indep. WER %", ears.WER, 100, 1),
  ("raw %", ears.RAW_WER, 100, 1),
  ("indep. CER %", ears.CER, 100, 1),
  ("indep. ASR-BLEU", ears.ASR_BLEU, 1, 1),
)
PAIR_COLUMNS = (("pairs %", "accuracy", 100, 1), ("per token %", "accuracy_per_token", 100, 1))
LESS_IS_BETTER = ("wer", "cer", "mcd", "nll", ears.WER, ears.RAW_WER, ears.CER)
BASELINES = {
  UNTRAINED: "untrained",
  NEAREST_COPY: "nearest copied",
  UNITS_CEILING: "via units (ceiling)",
}
LEGEND = """\
Test split, n examples. MCD in dB; nats: loss a token; token %: guessed right.
MOS: predicted opinion, 1 to 5; voice: how alike to the reference's, at most 1.
new words, zero-shot: words, or pairs of languages, that this task was not
trained on, though other tasks were; zero-shot counts in no row but these.
nearest copied: the answer of the training example with the most similar input.
via units: what the reference recordings keep, the best that speech can reach.
±: half of the 95% interval that other choices of examples leave."""

_EARS = sorted(
  (*(column for column in COLUMNS if column[1] in ("wer", "cer", "asr_bleu")), *INDEPENDENT),
  key=lambda column: ("wer", "cer", "bleu").index(column[1].rpartition("_")[2]),
)

PAIRS_LEGEND = """\
pairs %: the right one of two is likelier; per token %: per token; both 50 by chance.
±: half of the 95% interval that other choices of pairs leave."""

RECORDINGS_LEGEND = """\
What the recognizer of --asr makes of each voice: the recordings themselves,
the same through units and back, and what the model reads aloud in this voice;
characters wrong, not words, where a language has no spaces between words.
±: half of the 95% interval that other choices of examples leave."""

EARS_LEGEND = """\
Speech as the run's own recognition hears it and, indep., as the recognizer of
--asr does, numbers as words on both sides; raw: as it writes them."""

SUITES_LEGEND = """\
Suites hold tasks by what they do, each with its output of that kind, the last
of several. zero-shot: never trained on; it counts in no row but its own."""


def show(
  scores: Scores,
  console: Console,
  columns: Sequence[tuple[str, str, float, int]] = COLUMNS,
  legend: str = LEGEND,
) -> None:
  """Prints a table for each task of what `scoring.score` returns, whole however narrow the console.

  The task itself, each language, held-out voices with each voice and the worst, then the baselines
  on the same examples. Columns without any value are left out. Every score has its interval where
  there is room, else the one that stands for the task, else none.
  """
  tables = {task: (list(rows(task, scores)), _leading(task, scores)) for task in tasks(scores)}
  _print(tables, columns, legend, console)
  both = {
    f"{task}, both ears": (of_task, leading)
    for task, (of_task, leading) in tables.items()
    if any(name in values for _, values in of_task for _, name, *_ in INDEPENDENT)
  }
  if both:
    _print(both, _EARS, EARS_LEGEND, console)


def show_suites(scores: Scores, console: Console) -> None:
  """Prints a table for each suite of `saved.score`: a row per task, its languages below."""
  tables = {
    suite: (list(suite_rows(section)), _leading_of_suite(suite, section))
    for suite, section in scores[scoring.SUITES].items()
  }
  if tables:
    console.print()
    _print(tables, (*COLUMNS, *INDEPENDENT, *PAIR_COLUMNS), SUITES_LEGEND, console)


def show_recordings(scores: Scores, console: Console) -> None:
  """Prints the error rates of each voice by the recognizer of --asr.

  Prints nothing where no recordings were heard.
  """
  section = scores.get(scoring.RECORDINGS)
  if section is None:
    return
  systems = voice_scores.systems(section)
  drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
  drawn.add_column("indep. WER %", no_wrap=True, min_width=19)
  for name in systems:
    drawn.add_column(voice_scores.title_of(name), justify="right", no_wrap=True)
    drawn.add_column("n", justify="right", no_wrap=True)
  for what, of in voice_scores.rows(section):
    cells = []
    for name in systems:
      values = of.get(name, {})
      name = ears.leading(values)
      shown = f"{number(values, name, 100, 1)}{half(values, name, 100, 1)}"
      cells += [shown, str(values.get("examples", ""))]
    drawn.add_row(what, *cells)
  console.print()
  _whole(Group(drawn), console, RECORDINGS_LEGEND)


def _print(
  tables: Mapping[str, tuple[Sequence[tuple[str, Scores]], str | None]],
  columns: Sequence[tuple[str, str, float, int]],
  legend: str,
  console: Console,
) -> None:
  """Prints {title: (rows, the score that stands for them)}."""
  every = {key for _, key, *_ in columns}
  for spread in (lambda leading: every, lambda leading: {leading}, lambda leading: set()):
    drawn = Group(
      *(_table(title, of, columns, spread(leading)) for title, (of, leading) in tables.items())
    )
    if _needed(drawn, console) <= console.width:
      break
  _whole(drawn, console, legend)


def _needed(drawn: Group, console: Console) -> int:
  return Measurement.get(console, console.options.update(width=1000), drawn).maximum


def _whole(drawn: Group, console: Console, legend: str) -> None:
  # Where a line is too long the terminal folds it; rich would cut its numbers off.
  width = max(console.width, _needed(drawn, console))
  Console(file=console.file, width=width, force_terminal=console.is_terminal).print(drawn, legend)


def show_pairs(scores: Scores, console: Console) -> None:
  """Prints a table for each manifest of pairs of what `pairs.score` returns."""
  show({**scores, HELD_OUT: {}, "baselines": {}}, console, PAIR_COLUMNS, PAIRS_LEGEND)


def _leading(task: str, scores: Scores) -> str | None:
  return scoring.leading(scores.get(task) or scores[HELD_OUT][task])


def _leading_of_suite(suite: str, section: Scores) -> str | None:
  """Returns the first of a suite's scores that one of its tasks has."""
  had = {name for values in section.values() for name in values}
  return next((name for name in SUITES[suite].scores if name in had), None)


def _table(
  title: str,
  rows: Sequence[tuple[str, Scores]],
  columns: Sequence[tuple[str, str, float, int]],
  spread: Set[str],
) -> Table:
  used = [column for column in columns if any(column[1] in values for _, values in rows)]
  drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
  drawn.add_column(title, no_wrap=True, min_width=19)
  for head, *_ in (*used, ("n",)):
    drawn.add_column(head, justify="right", no_wrap=True)
  for what, values in rows:
    numbers = [
      f"{number(values, *column[1:])}{half(values, *column[1:]) if column[1] in spread else ''}"
      for column in used
    ]
    drawn.add_row(what, *numbers, str(values.get("examples", "")))
  drawn.add_row()
  return drawn


def tasks(scores: Scores) -> list[str]:
  """Returns the tasks that were scored, in the order of the mixture."""
  named = [task for task in scores if task not in scoring.PARTS]
  return list(dict.fromkeys([*named, *scores.get(HELD_OUT, ())]))


def rows(task: str, scores: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (what, scores) for the rows of one task; what is part of the row above is indented."""
  values = scores.get(task, {})
  if values:
    yield "seen voices" if "voices" in values else "all", values
  if len(values.get("languages", {})) > 1:
    for language, of_language in values["languages"].items():
      yield f"  {language}", of_language
  for kind, of_kind in values.get("kinds", {}).items():
    yield f"  {kind}", of_kind
  if "new_words" in values:
    yield "  with new words", values["new_words"]
  if "zero_shot" in values:
    yield "  zero-shot", values["zero_shot"]
  held_out = scores[HELD_OUT].get(task)
  if held_out:
    yield "held-out voices", held_out
    for voice, of_voice in held_out.get("voices", {}).items():
      worst = held_out["worst_voice"].get("voice") == voice and len(held_out["voices"]) > 1
      yield f"  {voice}" + (" (worst)" if worst else ""), of_voice
  for system, name in BASELINES.items():
    if task in scores["baselines"].get(system, {}):
      yield name, scores["baselines"][system][task]


def suite_rows(section: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (what, scores) for the rows of a suite; languages are indented below their task."""
  for task, values in section.items():
    yield task, values
    for language, of_language in values.get("languages", {}).items():
      marked = ", zero-shot" if of_language.get("zero_shot") else ""
      yield f"  {language}{marked}", of_language


def number(values: Scores, name: str, factor: float, digits: int) -> str:
  """Returns a score as it is shown, '' where there is none."""
  return f"{values[name] * factor:.{digits}f}" if name in values else ""


def half(values: Scores, name: str, factor: float, digits: int) -> str:
  """Returns half the width of a score's interval, as it is shown: " ±0.8"; '' where it has none."""
  interval = values.get("intervals", {}).get(name)
  return f" ±{(interval[1] - interval[0]) / 2 * factor:.{digits}f}" if interval else ""


def to_listen(folder: Path, tasks: Sequence[str], each: int) -> list[str]:
  """Returns lines that point to the first `each` recordings of every task that speaks."""
  pointers = []
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
      pointers.append(f"{task} {line.language}: {folder / said.wave}")
      pointers.append(f"  should say {said.reference!r}{heard}")
  return ["Listen:", *pointers] if pointers else []
