import pytest

from audiopalm.data import prepare, summary
from audiopalm.data.manifest import faults
from audiopalm.errors import DataError


def test_faults_are_counted_by_kind_without_names_and_numbers():
  reasons = [
    f"a/{n} (source): {n}00 of 9000 samples are NaN or infinite, expected none" for n in (1, 2)
  ]
  reasons.append("a/3 (target): silent: its largest sample is 0, expected")
  found = faults.kinds(reasons)
  assert {kind: one["records"] for kind, one in found.items()} == {
    "N of N samples are NaN or infinite": 2, "silent": 1,
  }  # fmt: skip
  assert found["silent"]["first"] == reasons[2]


@pytest.fixture
def faulty(experiment_of, small):
  """An experiment with three faulty training records of twenty."""
  corpus = small.SmallCorpus(20, ((3, "silent"), (9, "silent"), (11, "unknown language")))
  return experiment_of(corpus)


def changed_times(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob("*.arrayrecord")}


def test_more_than_the_limit_is_an_error_with_counts_reasons_and_examples(faulty, tmp_path):
  with pytest.raises(DataError) as told:
    prepare.prepare(faulty, tmp_path, workers=0, max_bad=0.1)
  first, split, *kinds, last = str(told.value).splitlines()
  assert first == "More records were left out than --max-bad allows (0.1 of a split):"
  assert split.strip().endswith(", train: 3 of 20 records (15.00%)")
  assert kinds[0].strip().startswith("2 x silent. small/train/000003 (source): silent: its largest")
  assert kinds[1].strip().startswith("1 x unknown language 'xx'. small/train/000011 (source): ")
  assert len(kinds) == 2 and "or allow more with --max-bad" in last
  assert not (tmp_path / "prepare.json").exists() and not prepare.open_if_ready(faulty, tmp_path)


def test_a_higher_limit_goes_on_with_what_was_finished(faulty, tmp_path):
  with pytest.raises(DataError, match="More records were left out"):
    prepare.prepare(faulty, tmp_path, workers=0, max_bad=0.0)
  times = changed_times(tmp_path)
  prepare.prepare(faulty, tmp_path, workers=0, max_bad=0.15)
  assert changed_times(tmp_path) == times and len(times) == 3


def test_a_prepared_run_is_held_against_the_limit_too(faulty, tmp_path):
  prepare.prepare(faulty, tmp_path, workers=0)
  prepared = prepare.open_prepared(faulty, tmp_path)
  summary.check_left_out(prepared, 0.15)
  with pytest.raises(DataError, match=r"train: 3 of 20 records \(15.00%\)"):
    summary.check_left_out(prepared, 0.149)


def test_a_record_counts_once_however_many_of_its_variants_were_left_out(
  experiment_of, small, tmp_path, monkeypatch
):
  encode = small.FittedCrossings.encode

  def no_units_of_other_speeds(self, said):
    return encode(self, said)[: None if len(said.wave_S) % 1_600 == 0 else 0]

  monkeypatch.setattr(small.FittedCrossings, "encode", no_units_of_other_speeds)
  experiment = experiment_of(small.SmallCorpus(20, variants=3))
  prepared = prepare.prepare(experiment, tmp_path, workers=0, max_bad=1.0)
  assert len(prepared.entries(experiment.corpora[0], "train").quarantined) == 40
  with pytest.raises(DataError, match=r"train: 20 of 20 records \(100.00%\)"):
    summary.check_left_out(prepared, 0.99)


def test_reasons_beyond_the_most_frequent_are_counted():
  quarantined = [{"id": str(n), "reason": f"x: {'abcdefg'[n % 7]}: y"} for n in range(15)]
  lines = summary._most_frequent(quarantined)
  assert lines[0].strip() == "3 x a. x: a: y"
  assert len(lines) == 6 and lines[-1].strip() == "... and 4 more."
