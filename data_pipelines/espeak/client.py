"""Speech from espeak-ng, which runs in a process of its own: `speak(text, voice)`."""

import atexit
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from audiopalm.audio import waveform
from audiopalm.errors import DataError
from audiopalm.types import Word


@dataclasses.dataclass(frozen=True)
class Voice:
  """How a speaker sounds: an espeak-ng voice with a variant ("en-us+f2"), and its parameters.

  `pitch` and `range` (how much the pitch moves) lie in 0..99, `speed` is in words per minute.
  """

  voice: str
  pitch: int = 50
  range: int = 50
  speed: int = 175


@dataclasses.dataclass(frozen=True, eq=False)
class Speech:
  """What was said: wave_S at waveform.RATE_HZ, and when each word of the text was said."""

  wave_S: np.ndarray
  words: tuple[Word, ...]


def speak(text: str, voice: Voice) -> Speech:
  """Returns `text` spoken by `voice`: the same bytes for the same arguments, whatever came before.

  The words of the result are those of `text.split()`, with IPA phonemes. Each calling process has
  one synthesizer process a language; it is started when first needed, and again if it died.
  """
  request = dataclasses.asdict(voice) | {"text": text}
  head, samples_S = _ask(request)
  wave_S = waveform.resample(samples_S, head["rate_hz"], waveform.RATE_HZ)
  return Speech(wave_S, align(text, head))


def check_voice(voice: Voice) -> None:
  """Returns nothing; raises DataError when espeak-ng does not have the voice or its variant."""
  _ask({"voice": voice.voice})


def align(text: str, head: dict) -> tuple[Word, ...]:
  """Returns the words of `text.split()` with the times and phonemes of an espeak-ng answer.

  espeak-ng may say several words as one ("il y a"): such words share its time by their letters, and
  the phonemes stand with the first. Or one word as several ("vingt-deux"): those are put together.
  """
  tokens, first = [], 0
  for token in text.split():
    first = text.index(token, first)
    tokens.append((token, first))
    first += len(token)
  if not tokens:
    return ()
  starts = [None] * len(tokens)
  for character, sample in head["words"]:
    place = _place(tokens, character)
    if starts[place] is None:
      starts[place] = sample
  starts[0] = starts[0] or 0
  known = [place for place, sample in enumerate(starts) if sample is not None]
  times = np.interp(
    [first for _, first in tokens] + [len(text)],
    [tokens[place][1] for place in known] + [len(text)],
    [starts[place] for place in known] + [head["samples"]],
  )
  phonemes = [""] * len(tokens)
  for character, sound in head["phonemes"]:
    phonemes[_place(tokens, character)] += sound
  seconds = times / head["rate_hz"]
  return tuple(
    Word(token, float(seconds[place]), float(seconds[place + 1]), phonemes[place])
    for place, (token, _) in enumerate(tokens)
  )


def _place(tokens: list[tuple[str, int]], character: int) -> int:
  """Returns the number of the token a character lies in."""
  return max(0, sum(first <= character for _, first in tokens) - 1)


# By the id of the calling process, which a fork does not share, and language.
_processes: dict[tuple[int, str], subprocess.Popen] = {}


def _ask(request: dict) -> tuple[dict, np.ndarray]:
  """Returns the head of the answer and its samples; starts the process again once if it died."""
  language = request["voice"].partition("+")[0]
  for _ in range(2):
    process = _process(language)
    try:
      process.stdin.write(json.dumps(request).encode() + b"\n")
      process.stdin.flush()
      head = json.loads(process.stdout.readline() or "null")
    except (BrokenPipeError, json.JSONDecodeError):
      head = None
    if head and "error" in head:
      raise DataError(f"{head['error']}. Use a voice that the installed espeakng-loader has.")
    if head is not None:
      data = process.stdout.read(2 * head.get("samples", 0))
      if len(data) == 2 * head.get("samples", 0):
        return head, np.frombuffer(data, np.int16).astype(np.float32) / 2**15
    stop()
  raise DataError(
    f"The espeak-ng process died twice on {request}. To see why, run "
    f"`{sys.executable} -m data_pipelines.espeak {language}` and give it this line."
  )


def _process(language: str) -> subprocess.Popen:
  process = _processes.get((os.getpid(), language))
  if process is None or process.poll() is not None:
    if importlib.util.find_spec("espeakng_loader") is None:
      raise DataError(
        "The synthetic corpora need espeak-ng, and the package espeakng-loader is not installed. "
        "Install it: pip install 'audiopalm[data]'."
      )
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")]))
    process = _processes[os.getpid(), language] = subprocess.Popen(
      [sys.executable, "-m", "data_pipelines.espeak", language],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      env=os.environ | {"PYTHONPATH": path},
    )
  return process


@atexit.register
def stop() -> None:
  """Ends the synthesizers of this process, if it has any. The next `speak` starts another."""
  for key in [key for key in _processes if key[0] == os.getpid()]:
    process = _processes.pop(key)
    process.kill()
    process.communicate()
