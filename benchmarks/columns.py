"""Speech of eight codes a frame in one column and in eight: the same TTS, flat and delayed.

  python benchmarks/columns.py --steps 1000

Trains configs/delayed.py both ways on the same recordings, about as much speech in each step, and
scores both. Results are in benchmarks/results/columns.json: rows of the grid that a second of
speech takes (its text among them), nats per code on the test split, and speeds in tokens (codes and
text) and in seconds of speech, that of training as the median of its steps. A run that was stopped
goes on where it was.
"""

import argparse
import json
import shlex
import statistics
import time
from pathlib import Path

import score

import audiopalm

WAYS = ("flat", "delayed")
SENTENCES = 8  # spoken at once to measure the speed of speaking


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--steps", type=int, default=1_000)
  parser.add_argument("--set", action="append", default=[], metavar="path=value", dest="settings")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="where runs are kept")
  arguments = parser.parse_args()

  asked = [f"--steps={arguments.steps}", *(f"--set={setting}" for setting in arguments.settings)]
  result = {
    "command": shlex.join(["python", "benchmarks/columns.py", *map(score.unexpanded, asked)]),
    **score.conditions(("jax", "flax", "optax", "numpy", "scipy", "espeakng-loader")),
    "steps": arguments.steps,
    "ways": {},
  }
  for way in WAYS:
    settings = [*arguments.settings, f"columns={way}", f"steps={arguments.steps}"]
    workdir = arguments.workdirs / f"delayed_{way}"
    result["ways"][way] = row(workdir, score.run("delayed", workdir, settings))
    score.write("columns", result)
  print(json.dumps(result["ways"], indent=1))


def row(workdir: Path, run: dict) -> dict:
  """Returns one line of the table, from a run's files and its scores."""
  prepared = json.loads((workdir / "prepare.json").read_text(encoding="utf-8"))
  train = prepared["tasks"]["tts"]["splits"]["train"]
  resolved = json.loads((workdir / "config.json").read_text(encoding="utf-8"))
  rows = train["rows"] * train["efficiency"] * resolved["row_length"]
  speech_s = 3600 * train["hours"]
  scores = run["scores"]["tts"]
  speech_per_token = speech_s / train["tokens"]
  metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").open(encoding="utf-8")]
  speed = statistics.median(step["tokens_per_s"] for step in metrics if "tokens_per_s" in step)
  spoken_s, took_s = speaking(workdir)
  return {
    "rows_per_second_of_speech": round(rows / speech_s, 1),
    "nats_per_code": round(scores["modalities"]["speech"]["nll"], 4),
    "code_accuracy": round(scores["modalities"]["speech"]["token_accuracy"], 4),
    "mcd_db": round(scores["mcd"], 2),
    "mcd_db_through_codes": round(run["scores"]["baselines"]["units_ceiling"]["tts"]["mcd"], 2),
    "outputs_cut": scores["cut"],
    "tokens_trained": run["tokens"],
    "speech_trained_s": round(run["tokens"] * speech_per_token),
    "train_tokens_per_s": round(speed),
    "train_speech_s_per_s": round(speed * speech_per_token, 1),
    "speak_s_per_s": round(spoken_s / took_s, 2),
    "train_s": run["train_s"],
  }


def speaking(workdir: Path) -> tuple[float, float]:
  """Returns (seconds of speech, seconds it took) of sentences spoken together, once compiled."""
  opened = audiopalm.load(workdir)
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
