import numpy as np
import pytest

from audiopalm.audio import channels

RATE_HZ = 16_000


def babble(seed, seconds=2.0):
  """Returns noise that comes and goes as syllables do."""
  noise_S = np.random.default_rng(seed).standard_normal(int(seconds * RATE_HZ))
  swell_S = np.sin(2 * np.pi * (2.3 + 0.4 * seed) * np.arange(len(noise_S)) / RATE_HZ) ** 2
  return (0.1 * swell_S * noise_S).astype(np.float32)


def mono(*waves):
  return channels.mono(np.stack(waves, axis=1), RATE_HZ)


A, B, NOTHING = babble(0), babble(1), np.zeros(2 * RATE_HZ, np.float32)


def test_one_channel_is_itself():
  wave_S, notes = mono(A)
  np.testing.assert_array_equal(wave_S, A)
  assert notes == ()


@pytest.mark.parametrize(
  "other",
  [A, 0.3 * A, np.roll(A, 100), A + 0.02 * B, np.roll(A, 100) + 0.02 * B],
  ids=["same", "softer", "delayed by 6 ms", "noisy", "delayed and noisy"],
)
def test_channels_that_agree_are_averaged(other):
  wave_S, notes = mono(A, other)
  np.testing.assert_allclose(wave_S, (A + other) / 2, atol=1e-7)
  assert notes == ()


@pytest.mark.parametrize("other", [-A, -0.9 * A, -A + 0.01 * B])
def test_where_channels_cancel_the_loudest_is_taken(other):
  for waves, number in (((A, other), 1), ((other, 1.2 * A), 2)):
    wave_S, notes = mono(*waves)
    np.testing.assert_array_equal(wave_S, waves[number - 1])
    assert notes == (f"channels cancel in the mean: only channel {number} of 2 is used",)


@pytest.mark.parametrize("silence", [NOTHING, NOTHING + 0.2, 0.005 * B])
def test_silent_channels_are_left_out_and_do_not_lower_the_level(silence):
  wave_S, notes = mono(silence, A)
  np.testing.assert_array_equal(wave_S, A)
  assert notes == ("silent channels left out: 1 of 2",)


def test_one_channel_of_eight_is_found():
  wave_S, notes = mono(*[NOTHING] * 5, A, NOTHING, NOTHING)
  np.testing.assert_array_equal(wave_S, A)
  assert notes == ("silent channels left out: 1, 2, 3, 4, 5, 7, 8 of 8",)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_channel_that_is_not_finite_is_left_out(bad):
  broken = B.copy()
  broken[7] = bad
  wave_S, notes = mono(A, broken)
  np.testing.assert_array_equal(wave_S, A)
  assert notes == ("channels with NaN or infinite samples left out: 2 of 2",)


def test_if_no_channel_is_finite_the_mean_is_not_either():
  wave_S, notes = mono(np.full_like(A, np.nan), np.full_like(A, np.nan))
  assert np.isnan(wave_S).all() and notes == ()


def test_of_two_talkers_at_one_time_the_loudest_is_taken():
  wave_S, notes = mono(A, 1.5 * B)
  np.testing.assert_array_equal(wave_S, 1.5 * B)
  assert notes == ("channels with other sound at the same time left out: 1 of 2",)


def test_talkers_who_take_turns_are_both_heard():
  first, second = A.copy(), B.copy()
  first[RATE_HZ:] = second[:RATE_HZ] = 0
  wave_S, notes = mono(first, second)
  np.testing.assert_array_equal(wave_S, (first + second) / 2)
  assert notes == ()


def test_all_notes_are_returned_together():
  broken = np.full_like(A, np.nan)
  wave_S, notes = mono(broken, A, NOTHING, -A, 0.5 * B)
  np.testing.assert_array_equal(wave_S, A)
  assert notes == (
    "channels with NaN or infinite samples left out: 1 of 5",
    "silent channels left out: 3 of 5",
    "channels with other sound at the same time left out: 5 of 5",
    "channels cancel in the mean: only channel 2 of 5 is used",
  )
