"""Compares the effect of bfloat16 matrix products on training with that of another seed.

  python benchmarks/product_types.py
  python benchmarks/product_types.py --steps 300 --seeds 0,1,2 --workdirs runs/product_types

Trains the model of a config with float32 and with bfloat16 products for each seed, on the same
prepared data, and compares held-out losses: the difference between both types for one seed, and the
spread over seeds for one type. A CPU without bfloat16 products emulates them slowly, with the same
rounding. Finished runs are not repeated. The result is in benchmarks/results/product_types.json.
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
  parser = score.command_parser(__doc__)
  parser.add_argument("--config", default="quickstart")
  score.add_settings(parser)
  parser.add_argument("--steps", type=int, default=400)
  parser.add_argument("--seeds", default="0,1,2")
  parser.add_argument("--workdirs", type=Path, default=Path("runs/product_types"))
  parser.add_argument("--worker", nargs=2, metavar=("TYPE", "SEED"), help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.worker:
    return train(arguments, arguments.worker[0], int(arguments.worker[1]))

  seeds = [int(seed) for seed in arguments.seeds.split(",")]
  if len(seeds) < 2:
    raise SystemExit(f"--seeds {arguments.seeds}: a spread over seeds needs at least two.")
  own = [f"--set={setting}" for setting in arguments.settings]
  score.audiopalm("prepare", arguments.config, "--workdir", str(data_of(arguments)), *own)
  conditions, results = score.conditions(PACKAGES), {}
  for seed in seeds:
    for name in TYPES:
      path = result_of(arguments, name, seed)
      if not path.exists():
        subprocess.run([sys.executable, *sys.argv, "--worker", name, str(seed)], check=True)
      results[name, seed] = json.loads(path.read_text(encoding="utf-8"))
      print(name, seed, results[name, seed]["loss"], flush=True)
  losses = {name: {seed: results[name, seed]["loss"] for seed in seeds} for name in TYPES}
  result = {
    "command": score.command(__file__),
    **conditions,
    "flags": score.flags(),
    "config": arguments.config,
    "steps": arguments.steps,
    **compared(losses),
    "runs": [{"products": name, "seed": seed, **run} for (name, seed), run in results.items()],
  }
  score.write("product_types", result)
  print(json.dumps({name: value for name, value in result.items() if name != "runs"}, indent=1))


def compared(losses: dict[str, dict[int, float]]) -> dict[str, Any]:
  """Returns the mean loss of each type, the mean and maximum difference between both for one seed,
  and the standard deviation of float32 over seeds."""
  float32, bfloat16 = (losses[name] for name in TYPES)
  differences = {seed: bfloat16[seed] - float32[seed] for seed in float32}
  spread = statistics.stdev(float32.values())
  return {
    "losses": losses,
    "mean_loss": {name: statistics.mean(values.values()) for name, values in losses.items()},
    "differences": differences,
    "mean_difference": statistics.mean(differences.values()),
    "greatest_difference": max(map(abs, differences.values())),
    "spread_of_seeds": spread,
    "range_of_seeds": max(float32.values()) - min(float32.values()),
    "less_than_seeds": max(map(abs, differences.values())) < spread,
  }


def train(arguments: argparse.Namespace, products: str, seed: int) -> None:
  """Trains one run and writes its held-out losses."""
  import dataclasses

  from audiopalm.cli import config
  from audiopalm.data import prepare
  from audiopalm.parts import machines
  from audiopalm.training import loop

  experiment = config.load(arguments.config, arguments.settings)
  prepared = prepare.open_prepared(experiment, data_of(arguments))
  experiment = dataclasses.replace(experiment, seed=seed, steps=arguments.steps)
  machine = dataclasses.replace(machines.default(), product_dtype=products)
  path = result_of(arguments, products, seed)
  trained = loop.run(experiment, prepared, machine, path.parent)
  losses = {task: values["loss"] for task, values in trained.held_out.items()}
  result = {
    "loss": statistics.mean(losses.values()),
    "losses": losses,
    "tokens_per_s": round(trained.tokens_per_s, 1),
    "skipped": trained.skipped,
  }
  path.write_text(json.dumps(result), encoding="utf-8")


def data_of(arguments: argparse.Namespace) -> Path:
  return arguments.workdirs / "data"


def result_of(arguments: argparse.Namespace, products: str, seed: int) -> Path:
  return arguments.workdirs / f"{products}-{seed}" / "losses.json"


if __name__ == "__main__":
  main()
