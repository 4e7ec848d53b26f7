"""A tokenizer in a folder of its own: its ids are kept, and a change of it is told."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from audiopalm import values
from audiopalm.data import fitting
from audiopalm.errors import ConfigError, TokenSpaceError
from audiopalm.exports import folder as exports
from audiopalm.parts import models, tokenizers
from audiopalm.tokenizers import base, kept, kmeans
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.tokenizers.unit_bpe import UnitBPE
from audiopalm.types import Utterance


@pytest.fixture(scope="module")
def said(folders):
  return [Utterance(folders.wave(16_000, number), 16_000, "la", "en", "bob") for number in range(2)]


@pytest.fixture(scope="module")
def fitted(said):
  return MelRVQ(size=8, codebooks=2).fit(said, 0)


@pytest.fixture
def folder(fitted, tmp_path):
  kept.write(fitted, fitted.settings, tmp_path / "units", {"speakers": 1})
  return tmp_path / "units"


def test_a_config_keeps_the_ids_of_a_folder(folder, fitted, said):
  settings = tokenizers.fitted(str(folder))
  assert (settings.stream, settings.largest) == ("codes", fitted.settings.largest)
  assert values.from_json(values.to_json(settings)) == settings
  settings.check()
  again = settings.fit((), 7)
  assert again.spec == fitted.spec
  np.testing.assert_array_equal(again.encode(said[1]), fitted.encode(said[1]))
  assert json.loads((folder / kept.RECORD).read_text())["fitted_on"] == {"speakers": 1}


def test_ids_are_those_of_the_vectors_that_they_stand_for(folder, said):
  fitted = tokenizers.fitted(str(folder)).load(folder)
  codes_TQ, features_TE = fitted.frames(said[0])
  np.testing.assert_array_equal(codes_TQ, fitted.encode(said[0]))
  ids_T, _ = kmeans.nearest(features_TE, fitted.codebook_VE)
  np.testing.assert_array_equal(ids_T, codes_TQ[:, 0])
  assert isinstance(fitted, base.Framed)


def test_a_run_fits_nothing_anew_and_needs_the_folder_no_more(folder, fitted, tmp_path):
  settings = tokenizers.fitted(str(folder))
  fitting.save({"codes": settings.fit((), 0)}, (settings,), (), tmp_path / "run")
  shutil.rmtree(folder)
  opened = fitting.load((settings,), (), tmp_path / "run")
  assert opened["codes"].spec == fitted.spec


def test_such_a_run_can_be_exported(folder):
  text = tokenizers.text(size=300)

  @dataclasses.dataclass
  class Run:
    tokenizers: tuple
    model: object = dataclasses.field(default_factory=models.tiny)

  exports.check(Run((text, tokenizers.fitted(str(folder)))))


def test_other_arrays_are_another_tokenizer(folder, fitted):
  settings = tokenizers.fitted(str(folder))
  arrays = {"centroids_QVE": fitted.centroids_QVE + np.float32(1e-3)}
  np.savez(folder / MelRVQ.arrays_file, **arrays)
  with pytest.raises(
    TokenSpaceError, match=r"not the one that was fitted there: expected the finge"
  ):
    settings.check()
  content = (folder / MelRVQ.arrays_file).read_bytes()
  middle = len(content) // 2
  flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
  for damaged in (b"PK", content[:-100], flipped):
    (folder / MelRVQ.arrays_file).write_bytes(damaged)
    with pytest.raises(
      TokenSpaceError, match=r"cannot be read \(.*Restore its files, or fit it again"
    ):
      settings.check()


def test_damaged_pieces_of_units_cannot_be_read(said, tmp_path):
  settings = tokenizers.bpe(tokenizers.units(size=8, warps=1), size=20)
  pieces = settings.fit(said, 0)
  pieces.save(tmp_path)
  of_run = kept.KeptTokenizer(settings, str(tmp_path), pieces.spec.fingerprint)
  of_run.check()
  (tmp_path / UnitBPE.file).write_bytes(pieces.content[:-50])
  with pytest.raises(TokenSpaceError, match=r"cannot be read \(.*Restore its files"):
    of_run.check()


def test_settings_of_a_kept_tokenizer_cannot_be_changed(folder):
  settings = tokenizers.fitted(str(folder))
  changed = values.replaced(settings, {"settings.size": "9"})
  with pytest.raises(TokenSpaceError, match=r"size: config 9, workdir 8"):
    changed.check()


def test_a_folder_without_a_tokenizer_is_told(tmp_path, folder, folders):
  with pytest.raises(ConfigError, match=r"Expected a folder that `audiopalm tokenizer fit` wrote"):
    tokenizers.fitted(str(tmp_path))
  folders.write(tmp_path / "hubert", "hubert")
  with pytest.raises(ConfigError, match=r"another project.*--units neural:.*hubert --out DIR"):
    tokenizers.fitted(str(tmp_path / "hubert"))
  with pytest.raises(ConfigError, match="Expected the stream 'units'.*which has codes. Name"):
    tokenizers.fitted(str(folder), stream="units")
  record = json.loads((folder / kept.RECORD).read_text())
  for text, wrong in (
    ("has the format 9, this version of audiopalm reads 1", json.dumps(record | {"format": 9})),
    ("whose fitted.json is damaged", "{"),
  ):
    (folder / kept.RECORD).write_text(wrong)
    with pytest.raises(ConfigError, match=text):
      tokenizers.fitted(str(folder))
