"""The comparison of product types with seeds, on given losses."""

import product_types


def test_differences_are_paired_by_seed_and_compared_with_the_spread_of_seeds():
  losses = {"float32": {0: 1.0, 1: 1.5, 2: 2.0}, "bfloat16": {0: 1.25, 1: 1.5, 2: 1.75}}
  result = product_types.compared(losses)
  assert result["differences"] == {0: 0.25, 1: 0.0, 2: -0.25}
  assert (result["mean_difference"], result["greatest_difference"]) == (0.0, 0.25)
  assert (result["spread_of_seeds"], result["range_of_seeds"]) == (0.5, 1.0)
  assert result["less_than_seeds"]
  losses["bfloat16"][2] = 2.5
  assert not product_types.compared(losses)["less_than_seeds"]
