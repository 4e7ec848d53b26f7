import pytest

from audiopalm.errors import ConfigError
from audiopalm.settings import Evaluation, Machine


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


@pytest.mark.parametrize(
  ("field", "value", "text"),
  [
    ("every_steps", 0, "evaluation.every_steps must be an integer of at least 1, not 0."),
    (
      "held_out_batch_rows",
      -1,
      "evaluation.held_out_batch_rows must be an integer of at least 1, not -1.",
    ),
    ("examples", 0, "evaluation.examples must be an integer of at least 1, not 0."),
    (
      "decode_batch_rows",
      2.0,
      "evaluation.decode_batch_rows must be an integer of at least 1, not 2.0.",
    ),
    ("max_output_rows", 0, "evaluation.max_output_rows must be an integer of at least 1, not 0."),
    ("beams", 0, "evaluation.beams must be an integer of at least 1, not 0."),
    ("length_penalty", float("nan"), "evaluation.length_penalty must be a number of at least 0"),
  ],
)
def test_an_evaluation_of_nothing_is_refused(field, value, text):
  with pytest.raises(ConfigError, match=text):
    Evaluation(**{field: value})
