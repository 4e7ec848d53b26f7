"""The espeak-ng process: reads a JSON request a line, answers with a JSON line and samples.

    request   {"text": "hello", "voice": "en-us+f2", "pitch": 50, "range": 50, "speed": 175}
    answer    {"rate_hz": 22050, "samples": 9876, "words": [[character, sample], ...],
               "phonemes": [[character, IPA], ...]} and 2 * 9876 bytes, or {"error": "..."}

A request without "text" asks whether the voice exists. Words go by the number of a character.
The argument of the process is the language whose dictionary it loads once for all requests.

espeak-ng keeps flutter, phase and noise of one utterance for the next. Here every utterance is
spoken by a fork of a process that has not spoken yet, so the same request gives the same bytes.

Nothing else in the project loads the library: it is GPL-3.0, and it holds global state.
"""

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path

import espeakng_loader

SYNCHRONOUS = (
  2  # samples come to the callback, and no thread is started: threads do not survive a fork
)
PHONEME_EVENTS_IPA = 3
CHARACTER_POSITION, UTF8 = 1, 1
SPEED, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # espeak_PARAMETER
UNCLIPPED = 70  # at the usual volume of 100 some voices leave 16 bits
WORD, PHONEME = 1, 7  # espeak_EVENT_TYPE
NO_MORE = 3  # exit status of a child that met the end of the input


class _Id(ctypes.Union):
  _fields_ = [("number", ctypes.c_int), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
  _fields_ = [
    ("type", ctypes.c_int),
    ("unique_identifier", ctypes.c_uint),
    ("text_position", ctypes.c_int),
    ("length", ctypes.c_int),
    ("audio_position", ctypes.c_int),
    ("sample", ctypes.c_int),
    ("user_data", ctypes.c_void_p),
    ("id", _Id),
  ]


_CALLBACK = ctypes.CFUNCTYPE(
  ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Library:
  """The loaded library. `speak` may be called once: the next would depend on the first."""

  def __init__(self):
    self.espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    self.data = Path(espeakng_loader.get_data_path())
    self.espeak.espeak_Synth.argtypes = [
      ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
      ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    self.espeak.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    self.rate_hz = self.espeak.espeak_Initialize(
      SYNCHRONOUS, 0, str(self.data).encode(), PHONEME_EVENTS_IPA
    )
    if self.rate_hz <= 0:
      raise OSError(f"espeak_Initialize returned {self.rate_hz} with the data in {self.data}")

  def set_voice(self, voice: str) -> str:
    """Returns '' once the voice is set, else why it is not: the library itself keeps the last."""
    language, _, variant = voice.partition("+")
    if variant and not (self.data / "voices" / "!v" / variant).is_file():
      return f"espeak-ng has no variant {variant!r} (voice {voice!r})"
    code = self.espeak.espeak_SetVoiceByName(voice.encode())
    return f"espeak-ng has no voice {language!r} (code {code})" if code else ""

  def speak(self, text: str, pitch: int, range_: int, speed: int) -> tuple[dict, bytes]:
    """Returns the answer to a request, and the samples."""
    chunks, words, phonemes = [], [], []

    def receive(samples, count, events) -> int:
      if samples and count:
        chunks.append(ctypes.string_at(samples, 2 * count))
      index = 0
      while (event := events[index]).type:
        if event.type == WORD:
          words.append([event.text_position - 1, event.sample])
        elif event.type == PHONEME and event.id.string:
          phonemes.append([event.text_position - 1, event.id.string.decode(errors="replace")])
        index += 1
      return 0

    callback = _CALLBACK(receive)  # must live until the last sample came
    self.espeak.espeak_SetSynthCallback(callback)
    self.espeak.espeak_ng_SetRandSeed(1)
    data = text.encode()
    codes = [
      self.espeak.espeak_SetParameter(SPEED, speed, 0),
      self.espeak.espeak_SetParameter(VOLUME, UNCLIPPED, 0),
      self.espeak.espeak_SetParameter(PITCH, pitch, 0),
      self.espeak.espeak_SetParameter(RANGE, range_, 0),
      self.espeak.espeak_Synth(data, len(data) + 1, 0, CHARACTER_POSITION, 0, UTF8, None, None),
      self.espeak.espeak_Synchronize(),
    ]
    if any(codes):
      return {"error": f"espeak-ng cannot speak {text!r} (codes {codes})"}, b""
    wave = b"".join(chunks)
    answer = {"rate_hz": self.rate_hz, "samples": len(wave) // 2}
    return answer | {"words": words, "phonemes": phonemes}, wave


def answer(library: Library, request: dict) -> bytes:
  """Returns the bytes that answer a request."""
  error = library.set_voice(request["voice"])
  if error:
    head, wave = {"error": error}, b""
  elif "text" not in request:
    head, wave = {}, b""
  else:
    head, wave = library.speak(
      request["text"], request["pitch"], request["range"], request["speed"]
    )
  return json.dumps(head).encode() + b"\n" + wave


def main() -> None:
  library = Library()
  for language in sys.argv[1:]:
    library.set_voice(language)  # an unknown one is answered when it is asked for
  gc.freeze()  # a collection in a child would copy the pages it shares with us
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's: it closes our input
  while True:
    # The child is there before the request: forking takes as long as speaking a few words.
    child = os.fork()
    if child == 0:
      line = sys.stdin.buffer.readline()
      data = memoryview(answer(library, json.loads(line)) if line else b"")
      while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
      os._exit(0 if line else NO_MORE)
    _, status = os.waitpid(child, 0)
    if status:
      return  # after an error half an answer may be out: the closed pipe tells the caller


if __name__ == "__main__":
  main()
