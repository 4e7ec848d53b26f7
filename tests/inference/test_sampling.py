import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.inference import sampling
from audiopalm.inference.sampling import Beams, Sampling

LOGITS = np.log([[0.5, 0.3, 0.15, 0.05]])
ALL = np.ones((1, 4), bool)


def drawn(settings, allowed=ALL, draws=400):
  logits_BV, allowed_BV = (np.repeat(array, draws, axis=0) for array in (LOGITS, allowed))
  keys_B = jax.random.split(jax.random.key(0), draws)
  ids_B, log_probs_B = sampling.sample(jnp.asarray(logits_BV), allowed_BV, settings, keys_B)
  return np.asarray(ids_B), np.asarray(log_probs_B)


def test_temperature_zero_takes_the_best_allowed_id():
  ids_B, log_probs_B = drawn(Sampling(), np.array([[False, True, True, False]]), draws=1)
  assert ids_B.tolist() == [1]
  np.testing.assert_allclose(log_probs_B, np.log([0.3 / 0.45]), rtol=1e-5)


def test_draws_follow_the_probabilities_and_log_probs_are_those_at_temperature_one():
  ids_B, log_probs_B = drawn(Sampling(temperature=1.0), draws=4000)
  np.testing.assert_allclose(np.bincount(ids_B) / 4000, [0.5, 0.3, 0.15, 0.05], atol=0.03)
  _, warmer = drawn(Sampling(temperature=2.0))
  assert set(np.exp(warmer.astype(float)).round(2).tolist()) == {0.5, 0.3, 0.15, 0.05}
  np.testing.assert_allclose(log_probs_B, LOGITS[0][ids_B], rtol=1e-5)


@pytest.mark.parametrize(
  "settings, kept",
  [
    (Sampling(3.0, top_k=2), {0, 1}),
    (Sampling(3.0, top_k=99), {0, 1, 2, 3}),
    (Sampling(1.0, top_p=0.6), {0, 1}),  # 0.5 alone does not hold 0.6
    (Sampling(1.0, top_p=0.01), {0}),
    (Sampling(1.0, top_k=3, top_p=0.9), {0, 1, 2}),
  ],
)
def test_top_k_and_top_p_leave_the_tail_out(settings, kept):
  assert set(drawn(settings)[0].tolist()) == kept


def test_an_id_that_is_not_allowed_is_never_drawn():
  ids_B, _ = drawn(Sampling(5.0), np.array([[True, False, True, False]]))
  assert set(ids_B.tolist()) == {0, 2}


@pytest.mark.parametrize(
  "settings, text",
  [
    ({"temperature": -1.0}, "temperature must be 0 .the best id. or more, got -1.0"),
    ({"temperature": float("nan")}, "temperature must be 0 .the best id. or more, got nan"),
    ({"temperature": float("inf")}, "temperature must be 0 .the best id. or more, got inf"),
    ({"top_k": 0}, "top_k must be at least 1, or None for all ids, got 0"),
    ({"top_p": 1.5}, "top_p must be above 0 and at most 1, or None for 1, got 1.5"),
  ],
)
def test_settings_out_of_range_say_so(settings, text):
  with pytest.raises(ConfigError, match=text):
    Sampling(**settings)


@pytest.mark.parametrize(
  "settings, text",
  [
    ({"beams": 0}, "beams must be an integer of at least 1, got 0"),
    ({"beams": 2.0}, "beams must be an integer of at least 1, got 2.0"),
    ({"length_penalty": -1.0}, "length_penalty must be 0 or more, got -1.0"),
    ({"length_penalty": float("nan")}, "length_penalty must be 0 or more, got nan"),
  ],
)
def test_a_search_out_of_range_says_so(settings, text):
  with pytest.raises(ConfigError, match=text):
    Beams(**settings)


def test_one_beam_is_what_was_drawn_and_several_are_a_search():
  assert sampling.choose(1, 0.6) == Sampling()
  assert sampling.choose(1, 0.6, Sampling(2.0)) == Sampling(2.0)
  assert sampling.choose(4, 0.8) == Beams(4, 0.8)
  with pytest.raises(ConfigError, match="leave out beams=4, or .* drawn at temperature 2"):
    sampling.choose(4, 0.8, Sampling(2.0))


def test_ways_to_decode_have_names():
  assert str(Sampling()) == "greedy"
  assert str(Sampling(0.7, top_k=5, top_p=0.9)) == "drawn at temperature 0.7, top_k 5, top_p 0.9"
  assert str(Beams(4, 0.6)) == "beam search, 4 beams, length penalty 0.6"
