"""`audiopalm evaluate`: scores of a trained run on held-out data."""

import argparse
import sys
import time
from pathlib import Path

from audiopalm.cli import options
from audiopalm.errors import EXIT_DONE, ConfigError

LISTEN = 2  # recordings per task to point the listener to

DESCRIPTION = """Score a trained run on the test split of its mixture, and on voices it never heard.

Every task gets its negative log-likelihood per token and token accuracy; text out gets WER and CER,
or BLEU and chrF where it translates; speech out is written as WAV, read back, transcribed by the
model's own ASR and scored by WER or ASR-BLEU, and by its mel-cepstral distance to the reference
recording. Beside it stand an untrained model, the nearest training example copied, and the
reference recordings through units and back, which is the best speech out can reach.

  audiopalm evaluate --workdir runs/quickstart
  audiopalm evaluate --workdir runs/quickstart --tasks asr,tts --json scores.json

How many examples are asked is evaluation.examples of the config. Everything lies in
DIR/evaluation: results.json, every output (outputs/*.jsonl) and every WAV (waves/). Tasks scored
apart come together there as long as the checkpoint is the same. --rescore counts again from the
outputs that lie there, in seconds and without the model."""


def add_parser(commands: argparse._SubParsersAction) -> None:
  """Adds `evaluate` to the command line."""
  parser = options.command(commands, "evaluate", DESCRIPTION, run)
  options.add_trained(parser)
  options.add_step(parser)
  parser.add_argument(
    "--json", metavar="FILE", type=Path, help="write the scores here too (WER and CER as fractions)"
  )
  parser.add_argument(
    "--tasks", metavar="A,B", help="score these tasks only (default: the whole mixture)"
  )
  parser.add_argument(
    "--no-baselines",
    action="store_true",
    help="leave out what scores are compared with: an untrained model, copies, units as they are",
  )
  parser.add_argument(
    "--rescore",
    action="store_true",
    help="score the outputs that DIR/evaluation holds, without opening the model",
  )
  options.add_machine(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm evaluate`."""
  from rich.console import Console

  from audiopalm.evaluation import report, saved

  folder = saved.folder_of(args.workdir)
  if args.rescore:
    _check_alone(args)
    scores = saved.score(folder)
    done = f"Scored what was said by checkpoint {saved.scored_step(folder)}."
  else:
    scores, done = _asked(args)
  report.show(scores, Console())
  print(done)
  for line in report.to_listen(folder, list(scores), LISTEN):
    print(line)
  written = [folder / saved.RESULTS]
  if args.json is not None:
    saved.write(args.json, scores)
    written.append(args.json)
  print(f"Scores: {', '.join(map(str, written))}. Every output: {folder}")
  return EXIT_DONE


def _asked(args: argparse.Namespace) -> tuple[dict, str]:
  """Returns the scores of the run, asked now, and what to say of them."""
  from audiopalm import session  # imports jax

  opened = session.load(args.workdir, args.machine, args.step)
  started_s = time.perf_counter()
  tasks = None if args.tasks is None else [name.strip() for name in args.tasks.split(",")]

  def say(text: str) -> None:
    print(f"[{time.perf_counter() - started_s:5.0f} s] {text}", file=sys.stderr, flush=True)

  scores = opened.evaluate(tasks, say, compared=not args.no_baselines)
  return scores, f"Scored checkpoint {opened.step} in {time.perf_counter() - started_s:.0f} s."


def _check_alone(args: argparse.Namespace) -> None:
  """Raises ConfigError for options that ask the model something, beside --rescore."""
  for name in ("tasks", "step", "machine"):
    if getattr(args, name) is not None:
      raise ConfigError(
        f"--rescore counts all outputs that were saved, as they are: leave out --{name}."
      )
