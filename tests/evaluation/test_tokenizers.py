"""Scores of tokenizers: of ids before runs are collapsed, of ids alone, and what follows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from audiopalm.data.manifest.lines import SOMEBODY
from audiopalm.errors import ConfigError, RecordError
from audiopalm.evaluation import labeled, tokenizers
from audiopalm.evaluation.labeled import LabeledSpan
from audiopalm.tokenizers import kept
from audiopalm.tokenizers.neural import NeuralUnits
from audiopalm.tokenizers.unit_bpe import UnitBPE
from audiopalm.types import StreamSpec, Utterance

ASKED = ("within", "across")


@pytest.fixture(scope="module")
def sample(folders):
  """Two speakers say two words five times each."""
  said, spans = [], []
  for number in range(20):
    wave_S = folders.wave(8_000, number % 4)  # the sound of word and speaker
    speaker, word = ("bob", "eve")[number % 2], ("one", "two")[number // 2 % 2]
    said.append(Utterance(wave_S, 16_000, word, "en", speaker))
    spans.append(LabeledSpan(number, word, 0.0, 0.5, speaker))
  names = tuple(f"{number}" for number in range(20))
  return labeled.Sample(names, tuple(said), "recordings", tuple(spans), tuple(spans), ())


@pytest.fixture(scope="module")
def units(folders, sample, tmp_path_factory):
  """Returns what writes units of a small encoder with changed settings, and opens them."""
  folder = tmp_path_factory.mktemp("encoders")
  folders.write(folder / "hubert", "hubert")

  def write(name, **changes):
    settings = NeuralUnits(folder=str(folder / "hubert"), size=12, rate_hz=50.0, **changes)
    kept.write(settings.fit(sample.utterances, 0), settings, folder / name, {})
    return kept.read(folder / name)

  return write


def scores(tokenizer, sample):
  result = tokenizers.scores(tokenizer, sample, ASKED, 0, lambda text, share: None)
  return {name: value for name, value in result.items() if "real_time" not in name}


def test_collapsed_ids_are_judged_by_their_frames(units, sample):
  plain, collapsed = (scores(units(f"{c}", collapse=c), sample) for c in (False, True))
  differing = {"fingerprint"}
  assert {k for k in plain if plain[k] != collapsed[k]} == differing
  assert plain["abx"]["within"]["ids"]["error"] == 0  # each says a word as one sound
  assert plain["speaker_probe"]["accuracy"] == 1 and plain["speaker_probe"]["chance"] == 0.5
  assert plain["license"] == "not in the folder of the encoder"


def test_recordings_are_encoded_together_and_have_the_ids_of_each_alone(units, sample, monkeypatch):
  monkeypatch.setattr(tokenizers, "BATCH", 8)
  kept_tokenizer = units("together")
  fitted = kept_tokenizer.load(Path(kept_tokenizer.folder))
  sizes, shares = [], []
  frames_batch = type(fitted).frames_batch

  def counted(self, utterances):
    sizes.append(len(utterances))
    return frames_batch(self, utterances)

  with monkeypatch.context() as patch:
    patch.setattr(type(fitted), "frames_batch", counted)
    encoded = tokenizers.encode(fitted, sample.utterances, shares.append)
  assert sizes == [8, 8, 4] and shares == [0.4, 0.8, 1.0]
  for utterance, ids_T, feature_TD in zip(
    sample.utterances, encoded.ids, encoded.features, strict=True
  ):
    np.testing.assert_array_equal(ids_T, fitted.encode(utterance))
    np.testing.assert_allclose(feature_TD, fitted.frames(utterance)[1], atol=1e-5)
  silent = dataclasses.replace(sample.utterances[0], wave_S=None)
  with pytest.raises(RecordError, match="Expected a wave for the stream 'units'"):
    tokenizers.encode(fitted, (*sample.utterances, silent), shares.append)


@dataclasses.dataclass(frozen=True)
class Louder:
  """Two ids a recording's halves, as of a class of somebody's own, which has no vectors."""

  rate_hz: float | None = 4.0

  @property
  def spec(self):
    return StreamSpec("units", "speech", (2,), self.rate_hz, "print")

  def load(self, folder):
    return self

  def encode(self, utterance):
    return np.array([0, utterance.text == "two"], np.int32)


def test_of_a_tokenizer_without_vectors_the_ids_are_judged(sample):
  result = scores(kept.KeptTokenizer(Louder(), "nowhere", "print"), sample)
  assert {side: set(result["abx"][side]) for side in ASKED} == {
    "within": {"ids"}, "across": {"ids"},
  }  # fmt: skip
  # Of four pairs of halves one is right; equal halves tie: errors are 0 of a path and 1/2.
  assert result["abx"]["within"]["ids"]["error"] == 0
  assert result["license"] is None and result["bits_per_s"]["nominal"] == 4
  with pytest.raises(ConfigError, match="gives ids without times, expected a fixed rate"):
    scores(kept.KeptTokenizer(Louder(rate_hz=None), "nowhere", "print"), sample)


def judged(sample, asked=ASKED):
  """Returns (notes, scores) of the ids of halves."""
  tokenizer = kept.KeptTokenizer(Louder(), "nowhere", "print")
  return tokenizers.notes(sample, ()), tokenizers.scores(
    tokenizer, sample, asked, 0, lambda text, share: None
  )


def test_speakers_without_a_name_are_one_speaker_and_not_compared_with_others(sample):
  spans = tuple(
    dataclasses.replace(span, speaker=span.speaker if span.speaker == "bob" else SOMEBODY)
    for span in sample.spans
  )
  lines, result = judged(dataclasses.replace(sample, spans=spans, tokens=spans))
  assert set(result["abx"]) == {"within"}
  assert any("ABX across speakers expects two or more that are named" in line for line in lines)
  # An item file names speakers that the manifest does not.
  nobody = tuple(dataclasses.replace(u, speaker="") for u in sample.utterances)
  lines, result = judged(dataclasses.replace(sample, utterances=nobody))
  assert set(result["abx"]) == {"within", "across"}
  assert not any("ABX" in line for line in lines)


def test_what_has_no_labels_lacks_labels_and_not_speakers(sample):
  lines, _ = judged(dataclasses.replace(sample, labels=None, spans=(), tokens=()))
  assert [line for line in lines if "ABX" in line] == [lines[0]]
  assert lines[0].startswith("ABX, PNMI and purity need labels")


def test_spans_without_frames_have_no_scores(sample):
  spans = tuple(dataclasses.replace(span, end_s=0.01) for span in sample.spans)
  _, result = judged(dataclasses.replace(sample, spans=spans, tokens=spans))
  assert result["abx"] == {} and "pnmi" not in result


def test_pieces_of_units_have_the_license_of_their_encoder(units, sample):
  pieces = UnitBPE(units("below").settings, size=20).fit(sample.utterances, 0)
  assert tokenizers.license_note(pieces) == "not in the folder of the encoder"


@pytest.mark.torch
def test_the_published_encoder_is_timed_beside_ours(units, sample):
  result = tokenizers.scores(units("timed"), sample, (), 0, lambda text, share: None)
  assert result["pytorch_real_time_factor"] > 0 and result["real_time_factor"] > 0


def test_what_follows_names_the_best_and_what_to_do():
  def made(ids, centroids, features, used=0.9, leak=None):
    def score(low, high):
      return {"error": (low + high) / 2, "interval": [low, high]}

    sides = {"ids": score(*ids), "centroids": score(*centroids), "features": score(*features)}
    probed = {"accuracy": 0.8, "interval": [leak, 0.9], "chance": 0.5, "speakers": 2}
    probed = {"speaker_probe": probed} if leak else {}
    return {"abx": {"across": sides}, "used": used, **probed}

  lines = tokenizers.advice(
    {
      "a": made((0.1, 0.2), (0.1, 0.2), (0.1, 0.2), leak=0.4),
      "b": made((0.15, 0.3), (0.15, 0.2), (0.1, 0.12), used=0.25, leak=0.7),
    }
  )
  assert lines == [
    "Ids of a separate labels best across speakers, within the intervals of b.",
    "b: its centroids separate labels worse than its features; try more ids.",
    "b: its ids reveal the speaker, with an accuracy of 80%; always naming the most frequent of 2 "
    "gives 50%.",
    "b: 75% of its ids do not occur here; try fewer, or fit it on speech like this.",
  ]
