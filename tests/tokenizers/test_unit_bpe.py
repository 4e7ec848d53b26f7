"""Pieces of units: any units come back, each is a piece, and what is fitted below goes along."""

import dataclasses
import pickle

import numpy as np
import pytest

from audiopalm import experiment as experiments
from audiopalm.cli import config
from audiopalm.errors import ConfigError, DataError, RecordError, TokenSpaceError
from audiopalm.parts import tokenizers
from audiopalm.tokenizers import base, unit_bpe
from audiopalm.tokenizers.unit_bpe import UnitBPE
from audiopalm.types import StreamSpec, Utterance

WORDS = [[3, 3, 3, 7, 1], [9, 9, 2], [4, 4, 8, 8, 8]]


@dataclasses.dataclass(frozen=True)
class Samples:
  """Units that are the samples of a wave, whose values are integers."""

  size: int = 20
  stream: str = "units"
  folder: str = ""

  @property
  def largest(self):
    return StreamSpec(self.stream, "speech", (self.size,), 50.0, "")

  def check(self):
    raise ConfigError("no samples here")

  def fit(self, utterances, seed):
    assert len(list(utterances))
    return FittedSamples(self)

  def load(self, folder):
    base.check_settings(self, folder)
    return FittedSamples(self)


@dataclasses.dataclass(frozen=True)
class FittedSamples:
  settings: Samples
  voices: tuple[str, ...] = ("bob",)

  @property
  def spec(self):
    return dataclasses.replace(self.settings.largest, fingerprint=f"samples {self.settings.size}")

  def encode(self, utterance):
    if not len(utterance.wave_S):
      raise RecordError("an empty wave")
    return utterance.wave_S.astype(np.int32)

  def decode(self, ids, *, voice=None):
    base.check_voice(voice, self.spec, self.voices)
    return np.float32(ids)

  def save(self, folder):
    base.write_settings(self.settings, folder)


def said(ids, wave=True):
  return Utterance(np.float32(ids) if wave else None, 16_000, "la", "en", "bob")


def corpus():
  """Returns utterances of WORDS in any order, of units below 10."""
  random = np.random.default_rng(0)
  spoken = [said(np.concatenate([WORDS[n] for n in random.integers(3, size=8)])) for _ in range(40)]
  return [*spoken, said([]), said([], wave=False)]


@pytest.fixture(scope="module")
def fitted():
  return UnitBPE(Samples(), size=30).fit(corpus(), 0)


def test_any_units_come_back_from_their_pieces_those_never_heard_too(fitted):
  random = np.random.default_rng(1)
  for length in (0, 1, 2, 57, 70_000):
    ids_T = random.integers(20, size=length)
    pieces = fitted.merged(ids_T)
    assert pieces.dtype == np.int32 and pieces.min(initial=0) >= 0
    np.testing.assert_array_equal(fitted.split(pieces), ids_T)
  assert sorted(fitted.split([piece]).tolist() for piece in fitted.merged(np.arange(20)))[10:] == [
    [unit] for unit in range(10, 20)
  ]


def test_any_pieces_are_units(fitted):
  pieces = np.arange(fitted.spec.sizes[0])
  units = [tuple(fitted.split([piece])) for piece in pieces]
  assert len(set(units)) == len(pieces) == 30
  assert {(unit,) for unit in range(20)} <= set(units)
  assert fitted.split(pieces).tolist() == [unit for own in units for unit in own]


def test_frequent_sequences_are_one_piece(fitted):
  ids_T = np.concatenate([WORDS[0], WORDS[2], WORDS[1]])
  assert len(fitted.merged(ids_T)) <= 5 < len(ids_T)
  unheard_T = np.arange(10, 20)
  assert len(fitted.merged(unheard_T)) == len(unheard_T)


def test_sound_and_voices_are_those_of_the_units(fitted):
  ids_T = [3, 3, 3, 7, 1, 15]
  np.testing.assert_array_equal(fitted.decode(fitted.encode(said(ids_T)), voice="bob"), ids_T)
  assert fitted.voices == ("bob",) and len(fitted.decode([])) == 0
  with pytest.raises(ConfigError, match="Unknown voice 'eve'"):
    fitted.decode([], voice="eve")
  with pytest.raises(DataError, match="ids of the stream 'units' from 0 to 29, got 30 to 30"):
    fitted.decode([30])


def test_a_batch_has_the_pieces_and_faults_of_its_utterances(fitted):
  first, fault, second = fitted.encode_batch([said([3, 3]), said([]), said([9, 9, 2])])
  assert isinstance(fault, RecordError)
  np.testing.assert_array_equal(first, fitted.encode(said([3, 3])))
  np.testing.assert_array_equal(second, fitted.encode(said([9, 9, 2])))


def test_what_is_saved_has_the_units_in_it(fitted, tmp_path):
  fitted.save(tmp_path)
  loaded = pickle.loads(pickle.dumps(fitted.settings.load(tmp_path)))
  assert loaded.spec == fitted.spec and loaded.spec.rate_hz is None
  np.testing.assert_array_equal(loaded.encode(corpus()[0]), fitted.encode(corpus()[0]))
  other = dataclasses.replace(fitted.settings, units=Samples(size=19))
  with pytest.raises(TokenSpaceError, match="units: config .*'size': 19.*, workdir .*'size': 20"):
    other.load(tmp_path)


def test_the_fingerprint_is_that_of_pieces_and_units_wherever_they_lay(fitted):
  def print_of(pieces, **units):
    return UnitBPE(Samples(**units), pieces).fit(corpus(), 0).spec.fingerprint

  assert print_of(30, folder="elsewhere") == fitted.spec.fingerprint
  prints = {fitted.spec.fingerprint, print_of(29), print_of(30, size=19)}
  assert len(prints) == 3
  same_pieces = dataclasses.replace(fitted, units=FittedSamples(Samples(size=19)))
  assert same_pieces.spec.fingerprint not in prints


def test_units_are_checked_before_recordings_are_read(fitted):
  with pytest.raises(ConfigError, match="no samples here"):
    fitted.settings.check()


def test_little_speech_has_fewer_pieces():
  fitted = UnitBPE(Samples(), size=5_000).fit(corpus(), 0)
  assert 20 < fitted.spec.sizes[0] < 5_000
  assert sum(len(fitted.split([piece])) == 1 for piece in range(fitted.spec.sizes[0])) == 20


def test_pieces_are_learned_from_all_parts_of_long_recordings(monkeypatch):
  monkeypatch.setattr(unit_bpe, "LONGEST", 6)
  fitted = UnitBPE(Samples(), size=30).fit([said([0] * 6 + [5, 6] * 3 + [7, 8])] * 4, 0)
  assert len(fitted.merged([5, 6])) == len(fitted.merged([7, 8])) == 1


@pytest.mark.parametrize(
  ("units", "size", "text"),
  (
    (Samples(), 20, "size=20 over 20 units, expected more .* Set size=80"),
    (Samples(size=70_000), 80_000, "at most 65534 units"),
    (tokenizers.mel_rvq(), 500, "MelRVQ, which encodes speech with 8 codebooks, expected speech"),
    (tokenizers.text(), 5_000, "SentencePieceText, which encodes text with 1 codebooks"),
  ),
)
def test_what_cannot_be_merged_is_refused(units, size, text):
  with pytest.raises(ConfigError, match=text):
    UnitBPE(units, size)


def test_a_config_holds_the_settings_of_the_units():
  experiment = dataclasses.replace(
    config.load("spoken_digit"),
    tokenizers=(tokenizers.text(size=320), tokenizers.bpe(tokenizers.units(collapse=True))),
  )
  changed = experiments.with_values(experiment, {"tokenizers.units.units.size": "64"})
  assert changed.tokenizers[1].units == tokenizers.units(64, collapse=True)
  assert experiments.from_json(changed.to_json()) == changed
