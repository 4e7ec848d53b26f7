"""The SVOX Pico process, through py-nanotts: see `serving` for how it is asked.

    request   {"text": "hello", "voice": "en-US", "pitch": 1.0, "speed": 1.0}

The library reads memory that it never wrote: left alone, the same request gives other samples
nearly every time. Here memory is filled with zeros when it is allocated, and the same request gives
the same samples whatever came before.
"""

import ctypes

from data_pipelines.speech import serving

RATE_HZ = 16_000
M_PERTURB = -6  # of glibc's mallopt: new memory is filled with the complement of the byte given
ZEROS = 0xFF
UNCLIPPED = 0.4  # at the volume of 1 loud vowels leave 16 bits
OF_TEXT = "pico_getData"  # the call that fails for words of some hundred letters or digits
SHOWN = 60  # letters of a text in an error
# The library reads <...> as instructions, which are no text.
UNSPOKEN = str.maketrans({"<": " ", ">": " "})


def load() -> serving.Speak:
  if ctypes.CDLL(None).mallopt(M_PERTURB, ZEROS) != 1:
    raise OSError("mallopt(M_PERTURB) failed: the same text would not give the same sound")
  import py_nanotts

  speaker = py_nanotts.NanoTTS()

  def speak(request: dict) -> tuple[dict, bytes]:
    text, voice = request["text"], request["voice"]
    spoken = text.translate(UNSPOKEN).rstrip()
    # The wrapper puts tags of pitch, speed and volume around the text. Where these close before the
    # sentence ends, its last sound is spoken without them, at a volume of 1.
    if not spoken.endswith((".", "!", "?")):
      spoken += "."
    try:
      samples = speaker.speak(spoken, voice, request["speed"], request["pitch"], UNCLIPPED)
    except (RuntimeError, ValueError) as error:
      of_text = isinstance(error, UnicodeEncodeError) or str(error).startswith(OF_TEXT)
      kind = serving.Unspoken if of_text else serving.Refusal
      raise kind(f"Pico cannot say {text[:SHOWN]!r} as {voice}: {error}") from error
    return {"rate_hz": RATE_HZ}, samples

  return speak


if __name__ == "__main__":
  serving.serve("Pico", load)
