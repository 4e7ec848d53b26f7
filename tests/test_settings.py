import pytest

from audiopalm.errors import ConfigError
from audiopalm.settings import Machine


@pytest.mark.parametrize(
  ("tokens", "rows", "accumulation"),
  [(None, 16, 1), (1024, 16, 4), (1000, 16, 8), (1024, 6, 2), (1024, 7, 7), (100, 16, 16)],
)
def test_micro_batches_are_the_fewest_equal_ones_that_fit(tokens, rows, accumulation):
  """None: all at once; 1,000 tokens hold 3 rows of 256, of which 16 rows make no equal parts."""
  assert Machine(micro_batch_tokens=tokens).accumulation(rows, 256) == accumulation


def test_micro_batch_of_nothing_is_refused():
  with pytest.raises(ConfigError, match="micro_batch_tokens=0 must be at least 1"):
    Machine(name="none", micro_batch_tokens=0)
