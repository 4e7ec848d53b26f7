"""The protocol of the synthesizer processes: JSON requests, answered by JSON and samples.

    request   {"text": "hello", ...}, other fields depend on the process; one line
    answer    {"rate_hz": 22050, "samples": 9876, ...}, one line, then 2 * 9876 bytes;
              or {"error": "...", "unspoken": true if only this text is at fault}

A synthesizer is a function speak(request) -> (answer without "samples", int16 bytes), returned by
`load`. Its `Refusal`s, and any error that `load` raises, are sent to the caller.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable

Speak = Callable[[dict], tuple[dict, bytes]]
END_OF_INPUT = 3  # exit status of a child that reached the end of the input


class Refusal(Exception):
  """A request that cannot be answered, with a text for the user."""


class Unspoken(Refusal):
  """A refusal of this text alone: other texts can be spoken."""


def serve(name: str, load: Callable[[], Speak], *, fork: bool = False) -> None:
  """Answers requests until the end of the input.

  With `fork` each request is answered by a new child process, for a synthesizer that carries state
  from one utterance to the next.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller handles Ctrl-C, and closes our input
  # Output of the library goes to stderr, not between answers.
  out = os.dup(sys.stdout.fileno())
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  try:
    speak = load()
  except Exception as error:  # a broken library may raise anything
    text = f"{name} cannot be started: {type(error).__name__}: {error}"

    def speak(request: dict) -> tuple[dict, bytes]:
      raise Refusal(text)

  if fork:
    _fork_each(speak, out)
    return
  while line := sys.stdin.buffer.readline():
    _write(out, _answer(speak, json.loads(line)))


def _fork_each(speak: Speak, out: int) -> None:
  gc.freeze()  # a collection in a child would copy the pages it shares with the parent
  while True:
    # The child is forked before the request arrives: a fork takes as long as a few words.
    child = os.fork()
    if child == 0:
      line = sys.stdin.buffer.readline()
      if line:
        _write(out, _answer(speak, json.loads(line)))
      os._exit(0 if line else END_OF_INPUT)
    _, status = os.waitpid(child, 0)
    if status:
      return  # an error may have cut an answer short; the caller sees the closed pipe


def _answer(speak: Speak, request: dict) -> bytes:
  """Returns the bytes of the answer to a request."""
  try:
    header, samples = speak(request)
  except Refusal as refusal:
    header, samples = {"error": str(refusal), "unspoken": isinstance(refusal, Unspoken)}, b""
  return json.dumps(header | {"samples": len(samples) // 2}).encode() + b"\n" + samples


def _write(out: int, data: bytes) -> None:
  rest = memoryview(data)
  while rest:
    rest = rest[os.write(out, rest) :]
