"""Training steps on an accelerator: tokens a second, MFU and memory of 128M, 1B and 3B decoders.

  python benchmarks/accelerator_speed.py
  python benchmarks/accelerator_speed.py --models 1b --rows 2048 --attention xla,cudnn --segments 1

bfloat16 on all devices of this machine, a vocabulary of 40,960 ids, random tokens in rows of one
example and of eight; 16,384 tokens a device and step. Needs neither TensorFlow nor data, and runs on
jax 0.10 and 0.11. What does not fit, or a kernel that cannot run, is written down with its reason.
Results are in benchmarks/results/accelerator_speed-MACHINE.json.
"""

import argparse
import dataclasses
import itertools
from typing import Any

import contenders
import figures
import score
import steps

VOCABULARY = 40_960
TOKENS = 16_384  # a device and step
MODELS = ("128m", "1b", "3b")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
TITLE = "Training step on an accelerator"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--models", default=",".join(MODELS))
  parser.add_argument("--rows", default="2048,8192", help="row lengths")
  parser.add_argument("--attention", default="xla,cudnn")
  parser.add_argument("--segments", default="1,8", help="examples a row")
  parser.add_argument("--remat", default="dots")
  parser.add_argument("--tokens", type=int, default=TOKENS, help="a device and step")
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--steps", type=int, default=3, help="steps of a repeat")
  arguments = parser.parse_args()

  import jax

  device = jax.devices()[0]
  kind = None if device.platform == "cpu" else device.device_kind
  runs = []
  for model, length, attention, segments in itertools.product(
    arguments.models.split(","),
    map(int, arguments.rows.split(",")),
    arguments.attention.split(","),
    map(int, arguments.segments.split(",")),
  ):
    asked = {"model": model, "row_length": length, "attention": attention, "segments": segments}
    try:
      found = measure(arguments, **asked)
    except Exception as error:  # a kernel's refusal or a full memory: the others are measured
      found = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    runs.append({**asked, **found})
    print(runs[-1], flush=True)
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, kind),
    "devices": len(jax.devices()),
    "remat": arguments.remat,
    "runs": runs,
  }
  score.write(f"accelerator_speed-{score.machine_name(kind)}", result)


def measure(arguments: Any, model: str, row_length: int, attention: str, segments: int) -> dict:
  """Returns tokens a second, MFU and memory of one case."""
  import jax

  from audiopalm.models import decoder
  from audiopalm.nn import attention as backends
  from audiopalm.parts import machines, models
  from audiopalm.training import throughput

  settings = getattr(models, f"decoder_{model}")()
  machine = dataclasses.replace(
    machines.default(), attention=attention, remat=arguments.remat, compute_dtype="bfloat16",
    data=1, fsdp=-1, tensor=1,
  )  # fmt: skip
  backends.check(attention, jax.devices()[0].platform)
  devices = len(jax.devices())
  rows = max(1, arguments.tokens // row_length) * devices
  batch = steps.batch_of(steps.tokens(VOCABULARY, rows, row_length), segments)
  run = steps.prepared(settings, VOCABULARY, batch, machine)
  run(arguments.steps)
  seconds = [
    contenders.timed(lambda: run(arguments.steps))[1] / arguments.steps
    for _ in range(arguments.repeats)
  ]
  tokens, space = rows * row_length, steps.space_of(VOCABULARY)
  # Packed examples do not attend to each other: a row of eight costs what eight short ones do.
  flops = decoder.flops_per_token(settings, space, row_length // segments) * tokens
  kind = jax.devices()[0].device_kind
  found = figures.spread([tokens / one for one in seconds], 1)
  share = throughput.utilisation(flops, tokens / found["median"], kind, devices)
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  return {
    "parameters": decoder.parameters(settings, space),
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
