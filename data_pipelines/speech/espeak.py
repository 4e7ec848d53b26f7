"""The espeak-ng process; `serving` has the protocol.

    request   {"text": "hello", "voice": "en-us+f2", "pitch": 50, "range": 50, "speed": 175}
    answer    {"words": [[character, sample], ...], "phones": [[character, sample, IPA], ...], ...}

    request   {"text": "hello", "voice": "en-us"}
    answer    {"phonemes": [[character, IPA], ...], "version": "1.52.0"}

A request without "text" checks that the voice exists. Words and phones are located by character
offsets; a phone without a name is a pause. Phonemes have the tones of tonal languages, phones have
not. The argument of the process is the language whose dictionary it loads in advance.

espeak-ng carries flutter, phase and noise from one utterance to the next, so each utterance is
synthesized in a fork of a process that has not synthesized any.

Nothing else in the project loads the library: it is GPL-3.0 and has global state.
"""

import ctypes
import difflib
import re
import sys
from pathlib import Path

from audiopalm.data_pipelines.speech import serving

SYNCHRONOUS = 2  # samples are passed to the callback without a thread, which would not survive fork
PHONEME_EVENTS_IPA = 3
CHARACTER_POSITION, UTF8 = 1, 1
SPEED, VOLUME, PITCH, RANGE = 1, 2, 3, 4  # espeak_PARAMETER
UNCLIPPED = 70  # at the default volume of 100 some voices exceed 16 bits
WORD, PHONEME = 1, 7  # espeak_EVENT_TYPE
SPEED_OF_PHONEMES = 175  # words per minute: espeak-ng's default
APART = "_"  # stands between phonemes, and a space between words
IPA_APART = 2 | ord(APART) << 8  # phoneme mode of espeak_TextToPhonemes
LANGUAGE = re.compile(r"\([\w-]+\)")  # marks words that are pronounced as in that language


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
  """The loaded library. Call `speak` only once: a second result would depend on the first."""

  def __init__(self):
    import espeakng_loader

    self.espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    self.data = Path(espeakng_loader.get_data_path())
    self.espeak.espeak_Synth.argtypes = [
      ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
      ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    self.espeak.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    self.espeak.espeak_TextToPhonemes.argtypes = [
      ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int,
    ]  # fmt: skip
    self.espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
    self.espeak.espeak_Info.restype = ctypes.c_char_p
    self.rate_hz = self.espeak.espeak_Initialize(
      SYNCHRONOUS, 0, str(self.data).encode(), PHONEME_EVENTS_IPA
    )
    if self.rate_hz <= 0:
      raise OSError(f"espeak_Initialize returned {self.rate_hz} with the data in {self.data}")

  def set_voice(self, voice: str) -> None:
    """Sets the voice; raises Refusal if it is unknown, as the library would keep the last one."""
    language, _, variant = voice.partition("+")
    if variant and not (self.data / "voices" / "!v" / variant).is_file():
      raise serving.Refusal(f"espeak-ng has no variant {variant!r} (voice {voice!r})")
    if code := self.espeak.espeak_SetVoiceByName(voice.encode()):
      raise serving.Refusal(f"espeak-ng has no voice {language!r} (code {code})")

  def speak(self, text: str, pitch: int, range_: int, speed: int) -> tuple[dict, bytes]:
    """Returns the header of the answer, and the samples."""
    chunks, words, phones = [], [], []

    def receive(samples, count, events) -> int:
      if samples and count:
        chunks.append(ctypes.string_at(samples, 2 * count))
      index = 0
      while (event := events[index]).type:
        if event.type == WORD:
          words.append([event.text_position - 1, event.sample])
        elif event.type == PHONEME:
          phone = event.id.string.decode(errors="replace")
          if not LANGUAGE.fullmatch(phone):
            phones.append([event.text_position - 1, event.sample, phone])
        index += 1
      return 0

    callback = _CALLBACK(receive)  # referenced until the last sample is received
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
      raise serving.Refusal(f"espeak-ng cannot speak {text!r} (codes {codes})")
    return {"rate_hz": self.rate_hz, "words": words, "phones": phones}, b"".join(chunks)

  def phonemes(self, text: str) -> dict:
    """Returns the answer to a request for phonemes. As `speak`, it may be called only once.

    Their names are those of the translation, their places those of the same phones in speech, in
    which tones have no phone of their own.
    """
    header, _ = self.speak(text, 50, 50, SPEED_OF_PHONEMES)
    pointer, clauses = ctypes.c_char_p(text.encode()), []
    while pointer.value is not None:
      clauses.append(self.espeak.espeak_TextToPhonemes(ctypes.byref(pointer), 1, IPA_APART))
    whole = LANGUAGE.sub("", b" ".join(clauses).decode(errors="replace"))
    names = [name for name in re.split(rf"[\s{APART}]+", whole) if name]
    places = _places(
      names, [(character, phone) for character, _, phone in header["phones"] if phone]
    )
    version = self.espeak.espeak_Info(None).decode()
    return {"phonemes": list(map(list, zip(places, names, strict=True))), "version": version}


def _places(names: list[str], phones: list[tuple[int, str]]) -> list[int]:
  """Returns the character of each name: that of the same phone in speech, or of the name before."""
  spoken = [phone for _, phone in phones]
  toneless = [name.rstrip("0123456789˥˦˧˨˩") for name in names]
  matcher = difflib.SequenceMatcher(None, toneless, spoken, autojunk=False)
  places = [None] * len(names)
  for at, other, size in matcher.get_matching_blocks():
    for index in range(size):
      places[at + index] = phones[other + index][0]
  last = phones[0][0] if phones else 0
  for index, place in enumerate(places):
    last = places[index] = last if place is None else max(last, place)
  return places


def load() -> serving.Speak:
  library = Library()
  for language in sys.argv[1:]:
    try:
      library.set_voice(language)
    except serving.Refusal:
      continue  # reported when the voice is requested

  def speak(request: dict) -> tuple[dict, bytes]:
    if "text" in request and "speed" not in request:
      try:
        library.set_voice(request["voice"])
      except serving.Refusal as refusal:  # a text of that language is at fault, not the machine
        raise serving.Unspoken(str(refusal)) from refusal
      return library.phonemes(request["text"]), b""
    library.set_voice(request["voice"])
    if "text" not in request:
      return {}, b""
    return library.speak(request["text"], request["pitch"], request["range"], request["speed"])

  return speak


if __name__ == "__main__":
  serving.serve("espeak-ng", load, fork=True)
