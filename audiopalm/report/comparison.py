"""The page of several runs side by side: how they differ, what they reach, how they got there."""

import dataclasses
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

from audiopalm.errors import ConfigError
from audiopalm.evaluation import lines, report, scoring
from audiopalm.metrics.tally import Scores
from audiopalm.report import charts, curves, elements, settings, single, tables
from audiopalm.report.charts import Axis, Series
from audiopalm.report.elements import Element, element, folded, missing, row, table
from audiopalm.report.run import RunFiles

Points = Callable[[RunFiles], Sequence[tuple[float, float]]]  # (step, value) of a run
TOKENS = Axis("tokens trained on", zero=True)
SPLITS = {scoring.SEEN: "", scoring.HELD_OUT: ", held-out voices"}
PER_TOKEN = ("nll", "token_accuracy")  # comparable only where tokens are the same


def names(workdirs: Sequence[Path]) -> list[str]:
  """Returns a name for each run: the fewest last parts of its path that are unique.

  ConfigError for a run that is named twice.
  """
  parts = [path.resolve().parts for path in workdirs]
  for number, own in enumerate(parts):
    if own in parts[:number]:
      raise ConfigError(f"{workdirs[number]} is named twice. Name each run once.")
  longest = max(map(len, parts))
  for count in range(1, longest + 1):
    short = ["/".join(own[-count:]) for own in parts]
    if len(set(short)) == len(short):
      break
  return short


def page(runs: Sequence[RunFiles]) -> str:
  """Returns the page that compares runs, with notes and commands for what they lack."""
  called = names([run.workdir for run in runs])
  header = element(
    "header",
    element("p", f"Comparison of {len(runs)} runs", class_="kicker"),
    element("h1", " · ".join(called)),
  )
  gaps = [
    missing(f"{name}: {what}", command)
    for name, run in zip(called, runs, strict=True)
    for what, command in run.gaps()
  ]
  parts = [
    ("settings", "What differs", _settings(runs, called)),
    ("facts", "The runs", [_facts(runs, called)]),
    ("scores", "Scores", list(_scores(runs, called))),
    ("curves", "Curves", _curves(runs, called)),
  ]
  return elements.page(f"Comparison: {', '.join(called)}", elements.sections(header, gaps, parts))


def _heads(called: Sequence[str]) -> list[Element]:
  """Returns the headings of the runs' columns, each with its line in the curves."""
  return [
    element(
      "th",
      element("span", charts.swatch(Series(name, (), number)), name, class_="run"),
      scope="col",
    )
    for number, name in enumerate(called)
  ]


def _settings(runs: Sequence[RunFiles], called: Sequence[str]) -> list[Element]:
  differences = settings.differences([json.loads(run.experiment.to_json()) for run in runs])
  if not differences:
    return [element("p", "The configs are equal.")]
  rows = [
    element(
      "tr",
      element("th", element("code", path), scope="row", class_="wrap"),
      [element("td", _shown(value), class_="wrap") for value in values],
    )
    for path, values in differences
  ]
  return [table(["setting", *_heads(called)], rows, "Settings that differ")]


def _shown(value: object) -> str | Element:
  if value is settings.ABSENT:
    return "–"
  return element("code", value if isinstance(value, str) else json.dumps(value))


def _facts(runs: Sequence[RunFiles], called: Sequence[str]) -> Element:
  facts = [
    {"experiment": run.experiment.name}
    | dict(single.facts(run))
    | {"last written": single.written(run)}
    for run in runs
  ]
  known = dict.fromkeys(what for of_run in facts for what in of_run)
  rows = [row(what, *(of_run.get(what) or "–" for of_run in facts)) for what in known]
  return table(["", *_heads(called)], rows, "Size, data and speed of the runs")


def _scores(runs: Sequence[RunFiles], called: Sequence[str]) -> Iterator[Element]:
  """Yields a note, the summarizing score of each task, and all scores folded."""
  blocks = [block for task in _tasks(runs) if (block := _block(runs, task))]
  if not blocks:
    return
  notes = [
    "★ marks the best where runs answered the same examples. Nats and right tokens compare only "
    "where token ids are the same. Speech is transcribed by each run's own ASR."
  ]
  apart = [what for block in blocks for what in block.apart]
  if apart:
    notes.append(f"Not the same examples, so not marked: {', '.join(apart)}.")
  yield element("p", " ".join(notes), class_="note")
  leading = [[line for line in block.rows if line.leading] for block in blocks]
  yield _score_table(called, blocks, leading, "Scores of the runs")
  every = [block.rows for block in blocks]
  yield folded("All scores", _score_table(called, blocks, every, "All scores of the runs"))


@dataclasses.dataclass(frozen=True, eq=False)
class _Score:
  """A row of scores: of which name, on which split, by run ({} where it has none).

  `comparable` says whether one may be called the best.
  """

  name: str
  suffix: str
  values: Sequence[Scores]
  comparable: bool
  leading: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
  """The rows of a task; `apart` names what was not asked the same of all runs."""

  task: str
  rows: Sequence[_Score]
  apart: Sequence[str]


def _block(runs: Sequence[RunFiles], task: str) -> _Block | None:
  """Returns all scores of a task; None where no run has any."""
  rows, apart = [], []
  for split, suffix in SPLITS.items():
    values = [_of_split(run.scores or {}, split).get(task, {}) for run in runs]
    scored = [run for run, of_run in zip(runs, values, strict=True) if of_run]
    same = _alike([_asked(run, split, task) for run in scored])
    if len(scored) > 1 and not same:
      apart.append(task + suffix)
    tokens = same and _alike([_tokens(run, task) for run in scored])
    leading = {scoring.leading(of_run) for of_run in values if of_run}
    rows += [
      _Score(name, suffix, values, tokens if name in PER_TOKEN else same, name in leading)
      for name in tables.COLUMNS
      if any(name in of_run for of_run in values)
    ]
  return _Block(task, rows, apart) if rows else None


def _score_table(
  called: Sequence[str],
  blocks: Sequence[_Block],
  chosen: Sequence[Sequence[_Score]],
  name: str,
) -> Element:
  rows = []
  for block, scores in zip(blocks, chosen, strict=True):
    head = element("th", block.task, scope="rowgroup", colspan=len(called) + 1)
    rows += [element("tr", head, class_="part"), *map(_score_row, scores)]
  return table(["score", *_heads(called)], rows, name)


def _score_row(score: _Score) -> Element:
  present = [values[score.name] for values in score.values if score.name in values]
  best = min(present) if score.name in report.LESS_IS_BETTER else max(present)
  marked = score.comparable and min(present) < max(present)
  cells = []
  for values in score.values:
    cell = tables.score(values, score.name)
    if marked and values.get(score.name) == best:
      cell.set("class", "best")
    cells.append(cell)
  return row(tables.title_of(score.name) + score.suffix, *cells, class_="sub")


def _of_split(scores: Scores, split: str) -> Scores:
  return scores.get(scoring.HELD_OUT, {}) if split == scoring.HELD_OUT else scores


def _asked(run: RunFiles, split: str, task: str) -> frozenset | None:
  """Returns what identifies the examples of a trial; None where the run was not asked."""
  questions = frozenset(
    (line.id, *(said.reference for said in line.said))
    for line in run.lines(lines.MODEL, split, task)
    if not line.left_out
  )
  return questions or None


def _tokens(run: RunFiles, task: str) -> tuple:
  """Returns what identifies the tokens that a task predicts."""
  sides = [side for one in run.experiment.tasks if one.name == task for side in one.sides]
  prints = [run.space.streams[stream].fingerprint for _, stream in sides]
  return (*prints, json.dumps(run.space.layouts.get(task), sort_keys=True))


def _alike(keys: Sequence[Hashable]) -> bool:
  """Returns whether there are at least two keys, all known and the same."""
  return len(keys) > 1 and None not in keys and all(key == keys[0] for key in keys)


def _tasks(runs: Sequence[RunFiles]) -> tuple[str, ...]:
  """Returns the tasks of all runs, each once."""
  return tuple(dict.fromkeys(task.name for run in runs for task in run.experiment.tasks))


def _curves(runs: Sequence[RunFiles], called: Sequence[str]) -> list[Element]:
  """Returns training losses by modality, held-out losses by task and modality, rate and speed."""
  tokens_at = [_tokens_at(run) for run in runs]
  drawn: list[Element | None] = []

  def draw(title: str, points: Points, axis: Axis, marked: bool = False) -> None:
    series = []
    for number, (name, run, tokens) in enumerate(zip(called, runs, tokens_at, strict=True)):
      known = [(tokens[step], value) for step, value in points(run) if step in tokens]
      known = known if marked else charts.thinned(known)
      series.append(Series(name, known, number, marked=marked))
    drawn.append(charts.line_chart(title, series, TOKENS, axis))

  for modality in curves.MODALITIES:
    key = f"nll_{modality}"
    title = f"Training loss, {modality}"
    draw(title, lambda run, key=key: curves.trained(run, key), curves.NATS)
  for task in _tasks(runs):
    for modality in curves.MODALITIES:
      key = f"nll_{modality}"
      title = f"{task}, held out, {modality}"
      points = lambda run, task=task, key=key: curves.measured(run, task, key)  # noqa: E731
      draw(title, points, curves.NATS, marked=True)
  draw("Learning rate", lambda run: curves.trained(run, "lr"), curves.LEARNING_RATE)
  draw("Speed", lambda run: curves.speeds(run.steps), curves.SPEED)
  drawn = [chart for chart in drawn if chart is not None]
  return [element("div", drawn, class_="charts")] if drawn else []


def _tokens_at(run: RunFiles) -> dict[int, int]:
  """Returns the tokens trained on after each step."""
  tokens, total = {}, 0
  for line in run.steps:
    total += line["tokens"]
    tokens[line["step"]] = total
  return tokens
