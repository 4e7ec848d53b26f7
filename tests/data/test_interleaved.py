"""A mixture whose layouts draw what lies where: rows hold it, and every host makes the same."""

import dataclasses

import msgpack
import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.data import cache, examples, loader, packed, past, prepare, rows
from audiopalm.data.feeds import RowPlace
from audiopalm.data.packed import Packed
from audiopalm.errors import DataError
from audiopalm.parts import mixtures
from audiopalm.types import StreamSpec

RULE = layouts.Infilling(
  ("units",), (1, 2), (1, 6), 2, chain=layouts.Interleaving(text_words=(1, 2), unit_words=(1, 2))
)


@pytest.fixture(scope="module")
def drawing(experiment_of, small):
  corpus = small.SmallCorpus(60)
  tasks = (mixtures.interleaved(corpus), mixtures.continuation(corpus), mixtures.tts(corpus))
  return experiment_of(corpus, tasks, layout=RULE, data=Packed(row_length=96, batch_rows=4))


@pytest.fixture(scope="module")
def prepared(drawing, tmp_path_factory):
  return prepare.prepare(drawing, tmp_path_factory.mktemp("drawing"), workers=0)


def examples_of(prepared, name):
  return packed.examples_of(prepared, prepared.task(name), "train")


def test_no_draw_is_longer_than_what_packing_counted(prepared, drawing):
  feed = packed.PackedFeed(prepared, drawing.tasks, "train")
  for number, task in enumerate(drawing.tasks):
    index = prepared.rows(task, "train")
    filled = []
    for epoch in range(8):
      for row in range(len(index)):
        grids = feed.grids(RowPlace(number, row, epoch, 7))
        assert all(
          len(grid) <= most for grid, most in zip(grids, index[row].lengths_N, strict=True)
        )
        filled.append(sum(map(len, grids)) / 96)
    assert max(filled) <= 1
    assert np.mean(filled) == pytest.approx(index.efficiency, rel=0.05)


def test_every_epoch_draws_anew_and_a_batch_is_pure_in_its_step(prepared, drawing):
  feed = packed.PackedFeed(prepared, drawing.tasks, "train")
  for task in (0, 2):
    drawn = {feed.batch([RowPlace(task, 0, epoch, 7)]).tokens_BLK.tobytes() for epoch in range(6)}
    assert len(drawn) > 3
  one, other = (loader.Loader(prepared, drawing) for _ in range(2))
  passed = [one.batch_at(step).digest() for step in range(12)]
  assert passed[7:] == [other.batch_at(step).digest() for step in range(7, 12)]
  assert len(set(passed)) == 12


@pytest.mark.parametrize("hosts", [2, 4])
def test_any_number_of_hosts_makes_the_batch_of_one(prepared, drawing, hosts):
  each = 4 // hosts
  shares = [loader.Loader(prepared, drawing, mine=slice(n, n + each)) for n in range(0, 4, each)]
  for step in (0, 40):  # another epoch
    whole = loader.Loader(prepared, drawing).batch_at(step)
    parts = [share.batch_at(step) for share in shares]
    for field in dataclasses.fields(whole):
      together = np.concatenate([getattr(part, field.name) for part in parts])
      np.testing.assert_array_equal(together, getattr(whole, field.name))


def test_a_batch_that_is_past_is_built_again(prepared, drawing):
  written = loader.Loader(prepared, drawing).batch_at(30).digest()
  found = past.batch(prepared, drawing, 31, written)
  assert found.is_the_one and found.tokens == sum(each.length for each in found.examples)
  said = {name for each in found.examples for name in each.streams}
  assert {"source.text", "source.units"} <= said


def test_entries_know_where_words_end(prepared, drawing):
  for entry in list(prepared.entries(drawing.corpora[0], "train"))[:5]:
    said = entry.utterances["source"]
    spoken = said.text.split()
    letters = np.cumsum([len(word) + 1 for word in spoken]) - 1
    assert said.word_ends == {
      "text": letters.tolist(), "units": [5 * n for n in range(1, len(spoken) + 1)]
    }  # fmt: skip


def test_an_entry_of_an_earlier_version_has_all_but_the_ends_of_words(prepared, drawing):
  entry = prepared.entries(drawing.corpora[0], "train")[0]
  id_, packed_ = msgpack.unpackb(cache.pack(entry))
  older = cache.unpack(msgpack.packb((id_, {role: said[:-1] for role, said in packed_.items()})))
  said, before = older.utterances["source"], entry.utterances["source"]
  assert said.packed_word_ends is None and said.word_ends == {} and said.words == before.words
  with pytest.raises(DataError, match="version that did not save word ends. Delete the strea"):
    examples_of(prepared, "interleaved").word_ends(older)
  assert examples_of(prepared, "continuation").word_ends(older) == {}


@pytest.mark.parametrize(
  "changes, text",
  [
    (
      {"packed_words": b""},
      "has no word times. Add them to its corpus (`words` in a manifest; s",
    ),
    (
      {"packed_word_ends": b""},
      "has the text 'one', but its words with times are 'one'. Spell them as",
    ),
  ],
)
def test_an_entry_without_words_says_what_to_do(prepared, drawing, changes, text):
  entry = prepared.entries(drawing.corpora[0], "train")[0]
  said = dataclasses.replace(entry.utterances["source"], **{"packed_word_ends": b"", **changes})
  entry = cache.Entry(entry.id, {"source": said})
  with pytest.raises(DataError) as error:
    examples_of(prepared, "interleaved").word_ends(entry)
  assert text in str(error.value) and "record small/train/000000" in str(error.value)


def test_speech_without_a_fixed_rate_says_what_to_do(prepared, drawing):
  entry = prepared.entries(drawing.corpora[0], "train")[0]
  streams = {
    **prepared.space.streams,
    "collapsed": StreamSpec("collapsed", "speech", (9,), None, ""),
  }
  space = dataclasses.replace(prepared.space, streams=streams)
  layout = layouts.Interleave("source.text", "source.collapsed")
  with pytest.raises(
    DataError, match="no fixed frame rate there. Set collapse=False in the tok.* 'coll"
  ):
    examples.Examples(prepared.tasks[0], layout, space, [entry]).word_ends(entry)


def test_prepare_names_the_record_without_word_times(drawing, small, tmp_path, monkeypatch):
  made = small.records

  def wordless(settings, split, start, stop):
    for record in made(settings, split, start, stop):
      said = {k: dataclasses.replace(one, words=()) for k, one in record.utterances.items()}
      yield dataclasses.replace(record, utterances=said)

  monkeypatch.setattr(small, "records", wordless)
  with pytest.raises(DataError, match=r"record small/train/\d+ has no word times"):
    prepare.prepare(drawing, tmp_path, workers=0)


def test_records_of_a_layout_that_draws_are_not_cut(prepared):
  source = examples_of(prepared, "interleaved")
  with pytest.raises(
    DataError, match="too_long=split cannot cut records of task 'interleaved': the len"
  ):
    rows.segments(source, row_length=30, too_long="split")
  dropped = rows.segments(source, row_length=30, too_long="drop")
  assert dropped.dropped and dropped.lengths_N.max() <= 30
