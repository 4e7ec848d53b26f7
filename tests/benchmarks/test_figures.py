"""Medians, fitted lines and names of machines."""

import decode_speed
import figures
import numpy as np
import pytest
import scaling
import score


def test_a_spread_keeps_every_repeat():
  spread = figures.spread([3.0, 1.0, 10.0])
  assert spread == {"median": 3.0, "min": 1.0, "max": 10.0, "repeats": [3.0, 1.0, 10.0]}
  assert figures.shown(spread, 1) == "3.0 (1.0 to 10.0)"


def test_a_slope_has_the_unit_of_its_axis():
  medians = {2_000: 14.0, 4_000: 18.0, 8_000: 26.0}
  fit = scaling.fitted("vocabulary", {ids: {"median": ms} for ids, ms in medians.items()})
  assert (fit["ms_per_unit"], fit["ms_at_none"]) == (2.0, 10.0)
  assert figures.slope([1, 2, 3], [1.0, 2.0, 4.0]) == pytest.approx((1.5, -2 / 3))


def test_a_table_aligns_text_columns_left_and_numbers_right():
  assert figures.table(("on", "a"), [("b", 1)]).splitlines() == [
    "| on | a |",
    "| --- | ---: |",
    "| b | 1 |",
  ]


def test_agreement_counts_rows_before_the_first_difference_in_any_prompt():
  ours = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
  other = np.array([[1, 2, 3, 4], [5, 6, 0, 8]])
  assert decode_speed.agreement(ours, other) == (7 / 8, 2)
  assert decode_speed.agreement(ours, ours) == (1.0, 4)


@pytest.mark.parametrize(
  ("product", "short"),
  [
    ("Intel(R) Xeon(R) Processor", "xeon"),
    ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "xeon-platinum-8481c"),
    ("AMD EPYC 7B13 64-Core Processor", "epyc-7b13"),
    ("NVIDIA H200", "h200"),
    ("NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
    ("TPU v5 lite", "tpu-v5-lite"),
  ],
)
def test_a_machine_has_a_short_name(product, short):
  assert score.short_name(product) == short
