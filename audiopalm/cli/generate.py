"""`audiopalm generate`: runs a trained model on recordings or texts."""

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiopalm.audio import sources, waveform
from audiopalm.cli import hardware, options, outputs
from audiopalm.data import files
from audiopalm.errors import EXIT_DONE, EXIT_USER, AudiopalmError, ConfigError, RecordError

if TYPE_CHECKING:  # imports jax
  from audiopalm.inference import generate
  from audiopalm.session import Session

AT_ONCE = 64  # inputs read, decoded and printed at a time

DESCRIPTION = """Generate with a trained run: recordings or texts in, text or speech out.

Prints a line per input: its path and the output text, separated by tabs. A task with several text
outputs prints all of them. Speech is written as WAV (16 kHz, 16 bit), or in the format of the
file's extension, and its path ends the line. An existing file is replaced, unless it is an input or
a file of the run.

  audiopalm generate --workdir DIR --task asr  --audio a.wav b.wav --language en
  audiopalm generate --workdir DIR --task ast  --audio a.wav --source en --target fr
  audiopalm generate --workdir DIR --task mt   --text "good morning" --source en --target fr
  audiopalm generate --workdir DIR --task tts  --text "good morning" --language en --out o.wav
  audiopalm generate --workdir DIR --task s2st --audio a.wav --source en --target fr --out o.wav
  audiopalm generate --workdir DIR --task tts  --text "one" "two" --language en --out speech/
  audiopalm generate --workdir DIR --task tts  --edit a.wav --transcript "one big cat" \\
    --text "one small cat" --language en --out o.wav

Without --language (--source for a translation) the run's only language is used. If it has several,
each is tried; the one whose output has the highest likelihood per token is used and printed on
stderr.

A recording longer than those in training is cut at pauses, a long text between sentences, and the
outputs are joined. An input that cannot be used is reported on stderr; the others are still
processed, and the exit code is 2."""


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the options of `generate`."""
  options.add_trained(parser)
  options.add_step(parser)
  parser.add_argument(
    "--task", metavar="NAME", required=True, help="a task the run was trained on: asr, tts, ..."
  )
  inputs = parser.add_mutually_exclusive_group(required=True)
  inputs.add_argument(
    "--audio",
    metavar="FILE",
    nargs="+",
    help="recordings (WAV, FLAC, OGG, MP3; any rate); - is standard input",
  )
  options.add_texts(inputs, "texts, each in quotes")
  edits = parser.add_argument_group(
    "speech editing, for a run whose layout fills spans (configs/systems/voicecraft.py)"
  )
  edits.add_argument(
    "--edit",
    metavar="FILE",
    help="a recording to change so that it says --text: part of it is generated, the rest is kept",
  )
  edits.add_argument(
    "--transcript",
    metavar="TEXT",
    help="what the recording says now: words that differ from --text are generated again; their "
    "times are estimated from the number of letters",
  )
  edits.add_argument(
    "--span",
    metavar="START:END",
    type=_span,
    action="append",
    default=[],
    dest="spans",
    help="instead of --transcript, the part to generate again, in seconds; without END up to the "
    "end; with the recording's length as START the recording is continued. May be repeated",
  )
  languages = parser.add_argument_group("languages, as codes: en, fr, de ...")
  languages.add_argument(
    "--language", metavar="CODE", help="the language of a task with one (asr, tts, dialogue)"
  )
  languages.add_argument(
    "--source", metavar="CODE", help="the language a translation is from (ast, mt, s2st)"
  )
  languages.add_argument("--target", metavar="CODE", help="the language a translation is into")
  output = parser.add_argument_group("speech output")
  output.add_argument(
    "--out",
    metavar="PATH",
    help=f"for one input a file ({', '.join(waveform.ENDINGS)}); or a folder that gets one WAV per "
    "input, named after it",
  )
  output.add_argument(
    "--voice",
    metavar="NAME",
    help="the voice (default: the first training voice of the output language); an unknown name "
    "lists the known ones",
  )
  sampling = parser.add_argument_group("decoding")
  sampling.add_argument(
    "--temperature",
    metavar="T",
    type=float,
    default=0.0,
    help="0, the default, takes the most likely token; 1 samples from the model's probabilities",
  )
  sampling.add_argument(
    "--top-k", metavar="K", type=int, help="sample from the K most likely tokens only"
  )
  sampling.add_argument(
    "--top-p",
    metavar="P",
    type=float,
    help="sample from the most likely tokens whose probabilities sum to P",
  )
  options.add_beams(sampling, beams=1, length_penalty=0.6)
  sampling.add_argument(
    "--seed", metavar="N", type=int, default=0, help="seed of sampling (default: 0)"
  )
  hardware.add_arguments(parser)
  options.add_products(parser)


def run(args: argparse.Namespace) -> int:
  """Returns the exit code of `audiopalm generate`."""
  from audiopalm import session  # imports jax

  _check_edit(args)
  opened = session.load(args.workdir, hardware.machine(args), args.step, args.products, args.trust)
  names = args.audio or ([args.edit] if args.edit else None)
  names = names or [f"text {number}" for number in range(1, len(args.text) + 1)]
  waves = _waves(opened, args, names)
  exit_code = EXIT_DONE
  for start in range(0, len(names), AT_ONCE):
    chunk = slice(start, start + AT_ONCE)
    for result, wave in zip(_answers(opened, args, names[chunk], chunk), waves[chunk], strict=True):
      if isinstance(result, AudiopalmError):
        print(f"{type(result).__name__}: {result}", file=sys.stderr)
        exit_code = EXIT_USER
      else:
        _deliver(result, wave)
  return exit_code


def _check_edit(args: argparse.Namespace) -> None:
  """Raises ConfigError for options that conflict with --edit or require it."""
  if args.edit is None and (args.transcript is not None or args.spans):
    raise ConfigError(
      "--transcript and --span tell what to change in a recording: name it by --edit FILE."
    )
  if args.edit is not None and args.audio:
    raise ConfigError(
      "--edit FILE is the recording: give --text, all that it should say, not --audio."
    )


def _span(text: str) -> tuple[float, float | None]:
  """Returns START:END as seconds, None for a missing END."""
  start, colon, end = text.partition(":")
  try:
    return float(start if colon else "none"), float(end) if end else None
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"expected START:END in seconds, such as 0.4:0.9, or START: up to the end, not {text!r}"
    ) from None


def _answers(
  opened: "Session", args: argparse.Namespace, names: Sequence[str], chunk: slice
) -> Iterator["generate.Result | AudiopalmError"]:
  """Yields the result or the error of each input of a chunk, in order."""
  from audiopalm import session
  from audiopalm.inference import generate, sampling

  inputs, faults = [], {}
  for number, name in enumerate(names):
    try:
      if args.edit is not None:
        inputs.append(session.read_edit(args.edit, args.text, args.transcript, args.spans))
      elif args.text is not None:
        inputs.append(generate.Input(name, text=args.text[chunk][number]))
      else:
        inputs += session.read_inputs(name, None)
    except RecordError as error:
      faults[number] = error
  answered = iter(
    generate.generate(
      opened,
      args.task,
      inputs,
      language=args.language,
      source=args.source,
      target=args.target,
      voice=args.voice,
      sampling=sampling.choose(
        args.num_beams,
        args.length_penalty,
        sampling.Sampling(args.temperature, args.top_k, args.top_p),
      ),
      seed=args.seed,
    )
  )
  for number in range(len(names)):
    result = faults[number] if number in faults else next(answered)
    yield result.error if isinstance(result, generate.Failure) else result


def _waves(opened: "Session", args: argparse.Namespace, names: Sequence[str]) -> list[Path | None]:
  """Returns the file for the speech of each input, None if no speech is to be written."""
  from audiopalm.inference import prompting

  modalities = prompting.output_modalities(opened, prompting.find_task(opened, args.task))
  if "speech" not in modalities:
    if args.out is not None:
      raise ConfigError(
        f"Task {args.task!r} outputs text, which is printed: leave out --out, or redirect stdout."
      )
    return [None] * len(names)
  if args.out is None:
    if "text" in modalities:
      return [None] * len(names)
    raise ConfigError(f"Task {args.task!r} outputs speech: give a file for it, --out FILE.wav.")
  out = Path(args.out)
  recordings = args.audio or ([args.edit] if args.edit else [])
  read = outputs.inputs(*recordings, *hardware.files(args), *outputs.of_run(args.workdir))
  if _is_file(args.out):
    if len(names) > 1:
      raise ConfigError(
        f"{len(names)} inputs cannot share one file {out}. Give --out a folder: it gets one WAV "
        "for each."
      )
    outputs.check_file("--out", out, read, args.workdir)
    return [out]
  stems = [Path(name).stem if recordings else name.replace(" ", "-") for name in names]
  stems = ["stdin" if stem == sources.STDIN else stem for stem in stems]
  doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
  if doubles:
    raise ConfigError(
      f"Two inputs are named {doubles[0]!r}: their speech would be one file in {out}. "
      "Rename one, or generate them one at a time."
    )
  outputs.check_folder("--out", out, read, [f"{stem}.wav" for stem in stems], args.workdir)
  return [out / f"{stem}.wav" for stem in stems]


def _is_file(out: str) -> bool:
  """Returns whether --out is a file; ConfigError for an extension that cannot be written."""
  ending = Path(out).suffix.lower()
  if out.endswith(os.sep) or Path(out).is_dir() or not re.search("[a-z]", ending):
    return False
  if ending not in waveform.ENDINGS:
    raise ConfigError(
      f"--out {out}: speech can be written as {', '.join(waveform.ENDINGS)}, not as {ending}. "
      f"For a folder of this name, write {out}{os.sep}."
    )
  return True


def _deliver(result: "generate.Result", wave: Path | None) -> None:
  """Prints the line of a result and writes its speech; notes for the user go to stderr."""
  if len(result.likelihoods) > 1:
    language = "-".join(dict.fromkeys(result.languages.values()))
    tried = ", ".join(f"{name} {value:.3f}" for name, value in result.likelihoods.items())
    print(
      f"{result.name}: language {language} (log-likelihood per token: {tried})", file=sys.stderr
    )
  for note in result.notes:
    print(f"{result.name}: {note}", file=sys.stderr)
  fields = [result.name, *(" ".join(text.split()) for text in result.texts.values())]
  if wave is not None:
    with files.replacing(wave) as part:
      waveform.write(part, result.wave_S, result.rate_hz, wave.suffix.lower())
    fields.append(str(wave))
  print("\t".join(fields), flush=True)
