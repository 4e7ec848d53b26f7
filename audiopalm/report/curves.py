"""What metrics.jsonl draws: losses by task and modality, learning rate, speed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audiopalm.report import charts
from audiopalm.report import run as run_files
from audiopalm.report.charts import Axis, Series
from audiopalm.report.elements import Element
from audiopalm.report.run import Run

MODALITIES = ("text", "speech")
STEPS = Axis("step", zero=True)
NATS = Axis("nats per token, log scale", log=True)
CORRECT = Axis("right tokens, %", zero=True)
SPEED_POINTS = 60
TRAINING = 7  # the palette's grey


def of_run(run: Run) -> Iterator[Element]:
  """Yields the charts of a run, those that have points."""
  names = [task.name for task in run.experiment.tasks]
  each = -(-len(run.steps) // 200) or 1
  averaged = "" if each == 1 else f", means of {each} steps"
  for modality in MODALITIES:
    training = Series(
      "training, all tasks", charts.thinned(trained(run, f"nll_{modality}")), TRAINING, faint=True
    )
    yield from _found(
      charts.line_chart(
        f"Loss of {modality}",
        [training, *_by_task(run, names, f"nll_{modality}")],
        STEPS,
        NATS,
        f"Grey: training{averaged}. Dots: held-out records.",
      )
    )
  for modality in MODALITIES:
    accuracy = f"accuracy_{modality}"
    training = [(step, 100 * value) for step, value in trained(run, accuracy)]
    yield from _found(
      charts.line_chart(
        f"Right {modality} tokens",
        [
          Series("training, all tasks", charts.thinned(training), TRAINING, faint=True),
          *_by_task(run, names, accuracy, 100),
        ],
        STEPS,
        CORRECT,
        "Guessed right with the right ones before them, held out.",
      )
    )
  yield from _found(
    charts.line_chart(
      "Learning rate",
      [Series("rate", charts.thinned(trained(run, "lr")))],
      STEPS,
      Axis("learning rate", zero=True),
    )
  )
  yield from _found(
    charts.line_chart(
      "Speed",
      [Series("speed", speeds(run.steps))],
      STEPS,
      Axis("tokens per second", zero=True),
      "Of training steps alone; saving and measuring are not counted.",
    )
  )
  yield from _found(
    charts.line_chart(
      "Size of gradients",
      [Series("norm", charts.thinned(trained(run, "grad_norm")), 3)],
      STEPS,
      Axis("norm, log scale", log=True),
    )
  )


def measurements(run: Run) -> list[tuple[str, str, str]]:
  """Returns (task, key, title) of every held-out loss by task and modality that was measured."""
  return [
    (task.name, f"nll_{modality}", f"{task.name} {modality}")
    for task in run.experiment.tasks
    for modality in MODALITIES
    if any(f"nll_{modality}" in line["held_out"].get(task.name, {}) for line in run.measured)
  ]


def trained(run: Run, key: str) -> list[tuple[float, float]]:
  """Returns (step, value) of every training step that has a finite value of this name."""
  return [(line["step"], line[key]) for line in run.steps if line.get(key) is not None]


def measured(run: Run, task: str, key: str) -> list[tuple[float, float]]:
  """Returns (step, value) of every held-out measurement of a task."""
  found = ((line["step"], line["held_out"].get(task, {}).get(key)) for line in run.measured)
  return [(step, value) for step, value in found if value is not None]


def speeds(lines: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
  """Returns (last step, tokens per second) of groups of steps: their tokens over their time."""
  each = -(-len(lines) // SPEED_POINTS) or 1
  groups = [lines[start : start + each] for start in range(0, len(lines), each)]
  return [
    (group[-1]["step"], sum(line["tokens"] for line in group) / seconds)
    for group in groups
    if (seconds := sum(map(run_files.step_seconds, group)))
  ]


def _by_task(run: Run, names: Sequence[str], key: str, factor: float = 1) -> list[Series]:
  return [
    Series(
      name, [(step, factor * value) for step, value in measured(run, name, key)], n, marked=True
    )
    for n, name in enumerate(names)
  ]


def _found(chart: Element | None) -> Iterator[Element]:
  if chart is not None:
    yield chart
