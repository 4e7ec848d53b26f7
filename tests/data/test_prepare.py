import dataclasses
import json
import os

import pytest

from audiopalm import layouts
from audiopalm.data import cache, corpora, files, fitting, lock, packed, prepare, streams
from audiopalm.data.packed import Packed
from audiopalm.errors import ConfigError, DataError, TokenSpaceError
from audiopalm.parts import mixtures, tokenizers


def files_of(folder):
  """Returns {path: bytes} of everything a run can read again."""
  paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "prepare.json"]
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def changed_times(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob("*.arrayrecord")}


@pytest.fixture
def few(experiment_of, small):
  return experiment_of(small.SmallCorpus(train_records=20))


def test_one_and_two_workers_write_the_same_bytes(experiment_of, small, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 10)
  corpus = small.SmallCorpus(train_records=35, variants=2, faults=((3, "nan"), (17, "unreadable")))
  for workers in (1, 2):
    prepare.prepare(experiment_of(corpus), tmp_path / str(workers), workers=workers)
  one, two = (files_of(tmp_path / str(workers)) for workers in (1, 2))
  assert one == two
  assert sum(name.endswith(".arrayrecord") for name in one) == 4 + 1 + 1


def test_a_broken_machine_among_two_finishes_nothing_and_once_repaired_all_is_as_without(
  experiment_of, small, tmp_path, monkeypatch
):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 2)
  experiment = experiment_of(small.SmallCorpus(train_records=60, device=str(tmp_path)))
  with pytest.raises(OSError, match="Input/output error: '/mnt/recordings'"):
    prepare.prepare(experiment, tmp_path / "run", workers=2)
  assert len((tmp_path / "tries").read_text().splitlines()) < 8  # of 30 shards and more
  there = files_of(tmp_path / "run")
  assert sum(name.endswith(".arrayrecord") for name in there) < 30
  assert not list((tmp_path / "run").rglob("*.part"))
  (tmp_path / "repaired").touch()
  for workdir in ("run", "whole"):
    prepare.prepare(experiment, tmp_path / workdir, workers=0)
  whole = files_of(tmp_path / "whole")
  assert {name: whole[name] for name in there} == there  # what the other machine had finished
  assert files_of(tmp_path / "run") == whole


def test_prepare_again_changes_nothing(few, tmp_path):
  prepare.prepare(few, tmp_path, workers=0)
  before, times = files_of(tmp_path), changed_times(tmp_path)
  prepare.prepare(few, tmp_path, workers=0)
  assert files_of(tmp_path) == before
  assert changed_times(tmp_path) == times


def test_a_tokenizer_is_loaded_once_where_it_is_needed(few, small, tmp_path, monkeypatch):
  load, loads = small.Letters.load, []
  counted = lambda self, folder: loads.append(folder) or load(self, folder)  # noqa: E731
  monkeypatch.setattr(small.Letters, "load", counted)
  prepare.prepare(few, tmp_path, workers=0)
  fitting_loads = len(loads)
  prepare.prepare(few, tmp_path, workers=0)
  assert len(loads) == fitting_loads + 1
  prepare.open_prepared(few, tmp_path)
  assert len(loads) == fitting_loads + 2


def test_prepare_goes_on_after_the_shards_that_are_finished(few, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 5)
  prepare.prepare(few, tmp_path / "whole", workers=0)
  tokenize, calls = streams.tokenize_shard, []

  def interrupted(shard):
    calls.append(shard)
    if len(calls) == 3:
      raise KeyboardInterrupt
    return tokenize(shard)

  monkeypatch.setattr(streams, "tokenize_shard", interrupted)
  with pytest.raises(KeyboardInterrupt):
    prepare.prepare(few, tmp_path / "cut", workers=0)
  times = changed_times(tmp_path / "cut")
  assert len(times) == 2
  assert not prepare.open_if_ready(few, tmp_path / "cut")
  monkeypatch.setattr(streams, "tokenize_shard", tokenize)
  prepare.prepare(few, tmp_path / "cut", workers=0)
  assert files_of(tmp_path / "cut") == files_of(tmp_path / "whole")
  kept = changed_times(tmp_path / "cut")
  assert all(kept[path] == time for path, time in times.items())


def test_a_faulty_record_is_counted_by_reason_and_the_run_goes_on(
  experiment_of, small, tmp_path, capsys
):
  corpus = small.SmallCorpus(20, ((3, "silent"), (9, "silent"), (11, "unknown language")))
  prepared = prepare.prepare(experiment_of(corpus), tmp_path, workers=0)
  assert len(prepared.entries(corpus, "train")) == 17
  (found,) = json.loads((tmp_path / "prepare.json").read_text())["corpora"].values()
  faults = found["splits"]["train"]["quarantined"]
  assert {kind: one["records"] for kind, one in faults.items()} == {
    "silent": 2, "unknown language 'xx'": 1,
  }  # fmt: skip
  assert faults["silent"]["first"].startswith("small/train/000003 (source): silent: its largest")
  assert "2 x silent" in capsys.readouterr().out


def test_a_task_that_ends_with_no_records_says_why(experiment_of, small, tmp_path, monkeypatch):
  monkeypatch.setattr(fitting, "sample", lambda *given: [])
  corpus = small.SmallCorpus(3, tuple((number, "silent") for number in range(3)))
  with pytest.raises(
    DataError,
    match=r"Task 'asr' has no records left: all 3 training records of corpus 'small' were left "
    r"out. The first: small/train/000000 \(source\): silent",
  ):
    prepare.prepare(experiment_of(corpus), tmp_path, workers=0)


def test_a_task_whose_records_are_all_too_long_says_so(few, tmp_path):
  few.data = Packed(row_length=15, too_long="drop")
  with pytest.raises(DataError, match="'asr' has no records left: all 20 are longer than row_leng"):
    prepare.prepare(few, tmp_path, workers=0)


def test_the_summary_tells_hours_tokens_rows_packing_and_speed(few, tmp_path, capsys):
  prepared = prepare.prepare(few, tmp_path, workers=0)
  found = json.loads((tmp_path / "prepare.json").read_text())
  assert found["manifest_hash"] == prepared.manifest_hash
  train = found["tasks"]["s2st"]["splits"]["train"]
  entries, index = prepared.entries(few.corpora[0], "train"), prepared.rows("s2st", "train")
  assert train["hours"] * 3600 == pytest.approx(sum(entries.seconds.values()))
  assert train["records"] == train["examples"] == 20
  assert (train["rows"], train["efficiency"]) == (len(index), index.efficiency)
  assert train["tokens"] == round(index.tokens_per_row * len(index))
  factor = found["tasks"]["asr"]["real_time_factor"]
  assert factor > 0
  assert list(found["spent_s"]) == ["rows", "streams", "tokenizers"]
  assert all(seconds > 0 for seconds in found["spent_s"].values())
  assert "continuation" in capsys.readouterr().out
  prepare.prepare(few, tmp_path, workers=0)  # nothing tokenized: the speed is kept
  again = json.loads((tmp_path / "prepare.json").read_text())
  assert again["tasks"]["asr"]["real_time_factor"] == factor


def test_another_layout_tokenizes_nothing_again(few, tmp_path):
  first = prepare.prepare(few, tmp_path, workers=0)
  times = changed_times(tmp_path)
  few.layout = layouts.Chain(both_ways=True)
  second = prepare.prepare(few, tmp_path, workers=0)
  assert changed_times(tmp_path) == times
  assert first.manifest_hash != second.manifest_hash
  assert second.rows_dir.is_dir()


def test_a_longer_row_packs_again_under_the_same_manifest(few, tmp_path):
  first = prepare.prepare(few, tmp_path, workers=0)
  few.data = Packed(row_length=200)
  second = prepare.prepare(few, tmp_path, workers=0)
  assert second.manifest_hash == first.manifest_hash
  assert len(second.rows("asr", "train")) < len(first.rows("asr", "train"))


def test_two_workdirs_may_share_one_streams_folder(few, tmp_path):
  streams = tmp_path / "streams"
  prepare.prepare(few, tmp_path / "a", streams, workers=0)
  times = changed_times(streams)
  prepare.prepare(few, tmp_path / "b", streams, workers=0)
  assert changed_times(streams) == times
  assert len(prepare.open_prepared(few, tmp_path / "b").entries(few.corpora[0], "train")) == 20


def test_another_manifest_is_refused_only_beside_a_checkpoint(few, small, tmp_path):
  prepare.prepare(few, tmp_path, workers=0)
  before = files_of(tmp_path)
  few.tokenizers = (small.Letters(extra=1), small.Crossings())
  (tmp_path / "checkpoints" / "10").mkdir(parents=True)
  with pytest.raises(TokenSpaceError, match=r"The checkpoint in .* has another token space"):
    prepare.prepare(few, tmp_path, workers=0)
  assert files_of(tmp_path) == before
  (tmp_path / "checkpoints" / "10").rmdir()
  prepared = prepare.prepare(few, tmp_path, workers=0)
  assert prepared.space.streams["text"].sizes == (97,)
  assert prepare.open_if_ready(few, tmp_path)


def test_open_gives_what_prepare_gave(few, tmp_path):
  made = prepare.prepare(few, tmp_path, workers=0)
  opened = prepare.open_prepared(few, tmp_path)
  assert opened.manifest == made.manifest
  assert opened.manifest_hash == made.manifest_hash
  task = opened.task("asr")
  assert opened.rows(task, "train").records.tolist() == made.rows(task, "train").records.tolist()
  moved = tmp_path.with_name("moved")
  os.rename(tmp_path, moved)
  assert len(prepare.open_prepared(few, moved).entries(task, "test")) == 4


def test_needed_until_everything_is_there(few, tmp_path):
  assert not prepare.open_if_ready(few, tmp_path)
  prepared = prepare.prepare(few, tmp_path, workers=0)
  assert prepare.open_if_ready(few, tmp_path)
  index = next(prepared.rows_dir.glob("asr-train-*"))
  whole = index.read_bytes()
  index.unlink()
  assert not prepare.open_if_ready(few, tmp_path)
  index.write_bytes(whole)
  assert prepare.open_if_ready(few, tmp_path)
  next(prepared.folder(few.corpora[0]).glob("train-*.json")).unlink()
  assert not prepare.open_if_ready(few, tmp_path)


def test_open_says_what_is_wrong(few, small, tmp_path):
  with pytest.raises(DataError, match="prepare.json: no such file. Run `audiopalm prepare`"):
    prepare.open_prepared(few, tmp_path)
  for other in ("{}", "[]"):
    (tmp_path / "prepare.json").write_text(other)
    with pytest.raises(
      DataError, match="prepare.json: expected a summary as written by `audiopalm"
    ):
      prepare.open_prepared(few, tmp_path)
  prepared = prepare.prepare(few, tmp_path, workers=0)
  few.data = Packed(row_length=97)
  with pytest.raises(DataError, match="was prepared for other settings: expected those of"):
    prepare.open_prepared(few, tmp_path)
  few.data = Packed(row_length=96)
  (tmp_path / "tokenizers" / "text" / "seen.txt").write_text("1")
  with pytest.raises(DataError, match="does not contain the tokenizers of experiment 'small'"):
    prepare.open_prepared(few, tmp_path)
  prepare.prepare(few, tmp_path, workers=0)
  shard = next(prepared.folder(few.corpora[0]).glob("train-*.arrayrecord"))
  side = cache.sidecar(shard)
  side["maxima"]["source.units"] = [64]
  cache.write_sidecar(shard, side)
  with pytest.raises(DataError, match=r"has ids of source.units up to \(64,\), but its tokenizer"):
    prepare.open_prepared(few, tmp_path)


def test_a_damaged_manifest_file_is_refused(few, tmp_path):
  prepare.prepare(few, tmp_path, workers=0)
  path = tmp_path / "manifest.json"
  written = json.loads(path.read_text())
  written["pad_to"] = 64
  path.write_text(json.dumps(written))
  with pytest.raises(TokenSpaceError, match="manifest.json has another token space"):
    prepare.open_prepared(few, tmp_path)


def test_an_unknown_task_is_named(prepared):
  with pytest.raises(ConfigError, match="Unknown task 'tts'. This run was trained on: asr, s2st"):
    prepared.task("tts")


def test_a_record_longer_than_a_row_stops_prepare_but_keeps_the_streams(few, tmp_path):
  few.data = Packed(row_length=20)
  with pytest.raises(DataError, match="is longer than a row: as an example of task 'asr'"):
    prepare.prepare(few, tmp_path, workers=0)
  times = changed_times(tmp_path)
  few.data = Packed(row_length=96)
  prepare.prepare(few, tmp_path, workers=0)
  assert changed_times(tmp_path) == times and times


def test_a_full_device_keeps_finished_shards(few, tmp_path, monkeypatch, full):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 10)
  prepared = prepare.prepare(few, tmp_path, workers=0)
  folder = prepared.folder(few.corpora[0])
  (second,) = folder.glob("train-00001-*.arrayrecord")
  second.unlink()
  first = changed_times(folder)
  full(second.name)
  with pytest.raises(DataError, match="No space left on the device"):
    prepare.prepare(few, tmp_path, workers=0)
  assert changed_times(folder) == first
  assert not list(folder.glob(".*"))


def test_what_a_killed_prepare_was_writing_is_removed_unless_another_writes(few, tmp_path):
  streams_dir = tmp_path / "streams"
  prepared = prepare.prepare(few, tmp_path / "a", streams_dir, workers=0)
  shard = next(prepared.folder(few.corpora[0]).glob("train-*.arrayrecord"))
  mine = [tmp_path / "b" / name for name in ("manifest.json", "tokenizers/text", "rows/x/y.npz")]
  for path in (shard, *mine):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.part_of(path).write_text("half")
  (tmp_path / "b" / ".config.json.0.part").write_text("of another command")
  with lock.shared(streams_dir, lambda: None):
    prepare.prepare(few, tmp_path / "b", streams_dir, workers=0)
    left = {path.parent.name for path in tmp_path.rglob(".*.part")}
    assert left == {shard.parent.name, "b"}
  prepare.prepare(few, tmp_path / "b", streams_dir, workers=0)
  assert [path.name for path in tmp_path.rglob(".*.part")] == [".config.json.0.part"]


def test_a_damaged_shard_is_made_again_and_no_other(few, tmp_path, monkeypatch):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 5)
  prepared = prepare.prepare(few, tmp_path, workers=0)
  whole, times = files_of(tmp_path), changed_times(tmp_path)
  damaged = sorted(prepared.folder(few.corpora[0]).glob("train-*.arrayrecord"))[1]
  os.truncate(damaged, 2**16)
  assert not prepare.open_if_ready(few, tmp_path)
  prepare.prepare(few, tmp_path, workers=0)
  assert files_of(tmp_path) == whole
  after = changed_times(tmp_path)
  assert {path for path in times if after[path] != times[path]} == {damaged}


def test_tasks_of_two_corpora_have_their_own_streams(experiment_of, small, tmp_path):
  spoken = small.SmallCorpus(12)
  written = small.SmallCorpus(9, spoken=False)
  tasks = (mixtures.asr(spoken), dataclasses.replace(mixtures.mt(written), name="read"))
  experiment = experiment_of(tasks=tasks)
  prepared = prepare.prepare(experiment, tmp_path, workers=0)
  assert len(prepared.entries(tasks[0], "train")) == 12
  assert len(prepared.entries(tasks[1], "train")) == 9
  assert isinstance(prepared.entries(written, "test"), cache.Entries)
  found = json.loads((tmp_path / "prepare.json").read_text())["tasks"]["read"]
  assert found["real_time_factor"] is None and found["splits"]["train"]["hours"] == 0


def test_spoken_sentences_come_back_from_their_grids(experiment_of, tmp_path):
  pytest.importorskip("espeakng_loader", reason="the synthesizer comes with audiopalm[data]")
  corpus = corpora.Synthetic(
    languages=("en", "fr"), topics=("times",), voices=2, train_records=16, validation_records=2,
    test_records=2, held_out_voices=1, synthesizer="espeak",
  )  # fmt: skip
  experiment = experiment_of(
    tasks=(mixtures.asr(corpus), mixtures.s2st(corpus)),
    tokenizers=(tokenizers.text(size=400), tokenizers.units(size=16, warps=1)),
    data=Packed(row_length=512),
  )
  prepared = prepare.prepare(experiment, tmp_path, workers=0)
  entry = prepared.entries(corpus, "train")[3]
  for task in experiment.tasks:
    layout = prepared.layouts[task.name]
    grid = packed.examples_of(prepared, task, "train").grid(entry)
    found = layouts.recover(layout, grid.tokens_LK, prepared.space)
    assert found.complete
    for name, ids in found.streams.items():
      assert ids.tolist() == entry.streams[name].tolist()
  text = prepared.tokenizers["text"]
  assert text.decode(entry.streams["source.text"]) == entry.utterances["source"].text
  unheard = prepared.entries(corpus, "held_out_voices")[0].utterances["source"]
  assert unheard.speaker in corpus.voices_of(unheard.language, "held_out_voices")
  assert [word.text for word in unheard.words] == unheard.text.split()
