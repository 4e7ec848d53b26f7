import dataclasses

import numpy as np
import pytest

from audiopalm.data import augment


@pytest.fixture
def record(small):
  return next(small.records(small.SmallCorpus(), "train", 3, 4))


def test_the_first_variant_is_the_record_itself(record):
  assert augment.variant(record, 1, "source") is record


def test_a_variant_is_the_same_wherever_it_is_made_and_differs_from_the_next(record):
  first, again = (augment.variant(record, 2, "source") for _ in range(2))
  assert first.id == again.id == "small/train/000003#2"
  np.testing.assert_array_equal(
    first.utterances["source"].wave_S, again.utterances["source"].wave_S
  )
  third = augment.variant(record, 3, "source")
  assert len(third.utterances["source"].wave_S) != len(first.utterances["source"].wave_S)


def test_word_times_follow_the_speed_and_the_other_role_is_untouched(record):
  copy = augment.variant(record, 2, "source")
  before, after = record.utterances["source"], copy.utterances["source"]
  speed = len(before.wave_S) / len(after.wave_S)
  assert augment.SPEEDS[0] - 0.01 < speed < augment.SPEEDS[1] + 0.01
  assert after.words[-1].end_s == pytest.approx(before.words[-1].end_s / speed, rel=1e-3)
  assert after.text == before.text
  timed = dataclasses.replace(before, phones=before.words)
  timed = dataclasses.replace(record, utterances={**record.utterances, "source": timed})
  assert augment.variant(timed, 2, "source").utterances["source"].phones == after.words
  assert copy.utterances["target"] is record.utterances["target"]


def test_text_alone_has_variants_that_are_equal(record):
  silent = {
    role: dataclasses.replace(said, wave_S=None) for role, said in record.utterances.items()
  }
  copy = augment.variant(dataclasses.replace(record, utterances=silent), 2, "source")
  assert copy.utterances["source"] is silent["source"]
