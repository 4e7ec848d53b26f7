"""Speech as ids: wave -> ids -> wave, from the folder this file lies in.

    import speech_tokenizer
    speech = speech_tokenizer.load("exported")
    ids_T = speech.encode(speech_tokenizer.read_wav("hello.wav"))   # codes_TQ with Q codebooks
    wave_S = speech.decode(ids_T)                    # 16 kHz; speech.voices are who can say it

It needs numpy, scipy and safetensors, and audiopalm_speech/ beside it: the files of audiopalm
(Apache-2.0) that make the ids and their sound. audiopalm itself need not be installed.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors

from audiopalm.audio import waveform
from audiopalm.exports import speech
from audiopalm.tokenizers import base
from audiopalm.types import Utterance

RATE_HZ = waveform.RATE_HZ
read_wav, write_wav = waveform.read, waveform.write
ARRAYS = Path(__file__).with_suffix(".safetensors").name


@dataclasses.dataclass(frozen=True, eq=False)
class SpeechTokenizer:
  """A fitted speech tokenizer that is given waves at 16 kHz (float, full scale 1)."""

  fitted: base.Fitted

  @property
  def voices(self) -> tuple[str, ...]:
    """Speakers that `decode` can sound like; () where the ids say who speaks."""
    return self.fitted.voices

  @property
  def default_voice(self) -> str | None:
    return self.fitted.default_voice if self.voices else None

  def encode(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns int32 ids_T, or codes_TQ with Q codebooks: a row each 1 / rate_hz seconds begun."""
    wave_S = np.asarray(wave_S, np.float32)
    return self.fitted.encode(Utterance(wave_S, RATE_HZ, text="", language="", speaker=""))

  def decode(self, ids: Sequence[int] | np.ndarray, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz, in one of `voices` where there are some, however it is spelled."""
    return self.fitted.decode(ids, voice=base.match_voice(voice, self.voices))


def load(folder: str | os.PathLike, name: str = ARRAYS) -> SpeechTokenizer:
  """Returns the speech tokenizer of an exported folder."""
  with safetensors.safe_open(Path(folder) / name, "numpy") as file:
    arrays = {key: file.get_tensor(key) for key in file.keys()}
    texts = file.metadata()
    return SpeechTokenizer(speech.unpack(speech.settings_of(texts), arrays, texts))


if __name__ == "__main__":  # python speech_tokenizer.py IN.wav OUT.wav: through ids and back
  own = load(Path(__file__).parent)
  write_wav(sys.argv[2], own.decode(own.encode(read_wav(sys.argv[1]))))
