"""Measures what saving a checkpoint costs a run, with training steps of the 42M model.

  python benchmarks/checkpoint_stall.py

A save copies the arrays and returns; the rest is written during the following steps, until it is on
disk and verified. Each repeat takes steps until a save has finished, then as many steps without a
save. The stall is the difference in time, reported as a share of EVERY_STEPS steps. Results are in
benchmarks/results/checkpoint_stall-MACHINE.json.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import figures
import score
import step_speed
import steps

SIZE = "42M"
EVERY_STEPS = 100
PACKAGES = ("jax", "jaxlib", "orbax-checkpoint", "tensorstore", "numpy")
TITLE = "Checkpoints during training"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument(
    "--size", choices=steps.SIZES, default=SIZE, help="size of the model (default: %(default)s)"
  )
  arguments = parser.parse_args()
  import jax

  from audiopalm.parts import machines

  vocabulary = step_speed.VOCABULARY
  settings = steps.SIZES[arguments.size].settings
  batch = steps.batch_of(steps.tokens(vocabulary, step_speed.BATCH_ROWS, step_speed.ROW_LENGTH))
  run = steps.prepared(settings, vocabulary, batch, machines.default())
  run(1)
  with tempfile.TemporaryDirectory() as folder:
    repeats = [measured(run, Path(folder), repeat) for repeat in range(arguments.repeats)]
  kind = steps.accelerator()
  parameters = settings.parameters(steps.space_of(vocabulary))
  shares = [repeat["stall_s"] / (EVERY_STEPS * repeat["step_s"]) for repeat in repeats]
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, kind),
    "parameters": parameters,
    "checkpoint_bytes": sum(array.nbytes for array in jax.tree.leaves(run.state())),
    "every_steps": EVERY_STEPS,
    **{name: figures.spread([repeat[name] for repeat in repeats]) for name in repeats[0]},
    "share": figures.spread(shares, 5),
  }
  print(f"stall: {100 * result['share']['median']:.3f} % of {EVERY_STEPS} steps")
  score.write(f"checkpoint_stall-{score.machine_name(kind)}", result)


def measured(run: Callable[[int], Any], folder: Path, repeat: int) -> dict[str, float]:
  """Returns the seconds of a step, of the call that saves, of the stall until the checkpoint was
  verified, and of the verification alone."""
  import jax

  from audiopalm import runs
  from audiopalm.training import checkpoint, writing

  meta = checkpoint.Meta(repeat + 1, "{}", {}, {}, {})
  with writing.Writer(folder, keep=1) as writer:
    start_s = time.perf_counter()
    with jax.set_mesh(run.mesh):
      writer.save(run.state(), meta)
    call_s = time.perf_counter() - start_s
    steps_during, done = 0, False
    while not done:
      run(1)
      steps_during += 1
      done = (folder / runs.CHECKPOINTS / str(meta.step)).is_dir()
    with_s = time.perf_counter() - start_s
    writer.wait()
    verify_s = writer.verify_s
  start_s = time.perf_counter()
  run(steps_during)
  without_s = time.perf_counter() - start_s
  print(f"{call_s:.2f} s to save, {with_s:.1f} s with, {without_s:.1f} s without", flush=True)
  return {
    "step_s": without_s / steps_during,
    "call_s": call_s,
    "stall_s": with_s - without_s,
    "verify_s": verify_s,
  }


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  header = (
    "machine", "parameters", "checkpoint", "step, s", "call, s", "verification, s", "stall, s",
    f"share of {EVERY_STEPS} steps",
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
    A checkpoint of the {SIZE} model and its optimizer, saved while the model trains on
    {step_speed.BATCH_ROWS} batch rows of {step_speed.ROW_LENGTH}. *Call* is the time before the
    next step starts, which includes checksums of all arrays. *Verification* is the time to read all
    arrays back from the files and compare checksums, during the following steps. *Stall* adds to
    the call the slowdown of the steps until then; its share is that of a run that saves every
    {EVERY_STEPS} steps.
  """)
  return f"{text}\n\n{figures.table(header, rows)}\n"


if __name__ == "__main__":
  main()
