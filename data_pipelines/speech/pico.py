"""The SVOX Pico process, which uses py-nanotts; `serving` has the protocol.

    request   {"text": "hello", "voice": "en-US", "pitch": 1.0, "speed": 1.0}

The library reads uninitialized memory, so its samples differ from call to call. Here memory is
filled with zeros when it is allocated: the same request gives the same samples.
"""

import ctypes

from audiopalm.data_pipelines.speech import serving

RATE_HZ = 16_000
M_PERTURB = -6  # glibc's mallopt: fills new memory with the complement of the argument
ZEROS = 0xFF
UNCLIPPED = 0.4  # at the volume of 1 loud vowels exceed 16 bits
OF_TEXT = "pico_getData"  # the call that fails for words of some hundred letters or digits
SHOWN = 60  # characters of a text in an error
# The library reads <...> as markup.
UNSPOKEN = str.maketrans({"<": " ", ">": " "})


def load() -> serving.Speak:
  if ctypes.CDLL(None).mallopt(M_PERTURB, ZEROS) != 1:
    raise OSError("mallopt(M_PERTURB) failed: the same text would not give the same sound")
  import py_nanotts

  speaker = py_nanotts.NanoTTS()

  def speak(request: dict) -> tuple[dict, bytes]:
    text, voice = request["text"], request["voice"]
    spoken = text.translate(UNSPOKEN).rstrip()
    # The wrapper encloses the text in tags of pitch, speed and volume. If they close before the
    # sentence ends, its last sound ignores them and has a volume of 1.
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
