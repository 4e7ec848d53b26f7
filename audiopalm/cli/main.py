"""`audiopalm`: one command for each thing to do with a run."""

import argparse
import importlib
import io
import keyword
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from audiopalm import system, version
from audiopalm.cli import huge_pages, options
from audiopalm.errors import EXIT_USER, AudiopalmError, Requeue

DESCRIPTION = """Train speech-text language models: recordings in, a model that listens,
translates and speaks.

  audiopalm inspect data train.jsonl
  audiopalm train quickstart --workdir runs/quickstart
  audiopalm evaluate --workdir runs/quickstart
  audiopalm generate --workdir runs/quickstart --task asr --audio hello.wav"""

EXIT_CODES = """Exit codes: 0 done; 1 a plan does not fit; 2 a command, config or file cannot be
used, one error text says why; 70 a step hung; 71 too many bad steps; 72 a step
computed twice differs; 75 stopped by SIGTERM and saved, start it again; 130
interrupted; 141 nobody reads the output any more."""

EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # what a shell says of a program that a closed pipe ended
STDOUT, STDERR = 1, 2
EXIT_FAULT = 1  # Python's own, for an exception that nobody foresaw
# What each does; its options lie in the module of its name, imported for that command alone.
COMMANDS = {
  "inspect": "look at a manifest of recordings, or at the batch of a step",
  "tokenizer": "fit, import, compare or list tokenizers",
  "prepare": "make token streams and rows from the corpora of a config",
  "train": "train a model from a config; prepares first if needed, resumes if it can",
  "evaluate": "score a trained run on held-out data",
  "generate": "transcribe, translate or speak with a trained run",
  "align": "write a manifest with the times of words and phones",
  "report": "write one page about a run: scores, curves, speech to hear",
  "compare": "write one page about several runs: settings, scores, curves",
  "export": "write a trained run as a folder for PyTorch",
  "import": "make a workdir of an exported folder",
  "plan": "compile a config for devices you may not have",
  "preflight": "check a run before it is given its machines",
  "launch": "start training on a cluster or in a cloud",
  "sweep": "train and evaluate the runs of a plan, and compare them",
}


def parser(command: str | None) -> argparse.ArgumentParser:
  """Returns the parser of a command line that begins with `command`; `run` of its result does it.

  Other commands have only a summary, without options: importing some takes seconds.
  """
  result = argparse.ArgumentParser(
    prog="audiopalm",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  result.add_argument("--version", action="version", version=f"audiopalm {version.VERSION}")
  commands = result.add_subparsers(metavar="COMMAND", required=True)
  for name, summary in COMMANDS.items():
    if name != command:
      commands.add_parser(name, help=summary)
      continue
    module = importlib.import_module(f"audiopalm.cli.{name}{'_' * keyword.iskeyword(name)}")
    run = getattr(module, "run", None)  # `inspect` has one for each thing it can look at
    module.add_options(options.command(commands, name, module.DESCRIPTION, run))
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Returns the exit code of the command given by `arguments`, None for those of the process."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a closed one is None
      # What its encoding lacks is written as \xe9: an odd name must not cost the other answers.
      stream.reconfigure(errors="backslashreplace")
  before = signal.signal(signal.SIGTERM, _stop)
  try:
    try:
      own, passed_on = _split(sys.argv[1:] if arguments is None else list(arguments))
      if arguments is None and own[:1] == ["train"]:
        huge_pages.start()
      args = options.parse(parser(own[0] if own else None), options.dashed_texts(own))
      args.passed_on = passed_on
      with options.open_workdir(args):
        return args.run(args)
    finally:
      if sys.stdout is not None:
        sys.stdout.flush()  # not as Python ends: an error is ours
  except BaseException as error:
    return _exit_code(error)
  finally:
    signal.signal(signal.SIGTERM, before)


def _exit_code(error: BaseException) -> int:
  """Returns the exit code of a command that ended by an error, which becomes one text.

  Called where the error is handled: a bug is raised on, with its traceback.
  """
  if isinstance(error, AudiopalmError):
    return _fail(f"{type(error).__name__}: {error}", error.exit_code)
  if isinstance(error, KeyboardInterrupt):
    return _fail("Interrupted. What was written is kept.", EXIT_INTERRUPTED)
  by_rich = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
  if by_rich or isinstance(error, BrokenPipeError) and _nobody_reads():
    _write_nowhere(STDOUT, STDERR)
    _leave(EXIT_PIPE)
    return EXIT_PIPE
  if not isinstance(error, Exception):
    raise
  text = _of_machine(error)
  if text is None:
    _leave(EXIT_FAULT, error)
    raise
  return _fail(text, EXIT_USER)


def _of_machine(error: Exception) -> str | None:
  """Returns the text for a fault of the machine and what is installed; None for a bug of ours."""
  text = system.text_of(error)
  if text is None and "jax" in sys.modules and _has_no_device(error):
    asked = os.environ.get("JAX_PLATFORMS")
    text = (
      f"JAX found no device{f' for JAX_PLATFORMS={asked}' if asked else ''}: "
      f"{str(error) or 'there is none of that kind'}. Set JAX_PLATFORMS=cpu, unset it to take what "
      "is there, or install the driver and the jax of the device, as in pip install "
      "'audiopalm[gpu]'."
    )
  return text


def _has_no_device(error: Exception) -> bool:
  """Returns whether JAX failed while it looked for devices."""
  places = traceback.walk_tb(error.__traceback__)
  in_search = any(frame.f_globals.get("__name__") == "jax._src.xla_bridge" for frame, _ in places)
  # By its text where JAX hides its own part of the stack.
  return in_search or "Unable to initialize backend" in str(error)


def _nobody_reads() -> bool:
  """Returns whether the reader of the output or of the errors has closed its end of a pipe."""
  poll = select.poll()
  for number in (STDOUT, STDERR):
    poll.register(number, 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def _write_nowhere(*numbers: int) -> None:
  """Sends what is not written yet, and what comes, nowhere."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  for number in numbers:
    os.dup2(nowhere, number)
  os.close(nowhere)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
  """Returns the arguments of `audiopalm`, and those that `prepare` passes on to Beam, behind --."""
  if arguments[:1] != ["prepare"] or "--" not in arguments:
    return arguments, []
  at = arguments.index("--")
  return arguments[:at], arguments[at + 1 :]


def _stop(number: int, frame: FrameType | None) -> None:
  raise Requeue("Asked to stop (SIGTERM). What was written is kept: run the same command again.")


def _fail(text: str, exit_code: int) -> int:
  try:
    if sys.stdout is not None:
      sys.stdout.flush()
  except OSError:  # said by the text, or of no interest beside it: Python would try and fail again
    _write_nowhere(STDOUT)
  print(text, file=sys.stderr, flush=True)
  _leave(exit_code)
  return exit_code


def _leave(exit_code: int, error: BaseException | None = None) -> None:
  if "jax" in sys.modules:  # without it this process has met no others
    from audiopalm.cli import processes

    processes.leave(exit_code, error)
