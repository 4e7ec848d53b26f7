"""Copies of a training record that sound like other people said it."""

import dataclasses
import zlib

import numpy as np

from audiopalm.audio import waveform
from audiopalm.types import Record, Utterance, Word

# Slowest and fastest: beyond these, digits stop sounding like people.
SPEEDS = (0.85, 1.18)


def variant(record: Record, number: int, role: str) -> Record:
  """Returns copy `number` of a record: 1 is the record itself, "x#2" is x at another speed.

  Only `role` is played at the other speed. The speed is drawn from SPEEDS, evenly in its logarithm,
  by a key of the copy's id, so it is the same wherever it is made. Playing faster raises pitch and
  formants, as a shorter speaker would (Ko et al., Interspeech 2015). Text and the other roles stay
  as they are; a role without a wave gives an equal copy.
  """
  if number == 1:
    return record
  id = f"{record.id}#{number}"
  low, high = np.log(SPEEDS)
  speed = float(np.exp(np.random.default_rng(zlib.crc32(id.encode())).uniform(low, high)))
  utterances = dict(record.utterances)
  if utterances[role].wave_S is not None:
    utterances[role] = _played(utterances[role], speed)
  return Record(id, utterances)


def _played(utterance: Utterance, speed: float) -> Utterance:
  words = tuple(
    Word(word.text, word.start_s / speed, word.end_s / speed, word.phonemes)
    for word in utterance.words
  )
  wave_S = waveform.change_speed(utterance.wave_S, speed)
  return dataclasses.replace(utterance, wave_S=wave_S, words=words)
