import dataclasses

import numpy as np
import pytest

from audiopalm.data import examples, packed, rows
from audiopalm.errors import DataError, TokenSpaceError


def of(prepared, name):
  return packed.examples_of(prepared, prepared.task(name), "train")


def test_best_fit_fills_the_fullest_row_that_still_takes_it():
  offsets_R, order_N = rows.pack(np.array([5, 6, 3, 4, 2]), 10)
  found = [sorted(order_N[a:b].tolist()) for a, b in zip(offsets_R, offsets_R[1:], strict=False)]
  assert found == [[1, 3], [0, 2, 4]]  # 6 + 4, 5 + 3 + 2


def test_every_segment_is_in_one_row_and_no_row_overflows():
  lengths_N = np.random.default_rng(0).integers(1, 200, 5_000)
  offsets_R, order_N = rows.pack(lengths_N, 256)
  assert sorted(order_N.tolist()) == list(range(5_000))
  sums = np.add.reduceat(lengths_N[order_N], offsets_R[:-1])
  assert sums.max() <= 256
  assert sums.sum() / (len(sums) * 256) > 0.98
  again = rows.pack(lengths_N, 256)
  np.testing.assert_array_equal(order_N, again[1])


def test_nothing_packs_into_no_rows():
  offsets_R, order_N = rows.pack(np.zeros(0, np.int64), 8)
  assert (offsets_R.tolist(), order_N.tolist()) == ([0], [])


@pytest.mark.parametrize("name", ["asr", "s2st", "continuation"])
def test_lengths_are_those_of_realized_grids(prepared, name):
  source = of(prepared, name)
  grids = [source.grid(entry) for entry in source.entries]
  assert source.lengths().tolist() == [len(grid) for grid in grids]


def test_the_index_counts_tokens_and_examples_of_a_mean_row(prepared):
  index = prepared.rows("asr", "train")
  source = of(prepared, "asr")
  grids = list(rows.realized(source, index.segments))
  assert index.tokens_per_row == pytest.approx(sum(map(examples.count_tokens, grids)) / len(index))
  assert index.examples_per_row == 400 / len(index)
  assert index.efficiency == pytest.approx(sum(map(len, grids)) / (len(index) * 96))
  assert sorted(index.records.tolist()) == list(range(400))
  assert sum(len(index[row]) for row in range(len(index))) == 400


def test_a_split_without_records_has_no_rows(prepared):
  source = of(prepared, "asr")
  none = rows.segments(source, row_length=96, too_long="error")[np.zeros(0, np.int64)]
  index = rows.build(source, none, 96)
  assert (len(index), index.tokens_per_row, index.examples_per_row) == (0, 0, 0)


def test_too_long_names_the_record_and_both_lengths(prepared):
  with pytest.raises(
    DataError,
    match=r"Record small/train/000\d\d\d is longer than a row: as an example of task 's2st' it "
    r"takes \d+ rows of the grid, row_length is 40; so are \d+ others",
  ):
    rows.segments(of(prepared, "s2st"), row_length=40, too_long="error")


def test_dropped_records_are_counted(prepared):
  source = of(prepared, "s2st")
  chosen = rows.segments(source, row_length=40, too_long="drop")
  lengths_N = source.lengths()
  assert chosen.records_N.tolist() == np.flatnonzero(lengths_N <= 40).tolist()
  assert chosen.dropped == (lengths_N > 40).sum() > 0


def test_records_with_unseen_words_are_left_out_of_the_task(prepared):
  source = of(prepared, "s2st")
  task = dataclasses.replace(source.task, unseen_words=("six", "four"))
  found = rows.segments(dataclasses.replace(source, task=task), row_length=96, too_long="error")
  held = [set(entry.utterances["source"].text.split()) for entry in source.entries]
  assert found.records_N.tolist() == [
    n for n, words in enumerate(held) if not words & {"six", "four"}
  ]
  assert 0 < len(found) < len(held)
  assert found.dropped == 0


def test_records_of_unseen_pairs_are_left_out_of_the_task(prepared):
  source = of(prepared, "s2st")
  entries, found = source.entries, source.pairs()
  assert found.tolist() == [
    f"{entry.languages['source']}-{entry.languages['target']}" for entry in entries
  ]
  unseen = found[0]
  task = dataclasses.replace(source.task, unseen_pairs=(str(unseen),))
  chosen = rows.segments(dataclasses.replace(source, task=task), row_length=96, too_long="error")
  assert chosen.records_N.tolist() == np.flatnonzero(found != unseen).tolist()
  assert 0 < len(chosen) < len(entries)
  assert chosen.dropped == chosen.lacking == 0


def test_a_row_index_knows_the_unseen_words_it_was_made_without(prepared):
  task = prepared.task("s2st")
  with pytest.raises(
    TokenSpaceError, match=r"another unseen_words: expected \['six'\], found \[\]"
  ):
    prepared.rows(dataclasses.replace(task, unseen_words=("six",)), "train")


def test_pieces_of_a_cut_record_are_its_prompt_and_all_its_predicted_rows(prepared):
  source = of(prepared, "continuation")
  chosen = rows.segments(source, row_length=30, too_long="split")
  lengths_N = source.lengths()
  assert chosen.cut == (lengths_N > 30).sum() > 0
  assert chosen.lengths_N.max() <= 30
  number = int(np.argmax(lengths_N))
  whole = source.grid(source.entries[number])
  prompt = whole.prompt_rows
  pieces = list(rows.realized(source, chosen[chosen.records_N == number]))
  assert len(pieces) > 1
  for piece in pieces:
    np.testing.assert_array_equal(piece.tokens_LK[:prompt], whole.tokens_LK[:prompt])
  body_LK = np.concatenate([piece.tokens_LK[prompt:] for piece in pieces])
  np.testing.assert_array_equal(body_LK, whole.tokens_LK[prompt:])


def test_split_is_refused_where_an_output_would_lose_its_input(prepared):
  with pytest.raises(DataError, match="too_long=split cannot cut records of task 's2st'"):
    rows.segments(of(prepared, "s2st"), row_length=40, too_long="split")


def test_a_row_without_room_beside_the_tag_is_refused(prepared):
  with pytest.raises(DataError, match="row_length=5 has no room besides the .* rows of the tag"):
    rows.segments(of(prepared, "continuation"), row_length=5, too_long="split")


def test_a_task_over_text_alone_says_which_stream_is_missing(prepared):
  source = of(prepared, "asr")
  entries = source.entries
  silent = dataclasses.make_dataclass("Silent", ["entries", "lengths", "languages"])
  silent.__len__ = lambda self: len(self.entries)
  silent.__getitem__ = lambda self, number: self.entries[number]
  lengths = entries.lengths | {"source.units": np.full(400, -1, np.int32)}
  with pytest.raises(DataError, match="Task 'asr' needs the stream 'source.units', which record"):
    dataclasses.replace(source, entries=silent(entries, lengths, entries.languages)).lengths()


def test_load_inverts_save_and_knows_what_it_was_made_from(prepared, tmp_path):
  index = prepared.rows("asr", "train")
  path, made_from = tmp_path / "asr.npz", {"manifest": "a", "row_length": 96}
  rows.save(index, path, made_from)
  found = rows.load(path, made_from)
  for name in ("records_N", "starts_N", "lengths_N"):
    np.testing.assert_array_equal(getattr(found.segments, name), getattr(index.segments, name))
  np.testing.assert_array_equal(found.offsets_R, index.offsets_R)
  assert found.tokens_per_row == index.tokens_per_row
  assert rows.is_current(path, made_from)
  assert not rows.is_current(path, made_from | {"row_length": 97})
  with pytest.raises(TokenSpaceError, match="another manifest: expected 'b', found 'a'"):
    rows.load(path, made_from | {"manifest": "b"})
  with pytest.raises(DataError, match="no such row index. Run `audiopalm prepare`"):
    rows.load(tmp_path / "tts.npz", made_from)


def test_a_damaged_index_is_refused_wherever_a_byte_was_flipped(prepared, tmp_path):
  index = prepared.rows("asr", "train")
  path, made_from = tmp_path / "asr.npz", {"manifest": "a"}
  rows.save(index, path, made_from)
  whole, refused = path.read_bytes(), 0
  for at in range(0, len(whole), 37):
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
    try:
      found = rows.load(path, made_from)
    except DataError as error:
      assert "asr.npz: expected a row index, but it is damaged (" in str(error)
      assert not rows.is_current(path, made_from)
      refused += 1
    else:
      np.testing.assert_array_equal(found.records, index.records)
      np.testing.assert_array_equal(found.offsets_R, index.offsets_R)
  assert refused > 100
