"""Units of a published encoder: what they depend on (its states, not its folder), and errors."""

import dataclasses
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import numpy as safetensors

from audiopalm.errors import (
  CheckpointError,
  ConfigError,
  DataError,
  RecordError,
  TokenSpaceError,
)
from audiopalm.exports import folder as exported_folder
from audiopalm.models.pytorch import encoders
from audiopalm.parts import models, tokenizers
from audiopalm.tokenizers import kmeans, neural, units
from audiopalm.tokenizers.neural import NeuralUnits
from audiopalm.types import Utterance

RATE_HZ = 50.0  # of units; the small encoders have 200 states a second


@pytest.fixture(scope="module")
def said(folders):
  return [
    Utterance(folders.wave(16_000 + 700 * number, number), 16_000, "la", "en", speaker)
    for number, speaker in enumerate(("bob", "eve", "bob"))
  ]


@pytest.fixture(scope="module")
def folder(folders, tmp_path_factory):
  path = folders.write(tmp_path_factory.mktemp("hubert"), "hubert")
  (path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
  return path


@pytest.fixture(scope="module")
def fitted(folder, said):
  return NeuralUnits(folder=str(folder), layer=1, size=16, rate_hz=RATE_HZ).fit(said, 0)


def test_a_unit_is_the_nearest_centroid_to_the_mean_of_its_states(fitted, folder, said):
  hidden_TD = encoders.open(folder, 1).encode(said[1].wave_S)
  ids_T = fitted.encode(said[1])
  assert ids_T.dtype == np.int32 and len(ids_T) == -(-len(hidden_TD) // 4)
  mean_TD = np.stack([hidden_TD[4 * t : 4 * t + 4].mean(axis=0) for t in range(len(ids_T))])
  wanted_T, _ = kmeans.nearest(mean_TD, fitted.clusterings[0])
  np.testing.assert_array_equal(ids_T, wanted_T)
  np.testing.assert_allclose(fitted.frames(said[1])[1], mean_TD, atol=1e-5)
  assert len(set(ids_T.tolist())) > 4


def test_a_batch_has_the_ids_and_faults_of_each_recording_alone(fitted, folders):
  said = [
    Utterance(folders.wave(samples, samples), 16_000, "la", "en", "bob")
    for samples in (3_000, 30, 9_000, 3_300, 60_000, 3_100)
  ]
  said.insert(1, Utterance(None, 16_000, "la", "en", "bob"))
  for settings in (fitted.settings, dataclasses.replace(fitted.settings, collapse=True)):
    tokenizer = dataclasses.replace(fitted, settings=settings)
    batch = tokenizer.encode_batch(said)
    framed = tokenizer.frames_batch(said)
    faults = [number for number, ids in enumerate(batch) if isinstance(ids, RecordError)]
    assert faults == [1, 2]
    for utterance, ids_T, frames in zip(said, batch, framed, strict=True):
      if isinstance(ids_T, RecordError):
        for encode in (tokenizer.encode, tokenizer.frames):
          with pytest.raises(RecordError) as caught:
            encode(utterance)
          assert str(caught.value) == str(ids_T) == str(frames)
      else:
        np.testing.assert_array_equal(ids_T, tokenizer.encode(utterance))
        unit_T, feature_TD = tokenizer.frames(utterance)
        np.testing.assert_array_equal(frames[0], unit_T)
        np.testing.assert_allclose(frames[1], feature_TD, atol=1e-5)


def test_a_workdir_needs_the_folder_no_more(fitted, said, tmp_path, folders):
  source = tmp_path / "source"
  folders.write(source, "hubert")
  settings = dataclasses.replace(fitted.settings, folder=str(source))
  first = settings.fit(said, 0)
  assert first.spec.fingerprint == fitted.spec.fingerprint  # of another folder with the same states
  first.save(tmp_path / "kept")
  shutil.rmtree(source)
  loaded = pickle.loads(pickle.dumps(settings.load(tmp_path / "kept")))
  assert loaded.spec == first.spec and loaded.voices == ("bob", "eve")
  for utterance in said:
    np.testing.assert_array_equal(loaded.encode(utterance), fitted.encode(utterance))
  stored = safetensors.load_file(tmp_path / "kept" / "encoder" / "model.safetensors")
  assert any("encoder.layers.0." in name for name in stored)
  assert not any(
    "encoder.layers.1." in name for name in stored
  )  # which the states do not depend on
  loaded.save(tmp_path / "again")  # as for a run that is copied
  np.testing.assert_array_equal(
    settings.load(tmp_path / "again").encode(said[0]), fitted.encode(said[0])
  )


def test_all_recordings_are_fitted_on_however_many_are_encoded_at_a_time(fitted, said, monkeypatch):
  monkeypatch.setattr(neural, "TOGETHER", 2)
  again = fitted.settings.fit(said, 0)
  np.testing.assert_allclose(again.clusterings[0], fitted.clusterings[0], atol=1e-4)
  np.testing.assert_array_equal(again.durations_V, fitted.durations_V)


def test_fitting_stops_at_its_seconds_and_its_voices(fitted, said):
  first = dataclasses.replace(fitted.settings, fit_s=1.0).fit(said, 0)
  np.testing.assert_array_equal(first.clusterings, fitted.settings.fit(said[:1], 0).clusterings)
  assert first.voices == ("bob",)
  assert dataclasses.replace(fitted.settings, voices=1).fit(said, 0).voices == ("bob",)


def test_whispers_window_is_that_of_the_settings(folders, tmp_path):
  folder = folders.write(tmp_path, "whisper")
  settings = NeuralUnits(folder=str(folder), size=8, window_s=0.5)
  assert settings.opened(folder).settings.front.window_frames == 25


def test_the_license_goes_with_the_weights(fitted, tmp_path):
  fitted.save(tmp_path)
  kept = encoders.open(tmp_path / "encoder", 1, whole=False)
  assert kept.license_note == "apache-2.0 (README.md)"
  with pytest.raises(CheckpointError, match=r"layers\.1\."):
    encoders.open(tmp_path / "encoder", 1)  # not the published folder


def test_an_encoder_that_changed_is_refused(fitted, said, tmp_path):
  fitted.save(tmp_path)
  path = tmp_path / "encoder" / "model.safetensors"
  arrays = safetensors.load_file(path)
  name = next(name for name in arrays if "feature_projection" in name)
  safetensors.save_file({**arrays, name: arrays[name] + 1e-3}, path)
  changed = fitted.settings.load(tmp_path)
  with pytest.raises(TokenSpaceError, match="is not the one that the stream 'units' was fitted"):
    changed.encode(said[0])


@pytest.mark.parametrize("name", ("model.safetensors", "config.json"))
def test_a_copy_that_cannot_be_read_is_the_workdirs(name, fitted, said, tmp_path):
  fitted.save(tmp_path)
  (tmp_path / "encoder" / name).write_text("{")
  damaged = fitted.settings.load(tmp_path)
  with pytest.raises(TokenSpaceError, match=r"The workdir's copy .* prepare and train in a new"):
    damaged.encode(said[0])


def test_who_can_read_the_settings_can_read_the_copy_of_the_weights(fitted, tmp_path):
  fitted.save(tmp_path)
  modes = {path.stat().st_mode for path in (tmp_path / "encoder").iterdir()}
  assert len(modes) == 1


def test_a_folder_may_begin_with_the_home(fitted, folder, monkeypatch):
  monkeypatch.setenv("HOME", str(folder.parent))
  dataclasses.replace(fitted.settings, folder=f"~/{folder.name}").check()


def test_a_run_that_cannot_be_exported_is_told_how_to_train(fitted):
  text = tokenizers.text(size=300)
  experiment = SimpleNamespace(model=models.tiny(), tokenizers=(text, fitted.settings))
  with pytest.raises(ConfigError, match="tokenizer 'units' .NeuralUnits.*--set export=none"):
    exported_folder.check(experiment)


def test_other_layers_sizes_and_seeds_are_other_tokenizers(fitted, said):
  prints = {fitted.spec.fingerprint}
  for change, seed in (({"layer": 2}, 0), ({"size": 15}, 0), ({}, 1)):
    prints.add(dataclasses.replace(fitted.settings, **change).fit(said, seed).spec.fingerprint)
  assert len(prints) == 4
  assert fitted.settings.fit(said, 0).spec == fitted.spec


def test_an_ensemble_has_a_codebook_for_each_clustering(fitted, said, tmp_path):
  settings = dataclasses.replace(fitted.settings, further=(16, 7))
  ensemble = settings.fit(said, 0)
  assert ensemble.spec.sizes == (16, 16, 7) and ensemble.spec.rate_hz == RATE_HZ
  ids_TQ = ensemble.encode(said[0])
  assert ids_TQ.dtype == np.int32 and ids_TQ.shape == (len(fitted.encode(said[0])), 3)
  np.testing.assert_array_equal(ids_TQ[:, 0], fitted.encode(said[0]))
  assert ids_TQ[:, 2].max() == 6 and (ids_TQ[:, 0] != ids_TQ[:, 1]).any()
  # They do not differ in the names of their clusters alone.
  assert len(np.unique(ids_TQ[:, :2], axis=0)) > len(np.unique(ids_TQ[:, 0]))
  np.testing.assert_array_equal(ensemble.decode(ids_TQ), fitted.decode(ids_TQ[:, 0]))
  ensemble.save(tmp_path)
  loaded = settings.load(tmp_path)
  assert loaded.spec == ensemble.spec != fitted.spec
  np.testing.assert_array_equal(loaded.encode(said[0]), ids_TQ)


def test_collapsed_units_come_back_with_their_mean_durations(fitted, said):
  collapsed = dataclasses.replace(
    fitted, settings=dataclasses.replace(fitted.settings, collapse=True)
  )
  ids = fitted.encode(said[0])
  np.testing.assert_array_equal(collapsed.encode(said[0]), units.runs(ids)[0])
  assert collapsed.spec.rate_hz is None and fitted.spec.rate_hz == RATE_HZ
  slow = dataclasses.replace(collapsed, durations_V=np.full(16, 3.0, np.float32))
  run_ids, _ = units.runs(ids)
  np.testing.assert_array_equal(slow.decode(run_ids), fitted.decode(np.repeat(run_ids, 3)))
  assert fitted.durations_V.min() >= 1 and fitted.durations_V.max() > 1


def test_sound_lasts_as_long_as_its_units_and_every_voice_differs(fitted, said):
  ids = fitted.encode(said[0])
  waves = [fitted.decode(ids, voice=voice) for voice in fitted.voices]
  assert all(abs(len(wave_S) - 320 * len(ids)) < 400 for wave_S in waves)
  assert np.abs(waves[0] - waves[1]).max() > 0.01
  assert len(fitted.decode([])) == 0


def test_voices_are_learned_where_units_end_before_the_wave(folders, tmp_path):
  # Here a state sees 60 samples; the published convolutions see 400, so 1 s has 49 states.
  slow = folders.write(tmp_path, "hubert", conv_stride=[5, 8, 8])
  said = [Utterance(folders.wave(16_370 + 320 * n), 16_000, "la", "en", "bob") for n in range(3)]
  fitted = NeuralUnits(folder=str(slow), layer=1, size=8, rate_hz=RATE_HZ).fit(said, 0)
  ids = fitted.encode(said[0])
  assert 320 * len(ids) < len(said[0].wave_S) and len(fitted.decode(ids))


def test_what_is_too_short_is_the_records_fault(fitted):
  click = Utterance(np.full(30, 0.1, np.float32), 16_000, "la", "en", "bob")
  with pytest.raises(RecordError, match="2 ms of 'bob' are too short"):
    fitted.encode(click)


def test_weights_that_are_not_finite_are_refused(folders, said, tmp_path):
  arrays = folders.tensors("hubert")
  name = next(name for name in arrays if "feature_projection" in name)
  folders.write(tmp_path, "hubert", {**arrays, name: np.full_like(arrays[name], np.nan)})
  with pytest.raises(CheckpointError, match="computes states that are not finite"):
    NeuralUnits(folder=str(tmp_path), layer=1, size=8, rate_hz=RATE_HZ).fit(said, 0)


def test_another_encoder_at_the_same_place_is_another_source(fitted, folders, tmp_path):
  folders.write(tmp_path, "hubert")
  settings = dataclasses.replace(fitted.settings, folder=str(tmp_path))
  assert settings.source_digest() == fitted.settings.source_digest()
  folders.write(tmp_path, "hubert", folders.tensors("hubert", seed=1))
  assert settings.source_digest() != fitted.settings.source_digest()


def test_more_clusters_than_units_of_speech_are_refused(fitted, said):
  with pytest.raises(DataError, match="at least 500 units of speech"):
    dataclasses.replace(fitted.settings, size=500).fit(said, 0)


@pytest.mark.parametrize(
  ("change", "text"),
  (
    ({"layer": 3}, "layer 3 is asked for"),
    ({"rate_hz": 30.0}, "expected a divisor of 100"),
    ({"folder": ""}, "has no folder"),
    ({"further": (1,)}, r"further=\(1,\) and .*, expected sizes of at least 2"),
    ({"further": (9,), "collapse": True}, "with several clusterings, because their runs differ"),
    ({"folder": "/nowhere"}, "has no config.json"),
    ({"window_s": 4.0}, "only Whisper has a window. Leave window_s out"),
  ),
)
def test_settings_that_cannot_be_are_refused_before_recordings_are_read(fitted, change, text):
  with pytest.raises(ConfigError, match=text):
    dataclasses.replace(fitted.settings, **change).check()


def test_configs_name_units_by_a_word():
  mfcc = tokenizers.units(stream="u", collapse=True)
  assert tokenizers.named_units("mfcc", mfcc) is mfcc
  found = tokenizers.named_units("neural:some/folder", mfcc, rate_hz=25.0, layer=6)
  assert found == NeuralUnits("u", "some/folder", 6, 256, 25.0, collapse=True)
  for name in ("hubert", "neural:"):
    with pytest.raises(ConfigError, match="Expected mfcc, or neural:FOLDER"):
      tokenizers.named_units(name, mfcc)
