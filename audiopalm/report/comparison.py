"""The page of several runs side by side: how they differ, what they reach, how they got there."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.errors import ConfigError
from audiopalm.evaluation import lines, report, scoring
from audiopalm.report import charts, curves, elements, settings, single, tables
from audiopalm.report.charts import Axis, Series
from audiopalm.report.elements import Element, element, folded, row, table
from audiopalm.report.run import Run

TOKENS = Axis("tokens trained on", zero=True)
SPLITS = {scoring.SEEN: "", scoring.HELD_OUT: ", held-out voices"}
PER_TOKEN = ("nll", "token_accuracy")  # comparable only where tokens are the same


def names(workdirs: Sequence[Path]) -> list[str]:
  """Returns what to call each run: as few of the last parts of its path as tell it from the others.

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


def page(runs: Sequence[Run]) -> str:
  """Returns the page that compares runs; what one lacks is said, with the command that makes it."""
  called = names([run.workdir for run in runs])
  sections = [
    ("settings", "What differs", _settings(runs, called)),
    ("facts", "The runs", [_facts(runs, called)]),
    ("scores", "Scores", list(_scores(runs, called))),
    ("curves", "Curves", list(_curves(runs, called))),
  ]
  sections = [section for section in sections if section[2]]
  return elements.page(
    f"Comparison: {', '.join(called)}",
    element(
      "header",
      element("p", f"Comparison of {len(runs)} runs", class_="kicker"),
      element("h1", " · ".join(called)),
    ),
    element("nav", [element("a", title, href=f"#{id}") for id, title, _ in sections]),
    [
      single.missing(f"{name}: {what}", command)
      for name, run in zip(called, runs, strict=True)
      for what, command in run.gaps()
    ],
    [[element("h2", title, id=id), *content] for id, title, content in sections],
  )


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


def _settings(runs: Sequence[Run], called: Sequence[str]) -> list[Element]:
  found = settings.differences([json.loads(run.experiment.to_json()) for run in runs])
  if not found:
    return [element("p", "The configs are equal.")]
  rows = [
    element(
      "tr",
      element("th", element("code", path), scope="row", class_="wrap"),
      [element("td", _shown(value), class_="wrap") for value in values],
    )
    for path, values in found
  ]
  return [table(["setting", *_heads(called)], rows, "Settings that differ")]


def _shown(value: Any) -> str | Element:
  if value is settings.ABSENT:
    return "–"
  return element("code", value if isinstance(value, str) else json.dumps(value))


def _facts(runs: Sequence[Run], called: Sequence[str]) -> Element:
  facts = [
    {"experiment": run.experiment.name}
    | dict(single.facts(run))
    | {"last written": single.written(run)}
    for run in runs
  ]
  known = dict.fromkeys(what for one in facts for what in one)
  rows = [row(what, *(one.get(what) or "–" for one in facts)) for what in known]
  return table(["", *_heads(called)], rows, "Size, data and speed of the runs")


def _scores(runs: Sequence[Run], called: Sequence[str]) -> Iterator[Element]:
  """Yields a note, the score that stands for each task, and all scores folded."""
  blocks = [block for task in _tasks(runs) if (block := _block(runs, task))]
  if not blocks:
    return
  said = [
    "★ marks the best where runs answered the same examples. Nats and right tokens compare only "
    "where token ids are the same. Speech is transcribed by each run's own ASR."
  ]
  apart = [what for block in blocks for what in block.apart]
  if apart:
    said.append(f"Not the same examples, so not marked: {', '.join(apart)}.")
  yield element("p", " ".join(said), class_="note")
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
  values: Sequence[Mapping[str, Any]]
  comparable: bool
  leading: bool


@dataclasses.dataclass(frozen=True, eq=False)
class _Block:
  """The rows of a task; `apart` names what was not asked the same of all runs."""

  task: str
  rows: Sequence[_Score]
  apart: Sequence[str]


def _block(runs: Sequence[Run], task: str) -> _Block | None:
  """Returns all scores of a task; None where no run has any."""
  rows, apart = [], []
  for split, suffix in SPLITS.items():
    values = [_of_split(run.scores or {}, split).get(task, {}) for run in runs]
    scored = [run for run, one in zip(runs, values, strict=True) if one]
    same = _alike([_asked(run, split, task) for run in scored])
    if len(scored) > 1 and not same:
      apart.append(task + suffix)
    tokens = same and _alike([_tokens(run, task) for run in scored])
    leading = {scoring.leading(one) for one in values if one}
    rows += [
      _Score(name, suffix, values, tokens if name in PER_TOKEN else same, name in leading)
      for name in tables.COLUMNS
      if any(name in one for one in values)
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
  present = [one[score.name] for one in score.values if score.name in one]
  best = min(present) if score.name in report.LESS_IS_BETTER else max(present)
  marked = score.comparable and min(present) < max(present)
  cells = []
  for one in score.values:
    cell = tables.score(one, score.name)
    if marked and one.get(score.name) == best:
      cell.set("class", "best")
    cells.append(cell)
  return row(tables.title_of(score.name) + score.suffix, *cells, class_="sub")


def _of_split(scores: Mapping[str, Any], split: str) -> Mapping[str, Any]:
  return scores.get(scoring.HELD_OUT, {}) if split == scoring.HELD_OUT else scores


def _asked(run: Run, split: str, task: str) -> frozenset | None:
  """Returns what identifies the examples of a trial; None where the run was not asked."""
  found = frozenset(
    (line.id, *(said.reference for said in line.said))
    for line in run.lines(lines.MODEL, split, task)
    if not line.left_out
  )
  return found or None


def _tokens(run: Run, task: str) -> tuple:
  """Returns what identifies the tokens that a task predicts."""
  found = next((one for one in run.experiment.tasks if one.name == task), None)
  prints = [run.space.streams[stream].fingerprint for _, stream in found.sides] if found else []
  return (*prints, json.dumps(run.space.layouts.get(task), sort_keys=True))


def _alike(keys: Sequence[Any]) -> bool:
  """Returns whether there are at least two keys, all known and the same."""
  return len(keys) > 1 and None not in keys and all(key == keys[0] for key in keys)


def _tasks(runs: Sequence[Run]) -> tuple[str, ...]:
  """Returns the tasks of all runs, each once."""
  return tuple(dict.fromkeys(task.name for run in runs for task in run.experiment.tasks))


def _curves(runs: Sequence[Run], called: Sequence[str]) -> Iterator[Element]:
  drawn = list(_charts(runs, called))
  if drawn:
    yield element("div", drawn, class_="charts")


def _charts(runs: Sequence[Run], called: Sequence[str]) -> Iterator[Element]:
  """Yields training losses by modality, held-out losses by task and modality, rate and speed."""
  seen = [_tokens_at(run) for run in runs]

  def chart(title, points, axis, note=None, marked=False):
    series = [
      Series(name, points(run, tokens), number, marked=marked)
      for number, (name, run, tokens) in enumerate(zip(called, runs, seen, strict=True))
    ]
    found = charts.line_chart(title, series, TOKENS, axis, note)
    return [] if found is None else [found]

  def trained(key):
    return lambda run, tokens: charts.thinned(
      [(tokens[step], value) for step, value in curves.trained(run, key)]
    )

  def measured(task, key):
    return lambda run, tokens: [
      (tokens[step], value)
      for step, value in curves.measured(run, task, key)
      if step in tokens
    ]  # fmt: skip

  def speed(run, tokens):
    return [(tokens[step], value) for step, value in curves.speeds(run.steps)]

  for modality in curves.MODALITIES:
    title = f"Training loss, {modality}"
    yield from chart(title, trained(f"nll_{modality}"), curves.NATS)
  for task in _tasks(runs):
    for modality in curves.MODALITIES:
      points = measured(task, f"nll_{modality}")
      yield from chart(f"{task}, held out, {modality}", points, curves.NATS, marked=True)
  yield from chart("Learning rate", trained("lr"), Axis("learning rate", zero=True))
  yield from chart("Speed", speed, Axis("tokens per second", zero=True))


def _tokens_at(run: Run) -> dict[int, int]:
  """Returns the tokens trained on after each step."""
  found, total = {}, 0
  for line in run.steps:
    total += line["tokens"]
    found[line["step"]] = total
  return found
