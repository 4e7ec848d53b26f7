"""Speech of eight codes a frame, three ways: the same TTS in one column, in eight delayed ones, and
in eight with a depth head.

  python benchmarks/columns.py --steps 200

Trains configs/delayed.py each way on the same recordings, about as much speech in each step.
Results are in benchmarks/results/columns.json: rows of the grid that a second of speech takes (its
text among them), nats per code on the test split, and speeds in tokens (codes and text) and in
seconds of speech, that of training as the median of its steps, that of speaking timed once. A run
that was stopped goes on where it was: what was trained, and what was measured, stays.
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
SENTENCES = 8  # spoken at once to measure the speed of speaking


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=1_000)
  score.add_settings(parser)
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="where runs are kept")
  arguments = parser.parse_args()

  asked = [f"--steps={arguments.steps}", *(f"--set={setting}" for setting in arguments.settings)]
  result = {
    "command": shlex.join(["python", "benchmarks/columns.py", *map(score.unexpanded, asked)]),
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
  """Returns the line of a finished run, measured unless the same command did so at this commit."""
  path = workdir / "columns.json"
  if path.is_file():
    before = json.loads(path.read_text(encoding="utf-8"))
    if before["by"] == by:
      return before["row"]
  found = row(workdir)
  files.write_json(path, {"by": by, "row": found})
  return found


def table(ways: Mapping[str, dict]) -> str:
  """Returns the lines as a Markdown table."""
  shown = (
    "rows_per_second_of_speech", "nats_per_code", "train_speech_s_per_s", "speak_s_per_s"
  )  # fmt: skip
  header = ["columns", "rows a second of speech", "nats a code"]
  header += ["training, s of speech a s", "speaking, s a s"]
  return figures.table(header, [[way, *(one[name] for name in shown)] for way, one in ways.items()])


def row(workdir: Path) -> dict:
  """Returns one line of the table, from a run and its files."""
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
  """Returns (seconds of speech, seconds it took) of sentences spoken together, once compiled."""
  entries = opened.prepared.entries(opened.prepared.task("tts"), "test")
  said = [one.utterances["target"] for one in entries if one.languages["target"] == "en"]
  texts = [one.text for one in said[:SENTENCES]]
  opened.generate("tts", text=texts, language="en")
  start_s = time.monotonic()
  results = opened.generate("tts", text=texts, language="en")
  took_s = time.monotonic() - start_s
  return sum(len(one.wave_S) / one.rate_hz for one in results), took_s


if __name__ == "__main__":
  main()
