"""Log-probabilities of a CTC head, as another recording's times are found by."""

import types

import numpy as np
import pytest

from audiopalm.errors import ConfigError
from audiopalm.inference import ctc
from audiopalm.models import encoder_windows
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.ctc import CTC
from audiopalm.objectives.masked_units import MaskedUnits


def run_of(clip_models, *parts):
  model = clip_models.model()
  return types.SimpleNamespace(
    experiment=types.SimpleNamespace(objective=ClipLosses(parts)),
    model=model,
    params=clip_models.params(model),
    machine=clip_models.ONE,
  )


def test_log_probs_are_those_that_the_loss_is_computed_from(clip_models):
  run = run_of(clip_models, MaskedUnits(), CTC("text", layer=1))
  batch = clip_models.clips((12_345,))
  found = ctc.log_probs(run, batch.wave_BS[0, :12_345])
  assert (found.log_probs_TV.shape, found.rate_hz, found.blank) == ((38, 13), 50.0, 12)
  np.testing.assert_allclose(np.exp(found.log_probs_TV).sum(axis=1), 1, rtol=1e-5)
  loss = ClipLosses((CTC("text", layer=1),), mask=None)
  nll = clip_models.loss(loss, run.model, batch).sum
  from audiopalm.objectives import ctc as objective

  valid_BT = np.ones((1, 38), bool)
  (again,) = objective.negative_log_likelihood(
    found.log_probs_TV[None], valid_BT, batch.streams["text"]
  )
  np.testing.assert_allclose(nll, again, rtol=1e-4)


def test_a_long_wave_is_scored_in_windows(clip_models, monkeypatch):
  run = run_of(clip_models, CTC("text", layer=0))  # no attention, which sees less in a window
  wave_S = np.random.default_rng(0).normal(0, 0.1, 40_000).astype(np.float32)
  whole = ctc.log_probs(run, wave_S).log_probs_TV
  monkeypatch.setattr(encoder_windows, "WINDOW", 60)
  monkeypatch.setattr(encoder_windows, "CONTEXT", 15)
  monkeypatch.setattr(encoder_windows, "CHUNK", 25)
  windowed = ctc.log_probs(run, wave_S).log_probs_TV
  assert windowed.shape == whole.shape == (125, 13)
  np.testing.assert_allclose(windowed, whole, atol=1e-4)


def test_a_run_without_ctc_of_the_stream_is_refused(clip_models):
  run = run_of(clip_models, MaskedUnits())
  with pytest.raises(ConfigError, match=r"an encoder that was trained with CTC\('phones'\), but"):
    ctc.log_probs(run, np.zeros(16_000, np.float32), "phones")
