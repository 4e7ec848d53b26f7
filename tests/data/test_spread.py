import pytest

from audiopalm.data import spread


@pytest.mark.parametrize(
  ("count", "most", "numbers"),
  [
    (0, 3, []),
    (1, 3, [0]),
    (3, 9, [0, 1, 2]),
    (9, 3, [0, 4, 8]),
    (10, 4, [0, 3, 6, 9]),
    (9, 1, [0]),
  ],
)
def test_numbers_lie_evenly_from_the_first_to_the_last(count, most, numbers):
  assert spread.evenly(count, most).tolist() == numbers
