import os

import numpy as np
import pytest

from audiopalm.data import corpora
from audiopalm.data_pipelines import spoken_digit
from audiopalm.errors import DataError

pytest.importorskip("tensorflow_datasets", reason="TFDS is not installed: audiopalm[data]")

DATA_DIR = os.environ.get("TFDS_DATA_DIR")
needs_data = pytest.mark.skipif(
  not DATA_DIR, reason="TFDS_DATA_DIR names no folder with the TFDS dataset spoken_digit"
)


def test_a_folder_without_the_dataset_says_what_was_looked_for(tmp_path):
  settings = corpora.SpokenDigit(data_dir=str(tmp_path))
  with pytest.raises(DataError) as error:
    spoken_digit.count(settings, "train")
  assert f"data_dir={tmp_path} has no TFDS dataset 'spoken_digit/1.0.9'" in str(error.value)
  assert "Set the data folder of TFDS" in str(error.value)


@needs_data
def test_the_held_out_speaker_occurs_in_no_other_split():
  settings = corpora.SpokenDigit(data_dir=DATA_DIR, held_out_speaker="george")
  counts = {split: spoken_digit.count(settings, split) for split in corpora.SPLITS}
  assert counts == {"train": 1800, "validation": 80, "test": 120, "held_out_voices": 500}
  for split in corpora.SPLITS:
    speakers = {recording.speaker for recording in spoken_digit._split(settings, split)}
    trained = set(settings.train_voices("en"))
    assert speakers == ({"george"} if split == "held_out_voices" else trained)


@needs_data
def test_several_speakers_are_held_out_together():
  settings = corpora.SpokenDigit(data_dir=DATA_DIR, held_out_speaker="theo, jackson")
  counts = {split: spoken_digit.count(settings, split) for split in corpora.SPLITS}
  assert counts == {"train": 1350, "validation": 60, "test": 90, "held_out_voices": 1000}
  held_out = {recording.speaker for recording in spoken_digit._split(settings, "held_out_voices")}
  assert held_out == {"theo", "jackson"}


@needs_data
def test_no_recording_is_in_two_splits():
  settings = corpora.SpokenDigit(data_dir=DATA_DIR, held_out_speaker=None)
  keys = [
    (recording.digit, recording.speaker, recording.number)
    for split in corpora.SPLITS
    for recording in spoken_digit._split(settings, split)
  ]
  assert len(keys) == len(set(keys)) == 2500


@needs_data
def test_records_are_digits_at_16_khz():
  settings = corpora.SpokenDigit(data_dir=DATA_DIR)
  found = list(spoken_digit.records(settings, "test", 0, 120))
  assert found[17].id == "spoken_digit/test/000017"
  words = {record.utterances["source"].text for record in found}
  assert words == set(spoken_digit.DIGITS)
  for record in found:
    source = record.utterances["source"]
    assert source.rate_hz == 16_000 and source.language == "en"
    assert source.wave_S.dtype == np.float32 and 0.1 < len(source.wave_S) / 16_000 < 2.5
    assert 0 < np.abs(source.wave_S).max() <= 1.01
