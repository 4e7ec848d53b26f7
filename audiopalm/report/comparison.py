"""The page that compares several runs: settings that differ, scores, curves."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path

from audiopalm.errors import ConfigError
from audiopalm.evaluation import scoring
from audiopalm.evaluation.answers import MODEL
from audiopalm.metrics.tally import Scores
from audiopalm.report import charts, curves, elements, settings, single, tables
from audiopalm.report.charts import Axis, Point, Series
from audiopalm.report.elements import Element, element, folded, row, table
from audiopalm.report.run import RunFiles

Points = Callable[[RunFiles], Sequence[Point]]  # a run to its (step, value) pairs
TOKENS = Axis("tokens trained on", zero=True)
SPLITS = {scoring.SEEN: "", scoring.HELD_OUT: ", held-out voices"}
PER_TOKEN = ("nll", "token_accuracy")  # comparable only if the tokens are the same


def names(workdirs: Sequence[Path]) -> list[str]:
  """Returns a name for each run: the last parts of its path, as few as make all names unique.

  ConfigError if a run is named twice.
  """
  parts = [path.resolve().parts for path in workdirs]
  for number, own in enumerate(parts):
    if own in parts[:number]:
      raise ConfigError(f"{workdirs[number]} is named twice. Name each run once.")
  for count in itertools.count(1):
    short = ["/".join(own[-count:]) for own in parts]
    if len(set(short)) == len(short):
      return short


def page(runs: Sequence[RunFiles]) -> str:
  """Returns the page that compares runs, with notes on missing parts and the commands for them."""
  titles = names([run.workdir for run in runs])
  header = element(
    "header",
    element("p", f"Comparison of {len(runs)} runs", class_="kicker"),
    element("h1", " · ".join(titles)),
  )
  gaps = [
    (f"{name}: {what}", command)
    for name, run in zip(titles, runs, strict=True)
    for what, command in run.gaps()
  ]
  parts = [
    ("settings", "What differs", [_settings(runs, titles)]),
    ("facts", "The runs", [_facts(runs, titles)]),
    ("scores", "Scores", list(_scores(runs, titles))),
    ("curves", "Curves", _curves(runs, titles)),
  ]
  return elements.page(f"Comparison: {', '.join(titles)}", header, gaps, parts)


def _heads(titles: Sequence[str]) -> list[Element]:
  """Returns the column headings of the runs, each with a sample of its line in the curves."""
  heads = []
  for number, name in enumerate(titles):
    line = charts.swatch(Series(name, (), number))
    heads.append(element("th", element("span", line, name, class_="run"), scope="col"))
  return heads


def _settings(runs: Sequence[RunFiles], titles: Sequence[str]) -> Element:
  differences = settings.differences([json.loads(run.experiment.to_json()) for run in runs])
  if not differences:
    return element("p", "The configs are equal.")
  rows = []
  for path, values in differences:
    cells = [element("td", _shown(value), class_="wrap") for value in values]
    rows.append(row(element("th", element("code", path), scope="row", class_="wrap"), *cells))
  return table(["setting", *_heads(titles)], rows, "Settings that differ")


def _shown(value: object) -> str | Element:
  if value is settings.ABSENT:
    return "–"
  return element("code", value if isinstance(value, str) else json.dumps(value))


def _facts(runs: Sequence[RunFiles], titles: Sequence[str]) -> Element:
  facts = [
    {"experiment": run.experiment.name, **single.facts(run), "last written": single.written(run)}
    for run in runs
  ]
  names = dict.fromkeys(name for of_run in facts for name in of_run)
  rows = [row(name, *(of_run.get(name) or "–" for of_run in facts)) for name in names]
  return table(["", *_heads(titles)], rows, "Size, data and speed of the runs")


@dataclasses.dataclass(frozen=True, eq=False)
class _Score:
  """A row of the score table: one score of a task on a split, for each run.

  `values` are the task's scores of each run, {} if it has none. `comparable` is whether the best
  may be marked.
  """

  task: str
  name: str
  split: str
  values: Sequence[Scores]
  comparable: bool


def _scores(runs: Sequence[RunFiles], titles: Sequence[str]) -> Iterator[Element]:
  """Yields a note, a table of the main score of each task, and a folded table of all scores."""
  every: list[_Score] = []
  leading: list[_Score] = []
  incomparable = []  # tasks whose runs were evaluated on different examples
  for task, (split, suffix) in itertools.product(_tasks(runs), SPLITS.items()):
    scores = [run.scores or {} for run in runs]
    if split == scoring.HELD_OUT:
      scores = [of_run.get(scoring.HELD_OUT, {}) for of_run in scores]
    values = [of_run.get(task, {}) for of_run in scores]
    scored = [run for run, of_run in zip(runs, values, strict=True) if of_run]
    same = _all_equal([_examples(run, split, task) for run in scored])
    if len(scored) > 1 and not same:
      incomparable.append(task + suffix)
    same_tokens = same and _all_equal([_tokens(run, task) for run in scored])
    for name in tables.COLUMNS:
      if any(name in of_run for of_run in values):
        comparable = same_tokens if name in PER_TOKEN else same
        every.append(_Score(task, name, split, values, comparable))
        leads = name in {scoring.leading(of_run) for of_run in values}
        leading += every[-1:] if leads else []
  if not every:
    return
  note = (
    "★ marks the best among runs evaluated on the same examples. Nats and right tokens are "
    "comparable only if token ids are the same. Speech is transcribed by each run's own ASR."
  )
  if incomparable:
    note += f" Not marked because the examples differ: {', '.join(incomparable)}."
  yield element("p", note, class_="note")
  yield _score_table(titles, leading, "Scores of the runs")
  yield folded("All scores", _score_table(titles, every, "All scores of the runs"))


def _score_table(titles: Sequence[str], scores: Sequence[_Score], name: str) -> Element:
  rows = []
  for task, of_task in itertools.groupby(scores, lambda score: score.task):
    head = element("th", task, scope="rowgroup", colspan=len(titles) + 1)
    rows += [element("tr", head, class_="part"), *map(_score_row, of_task)]
  return table(["score", *_heads(titles)], rows, name)


def _score_row(score: _Score) -> Element:
  present = [values[score.name] for values in score.values if score.name in values]
  best = min(present) if score.name in scoring.LESS_IS_BETTER else max(present)
  marked = score.comparable and min(present) < max(present)
  cells = []
  for values in score.values:
    cell = tables.score(values, score.name)
    if marked and values.get(score.name) == best:
      cell.set("class", "best")
    cells.append(cell)
  return row(tables.title_of(score.name) + SPLITS[score.split], *cells, class_="sub")


def _examples(run: RunFiles, split: str, task: str) -> frozenset | None:
  """Returns the ids and references of the evaluated examples, None if there are none."""
  questions = frozenset(
    (answer.id, *(output.reference for output in answer.outputs))
    for answer in run.answers(MODEL, split, task)
    if not answer.left_out
  )
  return questions or None


def _tokens(run: RunFiles, name: str) -> tuple[str, ...]:
  """Returns what identifies the token ids of a task."""
  sides = [side for task in run.experiment.tasks if task.name == name for side in task.sides]
  prints = [run.space.streams[stream].fingerprint for _, stream in sides]
  return (*prints, json.dumps(run.space.layouts.get(name), sort_keys=True))


def _all_equal(keys: Sequence[Hashable]) -> bool:
  """Returns whether there are at least two keys, all known and the same."""
  return len(keys) > 1 and None not in keys and len(set(keys)) == 1


def _tasks(runs: Sequence[RunFiles]) -> tuple[str, ...]:
  return tuple(dict.fromkeys(task.name for run in runs for task in run.experiment.tasks))


def _curves(runs: Sequence[RunFiles], titles: Sequence[str]) -> list[Element]:
  """Returns training losses by modality, held-out losses by task and modality, rate and speed."""
  tokens_at = []  # for each run: {step: tokens trained on after it}
  for run in runs:
    totals = itertools.accumulate(line["tokens"] for line in run.steps)
    tokens_at.append(dict(zip((line["step"] for line in run.steps), totals, strict=True)))
  figures: list[Element] = []

  def draw(title: str, points: Points, axis: Axis, marked: bool = False) -> None:
    series = []
    for number, (name, run, tokens) in enumerate(zip(titles, runs, tokens_at, strict=True)):
      known = [(tokens[step], value) for step, value in points(run) if step in tokens]
      known = known if marked else charts.thinned(known)
      series.append(Series(name, known, number, marked=marked))
    chart = charts.line_chart(title, series, TOKENS, axis)
    figures.extend([] if chart is None else [chart])

  losses = {modality: f"nll_{modality}" for modality in curves.MODALITIES}
  for modality, key in losses.items():
    draw(f"Training loss, {modality}", lambda run, key=key: curves.trained(run, key), curves.NATS)
  for task, (modality, key) in itertools.product(_tasks(runs), losses.items()):
    points = lambda run, task=task, key=key: curves.measured(run, task, key)  # noqa: E731
    draw(f"{task}, held out, {modality}", points, curves.NATS, marked=True)
  draw("Learning rate", lambda run: curves.trained(run, "lr"), curves.LEARNING_RATE)
  draw("Speed", lambda run: curves.speeds(run.steps), curves.SPEED)
  return [element("div", figures, class_="charts")] if figures else []
