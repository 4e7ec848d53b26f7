"""Speed perturbation: copies of a training record that sound like other speakers."""

import dataclasses
import zlib

import numpy as np

from audiopalm.audio import waveform
from audiopalm.types import Record

# Slowest and fastest; beyond them speech stops sounding natural.
SPEEDS = (0.85, 1.18)


def variant(record: Record, number: int, role: str) -> Record:
  """Returns copy `number` of a record: 1 is the record itself, "x#2" is x at another speed.

  Only `role` changes its speed, which is sampled log-uniformly from SPEEDS by the copy's id, so it
  is the same on every machine. A higher speed raises pitch and formants, like those of a smaller
  speaker (Ko et al., Interspeech 2015). A role without a wave is copied unchanged.
  """
  if number == 1:
    return record
  id = f"{record.id}#{number}"
  low, high = np.log(SPEEDS)
  speed = float(np.exp(np.random.default_rng(zlib.crc32(id.encode())).uniform(low, high)))
  utterances = dict(record.utterances)
  utterance = utterances[role]
  if utterance.wave_S is not None:
    words, phones = (
      tuple(
        dataclasses.replace(word, start_s=word.start_s / speed, end_s=word.end_s / speed)
        for word in timed
      )
      for timed in (utterance.words, utterance.phones)
    )
    wave_S = waveform.change_speed(utterance.wave_S, speed)
    utterances[role] = dataclasses.replace(utterance, wave_S=wave_S, words=words, phones=phones)
  return Record(id, utterances)
