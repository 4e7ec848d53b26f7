import json
import threading
import time

import pytest

from audiopalm.data import lock, store
from audiopalm.errors import ConfigError, DataError

URL = "fake://bucket/run"


@pytest.fixture
def on(fake_store, tmp_path):
  """Opens the workdir of URL on a machine, by its name, for a command that trains or reads."""

  def opened(machine, command="train", **seconds):
    place = store.address(URL, tmp_path / machine)
    changes = command in ("train", "prepare")
    return store.opened(place, command, changes=changes, **seconds)

  return opened


def write(workdir, **contents):
  for name, text in contents.items():
    path = workdir / name.replace("__", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def contents(workdir):
  return {
    path.relative_to(workdir).as_posix(): path.read_text()
    for path in workdir.rglob("*")
    if path.is_file()
  }


def stored(fake_store):
  """Returns what the store holds of the workdir, without what it says of itself."""
  named = {name.removeprefix("bucket/run/"): data for name, data in fake_store.objects().items()}
  return {name: data.decode() for name, data in named.items() if name != store.INDEX}


def test_what_one_machine_wrote_is_there_on_another(on, fake_store):
  with on("a") as workdir:
    write(workdir, config="1", checkpoints__3__rest__d="arrays", checkpoints__3__meta__metadata="m")
    write(workdir, **{"rows/[x] y.npz": "strange name"})
    written = contents(workdir)
  assert stored(fake_store) == written
  with on("b") as workdir:
    assert contents(workdir) == written
    write(workdir, config="2")
    (workdir / "checkpoints" / "3" / "rest" / "d").unlink()
  with on("a", "evaluate") as workdir:
    assert contents(workdir) == stored(fake_store)
    assert contents(workdir)["config"] == "2"
    assert not (workdir / "checkpoints" / "3" / "rest" / "d").exists()


def test_only_what_changed_goes_to_the_store_and_comes_from_it(on, fake_store, capsys):
  with on("a") as workdir:
    write(workdir, one="1", two="2")
  fake_store.log.clear()
  with on("a") as workdir:
    write(workdir, two="22")
  puts = [line for line in fake_store.log if "writer.json" not in line]
  assert puts == ["put bucket/run/two", "put bucket/run/files.json"]
  with on("b", "evaluate"):
    pass
  assert "downloading 2 files (3 B)" in capsys.readouterr().err
  with on("b", "evaluate"):
    pass
  assert capsys.readouterr().err == ""


def test_the_meta_of_a_checkpoint_is_put_last_and_removed_first(on, fake_store):
  names = ["meta/metadata", "rest/array", "params/array", "params/more.json"]
  with on("a") as workdir:
    write(workdir, **{f"checkpoints/7/{name}": name for name in names})
  of_7 = [line.split("checkpoints/7/")[1] for line in fake_store.log if "/7/" in line]
  assert of_7[-2:] == ["params/more.json", "meta/metadata"]
  fake_store.log.clear()
  with on("a") as workdir:
    for name in names:
      (workdir / "checkpoints" / "7" / name).unlink()
  assert fake_store.log[1] == "removed bucket/run/checkpoints/7/meta/metadata"


def test_what_is_not_whole_or_of_one_machine_stays_there(on, fake_store):
  with on("a") as workdir:
    write(workdir, **{
      "checkpoints/3.unverified/params/d": "", "checkpoints/2.removed/params/d": "",
      "streams/.train.0a1b.part": "", "tokenizers/.units.0a1b.part/arrays": "",
      "train.lock": "", "damaged_checkpoints/1/meta/metadata": "", "kept": "x",
    })  # fmt: skip
  assert stored(fake_store) == {"kept": "x"}


def test_what_is_written_while_a_command_runs_goes_out_meanwhile(on, fake_store):
  with on("a", upload_every_s=0.05) as workdir:
    write(workdir, log="one line")
    deadline_s = time.monotonic() + 30
    while "log" not in stored(fake_store) and time.monotonic() < deadline_s:
      time.sleep(0.02)
    assert stored(fake_store)["log"] == "one line"


def test_what_was_written_before_an_error_is_kept(on, fake_store):
  with pytest.raises(RuntimeError, match="a bug"), on("a") as workdir:
    write(workdir, log="one line")
    raise RuntimeError("a bug")
  assert stored(fake_store) == {"log": "one line"}


def test_a_machine_that_was_killed_goes_on_with_what_it_has(on, fake_store):
  with on("a") as workdir:
    write(workdir, log="1", old="checkpoint")
  (workdir / "old").unlink()
  write(workdir, log="1 2")  # and it is killed before it is put
  with on("a") as workdir:
    assert contents(workdir) == {"log": "1 2"}
  assert stored(fake_store) == {"log": "1 2"}


def test_what_was_brought_before_the_store_failed_is_not_brought_again(on, fake_store, capsys):
  with on("a") as workdir:
    write(workdir, one="1", two="2")
  fake_store.fails = "two"
  with pytest.raises(DataError, match="two cannot be read"), on("b", "evaluate"):
    pass
  fake_store.fails = None
  with on("b", "evaluate") as workdir:
    assert contents(workdir) == {"one": "1", "two": "2"}
  assert "downloading 1 files (1 B)" in capsys.readouterr().err


def test_what_a_killed_machine_had_alone_is_moved_aside_where_the_store_went_on(on, capsys):
  with on("a") as workdir:
    write(workdir, log="1")
  write(workdir, log="1 2", more="x")  # and it is killed
  with on("b") as other:
    write(other, log="1 3")
  with on("a") as workdir:
    assert contents(workdir) == {"log": "1 3"}
  assert contents(workdir.with_name("workdir.1")) == {"log": "1 2", "more": "x"}
  assert "was changed elsewhere: local changes that it lacked are in" in capsys.readouterr().err


def test_files_deleted_on_this_machine_between_commands_come_back(on, fake_store):
  with on("a") as workdir:
    write(workdir, log="1", more="2")
  (workdir / "log").unlink()
  with on("a", "evaluate") as workdir:
    assert contents(workdir) == {"log": "1", "more": "2"}
  assert stored(fake_store) == {"log": "1", "more": "2"}


def test_an_evaluation_elsewhere_keeps_what_training_writes_meanwhile(on, fake_store):
  with on("a") as training:
    write(training, log="1")
  with on("b", "evaluate") as evaluating:
    with on("a") as training:
      write(training, log="1 2")
    write(evaluating, evaluation__results="scores")
  assert stored(fake_store) == {"log": "1 2", "evaluation/results": "scores"}
  with on("c", "evaluate") as workdir:
    assert contents(workdir) == stored(fake_store)


def test_an_evaluation_beside_training_reads_what_is_there_and_sends_only_its_own(on, fake_store):
  with on("a") as training:
    write(training, log="1", checkpoints__2__params__d="arrays", checkpoints__2__meta__metadata="m")
  with on("a", upload_every_s=0.05) as training:
    (training / "checkpoints" / "2" / "params" / "d").unlink()
    write(training, log="1 2", checkpoints__4__params__d="more")
    with on("a", "evaluate") as reading:
      assert contents(reading)["log"] == "1 2"
      write(reading, evaluation__results="scores")
  assert stored(fake_store) == contents(training)
  assert set(json.loads(fake_store.objects()["bucket/run/files.json"])) == set(contents(training))
  with on("b", "evaluate") as workdir:
    assert contents(workdir) == contents(training)


def test_reading_a_run_that_is_not_there_is_an_error(on):
  with pytest.raises(ConfigError) as error, on("a", "evaluate"):
    pass
  assert str(error.value) == (
    "There is no run in fake://bucket/run: it has no files.json. Train one: audiopalm train "
    "CONFIG --workdir fake://bucket/run"
  )


def test_a_second_writer_on_this_machine_is_refused(on):
  with on("a"), pytest.raises(ConfigError, match="is in use: process .* runs audiopalm train"):
    with on("a", "prepare"):
      pass


def test_a_writer_elsewhere_is_waited_for_and_refused_while_it_lives(on, fake_store):
  with on("a", beat_s=0.05), pytest.raises(ConfigError) as error, on("b", beat_s=1.0):
    pass
  assert "fake://bucket/run is in use: process" in str(error.value)
  assert "runs audiopalm train there. Wait until it has ended, stop it, or choose" in str(
    error.value
  )
  with on("b"):
    pass
  assert store.WRITER not in stored(fake_store)


def test_a_writer_that_died_elsewhere_is_replaced(on, fake_store, capsys):
  dead = {"id": "0", "command": "train", "host": "gone", "process": 1, "home": "/", "since": "then"}
  fake_store().pipe_file("fake://bucket/run/writer.json", json.dumps(dead).encode())
  with on("a", beat_s=0.05) as workdir:
    write(workdir, log="1")
  assert "process 1 on gone, since then, wrote to fake://bucket/run" in capsys.readouterr().err
  assert stored(fake_store) == {"log": "1"}


def test_a_writer_that_another_one_replaced_stops_and_writes_no_more(on, fake_store, monkeypatch):
  stopped = threading.Event()
  monkeypatch.setattr(store.os, "kill", lambda process, number: stopped.set())
  with pytest.raises(ConfigError) as error, on("a", beat_s=0.05) as workdir:
    other = {"id": "other", "host": "there", "process": 2, "home": "/", "since": "now"}
    fake_store().pipe_file("fake://bucket/run/writer.json", json.dumps(other).encode())
    assert stopped.wait(30)
    write(workdir, log="1")
  assert "Another process writes to fake://bucket/run now, as this one had no heartbeat" in str(
    error.value
  )
  assert list(stored(fake_store)) == [store.WRITER]


def test_a_run_that_went_on_elsewhere_waits_for_who_reads_the_old_one(on):
  with on("a") as workdir:
    write(workdir, log="1")
  with on("a", "evaluate"):
    with on("b") as other:
      write(other, log="1 2")
    with pytest.raises(
      ConfigError, match="another command on this machine still reads the older files"
    ):
      with on("a"):
        pass
  with on("a") as workdir:
    assert contents(workdir) == {"log": "1 2"}


def test_a_store_that_fails_is_said_and_what_is_here_stays(on, fake_store):
  with pytest.raises(DataError) as error, on("a") as workdir:
    fake_store.fails = "log"
    write(workdir, log="1")
  assert str(error.value) == (
    "fake://bucket/run/log cannot be written: RuntimeError: 503 Service Unavailable. Check the "
    "address, the credentials and the network, then run the same command again: local files are "
    "kept."
  )
  fake_store.fails = None
  with on("a") as workdir:
    assert contents(workdir) == {"log": "1"}
  assert stored(fake_store) == {"log": "1"}


def test_what_was_sent_before_the_store_failed_is_listed_once_it_works(on, fake_store):
  with on("a") as workdir:
    write(workdir, **{"streams/shard": "1"})
    mirror = store.Mirror(store.address(URL, workdir.parents[1]))
    fake_store.fails = "files.json"
    with pytest.raises(DataError, match="files.json cannot be written"):
      mirror.push()
    fake_store.fails, log = None, fake_store.log[:]
    mirror.push()
    assert json.loads(fake_store.objects()["bucket/run/files.json"]).keys() == {"streams/shard"}
    assert [line for line in fake_store.log[len(log) :] if "shard" in line] == []


def test_a_bucket_that_is_not_there_is_an_error(fake_store, tmp_path):
  place = store.address("fake://other/run", tmp_path)
  with pytest.raises(ConfigError) as error, store.opened(place, "train", changes=True):
    pass
  assert str(error.value) == (
    "fake://other/run/writer.json cannot be written: the store has no such location. "
    "Create the bucket first, or correct the address."
  )


def test_a_file_that_goes_while_it_is_sent_is_no_error(on, fake_store, monkeypatch):
  with on("a") as workdir:
    write(workdir, log="1", gone="2")
    copy_of = store._copy_of

    def removing(path):
      copy = copy_of(path)
      if path.name == "gone":
        path.unlink()
      return copy

    monkeypatch.setattr(store, "_copy_of", removing)
  assert stored(fake_store) == {"log": "1"}


def test_a_damaged_index_is_an_error(on, fake_store):
  fake_store().pipe_file("fake://bucket/run/files.json", b"{")
  with pytest.raises(DataError, match="fake://bucket/run/files.json: expected JSON, but it is dam"):
    with on("a"):
      pass


def test_a_store_that_nothing_knows_or_whose_client_is_missing_is_an_error(tmp_path, monkeypatch):
  with pytest.raises(ConfigError, match="nosuch://b: fsspec knows no store nosuch://. Use gs://"):
    store.Store("nosuch://b")

  def missing(url):
    raise ImportError("Please install gcsfs to access Google Storage")

  monkeypatch.setattr(store.fsspec.core, "url_to_fs", missing)
  with pytest.raises(ConfigError) as error:
    store.Store("gs://b/run")
  assert str(error.value) == (
    "gs://b/run needs a client of gs://: Please install gcsfs to access Google Storage. Do: pip "
    "install 'audiopalm[gcs]'."
  )
  with pytest.raises(ConfigError, match="Do: install the client of that store."):
    store.Store("adl://b/run")


def test_addresses_have_folders_of_their_own(tmp_path):
  one, other = store.address("gs://b/run/", tmp_path), store.address("gs://b_run", tmp_path)
  assert one == store.address("gs://b/run", tmp_path)
  assert one.home != other.home
  assert str(one) == "gs://b/run"
  with lock.held(one.home, "train"):
    pass
