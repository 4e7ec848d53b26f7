import dataclasses
import hashlib
import types

import numpy as np
import pytest

from audiopalm.data import examples, feeds, loader, packed, prepare, rows
from audiopalm.data.packed import Packed
from audiopalm.errors import DataError
from audiopalm.types import HOLE, Grid


def digest(batch):
  parts = [getattr(batch, field.name).tobytes() for field in dataclasses.fields(batch)]
  return hashlib.sha256(b"".join(parts)).hexdigest()


def grid(tokens):
  tokens_LK = np.array(tokens, np.int32)[:, None]
  return Grid(tokens_LK, (tokens_LK > 4).astype(np.float32), np.arange(len(tokens), dtype=np.int32))


def test_rows_are_grids_one_after_another_then_padding():
  batch = packed.assemble([[grid([1, 5]), grid([2, 3, 6])], []], [4, 0], 7, 1)
  assert batch.tokens_BLK[0, :, 0].tolist() == [1, 5, 2, 3, 6, HOLE, HOLE]
  assert batch.segments_BL[0].tolist() == [1, 1, 2, 2, 2, 0, 0]
  assert batch.positions_BL[0].tolist() == [0, 1, 0, 1, 2, 0, 0]
  assert batch.visible_BL[0].tolist() == [0, 1, 0, 1, 2, 0, 0]
  assert batch.weights_BLK[0, :, 0].tolist() == [0, 1, 0, 0, 1, 0, 0]
  assert (batch.tokens_BLK[1] == HOLE).all()
  assert batch.task_B.tolist() == [4, 0]


def test_a_batch_depends_on_seed_and_step_alone(prepared, experiment_of):
  one, other = (loader.Loader(prepared, experiment_of()) for _ in range(2))
  assert [digest(one.batch_at(step)) for step in (0, 1, 5)] == [
    digest(other.batch_at(step)) for step in (0, 1, 5)
  ]
  assert digest(one.batch_at(0)) != digest(one.batch_at(1))
  reseeded = loader.Loader(prepared, experiment_of(seed=8))
  assert digest(reseeded.batch_at(0)) != digest(one.batch_at(0))


def test_seeking_to_a_step_gives_what_iterating_to_it_gives(prepared, experiment_of):
  batches = loader.Loader(prepared, experiment_of())
  passed = [digest(batch) for batch in map(batches.batch_at, range(30))]
  assert passed[17] == digest(loader.Loader(prepared, experiment_of()).batch_at(17))
  other = loader.Loader(prepared, experiment_of())
  resumed = [digest(batch) for batch in map(other.batch_at, range(20, 30))]
  assert resumed == passed[20:]


def test_hosts_together_make_the_batch_of_one_host(prepared, experiment_of):
  whole = loader.Loader(prepared, experiment_of()).batch_at(3)
  halves = [
    loader.Loader(prepared, experiment_of(), mine=mine).batch_at(3)
    for mine in (slice(0, 2), slice(2, 4))
  ]
  for field in dataclasses.fields(whole):
    both = np.concatenate([getattr(half, field.name) for half in halves])
    np.testing.assert_array_equal(both, getattr(whole, field.name))


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(prepared, experiment_of):
  task = prepared.task("asr")
  count = len(prepared.rows(task, "train"))
  made = loader.Loader(prepared, experiment_of(tasks=(task,)), batch_rows=count)
  first, second = ([row.tobytes() for row in made.batch_at(epoch).tokens_BLK] for epoch in (0, 1))
  assert sorted(first) == sorted(second)
  assert first != second


def test_random_layouts_draw_by_seed_record_and_epoch(prepared, experiment_of, monkeypatch):
  keys = []
  key_of = examples.key_of
  monkeypatch.setattr(examples, "key_of", lambda *of: keys.append(of) or key_of(*of))
  task = prepared.task("asr")
  count = len(prepared.rows(task, "train"))
  made = loader.Loader(prepared, experiment_of(tasks=(task,)), batch_rows=count)
  for epoch in (0, 2):
    keys.clear()
    made.batch_at(epoch)
    assert {(seed, at) for seed, _, at in keys} == {(7, epoch)}
    assert len({record for _, record, _ in keys}) == len(prepared.entries(task, "train"))


def test_tokens_of_each_task_are_its_share_after_temperature(prepared, experiment_of, monkeypatch):
  realize, rows_seen = packed.PackedFeed.grids, {}

  def realized_once(self, place):
    key = (place.task, place.row)
    if key not in rows_seen:
      rows_seen[key] = realize(self, place)
    return rows_seen[key]

  monkeypatch.setattr(packed.PackedFeed, "grids", realized_once)
  experiment = experiment_of(rates=(0.6, 0.3, 0.1), data=Packed(row_length=96, batch_rows=100))
  experiment.mixture = dataclasses.replace(experiment.mixture, temperature=2.0)
  made = loader.Loader(prepared, experiment)
  tokens = np.zeros(3)
  for step in range(100):  # 10,000 rows
    batch = made.batch_at(step)
    counts_B = (batch.tokens_BLK != HOLE).sum(axis=(1, 2))
    np.add.at(tokens, batch.task_B, counts_B)
  np.testing.assert_allclose(tokens / tokens.sum(), experiment.mixture.shares, atol=0.01)


def test_examples_of_each_task_are_its_share(prepared, experiment_of):
  experiment = experiment_of(rates=(0.5, 0.3, 0.2), data=Packed(row_length=96, batch_rows=100))
  experiment.mixture = dataclasses.replace(experiment.mixture, unit="examples")
  made = loader.Loader(prepared, experiment)
  counts = np.zeros(3)
  for step in range(20):
    batch = made.batch_at(step)
    np.add.at(counts, batch.task_B, batch.segments_BL.max(axis=1))
  np.testing.assert_allclose(counts / counts.sum(), (0.5, 0.3, 0.2), atol=0.01)


def test_a_task_of_rate_0_is_never_in_a_batch(prepared, experiment_of):
  data = Packed(row_length=96, batch_rows=100)
  made = loader.Loader(prepared, experiment_of(rates=(0.5, 0.0, 0.5), data=data))
  assert set(made.batch_at(0).task_B.tolist()) == {0, 2}
  assert made.weights[1] == 0


def test_held_out_rows_come_in_batches_of_one_shape(prepared):
  task = prepared.task("s2st")
  index, feed = prepared.rows(task, "validation"), packed.PackedFeed(prepared, [task], "validation")
  batches = feeds.held_out(feed, 0, 100, 2, None)
  assert {batch.tokens_BLK.shape for batch in batches} == {(2, 96, 1)}
  segments = sum(int(batch.segments_BL.max(axis=1).sum()) for batch in batches)
  assert segments == len(prepared.entries(task, "validation")) == len(index.records)
  assert all((batch.task_B == 0).all() for batch in batches)
  one = feeds.held_out(feed, 0, 1, 2, None)
  assert len(one) == 1 and not one[0].segments_BL[1].any()


def test_a_task_without_rows_is_named(prepared, experiment_of):
  empty = types.SimpleNamespace(rows=lambda task, split: ())
  with pytest.raises(DataError, match="Task 'asr' has no rows in split 'train'"):
    loader.Loader(empty, experiment_of())


def test_a_row_is_made_of_the_segments_of_the_index(prepared, experiment_of):
  task = prepared.task("asr")
  (batch,) = feeds.held_out(packed.PackedFeed(prepared, [task], "train"), 0, 1, 1, None)
  source = packed.examples_of(prepared, task, "train")
  grids = list(rows.realized(source, prepared.rows(task, "train")[0]))
  tokens_LK = np.concatenate([grid.tokens_LK for grid in grids])
  np.testing.assert_array_equal(batch.tokens_BLK[0, : len(tokens_LK)], tokens_LK)


def test_a_damaged_shard_ends_training_with_its_name_and_what_to_do(experiment_of, small, tmp_path):
  experiment = experiment_of(small.SmallCorpus(20))
  prepared = prepare.prepare(experiment, tmp_path, workers=0)
  (shard,) = prepared.folder(experiment.corpora[0]).glob("train-*.arrayrecord")
  data = bytearray(shard.read_bytes())
  data[1_000] ^= 4
  shard.write_bytes(data)
  opened = prepare.open_prepared(experiment, tmp_path)  # finds nothing: it reads no records
  text = (
    rf"{shard}: record \d+ cannot be read \(Corrupted .* Delete that file and run `audiopalm pre"
  )
  with pytest.raises(DataError, match=text):
    list(map(loader.Loader(opened, experiment).batch_at, range(30)))
  shard.unlink()
  whole = prepare.prepare(experiment, tmp_path, workers=0)
  assert len(list(map(loader.Loader(whole, experiment).batch_at, range(30)))) == 30
