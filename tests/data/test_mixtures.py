import pytest

from audiopalm.data.mixtures import Mixture
from audiopalm.errors import ConfigError
from audiopalm.types import Task


def task(name):
  return Task(name, None, "[T]", (), (("source", "text"),))


def test_shares_are_rates_over_their_sum():
  assert Mixture(((task("a"), 3.0), (task("b"), 1.0))).shares == (0.75, 0.25)


def test_temperature_two_takes_square_roots():
  assert Mixture(((task("a"), 9.0), (task("b"), 1.0)), temperature=2.0).shares == (0.75, 0.25)


def test_rows_are_weighed_by_how_full_they_are():
  mixture = Mixture(((task("a"), 1.0), (task("b"), 1.0)))
  assert mixture.weights((500, 250)) == pytest.approx((1 / 3, 2 / 3))


def test_two_tasks_of_one_name_are_refused():
  with pytest.raises(ConfigError, match="Two tasks of a mixture have the name 'a'"):
    Mixture(((task("a"), 1.0), (task("a"), 1.0)))


def test_a_task_of_rate_0_has_no_share_and_no_rows():
  mixture = Mixture(((task("a"), 2.0), (task("b"), 0.0)), temperature=3.0)
  assert mixture.shares == (1.0, 0.0)
  assert mixture.weights((500, 250)) == (1.0, 0.0)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_rate_that_is_no_number_from_0_on_says_whose(rate):
  with pytest.raises(ConfigError, match="rate of task 'a' must be a number, 0 or more"):
    Mixture(((task("a"), rate),))


def test_a_mixture_of_nothing_to_train_on_is_refused():
  with pytest.raises(ConfigError, match="All tasks of a mixture have the rate 0"):
    Mixture(((task("a"), 0.0),))


def test_an_empty_mixture_a_cold_one_and_an_unknown_unit_are_refused():
  with pytest.raises(ConfigError, match="has no tasks"):
    Mixture(())
  with pytest.raises(ConfigError, match="temperature of a mixture must be"):
    Mixture(((task("a"), 1.0),), temperature=0.0)
  with pytest.raises(ConfigError, match="unit of a mixture is 'tokens' or 'examples', not 'rows'"):
    Mixture(((task("a"), 1.0),), unit="rows")
