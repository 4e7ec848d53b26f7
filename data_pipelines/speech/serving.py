"""What the synthesizer processes share: a JSON request a line in, a JSON line and samples out.

    request   {"text": "hello", ...} what else it holds is between the process and its speakers
    answer    {"rate_hz": 22050, "samples": 9876, ...} and 2 * 9876 bytes, or
              {"error": "...", "unspoken": true} where only this text is to blame

A synthesizer is what `load` returns: speak(request) -> (answer without "samples", int16 bytes).
What it raises as `Refusal`, and whatever `load` raises, goes to the caller as an error.
"""

import gc
import json
import os
import signal
import sys
from collections.abc import Callable

Speak = Callable[[dict], tuple[dict, bytes]]
NO_MORE = 3  # exit status of a child that met the end of the input


class Refusal(Exception):
  """A request that cannot be answered, with a text for the user."""


class Unspoken(Refusal):
  """A text that the synthesizer cannot say: others it can."""


def serve(name: str, load: Callable[[], Speak], *, fork: bool = False) -> None:
  """Answers requests until there are no more.

  With `fork` each is answered by a child of a process that has not spoken yet, for a synthesizer
  that keeps something of one utterance for the next.
  """
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's: it closes our input
  # What a library prints must not come between answers.
  out = os.dup(sys.stdout.fileno())
  os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
  try:
    speak = load()
  except Exception as error:  # a library that is broken may raise anything
    text = f"{name} cannot be started: {type(error).__name__}: {error}"

    def speak(request: dict) -> tuple[dict, bytes]:
      raise Refusal(text)

  if fork:
    _fork_each(speak, out)
    return
  while line := sys.stdin.buffer.readline():
    _write(out, _answer(speak, json.loads(line)))


def _fork_each(speak: Speak, out: int) -> None:
  gc.freeze()  # a collection in a child would copy the pages it shares with us
  while True:
    # The child is there before the request: forking takes as long as speaking a few words.
    child = os.fork()
    if child == 0:
      line = sys.stdin.buffer.readline()
      if line:
        _write(out, _answer(speak, json.loads(line)))
      os._exit(0 if line else NO_MORE)
    _, status = os.waitpid(child, 0)
    if status:
      return  # after an error half an answer may be out: the closed pipe tells the caller


def _answer(speak: Speak, request: dict) -> bytes:
  """Returns the bytes that answer a request."""
  try:
    head, samples = speak(request)
  except Refusal as refusal:
    head, samples = {"error": str(refusal), "unspoken": isinstance(refusal, Unspoken)}, b""
  return json.dumps(head | {"samples": len(samples) // 2}).encode() + b"\n" + samples


def _write(out: int, data: bytes) -> None:
  rest = memoryview(data)
  while rest:
    rest = rest[os.write(out, rest) :]
