"""The page of one run."""

import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from audiopalm import quantities
from audiopalm.data import files
from audiopalm.evaluation import answers, scoring
from audiopalm.language_tags import LANGUAGES
from audiopalm.metrics.tally import Scores
from audiopalm.report import charts, curves, elements, examples, tables
from audiopalm.report import run as run_files
from audiopalm.report.elements import Child, Element, element, folded
from audiopalm.report.run import RunFiles

FILE = "report.html"
BASELINES = {
  answers.UNTRAINED: "Untrained: the same model before its first step.",
  answers.NEAREST_COPY: "Nearest copied: the answer of the training example with the most similar "
  "input.",
  answers.UNITS_CEILING: "Via units: the reference recordings encoded as units and decoded, the "
  "best that speech can reach.",
}


def page(run: RunFiles) -> str:
  """Returns the page of a run: summary, scores, examples, curves, data, time, settings.

  Notes list what is missing with the commands that make it.
  """
  command = element("code", f"audiopalm report --workdir {run.workdir}")
  closing = " from the files of the run. This page works offline and needs no other files."
  footer = element("footer", element("p", "Written by ", command, closing, class_="note"))
  title = f"{run.experiment.name}: a speech-text language model"
  return elements.page(title, _header(run), run.gaps(), _parts(run), footer)


def write(run: RunFiles) -> Path:
  """Writes the page of a run and returns its path."""
  path = run.workdir / FILE
  with files.replacing(path) as part:
    part.write_text(page(run), encoding="utf-8")
  return path


def facts(run: RunFiles) -> dict[str, str]:
  """Returns {label: value} of a run's size, data, progress and speed, as far as known."""
  steps, tokens = run.experiment.steps, sum(line["tokens"] for line in run.steps)
  seconds = sum(map(run_files.step_seconds, run.steps))
  # Summed over corpora and roles; a corpus of several tasks counts once.
  splits = [corpus["splits"]["train"] for corpus in run.prepared.get("corpora", {}).values()]
  hours = sum(sum(split["hours"].values()) for split in splits)
  facts = {
    "parameters": charts.short(run.experiment.model.parameters(run.space)),
    "steps": f"{run.step:,}" + (f" of {steps:,}" if run.step < steps else ""),
    "tokens trained on": charts.short(tokens),
    "hours of speech": f"{hours:.1f}" if hours else "",
    "training time": quantities.duration(sum(run.goodput.values())) if run.goodput else "",
    "tokens a second": charts.short(tokens / seconds) if seconds else "",
  }
  return {what: value for what, value in facts.items() if value}


def written(run: RunFiles) -> str | None:
  """Returns the UTC date on which training last wrote its time, None before that."""
  if run.ended is None:
    return None
  return datetime.datetime.fromtimestamp(run.ended, datetime.UTC).strftime("%-d %B %Y")


def _header(run: RunFiles) -> Element:
  experiment, day = run.experiment, written(run)
  tasks = ", ".join(task.name for task in experiment.tasks)
  codes = dict.fromkeys(code for corpus in experiment.corpora for code in corpus.languages)
  languages = ", ".join(LANGUAGES.get(code, code) for code in codes)
  tiles = [
    element("li", element("b", value), element("span", what)) for what, value in facts(run).items()
  ]
  return element(
    "header",
    element("p", "Speech-text language model" + (f" · {day}" if day else ""), class_="kicker"),
    element("h1", experiment.name),
    element("p", f"{tasks} in {languages}. ", _shape(run)),
    element("ul", tiles, class_="tiles"),
  )


def _shape(run: RunFiles) -> str:
  """Returns a sentence about the model's size and its tokens."""
  title, columns = run.experiment.model.title, run.space.columns
  streams = "; ".join(
    f"{sum(spec.sizes):,} ids of {name}" + (f", {spec.rate_hz:g} a second" if spec.rate_hz else "")
    for name, spec in run.space.streams.items()
  )
  over = "one column" if columns == 1 else f"{columns} columns"
  title = f"{title[:1].upper()}{title[1:]}"
  return f"{title}, over {over} of tokens: {streams}." if streams else f"{title}."


def _parts(run: RunFiles) -> Iterator[tuple[str, str, Sequence[Child]]]:
  """Yields (id, title, content) of every part; those without content are left out."""
  scores = run.scores
  if scores is not None:
    legend = element("p", _legend(scores), class_="note")
    score_tables = *tables.suites(scores), *tables.voices(scores), *tables.every_score(scores)
    yield "scores", "Scores", [legend, tables.headline(scores), *score_tables]
    heard = list(examples.of_run(run))
    note = element(
      "p", "The first of each language, not the best ones. Wrong words are ",
      element("mark", "marked"), ", missing ones ", element("del", "struck out"),
      ". Spectrograms show frequency in Hz over time in seconds. Through units: the reference "
      "encoded as units and decoded. MCD: mel-cepstral distance to the reference.", class_="note",
    )  # fmt: skip
    yield "examples", "Examples", heard and [note, *heard]
  figures = curves.of_run(run)
  losses = curves.measurements(run)
  numbers = losses and folded("Held-out losses as numbers", tables.held_out(run, losses))
  yield "curves", "Curves", figures and [element("div", figures, class_="charts"), numbers]
  seen = run.seen and [
    element("h3", f"Tokens by task, as of step {run.measured[-1]['step']:,}"),
    tables.tokens_by_task(run),
  ]
  corpora = run.prepared and [element("h3", "Corpora"), tables.data(run), *tables.left_out(run)]
  yield "data", "Data", [*seen, *corpora]
  twice = f" {run.lost_steps:,} steps were done again after a stop." if run.lost_steps else ""
  note = element("p", f"Training only, summed over all starts.{twice}", class_="note")
  yield "time", "Where the time went", run.goodput and [note, tables.goodput(run)]
  space = f"Manifest of token ids, {run.prepared.get('manifest_hash', 'not prepared')}"
  yield "settings", "Settings", [
    folded("Resolved config", _json(json.loads(run.experiment.to_json()))),
    folded(space, _json(run.manifest)),
  ]  # fmt: skip


def _legend(scores: Scores) -> str:
  legend = ["↓: lower is better. ↑: higher is better."]
  legend += [text for name, text in BASELINES.items() if name in scores["baselines"]]
  rules = {
    values.get("rules", {}).get(name)
    for values in scores.values()
    for name in ("transcripts", scoring.INDEPENDENT_TRANSCRIPTS)
  } - {None}
  if rules:
    legend.append(
      f"Speech is scored by its transcripts, including their errors: {', '.join(sorted(rules))}."
    )
  return " ".join(legend)


def _json(value: object) -> Element:
  return element("pre", json.dumps(value, indent=1, ensure_ascii=False), tabindex="0")
