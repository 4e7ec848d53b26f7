"""Workdirs in object stores: worked on as files of this machine, and kept the same in the store.

    gs://bucket/run                what another machine goes on from
      files.json                   all files with their sizes and checksums; written last
      writer.json                  who trains there now
      config.json, checkpoints/... the files, under their names
    SCRATCH/gs_bucket_run-1f0c2a9b/
      workdir/                     what commands read and write, as in every workdir
      synced.json                  what the store held of it, and the files as they were then

A store has no rename, no append and no lock, so each object is written whole. Within a checkpoint
`meta`, without which it counts for nobody, is written last and removed first. ArrayRecord and the
arrays of a checkpoint are read at random: both are read from this machine.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import re
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from audiopalm import quantities
from audiopalm.data import files, lock
from audiopalm.errors import AudiopalmError, ConfigError, DataError

CHANGE = "change"  # the lock of all commands that change a run, so that one does at a time
INDEX, WRITER, SYNCED = "files.json", "writer.json", "synced.json"
UPLOAD_EVERY_S = 60.0
BEAT_S, BEATS = 15.0, 4  # a writer that changes nothing for so many beats is gone
THREADS = 16  # that copy files: most of the time they wait for the store
SCRATCH = Path("~/.cache/audiopalm/workdirs")
EXTRAS = {"gs": "gcs", "s3": "s3"}  # what brings the client of a store
META = re.compile(r"checkpoints/\d+/meta/.*")
# Not whole yet, of this machine alone, or set aside as damaged.
LOCAL = re.compile(
  r"(^|.*/)\.[^/]*\.part(/.*)?$|.*\.lock$|damaged_checkpoints/.*"
  r"|checkpoints/(?!\d+/).*"
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StoreAddress:
  """A workdir in an object store, "gs://bucket/run", and the folder of this machine for it."""

  url: str
  home: Path

  @property
  def workdir(self) -> Path:
    return self.home / "workdir"

  def __str__(self) -> str:
    return self.url


def is_address(text: str) -> bool:
  """Returns whether a text names something in an object store, as "gs://bucket/run" does."""
  return re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def address(url: str, scratch: Path | None = None) -> StoreAddress:
  """Returns the address that a text names; `scratch` is where its files lie on this machine."""
  url = url.rstrip("/")
  name = re.sub(r"[^A-Za-z0-9._-]+", "_", url)[:80]
  home = f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
  return StoreAddress(url, (scratch or SCRATCH).expanduser().absolute() / home)


class Store:
  """The objects under a URL: read, written and removed whole, by their names."""

  def __init__(self, url: str):
    self.url = url
    scheme = url.partition("://")[0]
    try:
      self._objects, self._root = fsspec.core.url_to_fs(url)
    except ImportError as error:
      extra = EXTRAS.get(scheme)
      how = f"pip install 'audiopalm[{extra}]'" if extra else "install the client of that store"
      raise ConfigError(f"{url} needs a client of {scheme}://: {error}. Do: {how}.") from error
    except ValueError as error:
      raise ConfigError(
        f"{url}: fsspec knows no store {scheme}://. Use gs:// or s3://, or mount the store and "
        "give the path that it has then."
      ) from error

  def read(self, name: str) -> bytes | None:
    """Returns what an object holds, None where there is none."""
    with self._object("read", name) as path, contextlib.suppress(FileNotFoundError):
      return self._objects.cat_file(path)
    return None

  def write(self, name: str, data: bytes) -> None:
    """Writes an object."""
    with self._object("written", name) as path:
      self._objects.pipe_file(path, data)

  def upload(self, name: str, source: Path) -> bool:
    """Writes a file as an object; returns whether there is such a file."""
    with self._object("written", name) as path:
      try:
        self._objects.put_file(str(source), path)
      except FileNotFoundError:
        if source.is_file():
          raise
        return False
    return True

  def download(self, name: str, target: Path) -> bool:
    """Writes an object as a file; returns whether there is such an object."""
    with self._object("read", name) as path, contextlib.suppress(FileNotFoundError):
      with files.replacing(target) as part:
        self._objects.get_file(path, str(part))
      return True
    return False

  def remove(self, name: str) -> None:
    """Removes an object, if it is there."""
    with self._object("removed", name) as path, contextlib.suppress(FileNotFoundError):
      self._objects.rm_file(path)

  @contextlib.contextmanager
  def _object(self, what: str, name: str) -> Iterator[str]:
    """Yields the path of an object; what its client raises in the block is for the user."""
    try:
      yield f"{self._root}/{name}"
    except AudiopalmError:
      raise
    except FileNotFoundError as error:
      raise ConfigError(
        f"{self.url}/{name} cannot be {what}: the store says that there is no such place. Make the "
        "bucket first, or correct the address."
      ) from error
    except Exception as error:  # each client has its own
      text = str(error).splitlines()[0][:300] if str(error) else ""
      raise DataError(
        f"{self.url}/{name} cannot be {what}: {type(error).__name__}: {text}. Check the address, "
        "the credentials and the network, then run the same command again: what this machine has "
        "is kept."
      ) from error


class _Copy(NamedTuple):
  """A file as it was when the store held the same: its size, time of change and checksum."""

  bytes: int
  mtime_ns: int
  checksum: str


class Mirror:
  """Keeps the workdir of an address on this machine and in its store the same."""

  def __init__(self, place: StoreAddress):
    self._place, self._store = place, Store(place.url)
    self._record = place.home / SYNCED
    self._synced: dict[str, _Copy] = {}
    self._unlisted: dict[str, _Copy] = {}  # written into the store since its index was

  def fetch(self, must_exist: bool = False) -> None:
    """Brings the files of the store here, where they differ.

    What was changed here and never written there stays, as after a crash; where the store went on
    meanwhile, it is moved aside. With `must_exist` a ConfigError where the store holds no run.
    """
    self._synced = self._read_record()
    stored, changed = self._index(), self._changed()
    if must_exist and not stored and not changed:
      raise ConfigError(
        f"There is no run in {self._place}: it holds no {INDEX}. Train one: audiopalm train CONFIG "
        f"--workdir {self._place}"
      )
    if changed and not self._went_on(stored):
      return
    if changed:
      aside = self._set_aside()
      _say(f"{self._place} went on elsewhere: what was not in it yet is in {aside}.")
    # What is no longer here is brought again, and not removed in the store.
    for name in self._gone():
      del self._synced[name]
    coming = {name: entry for name, entry in stored.items() if self._differs(name, entry)}
    if coming:
      size = quantities.size(sum(entry["bytes"] for entry in coming.values()))
      _say(f"{self._place}: bringing {len(coming)} files ({size}) to {self._place.workdir}")
    try:
      with futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(self._bring, coming))
      for name in self._synced.keys() - stored.keys():
        (self._place.workdir / name).unlink(missing_ok=True)
        del self._synced[name]
    finally:  # what is here is not brought again
      self._write_record()

  def check_current(self) -> None:
    """Raises ConfigError where the store holds something else than what was fetched last."""
    self._synced = self._read_record()
    if self._went_on(self._index()):
      raise ConfigError(
        f"{self._place} went on elsewhere, and another command on this machine still reads what it "
        f"was ({self._place.workdir}). Wait until that has ended."
      )

  def push(self) -> None:
    """Writes what changed here into the store, and removes there what is gone here."""
    # Another command on this machine may have written some of it.
    self._synced = self._read_record() | self._unlisted
    changed, gone = self._changed(), self._gone()
    if not changed and not gone and not self._unlisted:
      return
    # One rank after the other: what says that others are whole comes when they are there.
    for rank in sorted({_rank(name) for name in changed}):
      with futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(self._send, (name for name in changed if _rank(name) == rank)))
    for name in sorted(gone, key=_rank, reverse=True):
      self._store.remove(name)
      del self._synced[name]
      self._unlisted.pop(name, None)
    stored = {name: entry for name, entry in self._index().items() if name not in gone}
    stored |= {
      name: {"bytes": copy.bytes, "sha256": copy.checksum} for name, copy in self._unlisted.items()
    }
    self._store.write(INDEX, json.dumps(stored, indent=1, sort_keys=True).encode())
    self._unlisted = {}
    self._write_record()

  def _index(self) -> dict[str, dict[str, Any]]:
    data = self._store.read(INDEX)
    try:
      return {} if data is None else json.loads(data)
    except ValueError as error:
      raise DataError(
        f"{self._place}/{INDEX}: expected JSON, but it is damaged ({error}). Restore an older "
        "version of it, or give another address."
      ) from error

  def _went_on(self, stored: Mapping[str, Mapping[str, Any]]) -> bool:
    """Returns whether the store holds something else than when this machine last wrote or read."""
    return stored.keys() != self._synced.keys() or any(map(self._differs, stored, stored.values()))

  def _differs(self, name: str, entry: Mapping[str, Any]) -> bool:
    return name not in self._synced or self._synced[name].checksum != entry["sha256"]

  def _changed(self) -> list[str]:
    """Returns the names of the files here that the store has otherwise or not at all."""
    changed = []
    for folder, _, names in os.walk(self._place.workdir):
      for path in (Path(folder, name) for name in names):
        name = path.relative_to(self._place.workdir).as_posix()
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
          stat, synced = path.stat(), self._synced.get(name)
          same = synced and (synced.bytes, synced.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
          if not same and not LOCAL.match(name):
            changed.append(name)
    return changed

  def _bring(self, name: str) -> None:
    path = self._place.workdir / name
    if self._store.download(name, path):  # else removed since the index was read
      self._synced[name] = _copy_of(path)

  def _send(self, name: str) -> None:
    path = self._place.workdir / name
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile: the next push hears of it
      copy = _copy_of(path)
      if self._store.upload(name, path):
        # What was added while it was read is sent again.
        self._synced[name] = self._unlisted[name] = copy

  def _set_aside(self) -> Path:
    number = 1
    while (aside := self._place.home / f"workdir.{number}").exists():
      number += 1
    self._place.workdir.rename(aside)
    self._synced = {}
    return aside

  def _read_record(self) -> dict[str, _Copy]:
    try:
      record = json.loads(self._record.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
      return {}  # everything is compared anew
    return {name: _Copy(*fields) for name, fields in record.items()}

  def _gone(self) -> list[str]:
    """Returns the names of files that the store holds and that are no longer here."""
    return [name for name in self._synced if not (self._place.workdir / name).is_file()]

  def _write_record(self) -> None:
    files.write_json(self._record, self._synced)


class Claim:
  """Says in a store that this process changes the run there, over and over: `with claim.held()`.

  A store has no locks. Who finds another writer waits until that has changed nothing for BEATS
  times `beat_s` seconds; a writer that finds another one in its place stops by SIGTERM.
  """

  def __init__(self, place: StoreAddress, command: str, beat_s: float):
    self._lost = False
    self._place, self._store, self._beat_s = place, Store(place.url), beat_s
    self._beat = 0
    self._own = {
      "id": secrets.token_hex(8),
      "command": command,
      "host": platform.node(),
      "process": os.getpid(),
      "home": str(place.home),
      "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }

  @contextlib.contextmanager
  def held(self) -> Iterator[None]:
    """Waits until nobody else writes; then this process is the writer until the block ends."""
    writer = self._writer()
    # One of this machine's is dead: the caller holds the lock of that folder.
    if writer and any(writer[field] != self._own[field] for field in ("host", "home")):
      self._wait_for_its_end(writer)
    self._write()
    try:
      with _every(self._beat_s, self._say_again, "store writer"):
        yield
    finally:
      if not self._lost:
        self._store.remove(WRITER)

  def check(self) -> None:
    """Raises ConfigError where another process took this one's place."""
    if self._lost:
      raise ConfigError(
        f"Another process writes to {self._place} now, as this one was not heard of for "
        f"{BEATS * self._beat_s:.0f} s. What this one made since is in {self._place.workdir} alone."
      )

  def _writer(self) -> dict[str, Any] | None:
    data = self._store.read(WRITER)
    return None if data is None else json.loads(data)

  def _write(self) -> None:
    self._store.write(WRITER, json.dumps({**self._own, "beat": self._beat}).encode())

  def _wait_for_its_end(self, before: Mapping[str, Any]) -> None:
    _say(f"{_who(before)} wrote to {self._place}: waiting to see whether it still does.")
    for _ in range(BEATS):
      time.sleep(self._beat_s)
      writer = self._writer()
      if writer is None:
        return
      if writer != before:
        raise ConfigError(
          f"{self._place} is in use: {_who(writer)} runs audiopalm {writer['command']} there. Wait "
          "until it has ended, stop it, or choose another --workdir."
        )

  def _say_again(self) -> None:
    if self._lost:
      return
    with contextlib.suppress(DataError):  # the network: the next beat may come through
      writer = self._writer()
      if writer is not None and writer["id"] != self._own["id"]:
        self._lost = True
        os.kill(os.getpid(), signal.SIGTERM)
        return
      self._beat += 1
      self._write()


@contextlib.contextmanager
def opened(
  place: StoreAddress,
  command: str,
  *,
  changes: bool,
  upload_every_s: float = UPLOAD_EVERY_S,
  beat_s: float = BEAT_S,
) -> Iterator[Path]:
  """Yields the workdir of an address on this machine, as it is in the store.

  What changes in it until the block ends is written into the store, every `upload_every_s` seconds
  and at the end. A command that `changes` the run has it for itself, and may begin one; one that
  does not reads what is on this machine where another command here already works on it.
  """
  place.home.mkdir(parents=True, exist_ok=True)
  mirror, claim, alone = Mirror(place), Claim(place, command, beat_s), False

  def fetch() -> None:
    nonlocal alone
    mirror.fetch(must_exist=not changes)
    alone = True

  with contextlib.ExitStack() as stack:
    if changes:
      stack.enter_context(lock.held(place.home, command, CHANGE))
      stack.enter_context(claim.held())
    stack.enter_context(lock.shared(place.home, fetch))
    if changes and not alone:
      mirror.check_current()
    with _pushing(mirror, claim.check, upload_every_s):
      yield place.workdir


def fetched(url: str) -> Path:
  """Returns the workdir of an address on this machine, as it is in the store now."""
  place = address(url)
  with opened(place, "load", changes=False):
    return place.workdir


@contextlib.contextmanager
def _pushing(mirror: Mirror, check: Callable[[], None], every_s: float) -> Iterator[None]:
  """Pushes what changes until the block ends, also where it ends by an error."""
  failed = False

  def push() -> None:
    check()
    mirror.push()

  def push_often() -> None:
    nonlocal failed
    try:
      push()
      failed = False
    except AudiopalmError as error:  # raised at the end, where it is still so
      if not failed:
        _say(str(error))
      failed = True

  try:
    with _every(every_s, push_often, "store"):
      yield
  except BaseException:
    try:
      push()
    except AudiopalmError as error:
      _say(str(error))  # beside the one that ends the command
    raise
  push()


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None], name: str) -> Iterator[None]:
  """Calls `act` every so many seconds, on a thread of its own, until the block ends."""
  over = threading.Event()

  def repeat() -> None:
    while not over.wait(seconds):
      act()

  thread = threading.Thread(target=repeat, name=name, daemon=True)
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()


def _rank(name: str) -> int:
  """Returns when a file is written: 0 first. Those later say that those before are whole."""
  if META.match(name):
    return 2
  if "/" not in name:
    return 3
  return 1 if name.endswith(".json") else 0


def _copy_of(path: Path) -> _Copy:
  stat = path.stat()
  with path.open("rb") as file:
    checksum = hashlib.file_digest(file, "sha256").hexdigest()
  return _Copy(stat.st_size, stat.st_mtime_ns, checksum)


def _who(writer: Mapping[str, Any]) -> str:
  return f"process {writer['process']} on {writer['host']}, since {writer['since']},"


def _say(text: str) -> None:
  print(text, file=sys.stderr, flush=True)
