"""What may befall `audiopalm prepare`, done to real processes of the command line."""

import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiopalm.data import executors
from audiopalm.data.manifest import columns, lines
from audiopalm.data.manifest.lines import Reading

pytestmark = pytest.mark.long

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
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
    data=Packed(row_length=128, too_long="drop"),
  )
"""
LINES, FILES = 1_500, 40  # six shards
TWO = ("--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
BEAM = ("--executor", "beam", "--workers", "1", "--")


def encoded(seconds=0.6, hertz=300.0, rate_hz=16_000, channels=1, form="WAV", subtype="PCM_16"):
  time_S = np.arange(round(seconds * rate_hz)) / rate_hz
  wave_SC = np.repeat(0.3 * np.sin(2 * np.pi * hertz * time_S)[:, None], channels, axis=1)
  buffer = io.BytesIO()
  soundfile.write(buffer, wave_SC, rate_hz, format=form, subtype=subtype)
  return buffer.getvalue()


def row(number, audio):
  text = " ".join(WORDS[(number + i) % 7] for i in range(1 + number % 4))
  return {"id": f"u{number:05}", "audio": audio, "text": text, "speaker": f"s{number % 3}"}


def write(folder, rows):
  folder.mkdir(exist_ok=True)
  (folder / "mine.py").write_text(CONFIG)
  (folder / "train.jsonl").write_bytes(b"\n".join(rows))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  """Returns a folder with a config and the recordings it trains on."""
  folder = tmp_path_factory.mktemp("corpus")
  write(folder, [json.dumps(row(n, f"{n % FILES}.wav")).encode() for n in range(LINES)])
  for number in range(FILES):
    audio = encoded(0.3 + number % 5 / 10, 200 + 10 * number)
    (folder / f"{number}.wav").write_bytes(audio)
  return folder


@pytest.fixture(scope="module")
def whole(corpus):
  """Returns what one worker writes that nobody disturbs."""
  ended = prepare(corpus, "whole", "--workers", "1")
  assert ended.returncode == 0, ended.stderr
  return made(corpus / "whole")


def command(workdir, *more):
  return [sys.executable, "-m", "audiopalm", "prepare", "mine.py", "--workdir", workdir, *more]


def prepare(folder, workdir, *more):
  return subprocess.run(
    command(workdir, *more), cwd=folder, capture_output=True, text=True, timeout=300
  )


def started(folder, workdir, *more):
  # Tests that a shell has started in the background ignore SIGINT, and so would what they start.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  try:
    return subprocess.Popen(
      command(workdir, *more), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
      text=True, start_new_session=True,
    )  # fmt: skip
  finally:
    signal.signal(signal.SIGINT, before)


def made(workdir, names=("manifest.json", "streams", "tokenizers", "rows")):
  """Returns {name: bytes} of all that training reads."""
  paths = itertools.chain.from_iterable(
    (workdir / name, *(workdir / name).rglob("*")) for name in names
  )
  return {str(path.relative_to(workdir)): path.read_bytes() for path in paths if path.is_file()}


def parts(workdir):
  return list(workdir.rglob(".*.part"))


def shards(workdir):
  """Returns what changes when a shard with its final name is written again."""
  paths = workdir.glob("streams/*/*.arrayrecord")
  return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}


def wait_for(condition, process, seconds=120.0):
  until_s = time.monotonic() + seconds
  while not condition():
    assert process.poll() is None and time.monotonic() < until_s, process.communicate()[1]
    time.sleep(0.002)


def writes_a_shard(workdir):
  return lambda: any(workdir.glob("streams/*/.*.arrayrecord.*.part"))


def assert_nothing_half(workdir, whole):
  """Whatever has its final name has its final bytes."""
  there = {name: data for name, data in made(workdir).items() if not name.endswith(".part")}
  assert {name for name, data in there.items() if data != whole[name]} == set()


def assert_goes_on(corpus, workdir, whole, *more):
  """A second start makes what is missing, and leaves what is there."""
  before = shards(corpus / workdir)
  ended = prepare(corpus, workdir, *more)
  assert ended.returncode == 0, ended.stderr
  assert made(corpus / workdir) == whole
  assert parts(corpus / workdir) == []
  after = shards(corpus / workdir)
  assert {path: after[path] for path in before} == before


def one_line(text):
  """Returns the only line of an error for the user; what the MP3 decoder says is none."""
  said = [line for line in text.splitlines() if line and "mpg123" not in line]
  assert "Traceback" not in text and len(said) == 1, text
  return said[0]


def test_prepares_that_were_killed_end_with_the_same_bytes(corpus, whole):
  draw, inside = random.Random(7), 0
  for number in range(5):
    workdir = corpus / f"killed-{number}"
    process = started(corpus, workdir.name, "--workers", "2")
    if number == 0:
      time.sleep(draw.uniform(0.0, 4.0))  # before the first shard
    else:
      wait_for(writes_a_shard(workdir), process)
      time.sleep(draw.uniform(0.0, 0.6))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    inside += writes_a_shard(workdir)()
    assert_nothing_half(workdir, whole)
    assert_goes_on(corpus, workdir.name, whole, "--workers", "2")
  assert inside >= 3


def test_a_worker_that_is_killed_inside_a_shard_is_one_text_and_leaves_no_half(corpus, whole):
  workdir = corpus / "orphaned"
  process = started(corpus, workdir.name, "--workers", "1")
  wait_for(writes_a_shard(workdir), process)
  (worker,) = (pid for pid, said in children(process.pid) if "spawn_main" in said)
  os.kill(worker, signal.SIGKILL)
  text = one_line(process.communicate(timeout=60)[1])
  assert process.returncode == 2
  assert text.startswith("DataError: A worker process died, most likely out of memory.")
  assert parts(workdir)
  assert_nothing_half(workdir, whole)
  assert_goes_on(corpus, workdir.name, whole, "--workers", "1")


def children(parent):
  """Returns (pid, command line) of the processes that one has started, theirs as well."""
  listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True)
  found = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
  ours = [(int(pid), said) for pid, its_parent, said in found if int(its_parent) == parent]
  return [*ours, *itertools.chain.from_iterable(children(pid) for pid, _ in ours)]


def test_a_full_device_is_one_text_and_prepare_goes_on_once_there_is_room(corpus, whole):
  place = corpus / "small"
  place.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=768k", "tmpfs", str(place)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip("this machine lets us mount no small device")
  try:
    ended = prepare(corpus, "small/run", "--workers", "2")
    assert ended.returncode == 2
    text = one_line(ended.stderr)
    assert text.startswith(f"DataError: No space left on the device of {place}/run/streams/")
    assert "run the same command again" in text
    assert 0 < len(shards(place / "run")) < 6
    assert parts(place) == []
    assert_nothing_half(place / "run", whole)
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
    assert_goes_on(corpus, "small/run", whole, "--workers", "2")
  finally:
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
  "options", [("--workers", "2"), BEAM, (*BEAM, *TWO)], ids=["local-2", "beam-1", "beam-2"]
)
def test_any_executor_with_any_number_of_workers_writes_the_same_bytes(
  corpus, whole, options, tmp_path
):
  if BEAM[0] in options:
    pytest.importorskip("apache_beam", reason="it comes with audiopalm[data]")
  ended = prepare(corpus, tmp_path, *options)
  assert ended.returncode == 0, ended.stderr
  assert made(tmp_path) == whole


@pytest.fixture
def pool():
  """Returns the address of workers that are there before Beam asks for them, as on a cluster."""
  pytest.importorskip("apache_beam", reason="it comes with audiopalm[data]")
  with socket.create_server(("localhost", 0)) as free:
    port = free.getsockname()[1]
  paths = {"PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))}
  process = subprocess.Popen(
    [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"],
    env=os.environ | executors.SINGLE_THREAD | paths, stderr=subprocess.DEVNULL,
    start_new_session=True,
  )  # fmt: skip
  yield f"localhost:{port}"
  os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def test_workers_that_beam_did_not_start_write_the_same_bytes(corpus, whole, pool, tmp_path):
  portable = ("--runner=PortableRunner", "--job_endpoint=embed")
  external = ("--environment_type=EXTERNAL", f"--environment_config={pool}")
  ended = prepare(corpus, tmp_path, *BEAM, *portable, *external)
  assert ended.returncode == 0, ended.stderr
  assert made(tmp_path) == whole


def test_two_prepares_at_one_time_may_share_a_streams_folder(corpus, whole, tmp_path):
  shared = ("--streams", tmp_path / "streams", "--workers", "1")
  first = started(corpus, tmp_path / "a", *shared)
  wait_for(writes_a_shard(tmp_path), first)
  second = started(corpus, tmp_path / "b", *shared)
  for process in (first, second):
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
  kept = made(tmp_path, ["streams/tokenizers"])
  assert len(kept) == 4
  assert set(kept.values()) < set(made(tmp_path / "a", ["tokenizers"]).values())
  streams = {name: found for name, found in made(tmp_path, ["streams"]).items() if name not in kept}
  for workdir in ("a", "b"):
    assert made(tmp_path / workdir) | streams == whole
  assert parts(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_beam_is_ended_by_a_signal_and_goes_on_after_it(corpus, whole, number):
  pytest.importorskip("apache_beam", reason="it comes with audiopalm[data]")
  workdir = corpus / f"beam-{number.name}"
  process = started(corpus, workdir.name, *BEAM, *TWO)
  wait_for(lambda: len(shards(workdir)) > 1 and writes_a_shard(workdir)(), process)
  ours = [pid for pid, _ in children(process.pid)]
  process.send_signal(number)
  said = process.communicate(timeout=60)[1]
  assert process.returncode == {signal.SIGTERM: 75, signal.SIGINT: 130}.get(number, -number), said
  if number != signal.SIGKILL:
    assert "What was written is kept" in one_line(said)
  wait_for_the_end_of(ours)
  assert_nothing_half(workdir, whole)
  assert_goes_on(corpus, workdir.name, whole, *BEAM, *TWO)


def wait_for_the_end_of(processes, seconds=20.0):
  until_s = time.monotonic() + seconds
  while True:
    pids = ",".join(map(str, processes))
    listed = subprocess.run(["ps", "-o", "stat=,args=", "-p", pids], capture_output=True, text=True)
    living = [line for line in listed.stdout.splitlines() if not line.startswith("Z")]
    if not living:
      return
    assert time.monotonic() < until_s, living
    time.sleep(0.1)


def test_an_error_of_a_worker_of_beam_is_one_text(corpus, tmp_path):
  pytest.importorskip("apache_beam", reason="it comes with audiopalm[data]")
  shutil.copytree(corpus, tmp_path / "copy", ignore=lambda folder, names: {"whole"} & {*names})
  process = started(tmp_path / "copy", "run", *BEAM)
  fitted = tmp_path / "copy" / "run" / "tokenizers" / "fit.json"
  wait_for(fitted.exists, process)
  (tmp_path / "copy" / "train.jsonl").write_text(json.dumps(row(0, "0.wav")))
  text = one_line(process.communicate(timeout=60)[1])
  assert process.returncode == 2
  assert re.match(
    r"ConfigError: train.jsonl has changed since the config was read\. .* again\.", text
  )


ENCODINGS = (
  {"form": "WAV"}, {"form": "WAV", "subtype": "FLOAT", "channels": 2, "rate_hz": 8_000},
  {"form": "WAV", "subtype": "PCM_24", "rate_hz": 44_100}, {"form": "FLAC"},
  {"form": "FLAC", "subtype": "PCM_24", "channels": 2, "rate_hz": 48_000},
  {"form": "OGG", "subtype": "VORBIS"}, {"form": "OGG", "subtype": "OPUS", "rate_hz": 48_000},
  {"form": "MP3", "subtype": "MPEG_LAYER_III"},
)  # fmt: skip
SIZES = (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
RATES = (0, 1, 13, 999, 10**6, 2**31 - 1, 2**31, 2**32 - 1)


def mutated(draw, data):
  """Returns bytes of a sound file with one kind of damage."""
  data = bytearray(data)
  match draw.randrange(9):
    case 0:
      return data[: draw.randrange(len(data))]
    case 1:
      for _ in range(draw.randint(1, 20)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    case 2:
      for _ in range(draw.randint(1, 6)):
        data[draw.randrange(80)] = draw.randrange(256)
    case 3:
      return bytearray()
    case 4:
      return draw.randbytes(draw.randrange(3_000))
    case 5:
      at = draw.choice((4, 16, 40, draw.randrange(60)))
      data[at : at + 4] = struct.pack("<I", draw.choice(SIZES))
    case 6:
      data[24:28] = struct.pack("<I", draw.choice(RATES))  # of a WAV
    case 7:
      data[18:26] = struct.pack(">Q", draw.getrandbits(64))  # rate, channels and length of a FLAC
    case 8:
      at = draw.randrange(len(data))
      data[at:at] = draw.randbytes(draw.randrange(200))
  return data


def test_seven_hundred_damaged_recordings_are_kept_or_left_out_and_none_is_lost(tmp_path):
  draw, rows = random.Random(11), []
  bases = [(how["form"].lower(), encoded(0.5, **how)) for how in ENCODINGS]
  (tmp_path / "folder.wav").mkdir()
  paths = ["folder.wav", "missing.wav", "../../etc/passwd", "/dev/zero", ".", "a\0b.wav", "a" * 300]
  for number in range(700):
    ending, data = draw.choice(bases)
    ending = draw.choice((ending, ending, ending, "wav", "flac", "ogg", "mp3", "raw", "bin"))
    name = f"{number}.{ending}"
    (tmp_path / name).write_bytes(mutated(draw, data))
    rows.append(row(number, name))
  rows += [row(700 + number, path) for number, path in enumerate(paths)]
  (tmp_path / "sound.wav").write_bytes(encoded())
  rows += [row(800 + n, "sound.wav") for n in range(100)]
  write(tmp_path, [json.dumps(each).encode() for each in rows])
  ended = prepare(tmp_path, "run", "--workers", "2")
  assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
  records, left_out = counted(tmp_path / "run")
  assert records + sum(left_out.values()) == len(rows)
  assert 100 < records < 500
  assert {"not audio", "truncated", "too short", "too long", "no such file"} <= left_out.keys()
  ended = prepare(tmp_path, "run", "--max-bad", "1%")
  assert ended.returncode == 2
  assert f"{sum(left_out.values())} of {len(rows)} records" in ended.stderr


def counted(workdir):
  """Returns how many records there are, and how many were left out by reason."""
  (found,) = json.loads((workdir / "prepare.json").read_text())["corpora"].values()
  train = found["splits"]["train"]
  return train["records"], {kind: one["records"] for kind, one in train["quarantined"].items()}


VALUES = (
  None, True, -1, 1.5, 1e308, 10**400, float("nan"), float("inf"), "", "  ", "\0", "a\0b.wav",
  "\ud800", "x" * 5_000, "~", "~no_such_user/a.wav", "/", "..", "/dev/zero", [], {}, [[]], {"a": 1},
  "é\u202e\u0301", "2", "1e5", "nan", "\t", "en", "xx", "source", "target", [["a", 0, 1]],
  [["a", 1, 0]], [{"word": "a", "start": 0, "end": 9}], "[[1,2", "[" * 3_000,
)  # fmt: skip
INSERTED = (b"\0", b"\r", b"\xff", b"\xe2\x80\xa8", b'"', b"\\", b"{", b"1" * 5_000)


def damaged(draw, number):
  """Returns a line of a manifest with one to three odd values, mostly cut or changed besides."""
  values = row(number, f"{number % 9}.wav") | {"language": "en"}
  names = sorted({name for names in columns.COLUMNS.values() for name in names} | {"other"})
  for name in draw.sample(names, draw.randint(1, 3)):
    if draw.random() < 0.15:
      values.pop(name, None)
    else:
      values[name] = draw.choice(VALUES)
  text = json.dumps(values, ensure_ascii=draw.random() < 0.5)
  line = bytearray(text.encode("utf-8", "surrogatepass"))
  match draw.randrange(6):
    case 0:
      line = line[: draw.randrange(len(line))]
    case 1:
      for _ in range(draw.randint(1, 5)):
        line[draw.randrange(len(line))] ^= 1 << draw.randrange(8)
    case 2:
      at = draw.randrange(len(line))
      line[at:at] = draw.choice(INSERTED)
  return bytes(line).replace(b"\n", b" ")


def test_three_hundred_damaged_lines_are_refused_by_number_and_the_others_counted(tmp_path):
  draw = random.Random(13)
  rows = [damaged(draw, number) for number in range(300)]
  rows += [json.dumps(row(300 + n, f"{n}.wav")).encode() for n in range(9)]
  for number in range(9):
    (tmp_path / f"{number}.wav").write_bytes(encoded(hertz=200 + 10 * number))
  write(tmp_path, rows)
  ended = prepare(tmp_path, "run")
  assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
  assert re.match(r"DataError: The manifest has \d+ faults, and no recording was", ended.stderr)
  assert not (tmp_path / "run").exists()
  while faults := lines.read(str(tmp_path / "train.jsonl"), Reading(language="en")).faults:
    wrong = {fault.location.line for fault in faults}
    rows = [line for number, line in enumerate(rows, 1) if number not in wrong]
    write(tmp_path, rows)
  assert 15 < len(rows) < 200
  ended = prepare(tmp_path, "run", "--workers", "2")
  assert ended.returncode == 0 and "Traceback" not in ended.stderr, ended.stderr
  records, left_out = counted(tmp_path / "run")
  read = lines.read(str(tmp_path / "train.jsonl"), Reading(language="en")).lines
  assert records + sum(left_out.values()) == len(list(lines.joined(read)))
  assert records > 9 and sum(left_out.values()) > 0
