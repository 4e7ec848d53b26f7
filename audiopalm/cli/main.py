"""`audiopalm`: one command for each thing to do with a run."""

import argparse
import errno
import signal
import sys
from collections.abc import Sequence

from audiopalm.cli import (
  compare,
  evaluate,
  export,
  generate,
  import_,
  inspect,
  launch,
  plan,
  preflight,
  prepare,
  processes,
  report,
  sweep,
  train,
)
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
COMMANDS = (
  inspect, prepare, train, evaluate, generate, report, compare, export, import_, plan, preflight,
  launch, sweep,
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the whole command line; `run` of its result does the command."""
  result = argparse.ArgumentParser(
    prog="audiopalm",
    description=DESCRIPTION,
    epilog=EXIT_CODES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  commands = result.add_subparsers(metavar="COMMAND", required=True)
  for module in COMMANDS:
    module.add_parser(commands)
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Returns the exit code of the command given by `arguments`, None for those of the process."""
  own, beam_options = prepare.split(sys.argv[1:] if arguments is None else list(arguments))
  args = parser().parse_args(own)
  args.beam_options = beam_options
  args.own_process = arguments is None
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
      processes.leave(EXIT_FAULT, error)
      raise
    return _fail(
      "No space left on the device. What was written before is kept: free some space, then run "
      f"the same command again. ({error})",
      EXIT_USER,
    )
  finally:
    signal.signal(signal.SIGTERM, before)


def _stop(number, frame):
  raise Requeue("Asked to stop (SIGTERM). What was written is kept: run the same command again.")


def _fail(text: str, exit_code: int) -> int:
  print(text, file=sys.stderr, flush=True)
  processes.leave(exit_code)
  return exit_code


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
