"""Encodes speech as ids and decodes ids to speech, with the files beside this one.

    import speech_tokenizer
    speech = speech_tokenizer.load("exported")
    ids_T = speech.encode(speech_tokenizer.read_wav("hello.wav"))   # codes_TQ with Q codebooks
    wave_S = speech.decode(ids_T)                    # 16 kHz; speech.voices lists the voices

It needs numpy, scipy and safetensors, and beside it audiopalm_speech/, files of audiopalm
(Apache-2.0) that encode and decode. audiopalm itself need not be installed.
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
  """A fitted speech tokenizer for waves at 16 kHz (float, full scale 1)."""

  fitted: base.Fitted

  @property
  def voices(self) -> tuple[str, ...]:
    """Voices that `decode` can imitate; () if the ids determine the voice."""
    return self.fitted.voices

  @property
  def default_voice(self) -> str | None:
    return self.fitted.default_voice if self.voices else None

  def encode(self, wave_S: np.ndarray) -> np.ndarray:
    """Returns int32 ids_T, or codes_TQ with Q codebooks: one row per 1 / rate_hz seconds."""
    wave_S = np.asarray(wave_S, np.float32)
    return self.fitted.encode(Utterance(wave_S, RATE_HZ, text="", language="", speaker=""))

  def decode(self, ids: Sequence[int] | np.ndarray, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz in one of `voices`, if there are any; None is the default voice."""
    return self.fitted.decode(ids, voice=base.match_voice(voice, self.voices))


def load(folder: str | os.PathLike, name: str = ARRAYS) -> SpeechTokenizer:
  """Returns the speech tokenizer of an exported folder."""
  with safetensors.safe_open(Path(folder) / name, "numpy") as file:
    arrays = {key: file.get_tensor(key) for key in file.keys()}
    texts = file.metadata()
    return SpeechTokenizer(speech.unpack(speech.settings_of(texts), arrays, texts))


if __name__ == "__main__":  # python speech_tokenizer.py IN.wav OUT.wav: encodes and decodes
  own = load(Path(__file__).parent)
  write_wav(sys.argv[2], own.decode(own.encode(read_wav(sys.argv[1]))))
