"""Spoken digits: records of the Free Spoken Digit Dataset from TFDS, split by speaker.

2,500 recordings at 8 kHz, 50 of each digit by each of five speakers, CC BY-SA 4.0; files are named
{digit}_{speaker}_{recording}.wav. Source: https://github.com/Jakobovski/free-spoken-digit-dataset
"""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance

DATASET = "spoken_digit"
DIGITS = "zero one two three four five six seven eight nine".split()


@dataclasses.dataclass(frozen=True, eq=False)
class DigitRecording:
  """A file of the dataset."""

  digit: int
  speaker: str
  number: int
  wave_S: np.ndarray
  rate_hz: int


def count(settings: corpora.SpokenDigit, split: str) -> int:
  """Returns the number of records in a split."""
  return len(_split(settings, split))


def records(settings: corpora.SpokenDigit, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields records `start` to `stop` - 1 of a split, the same bytes on every machine."""
  recordings = _split(settings, split)
  assert 0 <= start <= stop <= len(recordings), (split, start, stop)
  for number in range(start, stop):
    recording = recordings[number]
    wave_S = waveform.resample(recording.wave_S, recording.rate_hz, waveform.RATE_HZ)
    text = DIGITS[recording.digit]
    source = Utterance(wave_S, waveform.RATE_HZ, text, "en", recording.speaker)
    yield Record(f"{settings.name}/{split}/{number:06d}", {"source": source})


def _split(settings: corpora.SpokenDigit, split: str) -> list[DigitRecording]:
  """Returns the recordings of a split, in the order of its records.

  The first recordings of each speaker and digit are test, the next ones validation, the rest train.
  """
  first_train = settings.test_recordings + settings.validation_recordings
  numbers = {
    "test": range(settings.test_recordings),
    "validation": range(settings.test_recordings, first_train),
    "train": range(first_train, 1000),
    "held_out_voices": range(1000),
  }
  held_out = split == "held_out_voices"
  return [
    recording
    for recording in _recordings(settings.data_dir)
    if (recording.speaker in settings.held_out_speakers) == held_out
    and recording.number in numbers[split]
  ]


@functools.lru_cache(maxsize=1)
def _recordings(data_dir: str | None) -> tuple[DigitRecording, ...]:
  """Returns all recordings, sorted by recording number, digit and speaker."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  # Loading TensorFlow takes seconds, so it is imported only if recordings are read.
  import tensorflow as tf
  import tensorflow_datasets as tfds

  tf.config.set_visible_devices([], "GPU")  # or it reserves all memory of an accelerator
  builder = tfds.builder(DATASET, data_dir=data_dir)
  if not builder.is_prepared():
    if data_dir is not None:
      raise DataError(
        f"data_dir={data_dir} has no TFDS dataset {builder.info.full_name!r} (expected "
        f"{builder.data_dir}). Set the data folder of TFDS, or omit data_dir: TFDS then "
        "downloads it to its default folder."
      )
    builder.download_and_prepare()
  rate_hz = builder.info.features["audio"].sample_rate
  recordings = []
  for example in tfds.as_numpy(builder.as_dataset(split="train")):
    name = example["audio/filename"].decode().removesuffix(".wav")
    digit, speaker, number = name.split("_")
    wave_S = example["audio"].astype(np.float32) / 2**15
    recordings.append(DigitRecording(int(digit), speaker, int(number), wave_S, rate_hz))
  speakers = tuple(sorted({recording.speaker for recording in recordings}))
  if speakers != corpora.DIGIT_SPEAKERS:
    raise DataError(
      f"The TFDS dataset in {builder.data_dir} has the speakers {', '.join(speakers)}, expected "
      f"{', '.join(corpora.DIGIT_SPEAKERS)} (version 1.0.9). Prepare that version."
    )
  return tuple(sorted(recordings, key=lambda r: (r.number, r.digit, r.speaker)))
