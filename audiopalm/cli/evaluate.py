"""`audiopalm evaluate`: scores of a trained run on held-out data."""

import argparse
import functools
import sys
import time
from pathlib import Path

from audiopalm.cli import hardware, options, outputs
from audiopalm.errors import EXIT_DONE, ConfigError
from audiopalm.evaluation import listeners, whisper
from audiopalm.evaluation.listeners import Listener
from audiopalm.evaluation.suites import SUITES

WHISPER = "whisper"
LISTEN = 2  # recordings per task whose paths are printed
METERS = ("mos", "similarity")
# Recognizers and meters of generated speech: the help of --SCORE NAME and of --SCORE-command.
LISTENERS = {
  "asr": (
    "transcribe speech with this recognizer too, besides the run's own ASR: whisper (many "
    "languages; extra [whisper]) or pocketsphinx (English only; extra [asr])",
    "transcribe speech with this program too, besides the run's own ASR: it prints the words of "
    "the WAV whose path replaces {wav}; {language} becomes their language code",
  ),
  "mos": (
    "predict the mean opinion score (MOS) of generated speech: dnsmos (rates noise; extra "
    "[voices])",
    "predict it with this program: it prints a number for the WAV whose path replaces {wav}",
  ),
  "similarity": (
    "measure how similar the voice of generated speech is to the reference's: resemblyzer "
    "(cosine similarity; extra [voices])",
    "measure it with this program: it prints a number for the WAV whose path replaces {wav}, "
    "compared with {reference}",
  ),
}
METER_OPTIONS = tuple(name for score in METERS for name in (score, f"{score}_command"))
RECOGNIZER_OPTIONS = ("asr", "asr_command", "asr_model", "recordings")
DECODING_OPTIONS = (
  "tasks", "no_baselines", "num_beams", "length_penalty", *RECOGNIZER_OPTIONS, *METER_OPTIONS,
)  # fmt: skip
MODEL_OPTIONS = (*DECODING_OPTIONS, "suite", "pairs", "task", "step", *hardware.OPTIONS, "products")

DESCRIPTION = """Score a trained run on the test split of its mixture, and on held-out voices.

Every task gets its negative log-likelihood per token and its token accuracy. Text output gets WER
and CER, or BLEU and chrF for translations. Speech output is written as WAV, read back, transcribed
by the model's own ASR and scored by WER or ASR-BLEU, and by its mel-cepstral distance to the
reference recording. Three baselines get the same scores: an untrained model, a copy of the nearest
training example, and the reference recordings encoded as units and decoded again, the best that
speech output can reach.

  audiopalm evaluate --workdir runs/quickstart
  audiopalm evaluate --workdir runs/quickstart --tasks asr,tts --json scores.json
  audiopalm evaluate --workdir runs/quickstart --suite all --report

Suites select tasks by their type: recognition (speech to its transcript), translation (text out in
another language), speech_out, retention (text on all sides) and zero_resource (pairs, see below).

A second recognizer can transcribe speech: Whisper, from a folder in CTranslate2's layout, or a
program. Its scores are reported besides the run's own (independent_wer and so on, with numbers
spelled out), and it transcribes recordings of every voice, both the originals and what their units
keep. Transcripts are cached. Generated speech can also get a predicted mean opinion score (MOS) and
the similarity of its voice to the reference's:

  audiopalm evaluate --workdir DIR --asr whisper --asr-model FOLDER --recordings all
  audiopalm evaluate --workdir DIR --asr-command 'transcribe --language {language} {wav}'
  audiopalm evaluate --workdir DIR --mos dnsmos --similarity resemblyzer
  audiopalm evaluate --workdir DIR --similarity-command 'compare {wav} {reference}'

The number of examples is evaluation.examples of the config. DIR/evaluation holds results.json,
every output (outputs/*.jsonl) and every WAV (waves/). Results of several calls are scored together
as long as the checkpoint is the same. --rescore computes the scores again from the saved outputs,
in seconds and without the model.

Pairs of a right and a wrong text or recording (sWUGGY, sBLIMP, StoryCloze) are scored by the
likelihoods of a task without inputs: --task, or the first that fits. A file has one pair a line, as
JSON or tab-separated. Optional are "prompt", the common beginning of both sides, and "kind": each
kind also gets a score of its own:

  audiopalm evaluate --workdir DIR --pairs swuggy.jsonl --task continuation

  {"positive": "brick.wav", "negative": "blick.wav", "language": "en"}"""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `evaluate`."""
  add = functools.partial(options.add, parser)
  options.add_trained(parser)
  options.add_step(parser)
  add("--json FILE", "also write the scores here (WER and CER as fractions)", type=Path)
  add("--tasks A,B", "score these tasks only (default: the whole mixture)")
  add("--suite A,B", f"score tasks of these types: {', '.join(SUITES)}, or all")
  summary = "score the pairs in these files, alone or together with --suite"
  add("--pairs FILE", summary, nargs="+", type=Path)
  add("--task NAME", "the task without inputs whose likelihoods score --pairs")
  for score, (by_name, by_program) in LISTENERS.items():
    names = sorted([*listeners.PACKAGES[score], *([WHISPER] if score == "asr" else [])])
    add(f"--{score}", by_name, choices=names)
    add(f"--{score}-command COMMAND", by_program)
  add(
    "--asr-model FOLDER",
    "the model of --asr whisper: a folder in CTranslate2's layout, or one that contains it as "
    "ctranslate2/; a name, such as base, is downloaded",
  )
  summary = (
    "how many recordings of every voice the recognizer of --asr transcribes, as they are and as "
    f"their units keep them: a number, or all (default: {listeners.VOICE_RECORDINGS})"
  )
  add("--recordings N", summary, type=_each)
  summary = "skip the baselines: an untrained model, copies, and units of the references"
  add("--no-baselines", summary, action="store_true")
  summary = "score the outputs saved in DIR/evaluation, without loading the model"
  add("--rescore", summary, action="store_true")
  add("--report", "also write DIR/report.html, as `audiopalm report` does", action="store_true")
  options.add_beams(parser)
  hardware.add_arguments(parser)
  options.add_products(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm evaluate`."""
  from rich.console import Console

  from audiopalm.evaluation import pairs, report, saved

  _check(args)
  folder, console = saved.folder_of(args.workdir), Console()
  _check_outputs(args, folder)
  scores, judged = {}, {}
  if args.rescore:
    scores, judged = saved.score(folder), pairs.scored(folder)
    done = f"Scored the saved outputs of checkpoint {saved.scored_step(folder)}."
  elif _pairs_alone(args):
    judged, done = _evaluated(args)
  else:
    scores, done = _evaluated(args)
  written = []
  if report.tasks(scores):
    report.show(scores, console)
  if judged:
    report.show_pairs(judged, console)
  if scores:
    report.show_suites(scores, console)
    report.show_recordings(scores, console)
    written.append(folder / saved.RESULTS)
  if judged or args.pairs:
    written.append(folder / pairs.RESULTS)
  print(done, *report.to_listen(folder, list(scores), LISTEN), sep="\n")
  if args.json is not None:
    saved.write(args.json, judged if _pairs_alone(args) else scores)
    written.append(args.json)
  if args.report:
    from audiopalm.report import run as run_files  # these import jax
    from audiopalm.report import single

    written.append(single.write(run_files.read(args.workdir, args.trust)))
  print(f"Scores: {', '.join(map(str, written))}. Every output: {folder}")
  return EXIT_DONE


def _evaluated(args: argparse.Namespace) -> tuple[dict, str]:
  """Returns the scores of the run after evaluating it, and a line about the time it took."""
  recognizer = _recognizer(args)  # first: a model that cannot be opened fails at once
  from audiopalm import session  # these import jax
  from audiopalm.evaluation import runner

  opened = session.load(args.workdir, hardware.machine(args), args.step, args.products, args.trust)
  started_s = time.perf_counter()

  def say(text: str) -> None:
    print(f"[{time.perf_counter() - started_s:5.0f} s] {text}", file=sys.stderr, flush=True)

  options = runner.Options(
    tasks=_names(args.tasks), suites=_names(args.suite), pairs=args.pairs or (),
    judged_by=args.task, recognizer=recognizer,
    recordings_each=listeners.VOICE_RECORDINGS if args.recordings is None else args.recordings[0],
    meters=[meter for score in METERS if (meter := _listener(args, score))],
    compared=not args.no_baselines, beams=args.num_beams, length_penalty=args.length_penalty,
  )  # fmt: skip
  score = runner.judge if _pairs_alone(args) else runner.evaluate
  scores = score(opened, args.workdir, options, say)
  return scores, f"Scored checkpoint {opened.step} in {time.perf_counter() - started_s:.0f} s."


def _pairs_alone(args: argparse.Namespace) -> bool:
  """Returns whether only pairs are scored, and no task is decoded."""
  return bool(args.pairs) and args.suite is None


def _names(listed: str | None) -> list[str] | None:
  return None if listed is None else [name.strip() for name in listed.split(",")]


def _recognizer(args: argparse.Namespace) -> Listener | None:
  """Returns the second recognizer, None if no option names one."""
  return whisper.opened(args.asr_model) if args.asr == WHISPER else _listener(args, "asr")


def _listener(args: argparse.Namespace, score: listeners.Score) -> Listener | None:
  """Returns the program or package that an option names, None if the option is not given."""
  name, line = getattr(args, score), getattr(args, f"{score}_command")
  if line is not None:
    return listeners.Command(score, line)
  return None if name is None else listeners.PACKAGES[score][name]


def _check(args: argparse.Namespace) -> None:
  """Raises ConfigError for options that exclude each other, or that require another."""
  refused = [
    (args.rescore, MODEL_OPTIONS, "--rescore scores all saved outputs as they are"),
    (_pairs_alone(args), DECODING_OPTIONS, "--pairs alone are scored without decoding"),
    (args.suite, ("tasks", "task"), "--suite already selects the tasks"),
    (args.asr_command, ("asr",), "--asr-command already transcribes speech"),
    (args.mos_command, ("mos",), "--mos-command already measures speech"),
    (args.similarity_command, ("similarity",), "--similarity-command already measures speech"),
  ]
  for value, others, why in refused:
    for name in others if value not in (None, False) else ():
      if getattr(args, name) not in (None, False):
        raise ConfigError(f"{why}: leave out --{name.replace('_', '-')}.")
  if args.asr == WHISPER and args.asr_model is None:
    raise ConfigError(
      "--asr whisper needs --asr-model FOLDER: a Whisper model in CTranslate2's layout, or the "
      "name of one to be downloaded, such as base."
    )
  if args.asr_model is not None and args.asr != WHISPER:
    raise ConfigError("--asr-model names the model of --asr whisper: add that, or leave it out.")
  if args.recordings is not None and args.asr is None and args.asr_command is None:
    raise ConfigError(
      "--recordings are transcribed by the recognizer of --asr or --asr-command: name one, or "
      "leave out --recordings."
    )
  if args.task is not None and args.pairs is None:
    raise ConfigError(
      "--task NAME is the task that scores --pairs FILE, which is missing. To score tasks "
      "themselves, name them by --tasks."
    )


def _check_outputs(args: argparse.Namespace, folder: Path) -> None:
  """Raises ConfigError if an output would overwrite an input."""
  read = outputs.inputs(*(args.pairs or ()), *hardware.files(args), *outputs.of_run(args.workdir))
  if args.json is not None:
    outputs.check_file("--json", args.json, read, args.workdir, "JSON")
  inside = [path for path in args.pairs or () if folder.resolve() in path.resolve().parents]
  if inside:
    raise ConfigError(
      f"--pairs {inside[0]} is in {folder}, which every evaluation rewrites. Move it elsewhere."
    )


def _each(text: str) -> tuple[int | None]:
  """Returns (N,), or (None,) for "all"; None itself stands for an option that is not given."""
  if text == "all":
    return (None,)
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f"expected a number of recordings, or all, not {text!r}")
  return (int(text),)
