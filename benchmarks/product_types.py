"""What products in bfloat16 change in a training run, beside what another seed changes.

  python benchmarks/product_types.py
  python benchmarks/product_types.py --steps 300 --seeds 0,1,2 --workdirs runs/product_types

Trains the model of a config once with products in float32 and once in bfloat16 for each seed, on
the same prepared data, and compares held-out losses: the difference between both types at one seed
with the spread over seeds at one type. On a CPU without bfloat16 products they are emulated: the
same rounding, only slower. A run that is finished is not made again. The result is
benchmarks/results/product_types.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import score

TYPES = ("float32", "bfloat16")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--config", default="quickstart")
  parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
  parser.add_argument("--steps", type=int, default=400)
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--workdirs", type=Path, default=Path("runs/product_types"))
  parser.add_argument("--worker", nargs=2, metavar=("TYPE", "SEED"), help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return train(arguments, arguments.worker[0], int(arguments.worker[1]))

  seeds = [int(seed) for seed in arguments.seeds.split(",")]
  if len(seeds) < 2:
    raise SystemExit(f"--seeds {arguments.seeds}: a spread over seeds takes two or more.")
  own = [f"--set={setting}" for setting in arguments.settings]
  score.audiopalm("prepare", arguments.config, "--workdir", str(data_of(arguments)), *own)
  here, found = score.conditions(PACKAGES), {}
  for seed in seeds:
    for name in TYPES:
      path = result_of(arguments, name, seed)
      if not path.exists():
        subprocess.run([sys.executable, *sys.argv, "--worker", name, str(seed)], check=True)
      found[name, seed] = json.loads(path.read_text(encoding="utf-8"))
      print(name, seed, found[name, seed]["loss"], flush=True)
  losses = {name: {seed: found[name, seed]["loss"] for seed in seeds} for name in TYPES}
  result = {
    "command": score.command(__file__),
    **here,
    "flags": score.flags(),
    "config": arguments.config,
    "steps": arguments.steps,
    **compared(losses),
    "runs": [{"products": name, "seed": seed, **one} for (name, seed), one in found.items()],
  }
  score.write("product_types", result)
  print(json.dumps({name: value for name, value in result.items() if name != "runs"}, indent=1))


def compared(losses: dict[str, dict[int, float]]) -> dict[str, Any]:
  """Returns the mean loss of each type, the mean and the greatest difference of both at one seed,
  and the standard deviation over seeds, that of float32."""
  one, other = (losses[name] for name in TYPES)
  differences = {seed: other[seed] - one[seed] for seed in one}
  spread = statistics.stdev(one.values())
  return {
    "losses": losses,
    "mean_loss": {name: statistics.mean(of.values()) for name, of in losses.items()},
    "differences": differences,
    "mean_difference": statistics.mean(differences.values()),
    "greatest_difference": max(map(abs, differences.values())),
    "spread_of_seeds": spread,
    "range_of_seeds": max(one.values()) - min(one.values()),
    "less_than_seeds": max(map(abs, differences.values())) < spread,
  }


def train(arguments: argparse.Namespace, products: str, seed: int) -> None:
  """Trains one run and writes its held-out losses."""
  import dataclasses

  from audiopalm.cli import config
  from audiopalm.data import prepare
  from audiopalm.parts import machines
  from audiopalm.training import loop

  made = config.load(arguments.config, arguments.settings)
  prepared = prepare.open_prepared(made, data_of(arguments))
  made = dataclasses.replace(made, seed=seed, steps=arguments.steps)
  machine = dataclasses.replace(machines.default(), product_dtype=products)
  path = result_of(arguments, products, seed)
  done = loop.run(made, prepared, machine, path.parent)
  losses = {task: values["loss"] for task, values in done.held_out.items()}
  found = {
    "loss": statistics.mean(losses.values()),
    "losses": losses,
    "tokens_per_s": round(done.tokens_per_s, 1),
    "skipped": done.skipped,
  }
  path.write_text(json.dumps(found), encoding="utf-8")


def data_of(arguments: argparse.Namespace) -> Path:
  return arguments.workdirs / "data"


def result_of(arguments: argparse.Namespace, products: str, seed: int) -> Path:
  return arguments.workdirs / f"{products}-{seed}" / "losses.json"


if __name__ == "__main__":
  main()
