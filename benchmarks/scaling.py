"""Measures the cost of one more row, layer, thousand ids or device in a training step.

  python benchmarks/scaling.py
  python benchmarks/scaling.py --repeats 3 --axes rows,layers

Changes a small Llama along one axis at a time (batch rows, layers, ids of the vocabulary) and fits
a line to the medians. Devices are forced CPU devices (--xla_force_host_platform_device_count), each
number in its own process. They share the cores of this machine, so they show the overhead of
sharding and no speedup. Results are in benchmarks/results/scaling-MACHINE.json.
"""

import argparse
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import contenders
import figures
import score
import steps

ROW_LENGTH = 256
BASE = steps.SIZES["4M"]
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
DEVICES = (1, 2, 4, 8)
TITLE = "Scaling of a training step"


@dataclasses.dataclass(frozen=True)
class StepShape:
  """The shape of a step: batch rows of 256, and a Llama of width 256."""

  rows: int = 8
  layers: int = 4
  vocabulary: int = 4_096


AXES = {
  "rows": (4, 8, 12, 16),
  "layers": (2, 4, 6, 8),
  "vocabulary": (2_048, 4_096, 6_144, 8_192),
}
UNITS = {"rows": 1, "layers": 1, "vocabulary": 1_000}  # of the slopes
SPLITS = ("data", "fsdp")  # mesh axes of the devices


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--steps", type=int, default=2, help="steps per repeat")
  parser.add_argument("--axes", default=",".join((*AXES, "devices")))
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return contenders.serve(Steps().answer)

  axes = arguments.axes.split(",")
  measure = functools.partial(times, repeats=arguments.repeats, count=arguments.steps)
  with contenders.Worker(__file__, "--worker") as worker:
    device = worker.ask(what="device")
    points = {
      axis: [dataclasses.replace(StepShape(), **{axis: value}) for value in AXES[axis]]
      for axis in AXES
      if axis in axes
    }
    shapes = list(dict.fromkeys(shape for some in points.values() for shape in some))
    measured = measure([(worker, shape, "fsdp") for shape in shapes])
    step_ms = dict(zip(shapes, measured, strict=True))
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, device),
    "row_length": ROW_LENGTH,
    "base": dataclasses.asdict(StepShape()),
    "axes": {
      axis: fitted(axis, {getattr(shape, axis): step_ms[shape] for shape in shapes})
      for axis, shapes in points.items()
    },
  }
  if "devices" in axes and device is None:
    result["devices"] = on_devices(measure)
  score.write(f"scaling-{score.machine_name(device)}", result)


def times(
  cases: list[tuple[contenders.Worker, StepShape, str]], repeats: int, count: int
) -> list[dict[str, Any]]:
  """Returns the milliseconds of a step for each (worker, shape, mesh axis), measured in turn."""
  questions = [
    (worker, {"what": "steps", "shape": dataclasses.asdict(shape), "split": split, "steps": count})
    for worker, shape, split in cases
  ]
  for (worker, question), (_, shape, split) in zip(questions, cases, strict=True):
    first_s = worker.ask(**question)
    print(f"{shape}, {split}: compiled, {1000 * first_s:.0f} ms per first step", flush=True)
  seconds = [[worker.ask(**question) for worker, question in questions] for _ in range(repeats)]
  by_case = zip(*seconds, strict=True)
  step_ms = [figures.spread([1000 * value for value in values], 2) for values in by_case]
  for (_, shape, split), values in zip(cases, step_ms, strict=True):
    print(f"{shape}, {split}: {figures.shown(values, 1)} ms", flush=True)
  return step_ms


def fitted(axis: str, step_ms: dict[int, dict[str, Any]]) -> dict[str, Any]:
  """Returns the points of an axis and the line through their medians, in milliseconds."""
  slope, intercept = figures.slope(list(step_ms), [ms["median"] for ms in step_ms.values()])
  return {
    "step_ms": step_ms,
    "unit": UNITS[axis],
    "ms_per_unit": round(slope * UNITS[axis], 3),
    "ms_at_none": round(intercept, 2),
  }


def on_devices(measure: Callable[[list], list]) -> dict[str, Any]:
  """Returns the milliseconds of a step by mesh axis and number of forced CPU devices."""
  workers = {
    number: contenders.Worker(
      __file__,
      "--worker",
      environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"},
    )
    for number in DEVICES
  }
  cases = [(number, split) for split in SPLITS for number in DEVICES]
  step_ms = measure([(workers[number], StepShape(), split) for number, split in cases])
  for worker in workers.values():
    worker.close()
  return {
    split: {number: ms for (number, axis), ms in zip(cases, step_ms, strict=True) if axis == split}
    for split in SPLITS
  }


class Steps:
  """Training steps of any shape, compiled at the first request."""

  def __init__(self):
    self._compiled: dict[tuple[StepShape, str], Callable[[int], Any]] = {}

  def answer(self, what: str, **case: Any) -> float | str | None:
    if what == "device":
      return steps.accelerator()
    key = (StepShape(**case["shape"]), case["split"])
    if key not in self._compiled:
      self._compiled[key] = train_step(*key)
      self._compiled[key](1)
    _, seconds = contenders.timed(lambda: self._compiled[key](case["steps"]))
    return seconds / case["steps"]


def train_step(shape: StepShape, split: str) -> Callable[[int], Any]:
  """Returns a function that takes n training steps on random tokens, with one example per batch row
  and all devices on one mesh axis."""
  from audiopalm.parts import machines

  sizes = {"data": 1, "fsdp": 1, "tensor": 1} | {split: -1}
  machine = dataclasses.replace(machines.default(), **sizes)
  batch = steps.batch_of(steps.tokens(shape.vocabulary, shape.rows, ROW_LENGTH))
  size = dataclasses.replace(BASE, layers=shape.layers)
  return steps.prepared(size.settings, shape.vocabulary, batch, machine)


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  slopes, points, devices = [], [], []
  for result in results:
    for axis, fit in result["axes"].items():
      unit = f"{fit['unit']:,} {'ids' if axis == 'vocabulary' else axis.rstrip('s')}"
      slopes.append((result["on"], unit, f"{fit['ms_per_unit']:.2f}", f"{fit['ms_at_none']:.1f}"))
      for value, step_ms in fit["step_ms"].items():
        points.append((result["on"], f"{int(value):,} {axis}", figures.shown(step_ms, 1)))
    for split, step_ms in result.get("devices", {}).items():
      times = (figures.shown(step_ms[str(number)], 1) for number in DEVICES)
      devices.append((result["on"], split, *times))
  base = results[0]["base"]
  text = figures.paragraph(f"""
    Milliseconds of one training step (AdamW; float32 on a CPU, bfloat16 on accelerators) of a Llama
    of width {BASE.width} with {base["layers"]} layers and {base["vocabulary"]:,} ids, on
    {base["rows"]} batch rows of {results[0]["row_length"]}, changed along one axis at a time. The
    cost of one more is the slope of a line fitted to the medians, and *at zero* is its intercept.
  """)
  tables = [
    text,
    figures.table(("machine", "one more", "cost, ms", "at zero, ms"), slopes, 2),
    figures.table(("machine", "size", "step, ms"), points, 2),
  ]
  if devices:
    header = ("machine", "mesh axis", *(f"{number} devices, ms" for number in DEVICES))
    about = figures.paragraph("""
      The same step with its rows (`data`), or its rows and parameters (`fsdp`), sharded over
      devices that are threads of one CPU and share its cores, so more devices than cores cannot be
      faster.
    """)
    tables += [about, figures.table(header, devices, 2)]
  return "\n\n".join(tables) + "\n"


if __name__ == "__main__":
  main()
