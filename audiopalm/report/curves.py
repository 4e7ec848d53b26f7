"""Charts of metrics.jsonl: losses by task and modality, learning rate, speed."""

from collections.abc import Sequence
from typing import get_args

from audiopalm.report import charts
from audiopalm.report import run as run_files
from audiopalm.report.charts import Axis, Point, Series
from audiopalm.report.elements import Element
from audiopalm.report.run import JsonObject, RunFiles
from audiopalm.types import Modality

MODALITIES = get_args(Modality)
STEPS = Axis("step", zero=True)
NATS = Axis("nats per token, log scale", log=True)
LEARNING_RATE = Axis("learning rate", zero=True)
SPEED = Axis("tokens per second", zero=True)
CORRECT = Axis("right tokens, %", zero=True)
SPEED_POINTS = 60
GRAY = 7  # color index of training curves


def of_run(run: RunFiles) -> list[Element]:
  """Returns those charts of a run that have points."""
  size = -(-len(run.steps) // charts.MOST_POINTS) or 1
  averaged = "" if size == 1 else f", means of {size} steps"
  losses, accuracies = [], []
  for modality in MODALITIES:
    series = _training_and_tasks(run, f"nll_{modality}")
    note = f"Gray: training{averaged}. Dots: held-out records."
    losses.append(charts.line_chart(f"Loss of {modality}", series, STEPS, NATS, note))
    series = _training_and_tasks(run, f"accuracy_{modality}", 100)
    note = "Share of tokens predicted right after the right ones before them, held out."
    accuracies.append(charts.line_chart(f"Right {modality} tokens", series, STEPS, CORRECT, note))
  rate = Series("rate", charts.thinned(trained(run, "lr")))
  speed = Series("speed", speeds(run.steps))
  norm = Series("norm", charts.thinned(trained(run, "grad_norm")), 3)
  note = "Training steps only; saving and measuring are not counted."
  figures = [
    *losses,
    *accuracies,
    charts.line_chart("Learning rate", [rate], STEPS, LEARNING_RATE),
    charts.line_chart("Speed", [speed], STEPS, SPEED, note),
    charts.line_chart("Gradient norm", [norm], STEPS, Axis("norm, log scale", log=True)),
  ]
  return [chart for chart in figures if chart is not None]


def measurements(run: RunFiles) -> list[tuple[str, str, str]]:
  """Returns (task, key, title) of each held-out loss that was measured, by task and modality."""
  return [
    (task.name, f"nll_{modality}", f"{task.name} {modality}")
    for task in run.experiment.tasks
    for modality in MODALITIES
    if measured(run, task.name, f"nll_{modality}")
  ]


def trained(run: RunFiles, key: str) -> list[Point]:
  """Returns (step, value) of every training step that has a finite value of this name."""
  return [(line["step"], line[key]) for line in run.steps if line.get(key) is not None]


def measured(run: RunFiles, task: str, key: str) -> list[Point]:
  """Returns (step, value) of every held-out measurement of a task."""
  values = ((line["step"], line["held_out"].get(task, {}).get(key)) for line in run.measured)
  return [(step, value) for step, value in values if value is not None]


def speeds(lines: Sequence[JsonObject]) -> list[Point]:
  """Returns (last step, tokens per second) of at most SPEED_POINTS groups of steps."""
  size = -(-len(lines) // SPEED_POINTS) or 1
  groups = [lines[start : start + size] for start in range(0, len(lines), size)]
  return [
    (group[-1]["step"], sum(line["tokens"] for line in group) / seconds)
    for group in groups
    if (seconds := sum(map(run_files.step_seconds, group)))
  ]


def _training_and_tasks(run: RunFiles, key: str, factor: float = 1) -> list[Series]:
  """Returns the curve of a value in training, and its held-out curve of each task."""

  def scaled(points: Sequence[Point]) -> list[Point]:
    return [(step, factor * value) for step, value in points]

  training = charts.thinned(scaled(trained(run, key)))
  by_task = [
    Series(task.name, scaled(measured(run, task.name, key)), color, marked=True)
    for color, task in enumerate(run.experiment.tasks)
  ]
  return [Series("training, all tasks", training, GRAY, faint=True), *by_task]
