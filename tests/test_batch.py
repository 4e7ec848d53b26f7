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


# Two rows of six: row 0 of task 1 holds examples of 3 and 2 rows, row 1 of task 0 one of 4.
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [1, 1, 1, 1, 0, 0]], np.int32)


def packed():
  tokens = np.where(SEGMENTS[..., None] > 0, 5, -1).astype(np.int32)
  tokens[1, 0] = -1  # a hole inside an example
  nothing = np.zeros_like(SEGMENTS)
  weights = np.zeros(tokens.shape, np.float32)
  return PackedBatch(tokens, weights, SEGMENTS, nothing, nothing, np.array([1, 0], np.int32))


def test_counts_are_by_task_and_leave_out_holes_and_padding():
  counts = packed().count(tasks=3)
  assert counts.rows_T.tolist() == [1, 1, 0]
  assert counts.examples_T.tolist() == [1, 2, 0]
  assert counts.tokens_T.tolist() == [3, 5, 0]
  assert counts.tokens == 8
  assert sorted(counts.lengths_N.tolist()) == [2, 3, 4]


def test_operations_are_those_of_each_example_by_itself():
  counts = packed().count(tasks=2)
  assert counts.flops(lambda length: 10.0 * length) == 10 * (3 * 3 + 2 * 2 + 4 * 4)
