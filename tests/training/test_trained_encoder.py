"""Units of an encoder that a run trained: its states as in training, copies, what is refused."""

import dataclasses
import importlib
import json
import pickle
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from audiopalm import experiment as experiments
from audiopalm import runs, sharding
from audiopalm.errors import CheckpointError, ConfigError, TokenSpaceError
from audiopalm.models import encoder_windows, trained_encoders
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.training import checkpoint, state
from audiopalm.types import Utterance


@pytest.fixture(scope="module")
def clip_run():
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("clip_run")


@pytest.fixture(scope="module")
def workdir(clip_run, tmp_path_factory):
  path = tmp_path_factory.mktemp("run")
  clip_run.run(path)
  return path


@pytest.fixture
def copied(workdir, tmp_path):
  return Path(shutil.copytree(workdir, tmp_path / "copied"))


@pytest.fixture(scope="module")
def said():
  return [
    Utterance(noise(16_000 + 700 * number, number), 16_000, "la", "en", speaker)
    for number, speaker in enumerate(("bob", "eve", "bob"))
  ]


def noise(samples, seed):
  return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def units(folder, **options):
  options = {"layer": 1, "size": 8, "rate_hz": 25.0, **options}
  return tokenizers.neural(str(folder), **options)


@pytest.mark.parametrize("layer", (0, 1, 2))
def test_states_are_those_of_training_without_dropout(clip_run, workdir, layer):
  made = clip_run.experiment()
  prepared, mesh = clip_run.Prepared(made), sharding.mesh(clip_run.ONE)
  model, machine = made.model.build(prepared.space), clip_run.ONE
  with jax.set_mesh(mesh):
    shapes = state.shapes(model, made.objective, state.learners_of(made), mesh)
    trained, _ = checkpoint.restore_state(workdir, shapes, prepared.manifest)

    def states(params, wave_BS, samples_B):
      features, valid_BT = model.features(wave_BS, samples_B)
      frames_BTC = model.frames(params, features, samples_B, machine)
      return model.states(params, frames_BTC, valid_BT, (layer,), machine)[layer]

    wave_S = noise(12_345, 3)
    expected_BTD = jax.jit(states)(trained.params, wave_S[None], np.array([12_345], np.int32))
  encoder = trained_encoders.open(workdir, layer)
  assert (encoder.rate_hz, encoder.layers, encoder.frames(12_345)) == (25.0, 2, 19)
  np.testing.assert_allclose(encoder.encode(wave_S), expected_BTD[0], atol=1e-5)


def test_a_workdir_may_be_named_from_the_current_folder(workdir, monkeypatch):
  expected = trained_encoders.open(workdir, 1).fingerprint
  monkeypatch.chdir(workdir.parent)
  assert trained_encoders.open(Path(workdir.name), 1).fingerprint == expected


def test_a_long_recording_has_the_frames_of_the_whole(workdir, monkeypatch):
  encoder, wave_S = trained_encoders.open(workdir, 0), noise(200_000, 4)
  whole_TD = encoder.encode(wave_S)
  monkeypatch.setattr(encoder_windows, "WINDOW", 100)
  monkeypatch.setattr(encoder_windows, "CONTEXT", 20)
  monkeypatch.setattr(encoder_windows, "CHUNK", 30)
  pieces = list(encoder.pieces(wave_S))
  assert len(pieces) > 3
  np.testing.assert_allclose(np.concatenate(pieces), whole_TD, atol=1e-4)


def test_a_workdir_needs_the_run_no_more(copied, said, tmp_path):
  settings = units(copied)
  settings.check()
  fitted = settings.fit(said, 0)
  ids = [fitted.encode(utterance) for utterance in said]
  assert len(set(ids[0].tolist())) > 2 and len(ids[0]) == 25
  fitted.save(tmp_path / "kept")
  shutil.rmtree(copied)
  loaded = pickle.loads(pickle.dumps(settings.load(tmp_path / "kept")))
  assert loaded.spec == fitted.spec
  for utterance, expected in zip(said, ids, strict=True):
    np.testing.assert_array_equal(loaded.encode(utterance), expected)
  kept = trained_encoders.open(tmp_path / "kept" / "encoder", 1)
  assert kept.fingerprint == fitted.encoder_print
  assert len(kept.params["layers"]) == 1  # later ones are not in the copy
  with pytest.raises(CheckpointError, match="do not match its settings:.*\n.*expected \\(2, "):
    _ = trained_encoders.open(tmp_path / "kept" / "encoder").params


def test_a_copy_that_changed_is_refused(workdir, said, tmp_path):
  from safetensors import numpy as safetensors

  settings = units(workdir)
  settings.fit(said, 0).save(tmp_path)
  path = tmp_path / "encoder" / "model.safetensors"
  arrays = safetensors.load_file(path)
  name = "layers/feed_forward/up/kernel"
  safetensors.save_file({**arrays, name: arrays[name] + 1e-3}, path)
  with pytest.raises(TokenSpaceError, match="is not the one that the stream 'units' was fitted"):
    settings.load(tmp_path).encode(said[0])
  path.write_bytes(b"{")
  with pytest.raises(TokenSpaceError, match=r"The workdir's copy .* cannot be read"):
    settings.load(tmp_path).encode(said[0])


def test_a_run_that_was_trained_further_is_another_encoder(clip_run, copied, said):
  settings = units(copied)
  fitted, before = settings.fit(said, 0), settings.source_digest()
  clip_run.run(copied, clip_run.experiment(steps=8))
  assert settings.source_digest() != before
  again = pickle.loads(pickle.dumps(fitted))
  with pytest.raises(TokenSpaceError, match="is not the one that the stream 'units' was fitted"):
    again.encode(said[0])


def test_arrays_that_are_not_what_was_saved_are_refused(copied):
  folder = copied / "checkpoints" / str(runs.steps(copied)[-1])
  meta = runs.fields(folder)
  meta["sums"]["params"]["encoder/norm/bias"] += 1
  path = folder / "meta" / "metadata"
  path.write_text(json.dumps({**meta, "digest": runs.digest(meta)}))
  with pytest.raises(CheckpointError, match="1 arrays in .* are not what was saved: encoder/norm"):
    _ = trained_encoders.open(copied, 1).params


def test_runs_and_layers_that_do_not_fit_are_refused(clip_run, workdir, copied, tmp_path):
  with pytest.raises(ConfigError, match="states of layer 0, its input, to layer 2, but layer 3"):
    units(workdir, layer=3).check()
  with pytest.raises(ConfigError, match="rate_hz=50.0, expected a divisor of the 25 states"):
    units(workdir, rate_hz=50.0).check()
  with pytest.raises(ConfigError, match="window_s is 3.0, but .* has an encoder of a run"):
    units(workdir, window_s=3.0).check()
  shutil.rmtree(copied / "checkpoints")
  with pytest.raises(CheckpointError, match="has no checkpoint yet, so its encoder is not trained"):
    units(copied).check()
  decoder = dataclasses.replace(
    clip_run.experiment(), name="text", model=models.tiny(width=64), data=experiments.Packed(),
    mixture=mixtures.blend((mixtures.text(clip_run.CORPUS), 1.0)),
    tokenizers=(tokenizers.text(size=300),),
  )  # fmt: skip
  (tmp_path / "config.json").write_text(decoder.to_json())
  with pytest.raises(ConfigError, match="has a model of class Decoder, expected one that trains a"):
    units(tmp_path).check()
