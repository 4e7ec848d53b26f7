"""Clips of a small corpus of tones: which part of which recording, and what goes with it."""

import dataclasses
import itertools

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data import clips, feeds, loader, past, prepare
from audiopalm.data.clips import Clips
from audiopalm.data.feeds import RowPlace
from audiopalm.data.packed import Packed
from audiopalm.errors import ConfigError, DataError
from audiopalm.parts import mixtures
from audiopalm.types import HOLE

DATA = Clips(seconds=0.2, batch_rows=4, shortest_s=0.15)  # tones last 0.1 to 0.4 s


@pytest.fixture(scope="module")
def experiment(experiment_of, small):
  corpus = small.SmallCorpus(40)
  return experiment_of(corpus, tasks=(mixtures.speech(corpus, streams=("units",)),), data=DATA)


@pytest.fixture(scope="module")
def prepared(experiment, tmp_path_factory):
  return prepare.prepare(experiment, tmp_path_factory.mktemp("clips"), workers=0)


def recordings(prepared):
  return {
    entry.id: waveform.from_flac(entry.utterances["source"].wave_flac)[0]
    for entry in prepared.entries(prepared.tasks[0], "train")
  }


def test_training_recordings_are_kept_and_those_too_short_are_left_out(prepared):
  waves = recordings(prepared)
  assert len(waves) == 40
  feed = clips.ClipFeed(prepared, prepared.tasks, "train")
  assert feed.rows == [sum(len(wave_S) >= 2_400 for wave_S in waves.values())] == [30]


def test_packed_runs_keep_no_training_recordings(experiment, tmp_path):
  made = type(experiment)(**{**vars(experiment), "data": Packed(row_length=96, batch_rows=4)})
  task = mixtures.asr(experiment.corpora[0])
  made.tasks, made.mixture = (task,), mixtures.blend((task, 1.0))
  prepared = prepare.prepare(made, tmp_path, workers=0)
  assert prepared.entries(task, "train")[0].utterances["source"].wave_flac is None


def test_a_clip_is_a_part_of_its_recording_and_its_units_are_those_of_that_part(prepared):
  feed = clips.ClipFeed(prepared, prepared.tasks, "train")
  numbers = [feed.records(RowPlace(0, row, 0, 0))[0] for row in range(feed.rows[0])]
  entries, waves = prepared.entries(prepared.tasks[0], "train"), recordings(prepared)
  for row in range(len(numbers)):
    entry = entries[numbers[row]]
    batch = feed.batch([RowPlace(0, row, 0, 7)])
    samples = int(batch.samples_B[0])
    wave_S, clip_S = waves[entry.id], batch.wave_BS[0, :samples]
    assert samples == min(3_200, len(wave_S)) and not batch.wave_BS[0, samples:].any()
    starts = [
      start
      for start in range(0, len(wave_S) - samples + 1, 320)
      if np.array_equal(wave_S[start : start + samples], clip_S)
    ]  # several, as tones repeat
    units_T = entry.utterances["source"].streams["units"]
    found_T = batch.streams["units"][0]
    cuts = [units_T[start // 320 : start // 320 + 10] for start in starts]
    assert any(np.array_equal(found_T[: len(cut_T)], cut_T) for cut_T in cuts)
    assert (found_T[len(cuts[0]) :] == HOLE).all()


def test_crops_are_drawn_by_seed_record_and_epoch(prepared):
  feed = clips.ClipFeed(prepared, prepared.tasks, "train")
  rows = range(feed.rows[0])

  def made(epoch, seed):
    return feed.batch([RowPlace(0, row, epoch, seed) for row in rows])

  again, first = made(0, 7), made(0, 7)
  assert first.digest() == again.digest()
  assert len({made(*of).digest() for of in ((0, 7), (1, 7), (0, 8))}) == 3
  assert len(set(first.draw_B.tolist())) == len(rows)


def test_batches_are_pure_in_the_step_and_hosts_together_make_them(prepared, experiment):
  whole = loader.Loader(prepared, experiment)
  passed = [batch.digest() for batch in map(whole.batch_at, range(12))]
  assert passed[9] == loader.Loader(prepared, experiment).batch_at(9).digest()
  halves = [
    loader.Loader(prepared, experiment, mine=mine).batch_at(9)
    for mine in (slice(0, 2), slice(2, 4))
  ]
  both = np.concatenate([half.wave_BS for half in halves])
  np.testing.assert_array_equal(both, whole.batch_at(9).wave_BS)
  digests = [half.digest(first=first) for half, first in zip(halves, (0, 2), strict=True)]
  assert sum(digests) % 2**32 == passed[9]


def test_an_epoch_holds_every_recording_once(prepared, experiment):
  made = loader.Loader(prepared, experiment)
  places = list(itertools.chain.from_iterable(made.places_at(step) for step in range(8)))
  first = [place.row for place in places if place.epoch == 0]
  assert sorted(first) == list(range(30))


def test_held_out_clips_are_the_same_every_time_and_the_last_batch_is_filled_up(prepared):
  feed = clips.ClipFeed(prepared, prepared.tasks, "validation")
  count = feed.rows[0]
  batches = feeds.held_out(feed, 0, 100, 3, None)
  assert [batch.digest() for batch in batches] == [
    batch.digest() for batch in feeds.held_out(feed, 0, 100, 3, None)
  ]
  assert sum(int((batch.samples_B > 0).sum()) for batch in batches) == count
  assert {batch.wave_BS.shape for batch in batches} == {(3, 3_200)}


def test_splits_without_recordings_have_no_clips(experiment, small, tmp_path, monkeypatch):
  count = small.count
  monkeypatch.setattr(small, "count", lambda corpus, s: count(corpus, s) if s == "train" else 0)
  prepared = prepare.prepare(experiment, tmp_path, workers=0)
  for split in ("validation", "test"):
    assert clips.ClipFeed(prepared, prepared.tasks, split).rows == [0]
    assert DATA.summary(prepared, prepared.tasks[0], split)["hours"] == 0
  assert feeds.held_out(clips.ClipFeed(prepared, prepared.tasks, "test"), 0, 100, 3, None) == []


def test_counts_are_frames_of_ten_milliseconds(prepared, experiment):
  batch = loader.Loader(prepared, experiment).batch_at(0)
  counts = batch.count(1)
  frames = [-(-int(samples) // 160) for samples in batch.samples_B]
  assert counts.tokens_T.tolist() == [sum(frames)]
  assert sorted(counts.lengths_N.tolist()) == sorted(frames)
  feed = clips.ClipFeed(prepared, prepared.tasks, "train")
  assert feed.per_row("tokens")[0] == pytest.approx((10 * 20 + 10 * 20 + 10 * 20) / 30)


def test_shapes_are_those_of_the_batches(prepared, experiment):
  shapes = DATA.shapes(prepared.space, prepared.tasks)
  batch = loader.Loader(prepared, experiment).batch_at(0)
  for field in ("wave_BS", "samples_B", "draw_B", "task_B"):
    expected, found = getattr(shapes, field), getattr(batch, field)
    assert (expected.shape, expected.dtype) == (found.shape, found.dtype)
  assert shapes.streams["units"].shape == batch.streams["units"].shape == (4, 10)


def test_a_prepared_run_is_found_again_and_other_seconds_prepare_nothing_anew(experiment, tmp_path):
  prepare.prepare(experiment, tmp_path, workers=0)
  assert prepare.open_if_ready(experiment, tmp_path)
  longer = type(experiment)(**{**vars(experiment), "data": dataclasses.replace(DATA, seconds=0.3)})
  assert prepare.open_if_ready(longer, tmp_path)


def test_a_corpus_without_long_recordings_is_named(experiment, prepared):
  far = dataclasses.replace(prepared, data=Clips(seconds=9.0, shortest_s=5.0))
  with pytest.raises(DataError, match="'speech' has no clips: corpus 'small' has 40 training rec"):
    far.data.check_index(far)


def test_tasks_of_tokens_do_not_fit_clips_nor_clips_packed_rows(small):
  corpus = small.SmallCorpus(4)
  with pytest.raises(ConfigError, match="'asr' does not fit data=Clips.*mixtures.speech makes"):
    DATA.check([mixtures.asr(corpus)], ["text", "units"])
  with pytest.raises(ConfigError, match="names the stream 'wave', but the tokenizers produce text"):
    Packed().check([mixtures.speech(corpus)], ["text"])


def test_streams_of_another_recording_are_refused(small):
  task = mixtures.speech(small.SmallCorpus(4))
  two = dataclasses.replace(task, outputs=(*task.outputs, ("target", "units")))
  with pytest.raises(ConfigError, match="streams of target besides the recording of source"):
    DATA.check([two], ["text", "units"])


def test_the_records_of_a_step_are_named_but_its_tokens_cannot_be_shown(prepared, experiment):
  (step,) = past.records(prepared, experiment, range(1, 2))
  assert step["step"] == 1 and len(step["records"]) == 4
  assert all(one["id"].startswith("small/train/") for one in step["records"])
  with pytest.raises(ConfigError, match="trains on clips, which have no tokens to show"):
    past.batch(prepared, experiment, 1)


def test_a_stream_without_a_rate_is_whole_or_not_there(prepared):
  task = mixtures.speech(prepared.tasks[0].corpus, streams=("text",))
  prepared = dataclasses.replace(prepared, data=dataclasses.replace(DATA, seconds=0.35))
  feed = clips.ClipFeed(prepared, (task,), "train")
  entries, held = prepared.entries(task, "train"), 0
  for row in range(feed.rows[0]):
    place = RowPlace(0, row, 0, 7)
    said = entries[feed.records(place)[0]].utterances["source"]
    text_T = feed.batch([place]).streams["text"][0]
    assert len(text_T) == round(0.35 * clips.WHOLE_HZ) == 9
    ids = said.streams["text"]
    if said.seconds <= 0.35 and len(ids) <= len(text_T):
      held += 1
      np.testing.assert_array_equal(text_T[: len(ids)], ids)
      assert (text_T[len(ids) :] == HOLE).all()
    else:
      assert (text_T == HOLE).all()
  assert 0 < held < feed.rows[0]


def test_spans_that_cannot_be_say_why():
  with pytest.raises(ConfigError, match="seconds must be at least 0.1 and data.shortest_s between"):
    Clips(seconds=1.0, shortest_s=2.0)
