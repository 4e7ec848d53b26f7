"""The comparison of product types with seeds, on losses written out."""

import product_types


def test_differences_are_paired_by_seed_and_held_to_the_spread_of_seeds():
  losses = {"float32": {0: 1.0, 1: 1.5, 2: 2.0}, "bfloat16": {0: 1.25, 1: 1.5, 2: 1.75}}
  found = product_types.compared(losses)
  assert found["differences"] == {0: 0.25, 1: 0.0, 2: -0.25}
  assert (found["mean_difference"], found["greatest_difference"]) == (0.0, 0.25)
  assert (found["spread_of_seeds"], found["range_of_seeds"]) == (0.5, 1.0)
  assert found["less_than_seeds"]
  losses["bfloat16"][2] = 2.5
  assert not product_types.compared(losses)["less_than_seeds"]
