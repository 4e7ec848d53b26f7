"""Amounts as people read them."""

import pytest

from audiopalm import quantities


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(0.4, "0.4 s"), (4.21, "4.2 s"), (59.4, "59 s"), (75, "1 min 15 s"), (7_500, "2 h 05 min")],
)
def test_durations_are_in_two_units_at_most(seconds, text):
  assert quantities.duration(seconds) == text


@pytest.mark.parametrize(
  ("count", "size", "traffic"),
  [
    (0, "0 B", "0 B"),
    (1_000, "1,000 B", "1.00 kB"),
    (1_024, "1.0 KiB", "1.02 kB"),
    (5 * 2**20, "5.0 MiB", "5.24 MB"),
    (1.5 * 2**40, "1,536.0 GiB", "1,649.27 GB"),
  ],
)
def test_bytes_are_in_the_largest_unit_that_they_reach(count, size, traffic):
  assert (quantities.size(count), quantities.traffic(count)) == (size, traffic)
