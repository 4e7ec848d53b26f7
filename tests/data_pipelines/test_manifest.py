"""A corpus of files, prepared: what is sound is kept, what is not is left out and counted."""

import collections
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from audiopalm.data import cache, prepare
from audiopalm.data.executors import Local
from audiopalm.data.manifest import inspection
from audiopalm.data.manifest.lines import Reading
from audiopalm.data_pipelines import manifest
from audiopalm.errors import AudioError, DataError, RecordError
from audiopalm.objectives.next_token import NextToken
from audiopalm.parts import corpora, mixtures

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
KINDS = {
  "missing": "no such file",
  "text.wav": "not audio",
  "nan.wav": "N of N samples are NaN or infinite",
  "3ms.wav": "too short",
  "3h.flac": "too long",
  "cut.wav": "truncated",
  "silent.wav": "silent",
  "wordless": "empty text",
}

CONFIG = """
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import corpora, mixtures, models, optim, tokenizers

def experiment():
  corpus = corpora.manifest("train.jsonl", language="en")
  return Experiment(
    name="mine",
    tokenizers=(tokenizers.text(size=320), tokenizers.units(size=32, rate_hz=25, warps=1)),
    mixture=mixtures.blend((mixtures.asr(corpus), 1.0)),
    model=models.tiny(),
    optimizer=optim.adamw(peak_lr=1e-3),
    data=Packed(row_length=128),
  )
"""


def tone(seconds, hertz=300.0):
  time_S = np.arange(round(seconds * 16_000)) / 16_000
  return (0.3 * np.sin(2 * np.pi * hertz * time_S)).astype(np.float32)


def write_audio(folder, sound):
  """Writes `sound` different recordings, and one file for each kind of fault that has one."""
  for number in range(sound):
    soundfile.write(folder / f"{number}.wav", tone(0.2 + number % 5 / 10, 200 + number), 16_000)
  (folder / "text.wav").write_text("these are only words\n" * 50)
  wave_S = tone(0.3)
  wave_S[7] = np.nan
  soundfile.write(folder / "nan.wav", wave_S, 16_000, subtype="FLOAT")
  soundfile.write(folder / "3ms.wav", tone(0.003), 16_000)
  soundfile.write(folder / "3h.flac", np.full(3 * 3600 * 1000, 0.1, np.float32), 1000)
  soundfile.write(folder / "cut.wav", tone(0.4), 16_000)
  (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:5_000])
  soundfile.write(folder / "silent.wav", np.zeros(4_000), 16_000)


def planted(folder, count, faulty, sound):
  """Writes train.jsonl of `count` lines, every count / faulty-th with a fault.

  Returns how many there are of each kind, as `prepare` calls them.
  """
  write_audio(folder, sound)
  kinds = itertools.cycle(KINDS)
  lines, expected = [], collections.Counter()
  for number in range(count):
    line = {
      "id": f"u{number:05}",
      "audio": f"{number % sound}.wav",
      "text": " ".join(WORDS[(number + i) % 7] for i in range(1 + number % 4)),
      "speaker": f"s{number % sound % 3}",
    }
    if number % (count // faulty) == count // faulty - 1:
      kind = next(kinds)
      expected[KINDS[kind]] += 1
      line |= {"text": " "} if kind == "wordless" else {"audio": kind}
    lines.append(json.dumps(line))
  (folder / "train.jsonl").write_text("\n".join(lines))
  return dict(expected)


def left_out(workdir):
  (found,) = json.loads((workdir / "prepare.json").read_text())["corpora"].values()
  train = found["splits"]["train"]
  return train["records"], {kind: one["records"] for kind, one in train["quarantined"].items()}


def states(paths):
  """Returns what changes when a file is written again."""
  return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


@pytest.fixture
def experiment_of(monkeypatch):
  """Makes what an Experiment tells `prepare`, with tokenizers of a few lines."""
  import types
  from importlib import import_module
  from pathlib import Path

  from audiopalm import layouts
  from audiopalm.data.packed import Packed

  monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "data"))
  small = import_module("small_corpus")

  def make(*tasks):
    return types.SimpleNamespace(
      name="small", tasks=tasks, corpora=tuple(dict.fromkeys(task.corpus for task in tasks)),
      mixture=mixtures.blend(*((task, 1.0) for task in tasks)),
      tokenizers=(small.Letters(), small.Crossings()), layout=layouts.Chain(),
      data=Packed(row_length=160, batch_rows=4), seed=7, objective=NextToken(),
    )  # fmt: skip

  return make


def test_planted_faults_are_left_out_by_reason_and_counts_are_exact(
  experiment_of, tmp_path, monkeypatch
):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 32)
  expected = planted(tmp_path, 200, 20, sound=20)
  assert sum(expected.values()) == 20 and len(expected) == len(KINDS)
  settings = corpora.manifest(str(tmp_path / "train.jsonl"), language="en")
  experiment = experiment_of(mixtures.asr(settings))
  prepared = prepare.prepare(experiment, tmp_path / "run", workers=0)
  assert left_out(tmp_path / "run") == (180, expected)
  entries = prepared.entries(settings, "train")
  assert [entry.id for entry in entries][:2] == [
    "manifest/train/000000-u00000", "manifest/train/000001-u00001",
  ]  # fmt: skip
  reasons = [fault["reason"] for fault in entries.quarantined]
  assert reasons[0].startswith(f"{tmp_path}/train.jsonl:10 ({tmp_path}/missing): no such file.")
  with Local(0) as executor:
    found = inspection.inspect(settings.train, Reading(language="en"), executor)
  assert [fault.text for fault in found.faults] == reasons


def test_a_start_after_a_stop_makes_the_missing_shards_and_no_others(
  experiment_of, tmp_path, monkeypatch
):
  monkeypatch.setattr(prepare, "SHARD_RECORDS", 32)
  expected = planted(tmp_path, 200, 20, sound=20)
  settings = corpora.manifest(str(tmp_path / "train.jsonl"), language="en")
  experiment = experiment_of(mixtures.asr(settings))
  prepared = prepare.prepare(experiment, tmp_path / "run", workers=0)
  folder = prepared.folder(settings)
  whole = {path: path.read_bytes() for path in folder.glob("train-*")}
  for path in folder.glob("train-00002-*"):
    path.unlink()
  before = states(folder.glob("train-*"))
  prepare.prepare(experiment, tmp_path / "run", workers=0)
  after = states(folder.glob("train-*"))
  assert {path: after[path] for path in before} == before
  assert {path: path.read_bytes() for path in after} == whole
  assert left_out(tmp_path / "run") == (180, expected)


def test_a_prepared_run_does_not_need_its_manifest(experiment_of, tmp_path):
  planted(tmp_path, 40, 4, sound=20)
  settings = corpora.manifest(str(tmp_path / "train.jsonl"), language="en")
  experiment = experiment_of(mixtures.asr(settings))
  prepare.prepare(experiment, tmp_path / "run", workers=0)
  for path in tmp_path.iterdir():
    if path.is_file():
      path.unlink()
  assert len(prepare.open_prepared(experiment, tmp_path / "run").entries(settings, "train")) == 36


def test_a_task_leaves_out_and_counts_records_without_what_it_needs(
  experiment_of, tmp_path, capsys
):
  for number in range(6):
    soundfile.write(tmp_path / f"{number}.wav", tone(0.3 + number / 10, 200 + number), 16_000)
  rows = [
    {"audio": "0.wav", "text": "one", "language": "en", "pair": "a"},
    {"audio": "1.wav", "text": "un", "language": "fr", "pair": "a"},
    {"audio": "2.wav", "text": "two", "language": "en"},
    {"audio": "3.wav", "text": "trois", "language": "fr", "translation": "three", "lang": "fr"},
  ]
  rows[3]["translation_language"] = "en"
  (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
  test = [{"audio": "5.wav", "text": "six", "language": "en"}]
  (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, test)))
  settings = corpora.manifest(str(tmp_path / "train.jsonl"), test=str(tmp_path / "test.jsonl"))
  tasks = [task(settings) for task in (mixtures.asr, mixtures.ast, mixtures.s2st, mixtures.mt)]
  prepared = prepare.prepare(experiment_of(*tasks), tmp_path / "run", workers=0)
  entries = prepared.entries(settings, "train")
  assert [tuple(entry.languages.items()) for entry in entries] == [
    (("source", "en"), ("target", "fr")), (("source", "fr"), ("target", "en")),
    (("source", "en"),), (("source", "fr"), ("target", "en")),
  ]  # fmt: skip
  assert sorted(prepared.rows("asr", "train").records) == [0, 1, 2, 3]
  assert sorted(prepared.rows("ast", "train").records) == [0, 1, 3]
  assert sorted(prepared.rows("s2st", "train").records) == [0, 1]
  assert len(prepared.rows("ast", "test")) == 0 and len(prepared.rows("asr", "test")) == 1
  told = json.loads((tmp_path / "run" / "prepare.json").read_text())["tasks"]
  assert told["s2st"]["splits"]["train"]["lacking"] == 2
  assert told["s2st"]["splits"]["train"]["hours"] * 3600 == pytest.approx(2 * 0.7, abs=1e-3)
  assert told["asr"]["splits"]["train"]["hours"] * 3600 == pytest.approx(0.7 + 1.1, abs=1e-3)
  assert "Lacking a stream of the task: s2st, train: 2 records" in capsys.readouterr().out


def test_a_task_that_no_record_can_serve_says_why(experiment_of, tmp_path):
  soundfile.write(tmp_path / "0.wav", tone(0.5), 16_000)
  row = {"audio": "0.wav", "text": "un", "translation": "one"}
  (tmp_path / "train.jsonl").write_text(json.dumps(row))
  settings = corpora.manifest(
    str(tmp_path / "train.jsonl"), language="fr", translation_language="en"
  )
  with pytest.raises(
    DataError,
    match=r"'tts' has no records left: 1 of 1 training records of corpus 'manifest' lack one of "
    r"target.text, target.units; .* a translation as text only has no speech",
  ):
    prepare.prepare(experiment_of(mixtures.tts(settings)), tmp_path / "run", workers=0)


def test_ids_of_records_end_with_those_of_lines_as_file_names_may_have_them(tmp_path):
  soundfile.write(tmp_path / "a.wav", tone(0.5), 16_000)
  row = {"audio": "a.wav", "text": "one", "id": "x/y z:é" + "0" * 99}
  (tmp_path / "train.jsonl").write_text(json.dumps(row))
  settings = corpora.manifest(str(tmp_path / "train.jsonl"), language="en", name="mine")
  (record,) = manifest.records(settings, "train", 0, 1)
  assert record.id == "mine/train/000000-" + "0" * 60
  assert manifest.count(settings, "train") == 1 and manifest.count(settings, "test") == 0


def test_a_fault_of_the_manifest_is_exit_code_2_before_any_recording_is_opened(tmp_path, capsys):
  from audiopalm.cli import main

  (tmp_path / "mine.py").write_text(CONFIG.replace("train.jsonl", f"{tmp_path}/train.jsonl"))
  (tmp_path / "train.jsonl").write_text('{"audio": "a.wav", "text": "one"}\n{"audio": \n')
  arguments = ["prepare", str(tmp_path / "mine.py"), "--workdir", str(tmp_path / "run")]
  assert main.main(arguments) == 2
  text = capsys.readouterr().err
  assert text.startswith("DataError: The manifest has a fault, and no recording was opened:\n")
  assert f"{tmp_path}/train.jsonl:2: is not JSON: Expecting value, column 11." in text
  assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_ten_thousand_lines_survive_sigkill_and_nothing_is_written_twice(tmp_path):
  """Minutes of one core: 10,000 lines over 300 recordings, 1 % of them faulty."""
  expected = planted(tmp_path, 10_000, 100, sound=300)
  assert sum(expected.values()) == 100 and set(expected) == set(KINDS.values())
  (tmp_path / "mine.py").write_text(CONFIG)
  workdir = tmp_path / "run"
  command = [sys.executable, "-m", "audiopalm", "prepare", "mine.py", "--workdir", "run"]
  with open(tmp_path / "log.txt", "w") as log:
    started = subprocess.Popen(
      command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
    )
    while started.poll() is None and len(finished(workdir)) < 10:
      time.sleep(0.02)
    os.killpg(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL, (tmp_path / "log.txt").read_text()
  kept = finished(workdir)
  assert 10 <= len(kept) < 40
  before = states([*kept, *(path.with_suffix(".json") for path in kept)])
  fitted = states((workdir / "tokenizers").rglob("*.*"))
  subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
  assert states(before) == before
  assert states(fitted) == fitted
  assert len(finished(workdir)) == 40
  assert left_out(workdir) == (9_900, expected)


def finished(workdir):
  """Returns the shards of the training split that are whole."""
  shards = sorted(workdir.glob("streams/manifest-*/train-*.arrayrecord"))
  return list(itertools.compress(shards, cache.finished(shards)))


def listed(folder, names):
  lines = [{"audio": f"clips/{name}", "text": "one", "language": "en"} for name in names]
  path = folder / "train.jsonl"
  path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
  return corpora.manifest(str(path))


def test_a_recording_that_is_missing_is_a_fault_of_its_record_while_others_are_there(tmp_path):
  settings = listed(tmp_path, ("a.wav", "b\0.wav", "c.wav"))
  (tmp_path / "clips").mkdir()
  soundfile.write(tmp_path / "clips/c.wav", tone(0.5), 16_000)
  with pytest.raises(AudioError, match="no such file"):
    list(manifest.records(settings, "train", 0, 1))
  with pytest.raises(AudioError, match="null byte|no such file"):
    list(manifest.records(settings, "train", 1, 2))
  assert len(list(manifest.records(settings, "train", 2, 3))) == 1


@pytest.mark.parametrize("there", ["no folder", "an empty folder"])
def test_recordings_that_are_all_missing_are_a_fault_of_the_machine(tmp_path, there):
  settings = listed(tmp_path, ("a.wav", "b.wav", "c.wav"))
  if there == "an empty folder":  # as where nothing is mounted
    (tmp_path / "clips").mkdir()
  with pytest.raises(
    DataError, match="nor can any recording of its split .3 were tried.. Mo"
  ) as error:
    list(manifest.records(settings, "train", 1, 2))
  assert not isinstance(error.value, RecordError)
  assert f"train.jsonl:2: {tmp_path}/clips/b.wav cannot be opened on " in str(error.value)
