"""Measures training steps on an accelerator: tokens/s, MFU and memory of 128M, 1B and 3B decoders.

  python benchmarks/accelerator_speed.py
  python benchmarks/accelerator_speed.py --models 1b --rows 2048 --attention xla,cudnn --segments 1

Uses bfloat16 on all devices of this machine, a vocabulary of 40,960 ids, and random tokens in batch
rows of one example and of eight, with 16,384 tokens per device and step. Each case runs in its own
process, so its peak memory is its own. Needs neither TensorFlow nor data, and runs on jax 0.10 and
0.11. A case that does not fit, or whose kernel cannot run, is recorded with the error. Results are
in benchmarks/results/accelerator_speed-MACHINE.json.
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
TOKENS = 16_384  # per device and step
MODELS = ("128m", "1b", "3b")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
TITLE = "Training step on an accelerator"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--models", default=",".join(MODELS), help="also tiny, for a quick test")
  parser.add_argument("--rows", default="2048,8192", help="lengths of batch rows")
  parser.add_argument("--attention", default="xla,cudnn")
  parser.add_argument("--segments", default="1,8", help="examples per batch row")
  parser.add_argument("--remat", default="dots")
  parser.add_argument("--tokens", type=int, default=TOKENS, help="per device and step")
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument(
    "--steps", type=int, default=3, dest="count", help="steps per repeat (default: 3)"
  )
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
    options = {name: getattr(arguments, name) for name in ("remat", "tokens", "repeats", "count")}
    with contenders.Worker(__file__, "--worker") as worker:
      answer_ = worker.ask(**case, **options)
    kind, devices = answer_.pop("device"), answer_.pop("devices")
    runs.append({**case, **answer_})
    print(runs[-1], flush=True)
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES, kind),
    "devices": devices,
    "remat": arguments.remat,
    "runs": runs,
  }
  score.write(f"accelerator_speed-{score.machine_name(kind)}", result)


def answer(**case: Any) -> dict[str, Any]:
  """Returns the results of `measure`, or its error, and the devices it ran on."""
  import jax

  try:
    results = measure(**case)
  except Exception as error:  # a kernel that cannot run, or full memory: the other cases continue
    results = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
  return {**results, "device": steps.accelerator(), "devices": len(jax.devices())}


def measure(
  model: str, row_length: int, attention: str, segments: int, remat: str, tokens: int,
  repeats: int, count: int,
) -> dict[str, Any]:  # fmt: skip
  """Returns tokens per second, MFU and memory of one case, over repeats of `count` steps."""
  import jax

  from audiopalm.nn import attention as backends
  from audiopalm.parts import machines, models

  settings = models.tiny() if model == "tiny" else getattr(models, f"decoder_{model}")()
  machine = dataclasses.replace(
    machines.default(), attention=attention, remat=remat, compute_dtype="bfloat16",
    data=1, fsdp=-1, tensor=1,
  )  # fmt: skip
  backends.check(attention, jax.devices()[0].platform)
  devices = len(jax.devices())
  rows = max(1, tokens // row_length) * devices
  batch = steps.batch_of(steps.tokens(VOCABULARY, rows, row_length), segments)
  run = steps.prepared(settings, VOCABULARY, batch, machine)
  run(count)
  seconds = [contenders.timed(lambda: run(count))[1] / count for _ in range(repeats)]
  tokens, space = rows * row_length, steps.space_of(VOCABULARY)
  # Packed examples do not attend to each other: eight in a row cost as much as eight short rows.
  flops = settings.flops_per_token(space, row_length // segments) * tokens
  kind = jax.devices()[0].device_kind
  rates = figures.spread([tokens / second for second in seconds], 1)
  share = machines.utilization(flops, tokens / rates["median"], kind, devices)
  peak = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
  return {
    "parameters": settings.parameters(space),
    "batch_rows": rows,
    "tokens_per_s": rates,
    "mfu": share if isinstance(share, str) else round(share, 4),
    "peak_memory_gib": None if peak is None else round(peak / 2**30, 2),
  }


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  rows = []
  for result in results:
    for run in result["runs"]:
      head = result["on"], run["model"], run["row_length"], run["segments"], run["attention"]
      if "failed" in run:
        rows.append((*head, run["failed"], "", ""))
        continue
      mfu = run["mfu"] if isinstance(run["mfu"], str) else f"{100 * run['mfu']:.1f} %"
      shown = figures.shown(run["tokens_per_s"])
      rows.append((*head, shown, mfu, run["peak_memory_gib"] or "unknown"))
  header = ("machine", "model", "row length", "examples per row", "attention", "tokens/s", "MFU",
            "peak memory, GiB")  # fmt: skip
  text = figures.paragraph("""
    Tokens per second, MFU and peak memory of training steps in bfloat16 with AdamW. MFU is the
    model's operations, with causal attention inside each example counted half, over the bfloat16
    peak.
  """)
  return f"{text}\n\n{figures.table(header, rows, 2)}\n"


if __name__ == "__main__":
  main()
