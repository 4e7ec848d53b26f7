"""`audiopalm`: one command for each thing to do with a run."""

import argparse
import errno
import importlib
import keyword
import signal
import sys
from collections.abc import Sequence

from audiopalm.errors import EXIT_USER, AudiopalmError, Requeue

DESCRIPTION = """Train speech-text language models: recordings in, a model that listens,
translates and speaks.

  audiopalm inspect data train.jsonl
  audiopalm train quickstart --workdir runs/quickstart
  audiopalm evaluate --workdir runs/quickstart
  audiopalm generate --workdir runs/quickstart --task asr --audio hello.wav"""

EXIT_CODES = """Exit codes: 0 done; 2 a command, config or file cannot be used, one error text
says why; 70 a step hung; 71 too many bad steps; 72 a step computed twice
differs; 75 stopped by SIGTERM and saved, start it again; 130 interrupted."""

EXIT_INTERRUPTED = 130
EXIT_FAULT = 1  # Python's own, for an exception that nobody foresaw
# What each does; its options lie in the module of its name, imported for that command alone.
COMMANDS = {
  "inspect": "look at a manifest of recordings, or at the batch of a step",
  "prepare": "make token streams and rows from the corpora of a config",
  "train": "train a model from a config; prepares first if needed, resumes if it can",
  "evaluate": "score a trained run on held-out data",
  "generate": "transcribe, translate or speak with a trained run",
  "report": "write one page about a run: scores, curves, speech to hear",
  "compare": "write one page about several runs: settings, scores, curves",
  "export": "write a trained run as a folder for PyTorch",
  "import": "make a workdir of an exported folder",
  "plan": "compile a config for devices you may not have",
  "preflight": "check a run before it is given its machines",
  "launch": "start training on a cluster or in a cloud",
  "sweep": "train and evaluate the runs of a plan, and compare them",
}
PASSING_ON = {"prepare", "sweep"}  # what follows -- is for Beam, for `launch`


def parser(command: str | None) -> argparse.ArgumentParser:
  """Returns the parser of a command line that begins with `command`; `run` of its result does it.

  Of the other commands it knows what they do, without their options: some take seconds to import.
  """
  result = argparse.ArgumentParser(
    prog="audiopalm",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  commands = result.add_subparsers(metavar="COMMAND", required=True)
  for name, summary in COMMANDS.items():
    if name == command:
      module = name + "_" * keyword.iskeyword(name)
      importlib.import_module(f"audiopalm.cli.{module}").add_parser(commands)
    else:
      commands.add_parser(name, help=summary)
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Returns the exit code of the command given by `arguments`, None for those of the process."""
  own, passed_on = _split(sys.argv[1:] if arguments is None else list(arguments))
  args = parser(own[0] if own else None).parse_args(own)
  args.passed_on = passed_on
  before = signal.signal(signal.SIGTERM, _stop)
  try:
    return args.run(args)
  except AudiopalmError as error:
    return _fail(f"{type(error).__name__}: {error}", error.exit_code)
  except KeyboardInterrupt:
    return _fail("Interrupted. What was written is kept.", EXIT_INTERRUPTED)
  except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
    return _fail(f"{type(error).__name__}: {error.strerror}: {error.filename}", EXIT_USER)
  except Exception as error:
    if not _device_is_full(error):
      _leave(EXIT_FAULT, error)
      raise
    return _fail(
      "No space left on the device. What was written before is kept: free some space, then run "
      f"the same command again. ({error})",
      EXIT_USER,
    )
  finally:
    signal.signal(signal.SIGTERM, before)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
  """Returns the arguments of `audiopalm`, and those that it passes on: what follows --."""
  if not set(arguments[:1]) & PASSING_ON or "--" not in arguments:
    return arguments, []
  at = arguments.index("--")
  return arguments[:at], arguments[at + 1 :]


def _stop(number, frame):
  raise Requeue("Asked to stop (SIGTERM). What was written is kept: run the same command again.")


def _fail(text: str, exit_code: int) -> int:
  print(text, file=sys.stderr, flush=True)
  _leave(exit_code)
  return exit_code


def _leave(exit_code: int, error: BaseException | None = None) -> None:
  if "jax" in sys.modules:  # without it this process has met no others
    from audiopalm.cli import processes

    processes.leave(exit_code, error)


def _device_is_full(error: BaseException | None) -> bool:
  """Returns whether a full disk or quota is behind `error`, however deep.

  Writers below Python (TensorStore, ArrayRecord) raise other types that only quote the message.
  """
  while error is not None:
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "no space left on device" in str(error).lower():
      return True
    error = error.__cause__ or error.__context__
  return False
