"""Trains and scores a config, and writes the scores with everything needed to reproduce them.

  python benchmarks/score.py quickstart
  python benchmarks/score.py spoken_digit --set data_dir=$TFDS_DATA_DIR \\
      --over held_out_speaker=george,jackson,nicolas,theo,yweweler

  python benchmarks/score.py spoken_digit --name spoken_digit_whisper \\
      --set units=neural:runs/whisper-base --set tokenizers.units.window_s=3 --set export=none

With `--over` it runs the config once per value. Results are in benchmarks/results/NAME.json, NAME
is by default that of the config. To resume a stopped run, give the same command again.
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
from typing import Any

from audiopalm.data import json_lines
from audiopalm.evaluation import scoring
from audiopalm.report import run as run_files

RESULTS = Path(os.environ.get("RESULTS") or Path(__file__).resolve().with_name("results"))
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # CPU flags that affect matrix products
PACKAGES = (
  "jax", "flax", "optax", "orbax-checkpoint", "grain", "seqio", "sentencepiece", "numpy", "jiwer",
  "sacrebleu", "py-nanotts", "espeakng-loader",
)  # fmt: skip
BY_PART = ("languages", "voices")  # a result has the leading score of these, except for baselines
DIGITS = 5  # significant digits of a score


def main() -> None:
  parser = command_parser(__doc__)
  parser.add_argument("config", help="a name in configs/")
  add_settings(parser)
  parser.add_argument("--over", metavar="path=a,b,c", help="one run for each value of a setting")
  parser.add_argument("--name", help="of the result and its runs (default: that of the config)")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="folder of the runs")
  arguments = parser.parse_args()

  words = [arguments.config, *(f"--set={setting}" for setting in arguments.settings)]
  words += [f"--over={arguments.over}"] if arguments.over else []
  words += [f"--name={arguments.name}"] if arguments.name else []
  path, _, values = (arguments.over or "").partition("=")
  settings = {value: [f"{path}={value}"] for value in values.split(",")} if path else {"": []}
  name = arguments.name or arguments.config
  runs, at_start = {}, conditions()  # before the runs, during which there may be commits
  for value, own in settings.items():
    workdir = arguments.workdirs / "_".join(filter(None, (name, value)))
    runs[value] = run(arguments.config, workdir, [*arguments.settings, *own])
    result = {
      "command": shlex.join(["python", "benchmarks/score.py", *map(unexpanded, words)]),
      **at_start,
      **({"runs": runs} if path else runs[value]),
    }
    write(name, result)


def command_parser(description: str) -> argparse.ArgumentParser:
  """Returns the parser of a benchmark, whose help is its module's docstring."""
  return argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawDescriptionHelpFormatter
  )


def add_settings(parser: argparse.ArgumentParser) -> None:
  """Adds `--set`."""
  parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")


def write(name: str, result: dict[str, Any]) -> None:
  """Writes a result as benchmarks/results/NAME.json, a list of numbers or texts on one line."""
  RESULTS.mkdir(parents=True, exist_ok=True)
  text = json.dumps(result, indent=1, ensure_ascii=False)
  text = re.sub(r"\[\n([^][{}]*)\n *\]", _on_one_line, text)
  (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def _on_one_line(values: re.Match[str]) -> str:
  return f"[{', '.join(line.strip(' ,') for line in values[1].splitlines())}]"


def run(config: str, workdir: Path, settings: list[str]) -> dict[str, Any]:
  """Returns the settings, speed and scores of one run."""
  path = workdir / "scores.json"
  own = [part for setting in settings for part in ("--set", setting)]
  audiopalm("train", config, "--workdir", str(workdir), *own)
  start = time.monotonic()
  audiopalm("evaluate", "--workdir", str(workdir), "--json", str(path))
  evaluate_s = time.monotonic() - start
  scores = json.loads(path.read_text(encoding="utf-8"))
  resolved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
  steps = json_lines.read_grown(workdir / "metrics.jsonl")
  trained = [step for step in steps if "tokens" in step]
  tokens = sum(step["tokens"] for step in trained)
  spent = run_files.goodput(json_lines.read_grown(workdir / "goodput.jsonl", "time"))
  return {
    "settings": [unexpanded(setting) for setting in settings],
    "seed": resolved["seed"],
    "train_s": round(sum(spent.values())),
    "evaluate_s": round(evaluate_s),
    "steps": trained[-1]["step"],
    "tokens": tokens,
    "tokens_per_s": round(tokens / (spent["step"] + spent["data wait"])),
    "scores": brief(scores),
  }


def brief(scores: dict[str, Any]) -> dict[str, Any]:
  """Returns the scores of an evaluation that a result has: those of each task with intervals, and
  the leading one by language and voice. Rules are listed once, except those that differ for a task.
  Suites are omitted, as they repeat scores."""
  tasks = [of for name, of in scores.items() if name not in scoring.PARTS]
  rules = {name: rule for of in tasks for name, rule in of.get("rules", {}).items()}
  kept = {name: of for name, of in scores.items() if name != scoring.SUITES}
  kept["baselines"] = {
    system: {task: {k: v for k, v in of.items() if k not in BY_PART} for task, of in tasks.items()}
    for system, tasks in scores["baselines"].items()
  }
  return {"rules": rules, **_brief(kept, rules)}


def _brief(scores: dict[str, Any], rules: dict[str, str]) -> dict[str, Any]:
  kept: dict[str, Any] = {}
  for key, value in scores.items():
    if key in BY_PART:
      name = scoring.leading(scores)
      kept[key] = {part: _rounded(of[name]) for part, of in value.items() if name in of}
    elif key == "rules":
      kept[key] = dict(value.items() - rules.items())
    elif isinstance(value, dict) and key != "modalities":
      kept[key] = _brief(value, rules)
    elif key != "modalities":
      kept[key] = _rounded(value)
  return {key: value for key, value in kept.items() if value != {}}


def _rounded(value: Any) -> Any:
  """Returns a score, or the ends of its interval, with DIGITS significant digits."""
  if isinstance(value, list):
    return [_rounded(item) for item in value]
  return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def audiopalm(*arguments: str) -> None:
  subprocess.run([sys.executable, "-m", "audiopalm", *arguments], check=True)


def git(*arguments: str) -> str:
  return subprocess.run(
    ["git", *arguments], capture_output=True, encoding="utf-8", check=True
  ).stdout.strip()


def unexpanded(argument: str) -> str:
  """Returns an argument with $TFDS_DATA_DIR in place of this machine's data directory."""
  directory = os.environ.get("TFDS_DATA_DIR")
  return argument.replace(directory, "$TFDS_DATA_DIR") if directory else argument


def conditions(packages: Sequence[str] = PACKAGES, device: str | None = None) -> dict[str, Any]:
  """Returns the commit (or the variable COMMIT, for a copy without history), the versions and the
  machine of this run; `device` is JAX's kind of the accelerator, None without one."""
  cores, model = processor()
  return {
    "commit": os.environ.get("COMMIT") or commit(),
    "machine": f"{cores} cores, {model}, {device or 'no accelerator'}",
    "python": platform.python_version(),
    "versions": {name: importlib.metadata.version(name) for name in packages},
  }


def commit() -> str:
  """Returns the commit of the checkout, followed by "with changes" if files differ from it."""
  name = git("rev-parse", "--short", "HEAD")
  outside = [] if Path(__file__).parent not in RESULTS.parents else [f":(exclude){RESULTS}"]
  return f"{name} with changes" if git("status", "--porcelain", "--", ".", *outside) else name


def command(file: str) -> str:
  """Returns the command that started this process, without paths of this machine."""
  return shlex.join(["python", f"benchmarks/{Path(file).name}", *map(unexpanded, sys.argv[1:])])


def machine_name(device: str | None = None) -> str:
  """Returns a short name for file names: of the accelerator `device`, such as h200, or of this
  machine, such as xeon-2-cores, if it is None."""
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
  known = next((text.split() for name, _, text in lines if name.strip() == "flags"), [])
  return [flag for flag in FLAGS if flag in known]


def multiplies_bfloat16() -> bool:
  """Returns whether this CPU multiplies bfloat16 faster than float32."""
  return bool({"avx512_bf16", "amx_bf16"} & set(flags()))


def short_name(product: str) -> str:
  """Returns the distinctive words of a product name: h200 for `NVIDIA H200`."""
  without = re.sub(r"\(\w+\)|@.*|\b\d+-Core\b|\b(Intel|AMD|NVIDIA|CPU|Processor)\b", " ", product)
  return re.sub(r"[^a-z0-9]+", "-", without.lower()).strip("-") or "unknown"


if __name__ == "__main__":
  main()
