"""What one more row, layer, thousand ids or device costs a training step.

  python benchmarks/scaling.py
  python benchmarks/scaling.py --repeats 3 --axes rows,layers

One shape of Llama is changed along one axis at a time: rows of a step, layers, and ids of the
vocabulary; a line is fitted to the medians. Devices are CPU devices that XLA is told to make of
this machine's cores (--xla_force_host_platform_device_count), each number in a process of its own:
they compute no faster together than the cores can, so what they show is the price of sharding.
Results are in benchmarks/results/scaling-MACHINE.json.
"""

import argparse
import dataclasses
import functools
from typing import Any

import contenders
import figures
import score
import steps

ROW_LENGTH = 256
WIDTH, HIDDEN = 256, 704
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
DEVICES = (1, 2, 4, 8)
TITLE = "Scaling of a training step"


@dataclasses.dataclass(frozen=True)
class Shape:
  """What a step computes: rows of 256, a Llama of width 256 with a tied table."""

  rows: int = 8
  layers: int = 4
  vocabulary: int = 4_096


AXES = {
  "rows": (4, 8, 12, 16),
  "layers": (2, 4, 6, 8),
  "vocabulary": (2_048, 4_096, 6_144, 8_192),
}
UNITS = {"rows": 1, "layers": 1, "vocabulary": 1_000}  # what a slope is told of
SPLITS = ("data", "fsdp")  # mesh axes the devices are put on


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--steps", type=int, default=2, help="steps of a repeat")
  parser.add_argument("--axes", default=",".join((*AXES, "devices")))
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return contenders.serve(Steps().answer)

  axes = arguments.axes.split(",")
  ask = functools.partial(times, repeats=arguments.repeats, count=arguments.steps)
  with contenders.Worker(__file__, "--worker") as worker:
    device = worker.ask(what="device")
    points = {
      axis: [dataclasses.replace(Shape(), **{axis: value}) for value in AXES[axis]]
      for axis in AXES
      if axis in axes
    }
    shapes = list(dict.fromkeys(shape for some in points.values() for shape in some))
    found = dict(zip(shapes, ask([(worker, shape, "fsdp") for shape in shapes]), strict=True))
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, device),
    "row_length": ROW_LENGTH,
    "base": dataclasses.asdict(Shape()),
    "axes": {
      axis: fitted(axis, {getattr(shape, axis): found[shape] for shape in shapes})
      for axis, shapes in points.items()
    },
  }
  if "devices" in axes and device is None:
    result["devices"] = on_devices(ask)
  score.write(f"scaling-{score.machine_name(device)}", result)


def times(
  asked: list[tuple[contenders.Worker, Shape, str]], repeats: int, count: int
) -> list[dict]:
  """Returns the milliseconds of a step of every (worker, shape, mesh axis), measured in turn."""
  questions = [
    (worker, {"what": "steps", "shape": dataclasses.asdict(shape), "split": split, "steps": count})
    for worker, shape, split in asked
  ]
  for (worker, question), (_, shape, split) in zip(questions, asked, strict=True):
    first_s = worker.ask(**question)
    print(f"{shape}, {split}: compiled, {1000 * first_s:.0f} ms in the first steps", flush=True)
  seconds = [[worker.ask(**question) for worker, question in questions] for _ in range(repeats)]
  found = [figures.spread([1000 * value for value in one], 2) for one in zip(*seconds, strict=True)]
  for (_, shape, split), one in zip(asked, found, strict=True):
    print(f"{shape}, {split}: {figures.shown(one, 1)} ms", flush=True)
  return found


def fitted(axis: str, found: dict[int, dict]) -> dict:
  """Returns the points of an axis and the line through their medians, in milliseconds."""
  slope, rest = figures.slope(list(found), [one["median"] for one in found.values()])
  return {
    "step_ms": found,
    "unit": UNITS[axis],
    "ms_per_unit": round(slope * UNITS[axis], 3),
    "ms_at_none": round(rest, 2),
  }


def on_devices(ask: Any) -> dict:
  """Returns the milliseconds of a step by mesh axis and number of forced CPU devices."""
  workers = {
    number: contenders.Worker(
      __file__,
      "--worker",
      environment={"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"},
    )
    for number in DEVICES
  }
  asked = [(number, split) for split in SPLITS for number in DEVICES]
  found = ask([(workers[number], Shape(), split) for number, split in asked])
  for worker in workers.values():
    worker.close()
  return {
    split: {number: one for (number, mine), one in zip(asked, found, strict=True) if mine == split}
    for split in SPLITS
  }


class Steps:
  """Training steps of any shape, compiled when first asked for."""

  def __init__(self):
    self._compiled: dict[tuple[Shape, str], Any] = {}

  def answer(self, what: str, **asked: Any) -> Any:
    if what == "device":
      import jax

      device = jax.devices()[0]
      return None if device.platform == "cpu" else device.device_kind
    key = (Shape(**asked["shape"]), asked["split"])
    if key not in self._compiled:
      self._compiled[key] = train_step(*key)
      self._compiled[key](1)
    _, seconds = contenders.timed(lambda: self._compiled[key](asked["steps"]))
    return seconds / asked["steps"]


def train_step(shape: Shape, split: str) -> Any:
  """Returns a function that takes n training steps on random tokens, one example a row, with all
  devices on one mesh axis."""
  from audiopalm.parts import machines

  sizes = {"data": 1, "fsdp": 1, "tensor": 1} | {split: -1}
  machine = dataclasses.replace(machines.default(), **sizes)
  batch = steps.batch_of(steps.tokens(shape.vocabulary, shape.rows, ROW_LENGTH))
  return steps.prepared(steps.llama(shape.layers, WIDTH, HIDDEN), shape.vocabulary, batch, machine)


def section(results: list[dict]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  slopes, points, devices = [], [], []
  for result in results:
    for axis, found in result["axes"].items():
      unit = f"{found['unit']:,} {'ids' if axis == 'vocabulary' else axis.rstrip('s')}"
      slopes.append(
        (result["on"], unit, f"{found['ms_per_unit']:.2f}", f"{found['ms_at_none']:.1f}")
      )
      for value, one in found["step_ms"].items():
        points.append((result["on"], f"{int(value):,} {axis}", figures.shown(one, 1)))
    for split, found in result.get("devices", {}).items():
      devices.append((result["on"], split, *(figures.shown(found[str(n)], 1) for n in DEVICES)))
  base = results[0]["base"]
  text = figures.paragraph(f"""
    Milliseconds of one training step (AdamW; float32 on a CPU, bfloat16 on accelerators) of a Llama
    of width {WIDTH} with {base["layers"]} layers and {base["vocabulary"]:,} ids, on {base["rows"]}
    rows of {results[0]["row_length"]}, changed along one axis at a time. A line is fitted to the
    medians: its slope is what one more costs, *at none* is where it begins.
  """)
  tables = [
    text,
    figures.table(("machine", "one more", "costs, ms", "at none, ms"), slopes, 2),
    figures.table(("machine", "with", "step, ms"), points, 2),
  ]
  if devices:
    header = ("machine", "mesh axis", *(f"{number} devices, ms" for number in DEVICES))
    about = figures.paragraph("""
      The same step, its rows (`data`) or its rows and parameters (`fsdp`) divided over devices that
      are threads of one CPU and share its cores: more devices than cores cannot be faster.
    """)
    tables += [about, figures.table(header, devices, 2)]
  return "\n\n".join(tables) + "\n"


if __name__ == "__main__":
  main()
