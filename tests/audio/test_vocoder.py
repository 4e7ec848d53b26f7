"""Vocoder: the sound has the pitch and the spectrum that were asked for."""

import numpy as np
import pytest

from audiopalm.audio import spectrum, vocoder


def hum(hz, seconds=0.6):
  """A voiced sound: thirty harmonics."""
  time_S = np.arange(int(seconds * 16_000)) / 16_000
  return sum(np.sin(2 * np.pi * hz * n * time_S) / n for n in range(1, 31)).astype(np.float32)


def slopes_down(frames=60, bins=40):
  """A spectrum with one hill that moves up."""
  hill = 10 + 20 * np.arange(frames)[:, None] / frames
  return (-4 - 0.02 * (np.arange(bins) - hill) ** 2).astype(np.float32)


@pytest.mark.parametrize("hz", [80, 123, 210, 380])
def test_pitch_of_a_hum_is_its_own(hz):
  pitch_T, periodicity_T = vocoder.pitch(hum(hz))
  np.testing.assert_allclose(pitch_T[5:-5], hz, rtol=0.02)
  assert periodicity_T[5:-5].min() > 0.9


def test_noise_has_little_periodicity():
  noise_S = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
  assert np.mean(vocoder.pitch(noise_S)[1] > vocoder.VOICED) < 0.1


def test_silence_has_a_pitch_too_but_no_periodicity():
  pitch_T, periodicity_T = vocoder.pitch(np.zeros(1_600, np.float32))
  assert np.isfinite(pitch_T).all() and (periodicity_T == 0).all()


@pytest.mark.parametrize("voicing", [0.0, 0.5, 1.0])
def test_excitation_is_as_strong_at_every_frequency(voicing):
  excitation_TE = vocoder.excitation(np.full(400, 110.0), np.full(400, voicing))
  power_E = np.square(np.abs(excitation_TE)).mean(axis=0) / np.square(spectrum.hann(320)).sum()
  bands = power_E[1:-1].reshape(-1, 15).mean(axis=1)
  np.testing.assert_allclose(bands, 1, atol=0.15)


def test_sound_has_the_spectrum_asked_for():
  wanted_TM = slopes_down()
  excitation_TE = vocoder.excitation(np.full(60, 120.0), np.full(60, 0.5))
  wave_S = vocoder.sound(wanted_TM, excitation_TE)
  found_TM = spectrum.log_mel(spectrum.power(wave_S), spectrum.mel_filters(40))
  assert len(wave_S) == 60 * 160
  assert np.abs(found_TM - wanted_TM)[3:-3].mean() < 0.7  # nepers of power: 3 dB


def test_sound_has_the_pitch_asked_for():
  excitation_TE = vocoder.excitation(np.full(60, 140.0), np.ones(60))
  pitch_T, _ = vocoder.pitch(vocoder.sound(np.full((60, 40), -4, np.float32), excitation_TE))
  assert np.median(pitch_T) == pytest.approx(140, rel=0.02)


def test_sound_comes_when_it_is_asked_for():
  loud_TM = np.full((60, 40), -20, np.float32)
  loud_TM[30:40] = 0
  wave_S = vocoder.sound(loud_TM, vocoder.excitation(np.full(60, 120.0), np.zeros(60)))
  energy_T = np.square(wave_S.reshape(60, 160)).sum(axis=1)
  assert energy_T[30:40].sum() > 0.9 * energy_T.sum()


def test_equal_arguments_give_equal_waves():
  one, two = (
    vocoder.sound(slopes_down(), vocoder.excitation(np.full(60, 99.0), np.full(60, 0.7)))
    for _ in range(2)
  )
  np.testing.assert_array_equal(one, two)
