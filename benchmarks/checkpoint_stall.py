"""What a checkpoint costs a run: steps of the 42M model with and without one being saved.

  python benchmarks/checkpoint_stall.py

A save copies the arrays and returns; the rest is written beside the steps that follow, until it is
on disk and was opened again. Each repeat takes as many steps without a save as one lasts, then the
same with one: the stall is what the latter take longer, and its share that of EVERY_STEPS steps.
Results are in benchmarks/results/checkpoint_stall-MACHINE.json.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import figures
import score
import step_speed
import steps

SIZE = "42M"
EVERY_STEPS = 100
PACKAGES = ("jax", "jaxlib", "orbax-checkpoint", "tensorstore", "numpy")
TITLE = "Checkpoints beside steps"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument(
    "--size", choices=step_speed.SIZES, default=SIZE, help="of the model (default: %(default)s)"
  )
  arguments = parser.parse_args()
  import jax

  from audiopalm.parts import machines

  vocabulary = step_speed.VOCABULARY
  size = step_speed.SIZES[arguments.size]
  settings = steps.llama(size.layers, size.width, size.hidden)
  batch = steps.batch_of(steps.tokens(vocabulary, size.batch_rows, step_speed.ROW_LENGTH))
  run = steps.prepared(settings, vocabulary, batch, machines.default())
  run(1)
  with tempfile.TemporaryDirectory() as folder:
    found = [measured(run, Path(folder), repeat) for repeat in range(arguments.repeats)]
  device = jax.devices()[0]
  kind = None if device.platform == "cpu" else device.device_kind
  parameters = settings.parameters(steps.space_of(vocabulary))
  shares = [each["stall_s"] / (EVERY_STEPS * each["step_s"]) for each in found]
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, kind),
    "parameters": parameters,
    "checkpoint_bytes": sum(array.nbytes for array in jax.tree.leaves(run.state())),
    "every_steps": EVERY_STEPS,
    **{name: figures.spread([each[name] for each in found]) for name in found[0]},
    "share": figures.spread(shares, 5),
  }
  print(f"stall: {100 * result['share']['median']:.3f} % of {EVERY_STEPS} steps")
  score.write(f"checkpoint_stall-{score.machine_name(kind)}", result)


def measured(run: Any, folder: Path, repeat: int) -> dict[str, float]:
  """Returns the seconds of a step alone, of the call that saves, how much longer the steps took
  until all was on disk and opened again, and how long the latter alone took."""
  import jax

  from audiopalm.parts import runs
  from audiopalm.training import checkpoint, writing

  meta = checkpoint.Meta(repeat + 1, "{}", {}, {}, {})
  with writing.Writer(folder, writing.Keep(1)) as writer:
    begun_s = time.perf_counter()
    with jax.set_mesh(run.mesh):
      writer.save(run.state(), meta)
    called_s = time.perf_counter() - begun_s
    steps_beside, done = 0, False
    while not done:
      run(1)
      steps_beside += 1
      done = (folder / runs.CHECKPOINTS / str(meta.step)).is_dir()
    with_s = time.perf_counter() - begun_s
    writer.wait()
    verify_s = writer.verify_s
  begun_s = time.perf_counter()
  run(steps_beside)
  without_s = time.perf_counter() - begun_s
  print(f"{called_s:.2f} s to save, {with_s:.1f} s with, {without_s:.1f} s without", flush=True)
  return {
    "step_s": without_s / steps_beside,
    "call_s": called_s,
    "stall_s": with_s - without_s,
    "verify_s": verify_s,
  }


def section(results: list[dict]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  batch_rows = step_speed.SIZES[SIZE].batch_rows
  header = (
    "machine", "parameters", "checkpoint", "a step, s", "the call, s", "opened again, s",
    "stall, s", f"share of {EVERY_STEPS} steps",
  )  # fmt: skip
  rows = [
    (
      result["on"],
      f"{result['parameters'] / 1e6:.0f}M",
      f"{result['checkpoint_bytes'] / 2**20:,.0f} MiB",
      figures.shown(result["step_s"], 2),
      figures.shown(result["call_s"], 2),
      figures.shown(result["verify_s"], 2) if "verify_s" in result else "not measured",
      figures.shown(result["stall_s"], 2),
      f"{100 * result['share']['median']:.2f} %",
    )
    for result in results
  ]
  text = figures.paragraph(f"""
    A checkpoint of the {SIZE} model with its optimizer, saved while it trains on {batch_rows}
    rows of {step_speed.ROW_LENGTH}. *The call* is how long the run waits before its next step
    begins, sums over all bits included; *opened again* is how long all arrays took to be read from
    the files and their sums compared, beside the steps; *stall* adds what the steps take longer
    until then; its share is that of a run that saves every {EVERY_STEPS} steps.
  """)
  return f"{text}\n\n{figures.table(header, rows)}\n"


if __name__ == "__main__":
  main()
