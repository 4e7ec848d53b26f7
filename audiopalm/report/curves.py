"""Charts of metrics.jsonl: losses by task and modality, learning rate, speed."""

from collections.abc import Sequence

from audiopalm.report import charts
from audiopalm.report import run as run_files
from audiopalm.report.charts import Axis, Series
from audiopalm.report.elements import Element
from audiopalm.report.run import JsonObject, RunFiles

MODALITIES = ("text", "speech")
STEPS = Axis("step", zero=True)
NATS = Axis("nats per token, log scale", log=True)
LEARNING_RATE = Axis("learning rate", zero=True)
SPEED = Axis("tokens per second", zero=True)
CORRECT = Axis("right tokens, %", zero=True)
SPEED_POINTS = 60
TRAINING = 7  # the palette's gray


def of_run(run: RunFiles) -> list[Element]:
  """Returns the charts of a run, those that have points."""
  names = [task.name for task in run.experiment.tasks]
  each = -(-len(run.steps) // charts.MOST_POINTS) or 1
  averaged = "" if each == 1 else f", means of {each} steps"
  drawn: list[Element | None] = []

  def draw(title: str, series: list[Series], axis: Axis, note: str | None = None) -> None:
    drawn.append(charts.line_chart(title, series, STEPS, axis, note))

  def of_training(name: str, key: str, color: int = 0, factor: float = 1) -> Series:
    points = [(step, factor * value) for step, value in trained(run, key)]
    return Series(name, charts.thinned(points), color, faint=color == TRAINING)

  for modality in MODALITIES:
    key = f"nll_{modality}"
    series = [of_training("training, all tasks", key, TRAINING), *_by_task(run, names, key)]
    note = f"Gray: training{averaged}. Dots: held-out records."
    draw(f"Loss of {modality}", series, NATS, note)
  for modality in MODALITIES:
    key = f"accuracy_{modality}"
    training = of_training("training, all tasks", key, TRAINING, 100)
    note = "Guessed right with the right ones before them, held out."
    series = [training, *_by_task(run, names, key, 100)]
    draw(f"Right {modality} tokens", series, CORRECT, note)
  draw("Learning rate", [of_training("rate", "lr")], LEARNING_RATE)
  note = "Of training steps alone; saving and measuring are not counted."
  draw("Speed", [Series("speed", speeds(run.steps))], SPEED, note)
  gradients = Axis("norm, log scale", log=True)
  draw("Size of gradients", [of_training("norm", "grad_norm", 3)], gradients)
  return [chart for chart in drawn if chart is not None]


def measurements(run: RunFiles) -> list[tuple[str, str, str]]:
  """Returns (task, key, title) of every held-out loss by task and modality that was measured."""
  return [
    (task.name, f"nll_{modality}", f"{task.name} {modality}")
    for task in run.experiment.tasks
    for modality in MODALITIES
    if any(f"nll_{modality}" in line["held_out"].get(task.name, {}) for line in run.measured)
  ]


def trained(run: RunFiles, key: str) -> list[tuple[float, float]]:
  """Returns (step, value) of every training step that has a finite value of this name."""
  return [(line["step"], line[key]) for line in run.steps if line.get(key) is not None]


def measured(run: RunFiles, task: str, key: str) -> list[tuple[float, float]]:
  """Returns (step, value) of every held-out measurement of a task."""
  values = ((line["step"], line["held_out"].get(task, {}).get(key)) for line in run.measured)
  return [(step, value) for step, value in values if value is not None]


def speeds(lines: Sequence[JsonObject]) -> list[tuple[float, float]]:
  """Returns (last step, tokens per second) of groups of steps: their tokens over their time."""
  each = -(-len(lines) // SPEED_POINTS) or 1
  groups = [lines[start : start + each] for start in range(0, len(lines), each)]
  return [
    (group[-1]["step"], sum(line["tokens"] for line in group) / seconds)
    for group in groups
    if (seconds := sum(map(run_files.step_seconds, group)))
  ]


def _by_task(run: RunFiles, names: Sequence[str], key: str, factor: float = 1) -> list[Series]:
  return [
    Series(
      name, [(step, factor * value) for step, value in measured(run, name, key)], n, marked=True
    )
    for n, name in enumerate(names)
  ]
