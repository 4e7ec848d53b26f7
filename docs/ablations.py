"""Writes the tables and figures of docs/ablations.md from the results of its sweep.

  pip install '.[docs]'
  python docs/ablations.py          # with --cut, results keep only what it shows

What stands between `<!-- NAME -->` and `<!-- end -->` is made here, the rest by hand. Figures lie
in docs/ablations.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm.cluster import sweep
from audiopalm.data import files

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "ablations"
PLAN, RESULTS = FOLDER / "plan.toml", FOLDER / "results"
PAGE = ROOT / "docs" / "ablations.md"
FIGURES = PAGE.with_suffix("")
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
# Figure: (runs, task, held-out metric, title).
CURVES = {
  "begin": (
    ("base", "scratch", "scratch_tuned", "few_text"),
    "ast",
    "nll_text",
    "AST: nats a token, by where it begins",
  ),
  "tasks": (("base", "ast_only", "s2st"), "ast", "nll_text", "AST: nats a token, by tasks"),
  "sizes": (("small", "base", "large"), "ast", "nll_text", "AST: nats a token, by size"),
}
SCORES = ("wer", "bleu", "nll")
# Runs that are shown zero-shot.
UNSEEN = ("base", "without_pair", "few_text", "kept", "scratch", "scratch_tuned", "all_topics")
# The text model, and the runs that begin with it at two mixtures.
TEXT, KEPT = "text", {"base": "speech alone", "kept": "a quarter text"}
RETAINED = ("text", "nll_text")  # a task, and its held-out metric


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--results", type=Path, default=RESULTS)
  parser.add_argument(
    "--cut", action="store_true", help="first leave in the results only what this page shows"
  )
  arguments = parser.parse_args()
  plan = sweep.read(PLAN)
  if arguments.cut:
    cut_all(plan, arguments.results)
  found = finished(plan, arguments.results)
  made = {
    "comparisons": comparisons(plan, arguments.results),
    "zero-shot": zero_shot(found),
    "runs": runs(plan, found),
  }
  FIGURES.mkdir(exist_ok=True)
  for name, (names, task, metric, title) in CURVES.items():
    shown = {run: found[run] for run in names if found[run]}
    if shown:
      draw(FIGURES / f"{name}.png", shown, task, metric, title)
  if all(found[name] for name in (TEXT, *KEPT)):
    draw_retention(FIGURES / "retention.png", found)
  PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
  print(f"Wrote {PAGE} from {sum(map(len, found.values()))} results")


def finished(plan: sweep.Plan, results: Path) -> dict[str, list[dict[str, Any]]]:
  """Returns the results of every run of a plan, seed by seed."""
  return {
    run.name: [one for seed in plan.seeds if (one := sweep.result(results, run, seed))]
    for run in plan.runs
  }


def cut_all(plan: sweep.Plan, results: Path) -> None:
  """Writes every result of a plan again, as `cut` has it: a line for each of its parts."""
  for run in plan.runs:
    for seed in plan.seeds:
      if (found := sweep.result(results, run, seed)) is None:
        continue
      lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in cut(found).items()]
      with files.replacing(sweep.result_path(results, run, seed)) as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def cut(result: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what this page shows of a result, with what it was made from and by."""
  metrics = {(task, metric) for _, task, metric, _ in CURVES.values()} | {RETAINED}
  curve = [
    [step, {t: {m: held[t][m]} for t, m in sorted(metrics) if m in held.get(t, {})}]
    for step, held in result["curve"]
  ]
  seen = {task: {"tokens": counts["tokens"]} for task, counts in result["seen"].items()}
  at = {step: _cut_tasks(tasks) for step, tasks in result["scores"]["at"].items()}
  scores = {"at": at, **_cut_tasks(result["scores"])}
  return {**result, "seen": seen, "scores": scores, "curve": curve}


def _cut_tasks(tasks: Mapping[str, Any]) -> dict[str, Any]:
  kept = {task: _cut_scores(scores) for task, scores in tasks.items()}
  return {task: scores for task, scores in kept.items() if scores}


def _cut_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
  kept: dict[str, Any] = {name: scores[name] for name in SCORES if name in scores}
  if kept:
    kept["intervals"] = {
      name: ends for name, ends in scores.get("intervals", {}).items() if name in SCORES
    }
  if "zero_shot" in scores:
    kept["zero_shot"] = _cut_scores(scores["zero_shot"])
  return kept


def comparisons(plan: sweep.Plan, results: Path) -> str:
  """Returns the table of what was expected and what came."""
  rows = []
  for outcome in sweep.outcomes(plan, results):
    compare, error = outcome.compare, outcome.error
    verdict = f"**{outcome.verdict}**" if "counts" in outcome.verdict else outcome.verdict
    factor = 100 if compare.to[1].endswith("wer") else 1
    difference = f"{factor * outcome.difference:+.2f}"
    rows.append(
      (
        compare.name, compare.question, compare.paper, compare.to[1],
        _spread(outcome.source, factor), _spread(outcome.to, factor),
        difference + (f" ± {factor * error:.2f}" if error else ""), verdict,
      )
    )  # fmt: skip
  if not rows:
    return "No comparison has both of its runs yet."
  header = ("", "question", "paper", "score", "from", "to", "difference", "")
  return table(header, rows)


def zero_shot(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
  """Returns the table of AST on the pair of languages that no AST was trained on, run by run."""
  cells = {
    name: {_seed(one): _with_interval(one["scores"]["ast"]["zero_shot"]) for one in found[name]}
    for name in UNSEEN
    if found[name]
  }
  if not cells:
    return "No run that is asked for it has finished yet."
  seeds = sorted({seed for row in cells.values() for seed in row})
  rows = [(f"`{name}`", *(row.get(seed, "") for seed in seeds)) for name, row in cells.items()]
  return table(("run", *(f"seed {seed}" for seed in seeds)), rows)


def _with_interval(scores: Mapping[str, Any]) -> str:
  low, high = scores["intervals"]["bleu"]
  return f"{scores['bleu']:.1f} ({low:.1f} to {high:.1f})"


def runs(plan: sweep.Plan, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
  """Returns the table of all runs: settings, tokens, minutes and scores, means over seeds."""
  rows = []
  for run in plan.runs:
    results = found[run.name]
    if not results:
      rows.append((f"`{run.name}`", _settings(run), "0", "", "", ""))
      continue
    tokens = statistics.fmean(
      sum(task["tokens"] for task in one["seen"].values()) for one in results
    )
    minutes = statistics.fmean(one["seconds"]["train"] / 60 for one in results)
    scores = ", ".join(_scores(run, results))
    rows.append(
      (f"`{run.name}`", _settings(run), str(len(results)), f"{tokens / 1e6:.1f}",
       f"{minutes:.0f}", scores)
    )  # fmt: skip
  header = ("run", "settings", "seeds", "million tokens", "minutes", "scores on the test split")
  return table(header, rows)


def _seed(result: Mapping[str, Any]) -> int:
  return result["made_from"]["seed"]


def _settings(run: sweep.Run) -> str:
  return " ".join(f"`{path}={value}`" for path, value in run.settings)


def _scores(run: sweep.Run, results: Sequence[Mapping[str, Any]]) -> list[str]:
  shown = []
  for task in run.evaluate:
    scored = [one["scores"].get(task, {}) for one in results]
    names = [name for name in SCORES[:2] if all(name in one for one in scored)]
    for name in names or ["nll"]:
      factor = 100 if name == "wer" else 1
      shown.append(f"{task} {name} {_spread([one[name] for one in scored], factor)}")
  return shown


def _spread(values: Sequence[float], factor: float = 1) -> str:
  """Returns a mean with the least and the greatest."""
  values = [factor * value for value in values]
  mean = f"{statistics.fmean(values):.2f}"
  return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a Markdown table."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def retention(
  text: Mapping[str, Any], result: Mapping[str, Any]
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
  """Returns (step, nats a token of held-out text) and (step, MT BLEU) of a run.

  At step 0 they are those of the text model it began with, at its last step.
  """
  task, metric = RETAINED
  nats = [(0, text["curve"][-1][1][task][metric])]
  nats += [(step, held[task][metric]) for step, held in result["curve"]]
  bleu = [(0, text["scores"]["mt"]["bleu"])]
  bleu += [(int(step), tasks["mt"]["bleu"]) for step, tasks in result["scores"]["at"].items()]
  return nats, [*bleu, (result["steps"], result["scores"]["mt"]["bleu"])]


def draw_retention(path: Path, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
  """Draws what is left of text while speech is learned: before, during and after."""
  from matplotlib import pyplot

  texts = {_seed(one): one for one in found[TEXT]}
  figure, both = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
  titles = ("Held-out text: nats a token", "MT: BLEU on the test split")
  for (name, label), colour in zip(KEPT.items(), COLOURS, strict=False):
    pairs = [retention(texts[_seed(one)], one) for one in found[name] if _seed(one) in texts]
    for axes, curves, marker in zip(both, zip(*pairs, strict=True), (None, "o"), strict=True):
      _lines(axes, curves, colour, f"{name}: {label}", marker)
  for axes, title in zip(both, titles, strict=True):
    _finish(axes, title)
  both[1].set_ylim(0, 100)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def draw(
  path: Path, shown: Mapping[str, Sequence[Mapping[str, Any]]], task: str, metric: str, title: str
) -> None:
  """Draws a held-out metric over steps: the mean over seeds, and each seed as a thin line."""
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
  for (name, results), colour in zip(shown.items(), COLOURS, strict=False):
    curves = [
      [(step, held[task][metric]) for step, held in one["curve"] if metric in held.get(task, {})]
      for one in results
    ]
    _lines(axes, curves, colour, name)
  _finish(axes, title)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def _lines(
  axes: Any,
  curves: Sequence[Sequence[tuple[int, float]]],
  colour: str,
  label: str,
  marker: str | None = None,
) -> None:
  """Draws each seed's curve thin, and their mean."""
  for curve in curves:
    axes.plot(*zip(*curve, strict=True), color=colour, linewidth=0.6, alpha=0.5)
  steps = [step for step, _ in curves[0]]
  means = [statistics.fmean(point[1] for point in points) for points in zip(*curves, strict=False)]
  axes.plot(steps[: len(means)], means, color=colour, label=label, marker=marker, markersize=4)


def _finish(axes: Any, title: str) -> None:
  axes.set(title=title, xlabel="step")
  axes.legend(frameon=False)
  axes.spines[["top", "right"]].set_visible(False)


def filled(page: str, made: Mapping[str, str]) -> str:
  """Returns the page with what is made put between its marks; ValueError for a mark that lacks."""

  def put(page: str, name: str, text: str) -> str:
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(page):
      raise ValueError(f"{PAGE} has no place <!-- {name} --> ... <!-- end -->.")
    keep: Callable[[re.Match], str] = lambda match: f"{match[1]}{text}\n{match[2]}"  # noqa: E731
    return marks.sub(keep, page)

  for name, text in made.items():
    page = put(page, name, text)
  return page


if __name__ == "__main__":
  main()
