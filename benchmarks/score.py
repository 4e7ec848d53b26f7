"""Trains a config, scores it, and writes what came out with all it takes to do it again.

  python benchmarks/score.py quickstart
  python benchmarks/score.py spoken_digit --set data_dir=$TFDS_DATA_DIR \\
      --over held_out_speaker=george,jackson,nicolas,theo,yweweler

With `--over` the config is run once a value. Results are in benchmarks/results/CONFIG.json. A run
that was stopped goes on where it was: give the same command again.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from audiopalm.data import json_lines

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).resolve().with_name("results"))
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # that decide how fast a CPU multiplies
PACKAGES = (
  "jax", "flax", "optax", "orbax-checkpoint", "grain", "seqio", "sentencepiece", "numpy", "jiwer",
  "sacrebleu", "py-nanotts", "espeakng-loader",
)  # fmt: skip
BY_PART = ("languages", "voices")  # of baselines these are left out


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("config", help="a name in configs/")
  parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
  parser.add_argument("--over", metavar="path=a,b,c", help="one run for each value of a setting")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="where runs are kept")
  arguments = parser.parse_args()

  asked = [arguments.config, *(f"--set={setting}" for setting in arguments.settings)]
  asked += [f"--over={arguments.over}"] if arguments.over else []
  path, _, values = (arguments.over or "").partition("=")
  settings = {value: [f"{path}={value}"] for value in values.split(",")} if path else {"": []}
  runs, here = {}, conditions()  # of the start: a long run outlives commits
  for value, own in settings.items():
    name = "_".join(filter(None, (arguments.config, value)))
    runs[value] = run(arguments.config, arguments.workdirs / name, [*arguments.settings, *own])
    result = {
      "command": shlex.join(["python", "benchmarks/score.py", *map(unexpanded, asked)]),
      **here,
      **({"runs": runs} if path else runs[value]),
    }
    write(arguments.config, result)


def write(name: str, result: dict) -> None:
  """Writes a result as benchmarks/results/NAME.json."""
  RESULTS.mkdir(parents=True, exist_ok=True)
  text = json.dumps(result, indent=1, ensure_ascii=False)
  (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def run(config: str, workdir: Path, settings: list[str]) -> dict:
  """Returns the settings, speed and scores of one run."""
  scores = workdir / "scores.json"
  own = [part for setting in settings for part in ("--set", setting)]
  audiopalm("train", config, "--workdir", str(workdir), *own)
  start = time.monotonic()
  audiopalm("evaluate", "--workdir", str(workdir), "--json", str(scores))
  evaluated_s = time.monotonic() - start
  found = json.loads(scores.read_text(encoding="utf-8"))
  for tasks in found["baselines"].values():
    for task, values in tasks.items():
      tasks[task] = {name: value for name, value in values.items() if name not in BY_PART}
  resolved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
  steps = json_lines.read_grown(workdir / "metrics.jsonl")
  trained = [step for step in steps if "tokens" in step]
  tokens = sum(step["tokens"] for step in trained)
  spent = json_lines.read_grown(workdir / "goodput.jsonl")
  totals = [line["total"] for line in spent if "total" in line]  # one a start
  stepping_s = sum(total["step"] + total["data wait"] for total in totals)
  return {
    "settings": [unexpanded(setting) for setting in settings],
    "seed": resolved["seed"],
    "train_s": round(sum(sum(total.values()) for total in totals)),
    "evaluate_s": round(evaluated_s),
    "steps": trained[-1]["step"],
    "tokens": tokens,
    "tokens_per_s": round(tokens / stepping_s),
    "scores": found,
  }


def audiopalm(*arguments: str) -> None:
  subprocess.run([sys.executable, "-m", "audiopalm", *arguments], check=True)


def git(*arguments: str) -> str:
  return subprocess.run(
    ["git", *arguments], capture_output=True, encoding="utf-8", check=True
  ).stdout.strip()


def unexpanded(argument: str) -> str:
  """Returns an argument as a reader would type it: a data directory is wherever theirs is."""
  directory = os.environ.get("TFDS_DATA_DIR")
  return argument.replace(directory, "$TFDS_DATA_DIR") if directory else argument


def conditions(packages: Sequence[str] = PACKAGES, device: str | None = None) -> dict:
  """Returns the commit, the versions and the machine of this run; `device` is what JAX calls the
  accelerator it ran on, None for none."""
  cores, model = processor()
  return {
    "commit": os.environ.get("COMMIT") or commit(),
    "machine": f"{cores} cores, {model}, {device or 'no accelerator'}",
    "python": platform.python_version(),
    "versions": {name: importlib.metadata.version(name) for name in packages},
  }


def commit() -> str:
  """Returns the commit of the tree, and whether files differ from it. A copy of the tree without
  its history is given the commit as COMMIT."""
  name = git("rev-parse", "--short", "HEAD")
  outside = [] if Path(__file__).parent not in RESULTS.parents else [f":(exclude){RESULTS}"]
  return f"{name} with changes" if git("status", "--porcelain", "--", ".", *outside) else name


def command(file: str) -> str:
  """Returns the command that this process was started with, as a reader would type it."""
  return shlex.join(["python", f"benchmarks/{Path(file).name}", *map(unexpanded, sys.argv[1:])])


def machine_name(device: str | None = None) -> str:
  """Returns a short name of this machine for the name of a file: xeon-2-cores; of its accelerator
  where `device` names one: h200."""
  if device is not None:
    return short_name(device)
  cores, model = processor()
  return f"{short_name(model)}-{cores}-cores"


def processor() -> tuple[int, str]:
  """Returns (cores, name of the processor)."""
  models = [
    line for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name")
  ]
  return len(models), models[0].partition(":")[2].strip()


def flags() -> list[str]:
  """Returns which of FLAGS this CPU has."""
  lines = (line.partition(":") for line in open("/proc/cpuinfo", encoding="utf-8"))
  found = next((text.split() for name, _, text in lines if name.strip() == "flags"), [])
  return [flag for flag in FLAGS if flag in found]


def multiplies_bfloat16() -> bool:
  """Returns whether this CPU multiplies bfloat16 faster than float32."""
  return bool({"avx512_bf16", "amx_bf16"} & set(flags()))


def short_name(product: str) -> str:
  """Returns the words of a product's name that tell it from others, as in `NVIDIA H200`: h200."""
  without = re.sub(r"\(\w+\)|@.*|\b\d+-Core\b|\b(Intel|AMD|NVIDIA|CPU|Processor)\b", " ", product)
  return re.sub(r"[^a-z0-9]+", "-", without.lower()).strip("-") or "unknown"


if __name__ == "__main__":
  main()
