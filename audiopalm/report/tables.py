"""The numbers of one run as tables: scores, data, tokens by task, time."""

from collections.abc import Iterator, Sequence

from audiopalm import quantities
from audiopalm.data import corpora
from audiopalm.evaluation import ears, report, scoring, voice_scores
from audiopalm.metrics.tally import Scores
from audiopalm.report import charts
from audiopalm.report.elements import Element, bar, element, folded, number, row, table
from audiopalm.report.run import RunFiles

# Those of the console, and one that it has no room for.
COLUMNS = {
  name: (title, factor, digits)
  for title, name, factor, digits in (
    *report.COLUMNS,
    *report.INDEPENDENT,
    ("ASR-chrF", "asr_chrf", 1, 1),
    ("indep. ASR-chrF", f"{ears.PREFIX}asr_chrf", 1, 1),
    *report.PAIR_COLUMNS,
  )
}


def title_of(name: str) -> str:
  """Returns a score's title with the direction in which it gets better: "WER % ↓"."""
  return f"{COLUMNS[name][0]} {'↓' if name in report.LESS_IS_BETTER else '↑'}"


def score(values: Scores | None, name: str | None) -> Element:
  """Returns the cell of a score, exact in its `data`, and of its interval; "–" without one."""
  if not values or name is None or name not in values:
    return number(None, "")
  cell = number(values[name], report.number(values, name, *COLUMNS[name][1:]))
  half = report.half(values, name, *COLUMNS[name][1:])
  if half:
    low, high = (
      report.number({name: end}, name, *COLUMNS[name][1:]) for end in values["intervals"][name]
    )
    cell.append(element("small", half, title=f"{low} to {high}"))
  return cell


def headline(scores: Scores) -> Element:
  """Returns a row per task: its summarizing score, by voices, beside the baselines."""
  systems = [name for name in report.BASELINES if name in scores["baselines"]]
  heard = any(scores[scoring.HELD_OUT].values())
  independent = any(
    _other(values, scoring.leading(values))
    for values in map(scores.get, report.tasks(scores))
    if values
  )
  rows = []
  for task in report.tasks(scores):
    values, held_out = scores.get(task), scores[scoring.HELD_OUT].get(task)
    name = scoring.leading(values or held_out or {})
    cells = [score(values, name), _worst(values, name)]
    if independent:
      other = _other(values or held_out or {}, name)
      cells.append(score(values, other))
    if heard:
      cells += [score(held_out, name), _worst(held_out, name)]
    cells += [score(scores["baselines"][system].get(task), name) for system in systems]
    measure = element("td", title_of(name) if name else "–", class_="text")
    rows.append(row(task, measure, *cells))
  head = ["task", element("th", "score", scope="col", class_="text"), "test split", "worst voice"]
  head += ["independent recognizer"] if independent else []
  head += ["held-out voices", "worst of them"] if heard else []
  return table([*head, *(report.BASELINES[name] for name in systems)], rows, "Scores by task")


def _other(values: Scores, name: str | None) -> str | None:
  """Returns the score of the independent recognizer beside one by the run itself, or None."""
  other = f"{ears.PREFIX}{name}"
  return other if other in values else None


def suites(scores: Scores) -> Iterator[Element]:
  """Yields a table for each suite: the scores that lead there, by task and languages."""
  for suite, section in scores.get(scoring.SUITES, {}).items():
    title = suite.replace("_", " ")
    yield _score_table(title, list(report.suite_rows(section)), f"Suite {title}")


def _score_table(
  title: str, rows: Sequence[tuple[str, Scores]], name: str, lead: bool = False
) -> Element:
  """Returns a table of all scores that some of these rows have, and of how many examples.

  Rows that are indented are parts of the one above; `lead` makes the first stand out.
  """
  used = [score_name for score_name in COLUMNS if any(score_name in values for _, values in rows)]
  drawn = []
  for place, (what, values) in enumerate(rows):
    class_ = "sub" if what.startswith(" ") else "lead" if lead and not place else None
    examples = number(values.get("examples"), f"{values.get('examples', 0):,}")
    cells = [*(score(values, score_name) for score_name in used), examples]
    drawn.append(row(what.strip(), *cells, class_=class_))
  return table([title, *map(title_of, used), "n"], drawn, name)


def voices(scores: Scores) -> list[Element]:
  """Returns how the recognizer of --asr hears each voice, under a heading; [] where it was not
  asked."""
  section = scores.get(scoring.RECORDINGS)
  if section is None:
    return []
  systems = voice_scores.systems(section)
  drawn = [
    row(
      what.strip(),
      *(cell for name in systems for cell in _heard(by_system.get(name))),
      class_="sub" if what.startswith(" ") else None,
    )
    for what, by_system in voice_scores.rows(section)
  ]
  head = [cell for name in systems for cell in (voice_scores.title_of(name), "n")]
  title = f"Each voice as the independent recognizer hears it, {title_of(ears.WER)}"
  rules = [f"{name}: {rule}." for name, rule in section["rules"].items()]
  return [
    element("h3", title),
    table(["voice", *head], drawn, title),
    element("p", " ".join(rules), class_="note"),
  ]


def _heard(values: Scores | None) -> tuple[Element, Element]:
  n = (values or {}).get("examples")
  return score(values, ears.leading(values or {})), number(n, "" if n is None else str(n))


def every_score(scores: Scores) -> Iterator[Element]:
  """Yields, for each task, a table of all its scores and one of its voices, folded."""
  for task in report.tasks(scores):
    own = scores.get(task, {})
    first, *rest = report.rows(task, scores)
    outputs = [(f"  output {stream}", values) for stream, values in own.get("outputs", {}).items()]
    title = f"All scores of {task}"
    drawn = _score_table(task, [first, *outputs, *rest], title, lead=True)
    yield folded(title, drawn, *_notes(own), *_voices(task, own))


def _worst(values: Scores | None, name: str | None) -> Element:
  worst = (values or {}).get("worst_voice", {})
  if name not in worst or len(values["voices"]) < 2:
    return number(None, "")
  cell = score(worst, name)
  cell.append(element("small", f" {worst['voice']}"))
  return cell


def _notes(values: Scores) -> Iterator[Element]:
  notes = []
  if "mean_words" in values:
    notes.append(f"References have {values['mean_words']:.1f} words on average.")
  if "mean_characters" in values:
    notes.append(f"References have {values['mean_characters']:.1f} characters on average.")
  if values.get("cut"):
    notes.append(f"{values['cut']} of {values['examples']} outputs were cut before their end.")
  if values.get("left_out"):
    notes.append(f"{values['left_out']} examples were left out: longer than a row.")
  notes += [f"{name}: {rule}." for name, rule in values.get("rules", {}).items()]
  if notes:
    yield element("p", " ".join(notes), class_="note")


def _voices(task: str, values: Scores) -> Iterator[Element]:
  """Yields the table of the voices heard in training, worst first."""
  voices, name = values.get("voices", {}), scoring.leading(values)
  scored = [(voice, own) for voice, own in voices.items() if name in own]
  if len(scored) < 2:
    return
  scored.sort(key=lambda pair: pair[1][name], reverse=name in report.LESS_IS_BETTER)
  most = max(own[name] for _, own in scored) or 1
  yield table(
    [f"{task}, voice", title_of(name), "", "n"],
    [
      row(
        voice + (" (worst)" if not place else ""),
        score(own, name),
        bar(own[name] / most, color=1 if not place else 0),
        number(own["examples"], str(own["examples"])),
      )
      for place, (voice, own) in enumerate(scored)
    ],
    f"{task} by voice",
  )


def tokens_by_task(run: RunFiles) -> Element:
  """Returns the tokens trained on by task beside the shares that the mixture asks for."""
  mixture, seen = run.experiment.mixture, run.seen
  total = sum(values[mixture.unit] for values in seen.values()) or 1
  rows = []
  for (task, _), share in zip(mixture.tasks, mixture.shares, strict=True):
    values = seen.get(task.name)
    if values is None:
      cells = [number(None, "")] * 6
    else:
      part = values[mixture.unit] / total
      cells = [
        number(values["tokens"], f"{values['tokens']:,}"),
        bar(part),
        number(part, f"{part:.1%}"),
        number(share, f"{share:.1%}"),
        number(values["examples"], f"{values['examples']:,}"),
        number(values["epochs"], f"{values['epochs']:.2f}"),
      ]
    rows.append(row(task.name, *cells))
  head = ["task", "tokens", "", f"share of {mixture.unit}", "asked for", "examples", "epochs"]
  return table(head, rows, "Tokens by task")


def data(run: RunFiles) -> Element:
  """Returns what each corpus holds, by split."""
  rows = []
  for corpus in run.prepared.get("corpora", {}).values():
    for split, values in sorted(corpus["splits"].items(), key=lambda item: _order(item[0])):
      out = sum(kind["records"] for kind in values["quarantined"].values())
      hours = sum(values["hours"].values())
      rows.append(
        row(
          f"{corpus['name']}, {split}",
          number(values["records"], f"{values['records']:,}"),
          number(hours, f"{hours:.2f}"),
          number(out, f"{out:,}"),
        )
      )
  return table(["corpus, split", "records", "hours of speech", "left out"], rows, "Data")


def _order(split: str) -> int:
  return corpora.SPLITS.index(split) if split in corpora.SPLITS else len(corpora.SPLITS)


def left_out(run: RunFiles) -> list[Element]:
  """Returns the reasons why records were left out, a line per kind; [] where none was."""
  faults = [
    element("li", f"{corpus['name']}, {split}: {fault['records']} × {kind}. {fault['first']}")
    for corpus in run.prepared.get("corpora", {}).values()
    for split, values in corpus["splits"].items()
    for kind, fault in values["quarantined"].items()
  ]
  return [element("ul", faults, class_="note")] if faults else []


def goodput(run: RunFiles) -> Element:
  """Returns where the time of training went."""
  whole = sum(run.goodput.values()) or 1
  spent = sorted(run.goodput.items(), key=lambda item: -item[1])
  rows = [
    row(
      bucket,
      number(seconds, quantities.duration(seconds)),
      bar(seconds / whole, color=2 if bucket == "step" else 1),
      number(seconds / whole, f"{seconds / whole:.1%}"),
    )
    for bucket, seconds in spent
  ]
  return table(["bucket", "time", "", "share"], rows, "Where the time went")


def held_out(run: RunFiles, named: Sequence[tuple[str, str, str]]) -> Element:
  """Returns every held-out measurement; `named` are (task, key, title)."""
  rows = [
    row(
      f"{line['step']:,}",
      *(
        number(value, charts.short(value))
        if (value := line["held_out"].get(task, {}).get(key)) is not None
        else number(None, "")
        for task, key, _ in named
      ),
    )
    for line in run.measured
  ]
  return table(["step", *(title for *_, title in named)], rows, "Held-out measurements")
