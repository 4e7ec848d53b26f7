"""The `audiopalm` program: runs the command of its arguments, turns errors into exit codes."""

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

EXIT_CODES = """Exit codes: 0 success; 1 a plan does not fit; 2 a command, config or file cannot
be used, and an error explains why; 70 a step hung; 71 too many bad steps; 72 a step
computed twice differs; 75 stopped by SIGTERM after saving, run it again; 130
interrupted; 141 the reader of the output closed its pipe."""

EXIT_INTERRUPTED = 130
EXIT_PIPE = 141  # a shell's code for a program that SIGPIPE ended
STDOUT, STDERR = 1, 2
EXIT_FAULT = 1  # Python's own, for an uncaught exception
# The summary of each command. Its module in audiopalm.cli is imported for that command alone.
COMMANDS = {
  "inspect": "check a manifest of recordings, or show the batch of a step",
  "tokenizer": "fit, import, compare or list tokenizers",
  "prepare": "make token streams and rows from the corpora of a config",
  "train": "train a model from a config; prepares data if needed, resumes from a checkpoint",
  "evaluate": "score a trained run on held-out data",
  "generate": "transcribe, translate or speak with a trained run",
  "align": "add the times of words and phones to a manifest",
  "report": "write one page about a run: scores, curves, speech to listen to",
  "compare": "write one page about several runs: settings, scores, curves",
  "export": "write a trained run as a folder for PyTorch",
  "import": "make a workdir from an exported folder",
  "plan": "compile a config for devices you may not have",
  "preflight": "check a run before it gets its machines",
  "launch": "start training on a cluster or in a cloud",
  "sweep": "train and evaluate the runs of a plan, and compare them",
}


def parser(command: str | None) -> argparse.ArgumentParser:
  """Returns the parser of a command line that begins with `command`.

  The attribute `run` of the parsed arguments is the function to call. Other commands have only a
  summary, without options: importing some of them takes seconds.
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
    run = getattr(module, "run", None)  # None if the command has subcommands, as `inspect`
    module.add_options(options.command(commands, name, module.DESCRIPTION, run))
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command in `arguments`, by default those of the process, and returns its exit code."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):  # a closed one is None
      # Characters missing from its encoding are written as \xe9, so that an odd name is no error.
      stream.reconfigure(errors="backslashreplace")
  handler = signal.signal(signal.SIGTERM, _stop)
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
        sys.stdout.flush()  # here, not when Python exits, so that an error is handled below
  except BaseException as error:
    return _exit_code(error)
  finally:
    signal.signal(signal.SIGTERM, handler)


def _exit_code(error: BaseException) -> int:
  """Prints the error that ended a command and returns the exit code.

  Must be called in an `except` block: an unexpected error, a bug, is raised again.
  """
  if isinstance(error, AudiopalmError):
    return _fail(f"{type(error).__name__}: {error}", error.exit_code)
  if isinstance(error, KeyboardInterrupt):
    return _fail("Interrupted. What was written is kept.", EXIT_INTERRUPTED)
  by_rich = isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError)
  if by_rich or isinstance(error, BrokenPipeError) and _is_pipe_closed():
    _discard(STDOUT, STDERR)
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
  """Returns the message for a fault of the machine or the installation, None for other errors."""
  text = system.text_of(error)
  if text is None and "jax" in sys.modules and _has_no_device(error):
    platforms = os.environ.get("JAX_PLATFORMS")
    text = (
      f"JAX found no device{f' for JAX_PLATFORMS={platforms}' if platforms else ''}: "
      f"{str(error) or 'there is none of that kind'}. Set JAX_PLATFORMS=cpu, unset it to use any "
      "device, or install the device's driver and its build of jax, as in pip install "
      "'audiopalm[gpu]'."
    )
  return text


def _has_no_device(error: Exception) -> bool:
  """Returns whether JAX failed while looking for devices."""
  places = traceback.walk_tb(error.__traceback__)
  in_search = any(frame.f_globals.get("__name__") == "jax._src.xla_bridge" for frame, _ in places)
  # By its text, because JAX may hide its own frames.
  return in_search or "Unable to initialize backend" in str(error)


def _is_pipe_closed() -> bool:
  """Returns whether the reader of stdout or stderr has closed its end of a pipe."""
  poll = select.poll()
  for number in (STDOUT, STDERR):
    poll.register(number, 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def _discard(*numbers: int) -> None:
  """Redirects file descriptors to /dev/null, including what is still buffered."""
  null = os.open(os.devnull, os.O_WRONLY)
  for number in numbers:
    os.dup2(null, number)
  os.close(null)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
  """Returns the arguments of `audiopalm`, and those after --, which `prepare` passes on to Beam."""
  if arguments[:1] != ["prepare"] or "--" not in arguments:
    return arguments, []
  at = arguments.index("--")
  return arguments[:at], arguments[at + 1 :]


def _stop(number: int, frame: FrameType | None) -> None:
  raise Requeue("Stopped by SIGTERM. What was written is kept: run the same command again.")


def _fail(text: str, exit_code: int) -> int:
  try:
    if sys.stdout is not None:
      sys.stdout.flush()
  except OSError:  # `text` matters more; without this Python would flush and fail again at exit
    _discard(STDOUT)
  print(text, file=sys.stderr, flush=True)
  _leave(exit_code)
  return exit_code


def _leave(exit_code: int, error: BaseException | None = None) -> None:
  if "jax" in sys.modules:  # without jax this process has joined no others
    from audiopalm.cli import processes

    processes.leave(exit_code, error)
