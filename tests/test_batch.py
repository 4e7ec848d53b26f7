import dataclasses

import numpy as np

from audiopalm.batch import PackedBatch


def batch(rows=6):
  random = np.random.default_rng(0)
  whole = {
    field.name: random.integers(0, 9, (rows, 5), np.int32)
    for field in dataclasses.fields(PackedBatch)
  }
  return PackedBatch(**whole)


def test_digests_of_parts_add_up_to_that_of_the_whole():
  whole = batch()
  parts = [
    dataclasses.replace(
      whole, **{f.name: getattr(whole, f.name)[s] for f in dataclasses.fields(whole)}
    )
    for s in (slice(0, 2), slice(2, 6))
  ]
  assert (parts[0].digest() + parts[1].digest(first=2)) % 2**32 == whole.digest()
  assert (whole.digest([0, 5]) + whole.digest([4, 1, 2, 3])) % 2**32 == whole.digest()


def test_one_value_or_the_place_of_a_row_changes_the_digest():
  whole, other = batch(), batch()
  other.weights_BLK[3, 2] += 1
  swapped = dataclasses.replace(whole, task_B=whole.task_B[::-1])
  assert len({whole.digest(), other.digest(), swapped.digest(), whole.digest(first=1)}) == 4
