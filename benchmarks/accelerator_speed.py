"""Training steps on an accelerator: tokens a second, MFU and memory of 128M, 1B and 3B decoders.

  python benchmarks/accelerator_speed.py
  python benchmarks/accelerator_speed.py --models 1b --rows 2048 --attention xla,cudnn --segments 1

bfloat16 on all devices of this machine, a vocabulary of 40,960 ids, random tokens in rows of one
example and of eight; 16,384 tokens a device and step. Each case is a process of its own, so that
its peak of memory is its own. Needs neither TensorFlow nor data, and runs on jax 0.10 and 0.11.
What does not fit, or a kernel that cannot run, is written down with its reason. Results are in
benchmarks/results/accelerator_speed-MACHINE.json.
"""

import argparse
import dataclasses
import itertools
from typing import Any

import contenders
import figures
import score
import steps as training

VOCABULARY = 40_960
TOKENS = 16_384  # a device and step
MODELS = ("128m", "1b", "3b")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
TITLE = "Training step on an accelerator"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--models", default=",".join(MODELS), help="tiny is one more, to try this")
  parser.add_argument("--rows", default="2048,8192", help="row lengths")
  parser.add_argument("--attention", default="xla,cudnn")
  parser.add_argument("--segments", default="1,8", help="examples a row")
  parser.add_argument("--remat", default="dots")
  parser.add_argument("--tokens", type=int, default=TOKENS, help="a device and step")
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--steps", type=int, default=3, help="steps of a repeat")
  parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return contenders.serve(answer)

  runs = []
  for model, length, attention, segments in itertools.product(
    arguments.models.split(","),
    map(int, arguments.rows.split(",")),
    arguments.attention.split(","),
    map(int, arguments.segments.split(",")),
  ):
    case = {"model": model, "row_length": length, "attention": attention, "segments": segments}
    how = {name: getattr(arguments, name) for name in ("remat", "tokens", "repeats", "steps")}
    with contenders.Worker(__file__, "--worker") as worker:
      found = worker.ask(**case, **how)
    kind, devices = found.pop("device"), found.pop("devices")
    runs.append({**case, **found})
    print(runs[-1], flush=True)
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, kind),
    "devices": devices,
    "remat": arguments.remat,
    "runs": runs,
  }
  score.write(f"accelerator_speed-{score.machine_name(kind)}", result)


def answer(**asked: Any) -> dict:
  """Returns what `measure` does, or why it failed, and the devices it ran on."""
  import jax

  try:
    found = measure(**asked)
  except Exception as error:  # a kernel's refusal or a full memory: the other cases go on
    found = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
  device = jax.devices()[0]
  kind = None if device.platform == "cpu" else device.device_kind
  return {**found, "device": kind, "devices": len(jax.devices())}


def measure(
  model: str, row_length: int, attention: str, segments: int, remat: str, tokens: int,
  repeats: int, steps: int,
) -> dict:  # fmt: skip
  """Returns tokens a second, MFU and memory of one case."""
  import jax

  from audiopalm.nn import attention as backends
  from audiopalm.parts import machines, models
  from audiopalm.training import throughput

  settings = models.tiny() if model == "tiny" else getattr(models, f"decoder_{model}")()
  machine = dataclasses.replace(
    machines.default(), attention=attention, remat=remat, compute_dtype="bfloat16",
    data=1, fsdp=-1, tensor=1,
  )  # fmt: skip
  backends.check(attention, jax.devices()[0].platform)
  devices = len(jax.devices())
  rows = max(1, tokens // row_length) * devices
  batch = training.batch_of(training.tokens(VOCABULARY, rows, row_length), segments)
  run = training.prepared(settings, VOCABULARY, batch, machine)
  run(steps)
  seconds = [contenders.timed(lambda: run(steps))[1] / steps for _ in range(repeats)]
  tokens, space = rows * row_length, training.space_of(VOCABULARY)
  # Packed examples do not attend to each other: a row of eight costs what eight short ones do.
  flops = settings.flops_per_token(space, row_length // segments) * tokens
  kind = jax.devices()[0].device_kind
  found = figures.spread([tokens / one for one in seconds], 1)
  share = throughput.utilisation(flops, tokens / found["median"], kind, devices)
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  return {
    "parameters": settings.parameters(space),
    "batch_rows": rows,
    "tokens_per_s": found,
    "mfu": share if isinstance(share, str) else round(share, 4),
    "peak_memory_gib": None if peak is None else round(peak / 2**30, 2),
  }


def section(results: list[dict]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  rows = []
  for result in results:
    for one in result["runs"]:
      head = result["on"], one["model"], one["row_length"], one["segments"], one["attention"]
      if "failed" in one:
        rows.append((*head, one["failed"], "", ""))
        continue
      mfu = one["mfu"] if isinstance(one["mfu"], str) else f"{100 * one['mfu']:.1f} %"
      shown = figures.shown(one["tokens_per_s"])
      rows.append((*head, shown, mfu, one["peak_memory_gib"] or "unknown"))
  header = ("machine", "model", "rows of", "examples a row", "attention", "tokens a second", "MFU",
            "peak memory, GiB")  # fmt: skip
  text = figures.paragraph("""
    Tokens a second, MFU (the model's operations, attention inside each example and halved, over the
    peak in bfloat16) and peak memory of training steps in bfloat16 with AdamW.
  """)
  return f"{text}\n\n{figures.table(header, rows, 2)}\n"


if __name__ == "__main__":
  main()
