"""What is said when in recordings: of manifests, of single words, of item files."""

import json

import numpy as np
import pytest
import soundfile

from audiopalm.data.manifest import corpus as manifests
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import DataError
from audiopalm.evaluation import labeled
from audiopalm.evaluation.labeled import LabeledSpan

HEADER = "#file onset offset #phone prev-phone next-phone speaker"


@pytest.fixture
def corpora(tmp_path):
  """Writes a manifest of recordings of 0.5 s, `seconds` of others by name; returns its corpus."""

  def write(*rows, channels=1, **seconds):
    lines = []
    for number, row in enumerate(rows):
      name = f"r{number}"
      samples = round(16_000 * seconds.get(name, 0.5))
      wave_S = 0.5 * np.sin(np.arange(samples) * (0.1 + number / 50))
      soundfile.write(
        tmp_path / f"{name}.wav", np.repeat(wave_S[:, None], channels, axis=1), 16_000
      )
      lines.append({"audio": f"{name}.wav", "language": "en", "speaker": "eve", **row})
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return (manifests.read({"train": str(path)}, Reading()),)

  return write


PHONES = [["k", 0.0, 0.1], ["ae", 0.1, 0.3], ["t", 0.3, 0.45]]


def test_phones_come_before_words_and_know_what_they_lie_between(corpora):
  made = corpora({"text": "cat", "phones": PHONES, "words": [["Cat", 0.0, 0.45]]})
  sample = labeled.read(made, "train", most=5)
  assert sample.labels == "phones" and sample.tokens == sample.spans
  assert sample.spans == (
    LabeledSpan(0, "k", 0.0, 0.1, "eve", " ae"),
    LabeledSpan(0, "ae", 0.1, 0.3, "eve", "k t"),
    LabeledSpan(0, "t", 0.3, 0.45, "eve", "ae "),
  )
  anywhere = labeled.read(made, "train", most=5, any_context=True)
  assert {span.context for span in anywhere.spans} == {""}
  words = labeled.read(made, "train", most=5, labels="words")
  assert words.spans == (LabeledSpan(0, "cat", 0.0, 0.45, "eve"),)
  whole = labeled.read(made, "train", most=5, labels="recordings")
  assert whole.spans == (LabeledSpan(0, "cat", 0.0, 0.5, "eve"),)


def test_sentences_without_times_have_no_labels_and_asking_for_some_is_an_error(corpora):
  made = corpora({"text": "the cat"})
  assert labeled.read(made, "train", most=5).labels is None
  for kind, column in (
    ("phones", r"a column phones, \[\[phone, start, end\], ...\] in seconds"),
    ("words", "a column words"),
    ("recordings", "recordings that say one word each"),
  ):
    with pytest.raises(DataError, match=f"--labels {kind} expects {column}.*omit --labels"):
      labeled.read(made, "train", most=5, labels=kind)


def test_three_milliseconds_are_left_out_and_two_equal_channels_are_one(corpora):
  made = corpora({"text": "one"}, {"text": "two"}, channels=2, r0=0.003)
  sample = labeled.read(made, "train", most=5)
  assert [utterance.text for utterance in sample.utterances] == ["two"]
  (fault,) = sample.faults
  assert "too short" in fault and "r0.wav" in fault
  with pytest.raises(
    DataError, match=r"Expected recordings of at least 50 ms, but none of the 1 .*r0"
  ):
    labeled.read(corpora({"text": "one"}, r0=0.003), "train", most=5)


def test_a_seed_draws_the_same_recordings(corpora):
  made = corpora(*({"text": f"w{number}"} for number in range(9)))
  first, again, other = (labeled.read(made, "train", most=4, seed=seed) for seed in (0, 0, 1))
  assert first.names == again.names != other.names and len(first.names) == 4


def test_a_split_that_is_not_there_names_those_that_are(corpora):
  with pytest.raises(DataError, match=r"in the split 'dev' \(.*train.*\), found none"):
    labeled.read(corpora({"text": "one"}), "dev", most=5)


def test_the_lines_of_an_item_file_are_told_apart(corpora, tmp_path):
  made = corpora({"text": "the cat"}, {"text": "a hat"}, {"text": "no"})
  items = tmp_path / "x.item"
  items.write_text(
    f"{HEADER}\nr1 0.1 0.2 ae h t bob\nr0 0.1 0.3 ae k t eve\nr0 0.0 0.1 k # ae eve\n"
  )
  sample = labeled.read(made, "train", most=5, items=items)
  assert sample.labels is None
  by_file = {(sample.names[t.recording][-6:], t.label, t.context, t.speaker) for t in sample.tokens}
  assert by_file == {
    ("r1.wav", "ae", "h t", "bob"),
    ("r0.wav", "ae", "k t", "eve"),
    ("r0.wav", "k", "# ae", "eve"),
  }
  for text, error in (
    (f"{HEADER}\nr7 0 1 a b c d\n", "Expected recordings that .*x.item names, found none"),
    (f"{HEADER}\nr1 0 end a b c d\n", "line 2: expected #file onset .* got 'r1 0 end a b c d'"),
    *(
      (
        f"{HEADER}\nr1 {times} a b c d\n",
        f"line 2: expected .* with times in seconds, got 'r1 {times}",
      )
      for times in ("0 nan", "0 inf", "2 1", "-1 1")
    ),
    ("file onset\nr1 0 1 a b c d\n", "expected the header #file onset .* got 'file onset'"),
    (HEADER, "expected the header .* and lines below it"),
  ):
    items.write_text(text)
    with pytest.raises(DataError, match=error):
      labeled.read(made, "train", most=5, items=items)
  with pytest.raises(DataError, match="--items .*gone cannot be read"):
    labeled.read(made, "train", most=5, items=tmp_path / "gone")


def test_frames_are_those_with_their_center_in_the_span():
  def at(start_s, end_s, rate_hz=50.0, count=10):
    return labeled.frames(LabeledSpan(0, "", start_s, end_s, ""), rate_hz, count)

  assert at(0.0, 0.1) == slice(0, 5)  # centers at 0.01, 0.03, ... 0.09
  assert at(0.011, 0.089) == slice(1, 4)
  assert at(0.01, 0.09) == slice(0, 5)  # both ends belong to it, as in fastabx
  assert at(0.15, 9.0) == slice(7, 10)
  assert at(0.011, 0.019) == slice(1, 1)
