"""Trains a speech encoder without labels, and tests its units on digits of a speaker never heard.

  python benchmarks/self_supervised.py --data-dir $TFDS_DATA_DIR --held-out theo \\
      --manifests so762/train.jsonl kerstin/train.jsonl --dev-manifests so762/dev.jsonl
  python benchmarks/self_supervised.py ... --iteration 2          # targets are states of 1
  python benchmarks/self_supervised.py ... --config systems/wav2vec2
  python benchmarks/self_supervised.py ... --set ctc=0.3 --name hubert_ctc

The encoder hears the other four speakers and what the manifests list, as many steps as fit into
`--minutes` at the speed of the first ones, or `--steps`. Clusters of the states of a middle layer
are then the units of configs/spoken_digit.py, whose decoder is trained once for each seed; beside
it stand its own MFCC units. `exact` is the share of the held-out speaker's recordings that are
right, by seed; the interval of the difference is a paired bootstrap over recordings.
`audiopalm tokenizer evaluate` compares the units on recordings that no training heard, of all five
speakers. To go on with what was stopped, give the same command again. Results are in
benchmarks/results/self_supervised-SPEAKER-NAME.json.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import score

from audiopalm import runs
from audiopalm.data import corpora, files, json_lines
from audiopalm.evaluation import answers, saved
from audiopalm.metrics import tally
from audiopalm.report import run as run_files

# What the small sizes take on two cores where much of the speech is single words.
SETTINGS = ("data.seconds=2.5", "data.batch_rows=24", "optimizer.peak_lr=1e-3")
TIMED = 50  # steps whose second half tells the speed
SHARE = 0.95  # of the time is for steps; the rest is for held-out losses and checkpoints
SPLIT, TASK = "held_out_voices", "asr"
OURS, MFCC = "ours", "mfcc"


def main() -> None:
  parser = score.command_parser(__doc__)
  add = parser.add_argument
  add("--config", default="systems/hubert", help="of the encoder (default: %(default)s)")
  score.add_settings(parser)
  add("--data-dir", metavar="DIR", required=True, help="data directory of TFDS")
  add("--manifests", metavar="FILE", nargs="*", default=[], help="speech to train on too")
  add("--dev-manifests", metavar="FILE", nargs="*", default=[], help="for held-out losses")
  add("--held-out", choices=corpora.DIGIT_SPEAKERS, default="theo")
  add("--iteration", type=int, default=1, help="2: targets are clusters of the states of 1")
  add("--minutes", type=float, default=60.0, help="of pretraining (default: %(default)g)")
  add("--steps", type=int, help="of pretraining, whatever time they take")
  add("--layer", type=int, default=3, help="whose states are clustered (default: %(default)s)")
  add("--size", type=int, default=256, help="units (default: %(default)s)")
  add("--rate-hz", type=int, default=50, help="of units; 25 for frames of 40 ms")
  add("--seeds", type=int, default=3, help="decoders of each kind of units (default: %(default)s)")
  add("--decoder-set", action="append", default=[], metavar="path=value")
  add("--name", help="of the run (default: the config's name and the iteration)")
  add("--workdirs", type=Path, default=Path("runs/self_supervised"), help="folder of the runs")
  arguments = parser.parse_args()

  at_start = score.conditions()
  name = arguments.name or f"{Path(arguments.config).stem}_{arguments.iteration}"
  folder = arguments.workdirs / arguments.held_out
  encoder = folder / name
  pretraining = pretrain(arguments, folder, encoder)
  units = {
    name: [f"units=neural:{encoder}", f"tokenizers.units.layer={arguments.layer}",
           f"tokenizers.units.size={arguments.size}",
           f"tokenizers.units.rate_hz={arguments.rate_hz}"],
    MFCC: [],
  }  # fmt: skip
  right = {
    kind: [decoder(arguments, folder / f"{kind}_seed_{seed}", seed, own)
           for seed in range(arguments.seeds)]
    for kind, own in units.items()
  }  # fmt: skip
  result = {
    "command": shlex.join(["python", "benchmarks/self_supervised.py", *shown(arguments)]),
    **at_start,
    "held_out_speaker": arguments.held_out,
    "pretraining": pretraining,
    "units": {name: getattr(arguments, name) for name in ("layer", "size", "rate_hz")},
    **compared(right[name], right[MFCC]),
    "tokenizers": judged(arguments, folder, name),
  }
  score.write(f"self_supervised-{arguments.held_out}-{name}", result)
  print(json.dumps(result, indent=1))


def pretrain(arguments: argparse.Namespace, folder: Path, workdir: Path) -> dict[str, Any]:
  """Trains the encoder, and returns its settings, speed and last losses."""
  settings = [f"data_dir={arguments.data_dir}", f"held_out_speaker={arguments.held_out}"]
  for option in ("manifests", "dev_manifests"):
    if paths := getattr(arguments, option):
      settings.append(f"{option}={','.join(paths)}")
  if arguments.iteration > 1:
    first = folder / f"{Path(arguments.config).stem}_{arguments.iteration - 1}"
    settings += [f"units=neural:{first}", f"layer={arguments.layer}"]
  settings += [*SETTINGS, *arguments.settings]
  steps = steps_of(arguments, workdir, settings)
  train(arguments.config, workdir, [*settings, f"steps={steps}"], folder)
  lines = json_lines.read_grown(workdir / "metrics.jsonl")
  trained = [line for line in lines if "tokens" in line]
  spent = run_files.goodput(json_lines.read_grown(workdir / "goodput.jsonl", "time"))
  held_out = [line["held_out"] for line in lines if "held_out" in line]
  return {
    "config": arguments.config,
    "settings": arguments.settings,
    "steps": trained[-1]["step"],
    "train_s": round(sum(spent.values())),
    "audio_s_per_s": round(sum(line["tokens"] for line in trained) / 100 / spent["step"], 1),
    "held_out": held_out[-1] if held_out else {},
  }


def steps_of(arguments: argparse.Namespace, workdir: Path, settings: list[str]) -> int:
  """Returns how many steps fit into the time; the same when the command is given again."""
  if arguments.steps is not None:
    return arguments.steps
  path = workdir / "steps.json"
  if not path.is_file():
    train(arguments.config, workdir, [*settings, f"steps={TIMED}"], workdir.parent)
    lines = json_lines.read_grown(workdir / "metrics.jsonl")
    times = [run_files.step_seconds(line) for line in lines if "tokens" in line]
    step_s = float(np.median(times[-TIMED // 2 :]))
    steps = max(TIMED, round(SHARE * 60 * arguments.minutes / step_s))
    files.write_json(path, {"steps": steps, "minutes": arguments.minutes, "step_s": step_s})
  return files.read_json(path)["steps"]


def train(config: str, workdir: Path, settings: Sequence[str], shared: Path) -> None:
  """Prepares and trains a run, or goes on with it; token streams lie in the folder `shared`."""
  own = [part for setting in settings for part in ("--set", setting)]
  words = [config, "--workdir", str(workdir), *own]
  score.audiopalm("prepare", *words, "--streams", str(shared / "streams"))
  score.audiopalm("train", *words)


def decoder(
  arguments: argparse.Namespace, workdir: Path, seed: int, units: Sequence[str]
) -> dict[str, bool]:
  """Returns {recording: whether its digit was right} of the held-out speaker."""
  settings = [f"data_dir={arguments.data_dir}", f"held_out_speaker={arguments.held_out}",
              f"seed={seed}", "export=none", *units, *arguments.decoder_set]  # fmt: skip
  train("spoken_digit", workdir, settings, workdir.parent)
  folder = saved.folder_of(workdir)
  if saved.scored_step(folder) != runs.newest(workdir)["step"]:
    score.audiopalm("evaluate", "--workdir", str(workdir), "--no-baselines")
  digits = answers.read(saved.path_of(folder, answers.MODEL, SPLIT, TASK))
  return {
    answer.id: answer.outputs[0].hypothesis == answer.outputs[0].reference for answer in digits
  }


def compared(ours: Sequence[dict[str, bool]], theirs: Sequence[dict[str, bool]]) -> dict[str, Any]:
  """Returns the exact % of both kinds of units, and of their difference with its interval: points
  by which ours are better on the same recordings, the mean over seeds."""
  names = sorted(ours[0])
  if any(sorted(of) != names for of in (*ours, *theirs)):
    raise SystemExit("The runs were asked different recordings. Give each the same --decoder-set.")
  rights = [np.array([[of[name] for name in names] for of in kind]) for kind in (ours, theirs)]
  gain_N = 100 * (rights[0].mean(axis=0) - rights[1].mean(axis=0))
  gain = tally.Tally(np.stack([gain_N, np.ones(len(names))], axis=1), tally.ratio)
  percent = [np.round(100 * right.mean(axis=1), 1).tolist() for right in rights]
  return {
    "recordings": len(names),
    "exact": {OURS: percent[0], MFCC: percent[1]},
    "mean_exact": {OURS: round(float(np.mean(percent[0])), 2),
                   MFCC: round(float(np.mean(percent[1])), 2)},
    "gain": round(gain.score(), 2),
    "gain_interval": [round(end, 2) for end in gain.interval()],
    "rule": f"paired over recordings, mean over seeds: {tally.RULE}",
  }  # fmt: skip


def judged(arguments: argparse.Namespace, folder: Path, name: str) -> dict[str, Any]:
  """Returns what `audiopalm tokenizer evaluate` says of both kinds of units."""
  path = folder / f"{name}.tokenizers.json"
  workdirs = {OURS: str(folder / f"{name}_seed_0"), MFCC: str(folder / f"{MFCC}_seed_0")}
  options = [part for workdir in workdirs.values() for part in ("--tokenizer", workdir)]
  score.audiopalm(
    "tokenizer", "evaluate", "spoken_digit", "--data", f"data_dir={arguments.data_dir}",
    "--data", "held_out_speaker=none", *options, "--json", str(path),
  )  # fmt: skip
  scores = files.read_json(path)
  by_kind = {kind: scores["tokenizers"][workdir] for kind, workdir in workdirs.items()}
  return {**scores, "tokenizers": by_kind}


def shown(arguments: argparse.Namespace) -> list[str]:
  """Returns the arguments of this process without paths of this machine."""
  paths = {*arguments.manifests, *arguments.dev_manifests}
  return [
    "/".join(Path(word).parts[-2:]) if word in paths else score.unexpanded(word)
    for word in sys.argv[1:]
  ]


if __name__ == "__main__":
  main()
