import numpy as np
import pytest

from audiopalm.batch import PackedBatch
from audiopalm.training import throughput

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


def test_what_was_seen_goes_on_from_the_checkpoint():
  seen = throughput.Seen(["a", "b"], [4, 8], None)
  seen.add(packed().count(2))
  again = throughput.Seen(["b", "a", "new"], [8, 4, 1], seen.by_task())
  assert again.by_task()["b"] == {"rows": 1, "examples": 2, "tokens": 5, "epochs": 0.125}
  assert again.by_task()["new"]["epochs"] == 0
  again.add(packed().count(3))
  assert again.by_task()["b"]["rows"] == 2


@pytest.mark.parametrize(
  "kind, peak",
  [
    ("NVIDIA H100 80GB HBM3", 989e12),
    ("NVIDIA H100 PCIe", 756e12),
    ("NVIDIA H200", 989e12),
    ("NVIDIA B200", 2250e12),
    ("NVIDIA A100-SXM4-80GB", 312e12),
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5", 459e12),
    ("TPU v6 lite", 918e12),
    ("cpu", None),
    ("NVIDIA GeForce RTX 4090", None),
  ],
)
def test_peak_is_of_the_device_kind_or_unknown(kind, peak):
  assert throughput.peak_flops(kind) == peak


def test_utilisation_is_a_share_of_all_devices_or_unknown():
  assert throughput.utilisation(989e12, 2.0, "NVIDIA H200", 4) == pytest.approx(1 / 8)
  assert throughput.utilisation(1e12, 1.0, "cpu", 1) == "unknown"
