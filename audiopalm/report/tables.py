"""The numbers of one run as tables: scores, data, tokens by task, time."""

from collections.abc import Iterable, Iterator, Sequence

from audiopalm import quantities
from audiopalm.data import corpora
from audiopalm.evaluation import report, scoring
from audiopalm.evaluation.report import ScoreColumn
from audiopalm.metrics.tally import Scores
from audiopalm.report import charts
from audiopalm.report.elements import Element, bar, element, folded, number, row, table
from audiopalm.report.run import RunFiles

# The columns of the console's tables, and two for which it has no room.
COLUMNS = {
  column.name: column
  for column in (
    *report.COLUMNS,
    *report.INDEPENDENT,
    ScoreColumn("ASR-chrF", "asr_chrf"),
    ScoreColumn("indep. ASR-chrF", f"{scoring.INDEPENDENT}asr_chrf"),
    *report.PAIR_COLUMNS,
  )
}


def title_of(name: str) -> str:
  """Returns a score's title with the direction that is better: "WER % ↓"."""
  return f"{COLUMNS[name].title} {'↓' if name in scoring.LESS_IS_BETTER else '↑'}"


def score(values: Scores | None, name: str | None, note: str = "") -> Element:
  """Returns the cell of a score with its confidence interval and a note, "–" if it is missing. The
  value of its `data` element is exact."""
  if not values or name not in values:
    return number(None)
  column = COLUMNS[name]
  cell = number(values[name], lambda _: column.number(values))
  if half := column.half(values):
    low, high = (column.number({name: end}) for end in values["intervals"][name])
    cell.append(element("small", half, title=f"{low} to {high}"))
  if note:
    cell.append(element("small", f" {note}"))
  return cell


def headline(scores: Scores) -> Element:
  """Returns a table with the main score of each task, by voices, and of the baselines."""
  systems = [name for name in report.BASELINES if name in scores["baselines"]]
  any_held_out = any(scores[scoring.HELD_OUT].values())
  tasks = report.tasks(scores)
  seen = [scores.get(task) or {} for task in tasks]
  independent = any(f"{scoring.INDEPENDENT}{scoring.leading(of)}" in of for of in seen)
  rows = []
  for task, values in zip(tasks, seen, strict=True):
    held_out = scores[scoring.HELD_OUT].get(task, {})
    name = scoring.leading(values or held_out)
    cells = [score(values, name), _worst(values, name)]
    if independent:
      cells.append(score(values or held_out, f"{scoring.INDEPENDENT}{name}"))
    if any_held_out:
      cells += [score(held_out, name), _worst(held_out, name)]
    cells += [score(scores["baselines"][system].get(task), name) for system in systems]
    measure = element("td", title_of(name) if name else "–", class_="text")
    rows.append(row(task, measure, *cells))
  head = ["task", element("th", "score", scope="col", class_="text"), "test split", "worst voice"]
  head += ["independent recognizer"] if independent else []
  head += ["held-out voices", "worst of them"] if any_held_out else []
  return table([*head, *(report.BASELINES[name] for name in systems)], rows, "Scores by task")


def suites(scores: Scores) -> Iterator[Element]:
  """Yields a table for each suite: its main scores by task and language."""
  for suite, section in scores.get(scoring.SUITES, {}).items():
    title = suite.replace("_", " ")
    yield _score_table(title, report.suite_rows(section), f"Suite {title}")


def _score_table(
  title: str, labeled: Iterable[tuple[str, Scores]], name: str, lead: bool = False
) -> Element:
  """Returns a table of all scores that any of the rows has, and of the number of examples.

  `labeled` are (label, scores) of rows; those with an indented label are breakdowns of the row
  above. `lead` highlights the first row.
  """
  labeled = list(labeled)
  used = [name for name in COLUMNS if any(name in values for _, values in labeled)]
  rows = []
  for place, (label, values) in enumerate(labeled):
    class_ = _class_of(label) or ("lead" if lead and not place else None)
    cells = [score(values, name) for name in used]
    rows.append(row(label.strip(), *cells, number(values.get("examples")), class_=class_))
  return table([title, *map(title_of, used), "n"], rows, name)


def voices(scores: Scores) -> list[Element]:
  """Returns a heading and a table of the error rates of the --asr recognizer by voice, [] if it was
  not used."""
  section = scores.get(scoring.RECORDINGS)
  if section is None:
    return []
  systems = report.recording_systems(section)
  rows = []
  for label, by_system in report.recording_rows(section):
    cells = []
    for values in (by_system.get(name, {}) for name in systems):
      cells.append(score(values, scoring.independent_error_rate(values)))
      cells.append(number(values.get("examples")))
    rows.append(row(label.strip(), *cells, class_=_class_of(label)))
  head = [head for system in systems.values() for head in (system, "n")]
  title = f"Each voice by the independent recognizer, {title_of(scoring.INDEPENDENT_WER)}"
  rules = [f"{name}: {rule}." for name, rule in section["rules"].items()]
  return [
    element("h3", title),
    table(["voice", *head], rows, title),
    element("p", " ".join(rules), class_="note"),
  ]


def every_score(scores: Scores) -> Iterator[Element]:
  """Yields, for each task, folded tables of all its scores and of its voices."""
  for task in report.tasks(scores):
    own = scores.get(task, {})
    first, *rest = report.rows(task, scores)
    outputs = [(f"  output {stream}", values) for stream, values in own.get("outputs", {}).items()]
    title = f"All scores of {task}"
    score_table = _score_table(task, [first, *outputs, *rest], title, lead=True)
    notes = " ".join(_notes(own))
    yield folded(
      title, score_table, notes and element("p", notes, class_="note"), _voices(task, own)
    )


def _class_of(label: str) -> str | None:
  return "sub" if label.startswith(" ") else None


def _worst(values: Scores, name: str | None) -> Element:
  worst = values.get("worst_voice", {})
  if name not in worst or len(values["voices"]) < 2:
    return number(None)
  return score(worst, name, note=worst["voice"])


def _notes(values: Scores) -> Iterator[str]:
  for unit in ("words", "characters"):
    if f"mean_{unit}" in values:
      yield f"References have {values[f'mean_{unit}']:.1f} {unit} on average."
  if values.get("cut"):
    yield f"{values['cut']} of {values['examples']} outputs were cut before their end."
  if values.get("left_out"):
    yield f"{values['left_out']} examples were left out: longer than a row."
  for name, rule in values.get("rules", {}).items():
    yield f"{name}: {rule}."


def _voices(task: str, values: Scores) -> Element | None:
  """Returns the table of the voices that were in training, worst first, None for fewer than two."""
  name = scoring.leading(values)
  scored = [(voice, own) for voice, own in values.get("voices", {}).items() if name in own]
  if len(scored) < 2:
    return None
  scored.sort(key=lambda pair: pair[1][name], reverse=name in scoring.LESS_IS_BETTER)
  most = max(own[name] for _, own in scored) or 1
  rows = [
    row(
      voice + " (worst)" * (place == 0),
      score(own, name),
      bar(own[name] / most, color=int(place == 0)),
      number(own["examples"]),
    )
    for place, (voice, own) in enumerate(scored)
  ]
  return table([f"{task}, voice", title_of(name), "", "n"], rows, f"{task} by voice")


def tokens_by_task(run: RunFiles) -> Element:
  """Returns a table of tokens trained on by task, and of their actual and configured shares."""
  mixture, seen = run.experiment.mixture, run.seen
  total = sum(values[mixture.unit] for values in seen.values()) or 1
  rows = []
  for (task, _), share in zip(mixture.tasks, mixture.shares, strict=True):
    values = seen.get(task.name)
    if values is None:
      cells = [number(None)] * 6
    else:
      part = values[mixture.unit] / total
      cells = [number(values["tokens"]), bar(part), number(part, ".1%"), number(share, ".1%")]
      cells += [number(values["examples"]), number(values["epochs"], ".2f")]
    rows.append(row(task.name, *cells))
  head = ["task", "tokens", "", f"share of {mixture.unit}", "configured", "examples", "epochs"]
  return table(head, rows, "Tokens by task")


def data(run: RunFiles) -> Element:
  """Returns a table of the records and hours of each corpus by split."""
  order = {split: place for place, split in enumerate(corpora.SPLITS)}
  rows = []
  for corpus in run.prepared.get("corpora", {}).values():
    for split in sorted(corpus["splits"], key=lambda name: order.get(name, len(order))):
      values = corpus["splits"][split]
      left_out = sum(kind["records"] for kind in values["quarantined"].values())
      cells = number(values["records"]), number(sum(values["hours"].values()), ".2f")
      rows.append(row(f"{corpus['name']}, {split}", *cells, number(left_out)))
  return table(["corpus, split", "records", "hours of speech", "left out"], rows, "Data")


def left_out(run: RunFiles) -> list[Element]:
  """Returns a list of the reasons why records were left out, a line per kind, [] if none was."""
  faults = [
    element("li", f"{corpus['name']}, {split}: {fault['records']} × {kind}. {fault['first']}")
    for corpus in run.prepared.get("corpora", {}).values()
    for split, values in corpus["splits"].items()
    for kind, fault in values["quarantined"].items()
  ]
  return [element("ul", faults, class_="note")] if faults else []


def goodput(run: RunFiles) -> Element:
  """Returns a table of the seconds and share of each goodput bucket."""
  whole = sum(run.goodput.values()) or 1
  rows = []
  for bucket, seconds in sorted(run.goodput.items(), key=lambda item: -item[1]):
    share = seconds / whole
    share_bar = bar(share, color=2 if bucket == "step" else 1)
    rows.append(row(bucket, number(seconds, quantities.duration), share_bar, number(share, ".1%")))
  return table(["bucket", "time", "", "share"], rows, "Where the time went")


def held_out(run: RunFiles, named: Sequence[tuple[str, str, str]]) -> Element:
  """Returns a table of every held-out measurement; `named` are (task, key, title) of columns."""
  rows = []
  for line in run.measured:
    values = [line["held_out"].get(task, {}).get(key) for task, key, _ in named]
    rows.append(row(f"{line['step']:,}", *(number(value, charts.short) for value in values)))
  return table(["step", *(title for *_, title in named)], rows, "Held-out measurements")
