"""Writes the tables and figures of docs/ablations.md from the results of its sweep.

  pip install '.[docs]'
  python docs/ablations.py          # --cut first removes unused scores from the results

It writes the text between `<!-- NAME -->` and `<!-- end -->`, and the figures in docs/ablations.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiopalm.cluster import sweep
from audiopalm.data import files
from audiopalm.evaluation import scoring

if TYPE_CHECKING:
  from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "ablations"
PLAN, TOKENIZERS, RESULTS = (FOLDER / name for name in ("plan.toml", "tokenizers.toml", "results"))
PAGE = ROOT / "docs" / "ablations.md"
FIGURES = PAGE.with_suffix("")
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
# {figure: (runs, task, held-out metric, title)}
CURVES = {
  "begin": (
    ("base", "scratch", "scratch_tuned", "few_text"),
    "ast",
    "nll_text",
    "AST: nats per token, by initialization",
  ),
  "tasks": (("base", "ast_only", "s2st"), "ast", "nll_text", "AST: nats per token, by tasks"),
  "sizes": (("small", "base", "large"), "ast", "nll_text", "AST: nats per token, by size"),
}
SCORES = ("wer", "bleu", "nll")
# The config of the runs that differ in their tokenizer, their scores and factors, and stages.
UNITS = "units.py"
UNIT_SCORES = {
  "ASR WER": ("asr.wer", 100),
  "of new voices": (f"{scoring.HELD_OUT}.asr.wer", 100),
  "AST BLEU": ("ast.bleu", 1),
  "from new voices": (f"{scoring.HELD_OUT}.ast.bleu", 1),
}
PARTS = ("prepare", "train", "evaluate")
# Runs in the zero-shot table.
UNSEEN = ("base", "without_pair", "few_text", "kept", "scratch", "scratch_tuned", "all_topics")
# The text model, and runs that start from it with two mixtures.
TEXT, KEPT = "text", {"base": "speech only", "kept": "a quarter text"}
RETENTION = ("text", "nll_text")  # a task, and its held-out metric

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # by name of the run, one for each seed


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--results", type=Path, default=RESULTS)
  parser.add_argument(
    "--cut",
    action="store_true",
    help="first remove scores from the results that this page does not show",
  )
  arguments = parser.parse_args()
  plan, of_tokenizers = sweep.read(PLAN), sweep.read(TOKENIZERS)
  if arguments.cut:
    cut_all(plan, arguments.results)
    cut_all(of_tokenizers, arguments.results)
  results = finished(plan, arguments.results)
  tables = {
    "comparisons": comparisons(plan, arguments.results),
    "zero-shot": zero_shot(results),
    "runs": runs(plan, results),
    "tokenizers": tokenizers(of_tokenizers, arguments.results),
    "tokenizer-comparisons": comparisons(of_tokenizers, arguments.results),
  }
  FIGURES.mkdir(exist_ok=True)
  for name, (names, task, metric, title) in CURVES.items():
    shown = {run: results[run] for run in names if results[run]}
    if shown:
      draw(FIGURES / f"{name}.png", shown, task, metric, title)
  if all(results[name] for name in (TEXT, *KEPT)):
    draw_retention(FIGURES / "retention.png", results)
  PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
  print(f"Wrote {PAGE}")


def finished(plan: sweep.SweepPlan, results: Path) -> dict[str, list[dict[str, Any]]]:
  """Returns the results of each run of a plan, in the order of its seeds."""
  return {
    run.name: [result for seed in plan.seeds if (result := sweep.result(results, run, seed))]
    for run in plan.runs
  }


def cut_all(plan: sweep.SweepPlan, results: Path) -> None:
  """Replaces every result of a plan by its `cut`, with one line per field."""
  for run in plan.runs:
    for seed in plan.seeds:
      if (result := sweep.result(results, run, seed)) is None:
        continue
      fields = cut(result, held_out=run.config.name == UNITS).items()
      lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields]
      with files.replacing(sweep.result_path(results, run, seed)) as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def cut(result: Mapping[str, Any], held_out: bool = False) -> dict[str, Any]:
  """Returns a result with only those scores and curves that this page shows; `held_out` keeps the
  scores on held-out voices."""
  metrics = {(task, metric) for _, task, metric, _ in CURVES.values()} | {RETENTION}
  curve = [
    [step, {t: {m: losses[t][m]} for t, m in sorted(metrics) if m in losses.get(t, {})}]
    for step, losses in result["curve"]
  ]
  seen = {task: {"tokens": counts["tokens"]} for task, counts in result["seen"].items()}
  at = {step: _cut_tasks(tasks) for step, tasks in result["scores"]["at"].items()}
  scores = {"at": at, **_cut_tasks(result["scores"])}
  if held_out:
    scores[scoring.HELD_OUT] = _cut_tasks(result["scores"][scoring.HELD_OUT])
  return {**result, "seen": seen, "scores": scores, "curve": curve}


def _cut_tasks(tasks: Mapping[str, Any]) -> dict[str, Any]:
  shown = {task: _cut_scores(scores) for task, scores in tasks.items()}
  return {task: scores for task, scores in shown.items() if scores}


def _cut_scores(scores: Mapping[str, Any]) -> dict[str, Any]:
  shown: dict[str, Any] = {name: scores[name] for name in SCORES if name in scores}
  if shown:
    shown["intervals"] = {
      name: ends for name, ends in scores.get("intervals", {}).items() if name in SCORES
    }
  if "zero_shot" in scores:
    shown["zero_shot"] = _cut_scores(scores["zero_shot"])
  return shown


def comparisons(plan: sweep.SweepPlan, results: Path) -> str:
  """Returns the table of the comparisons."""
  rows = []
  for outcome in sweep.outcomes(plan, results):
    compare, error = outcome.compare, outcome.error
    is_significant = outcome.verdict in ("as expected", "opposite")
    verdict = f"**{outcome.verdict}**" if is_significant else outcome.verdict
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
    return "No comparison has results of both runs yet."
  header = ("", "question", "paper", "score", "from", "to", "difference", "")
  return table(header, rows)


def zero_shot(results: Results) -> str:
  """Returns the table of AST on the language pair without AST training, run by run."""
  cells = {
    name: {
      _seed(result): _with_interval(result["scores"]["ast"]["zero_shot"])
      for result in results[name]
    }
    for name in UNSEEN
    if results[name]
  }
  if not cells:
    return "None of these runs has finished yet."
  seeds = sorted({seed for row in cells.values() for seed in row})
  rows = [(f"`{name}`", *(row.get(seed, "") for seed in seeds)) for name, row in cells.items()]
  return table(("run", *(f"seed {seed}" for seed in seeds)), rows)


def _with_interval(scores: Mapping[str, Any]) -> str:
  low, high = scores["intervals"]["bleu"]
  return f"{scores['bleu']:.1f} ({low:.1f} to {high:.1f})"


def runs(plan: sweep.SweepPlan, results: Results) -> str:
  """Returns the table of all runs: settings, and means over seeds of tokens, minutes and scores."""
  rows = []
  for run in plan.runs:
    seeds = results[run.name]
    if not seeds:
      rows.append((f"`{run.name}`", _settings(run), "0", "", "", ""))
      continue
    tokens = statistics.fmean(
      sum(task["tokens"] for task in result["seen"].values()) for result in seeds
    )
    minutes = statistics.fmean(result["seconds"]["train"] / 60 for result in seeds)
    scores = ", ".join(_scores(run, seeds))
    rows.append(
      (f"`{run.name}`", _settings(run), str(len(seeds)), f"{tokens / 1e6:.1f}",
       f"{minutes:.0f}", scores)
    )  # fmt: skip
  header = ("run", "settings", "seeds", "million tokens", "minutes", "scores on the test split")
  return table(header, rows)


def tokenizers(plan: sweep.SweepPlan, results: Path) -> str:
  """Returns the table of the runs that differ in their tokenizer: means over seeds."""
  rows = []
  for run, seeds in zip(plan.runs, finished(plan, results).values(), strict=True):
    if run.config.name != UNITS or not seeds:
      continue
    minutes = [statistics.fmean(result["seconds"][part] / 60 for result in seeds) for part in PARTS]
    scores = (_spread([sweep.score(result["scores"], path) for result in seeds], factor)
              for path, factor in UNIT_SCORES.values())  # fmt: skip
    rows.append((f"`{run.name}`", str(len(seeds)), *scores, *(f"{part:.0f}" for part in minutes)))
  if not rows:
    return "No run has finished yet."
  return table(("units", "seeds", *UNIT_SCORES, *(f"minutes to {part}" for part in PARTS)), rows)


def _seed(result: Mapping[str, Any]) -> int:
  return result["made_from"]["seed"]


def _settings(run: sweep.SweepRun) -> str:
  return " ".join(f"`{path}={value}`" for path, value in run.settings)


def _scores(run: sweep.SweepRun, results: Sequence[Mapping[str, Any]]) -> list[str]:
  shown = []
  for task in run.evaluate:
    scores = [result["scores"].get(task, {}) for result in results]
    names = [name for name in SCORES[:2] if all(name in seed for seed in scores)]
    for name in names or ["nll"]:
      factor = 100 if name == "wer" else 1
      shown.append(f"{task} {name} {_spread([seed[name] for seed in scores], factor)}")
  return shown


def _spread(values: Sequence[float], factor: float = 1) -> str:
  """Returns a mean with minimum and maximum."""
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
  """Returns (step, nats per token of held-out text) and (step, MT BLEU) of a run.

  Step 0 has the values of the text model from which the run started.
  """
  task, metric = RETENTION
  nats = [(0, text["curve"][-1][1][task][metric])]
  nats += [(step, losses[task][metric]) for step, losses in result["curve"]]
  bleu = [(0, text["scores"]["mt"]["bleu"])]
  bleu += [(int(step), tasks["mt"]["bleu"]) for step, tasks in result["scores"]["at"].items()]
  return nats, [*bleu, (result["steps"], result["scores"]["mt"]["bleu"])]


def draw_retention(path: Path, results: Results) -> None:
  """Draws the scores of text before, during and after speech training."""
  from matplotlib import pyplot

  texts = {_seed(result): result for result in results[TEXT]}
  figure, axes_pair = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
  titles = ("Held-out text: nats per token", "MT: BLEU on the test split")
  for (name, label), color in zip(KEPT.items(), COLORS, strict=False):
    pairs = [
      retention(texts[_seed(result)], result) for result in results[name] if _seed(result) in texts
    ]
    for axes, curves, marker in zip(axes_pair, zip(*pairs, strict=True), (None, "o"), strict=True):
      _lines(axes, curves, color, f"{name}: {label}", marker)
  for axes, title in zip(axes_pair, titles, strict=True):
    _finish(axes, title)
  axes_pair[1].set_ylim(0, 100)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def draw(
  path: Path, shown: Mapping[str, Sequence[Mapping[str, Any]]], task: str, metric: str, title: str
) -> None:
  """Draws a held-out metric over steps: the mean over seeds, and a thin line for each seed."""
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(figsize=(6, 3.4), layout="constrained")
  for (name, results), color in zip(shown.items(), COLORS, strict=False):
    curves = [
      [
        (step, losses[task][metric])
        for step, losses in result["curve"]
        if metric in losses.get(task, {})
      ]
      for result in results
    ]
    _lines(axes, curves, color, name)
  _finish(axes, title)
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def _lines(
  axes: "Axes",
  curves: Sequence[Sequence[tuple[int, float]]],
  color: str,
  label: str,
  marker: str | None = None,
) -> None:
  """Draws the curve of each seed as a thin line, and their mean."""
  for curve in curves:
    axes.plot(*zip(*curve, strict=True), color=color, linewidth=0.6, alpha=0.5)
  steps = [step for step, _ in curves[0]]
  means = [statistics.fmean(point[1] for point in points) for points in zip(*curves, strict=False)]
  axes.plot(steps[: len(means)], means, color=color, label=label, marker=marker, markersize=4)


def _finish(axes: "Axes", title: str) -> None:
  axes.set(title=title, xlabel="step")
  axes.legend(frameon=False)
  axes.spines[["top", "right"]].set_visible(False)


def filled(page: str, tables: Mapping[str, str]) -> str:
  """Returns the page with the tables between their marks; ValueError for a missing mark."""

  def insert(page: str, name: str, text: str) -> str:
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not marks.search(page):
      raise ValueError(f"{PAGE} has no place <!-- {name} --> ... <!-- end -->.")
    replace: Callable[[re.Match], str] = lambda match: f"{match[1]}{text}\n{match[2]}"  # noqa: E731
    return marks.sub(replace, page)

  for name, text in tables.items():
    page = insert(page, name, text)
  return page


if __name__ == "__main__":
  main()
