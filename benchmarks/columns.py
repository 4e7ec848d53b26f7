"""Compares TTS with eight codes per frame in one column, in eight delayed columns, and in eight
columns with a depth head.

  python benchmarks/columns.py --steps 200

Trains configs/delayed.py in each way on the same recordings, with about as much speech per step.
Results are in benchmarks/results/columns.json: grid rows per second of speech (including its text),
nats per code on the test split, and speeds in tokens (codes and text) and in seconds of speech. The
speed of training is the median over steps; that of synthesis is timed once. An interrupted
benchmark continues: finished runs and measurements are reused.
"""

import argparse
import json
import shlex
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import figures
import score

import audiopalm
from audiopalm.data import files, json_lines
from audiopalm.evaluation import likelihoods, scoring, suites, trials
from audiopalm.metrics import likelihood
from audiopalm.session import Session

WAYS = ("flat", "delayed", "depth")
SENTENCES = 8  # generated in one batch to measure the speed of synthesis


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=1_000)
  score.add_settings(parser)
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="folder of the runs")
  arguments = parser.parse_args()

  words = [f"--steps={arguments.steps}", *(f"--set={setting}" for setting in arguments.settings)]
  result = {
    "command": shlex.join(["python", "benchmarks/columns.py", *map(score.unexpanded, words)]),
    **score.conditions(("jax", "flax", "optax", "numpy", "scipy", "py-nanotts", "espeakng-loader")),
    "steps": arguments.steps,
    "ways": {},
  }
  streams = arguments.workdirs / "delayed_streams"  # spoken and tokenized once for all three
  for way in WAYS:
    settings = [*arguments.settings, f"columns={way}", f"steps={arguments.steps}"]
    workdir = arguments.workdirs / f"delayed_{way}"
    run = ["delayed", "--workdir", str(workdir)]
    run += [part for setting in settings for part in ("--set", setting)]
    score.audiopalm("prepare", *run, "--streams", str(streams))
    score.audiopalm("train", *run)
    result["ways"][way] = measured(workdir, {name: result[name] for name in ("command", "commit")})
    score.write("columns", result)
  print(table(result["ways"]))


def measured(workdir: Path, by: dict[str, str]) -> dict:
  """Returns the results of a finished run, cached for the same command at the same commit."""
  path = workdir / "columns.json"
  if path.is_file():
    cached = json.loads(path.read_text(encoding="utf-8"))
    if cached["by"] == by:
      return cached["row"]
  results = row(workdir)
  files.write_json(path, {"by": by, "row": results})
  return results


def table(ways: Mapping[str, dict]) -> str:
  """Returns the results of all ways as a Markdown table."""
  shown = (
    "rows_per_second_of_speech", "nats_per_code", "train_speech_s_per_s", "speak_s_per_s"
  )  # fmt: skip
  header = ["columns", "rows per second of speech", "nats per code"]
  header += ["training, s of speech per s", "synthesis, s of speech per s"]
  rows = [[way, *(results[name] for name in shown)] for way, results in ways.items()]
  return figures.table(header, rows)


def row(workdir: Path) -> dict:
  """Returns the results of a run, from its files and from measurements."""
  prepared = json.loads((workdir / "prepare.json").read_text(encoding="utf-8"))
  train = prepared["tasks"]["tts"]["splits"]["train"]
  metrics = json_lines.read_grown(workdir / "metrics.jsonl")
  steps = [step for step in metrics if "tokens" in step]
  tokens = sum(step["tokens"] for step in steps)
  speed = statistics.median(step["tokens_per_s"] for step in steps)
  speech_s = 3600 * train["hours"]
  speech_per_token = speech_s / train["tokens"]
  opened = audiopalm.load(workdir)
  rows = train["rows"] * train["efficiency"] * opened.experiment.data.row_length
  codes = likelihood_of_codes(opened)
  spoken_s, took_s = speaking(opened)
  return {
    "rows_per_second_of_speech": round(rows / speech_s, 1),
    "nats_per_code": round(codes["nll"], 4),
    "code_accuracy": round(codes["token_accuracy"], 4),
    "tokens_trained": tokens,
    "speech_trained_s": round(tokens * speech_per_token),
    "train_tokens_per_s": round(speed),
    "train_speech_s_per_s": round(speed * speech_per_token, 1),
    "speak_s_per_s": round(spoken_s / took_s, 2),
  }


def likelihood_of_codes(opened: Session) -> dict:
  """Returns the mean negative log-likelihood and the accuracy of codes on the test split."""
  kinds = suites.kinds(opened.experiment.tasks, opened.prepared.space.streams)
  trial = trials.of_split(opened, kinds["tts"], scoring.SEEN)
  sums = likelihoods.of_examples(opened, [question.grid for question in trial.questions])
  return likelihood.reduce(sums)["modalities"]["speech"]


def speaking(opened: Session) -> tuple[float, float]:
  """Returns (seconds of speech, seconds it took) of a batch of sentences, without compilation."""
  entries = opened.prepared.entries(opened.prepared.task("tts"), "test")
  targets = [entry.utterances["target"] for entry in entries if entry.languages["target"] == "en"]
  texts = [target.text for target in targets[:SENTENCES]]
  opened.generate("tts", text=texts, language="en")
  start_s = time.monotonic()
  results = opened.generate("tts", text=texts, language="en")
  took_s = time.monotonic() - start_s
  return sum(len(result.wave_S) / result.rate_hz for result in results), took_s


if __name__ == "__main__":
  main()
