"""Workdirs in object stores: local files that are kept in sync with a store.

    gs://bucket/run                the run, which other machines can continue
      files.json                   all files with their sizes and checksums; written last
      writer.json                  the process that changes the run now
      config.json, checkpoints/... the files, under their names
    SCRATCH/gs_bucket_run-1f0c2a9b/
      workdir/                     the local copy, which commands read and write
      synced.json                  the local files that are equal to those in the store

A store has no rename, append or lock, so each object is written whole. Within a checkpoint `meta`,
without which it does not count as one, is written last and removed first. ArrayRecord files and the
arrays of a checkpoint need random access, so they are read from the local copy.
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

CHANGE = "change"  # the lock shared by all commands that change a run
INDEX, WRITER, SYNCED = "files.json", "writer.json", "synced.json"
UPLOAD_EVERY_S = 60.0
BEAT_S, BEATS = 15.0, 4  # a writer without a heartbeat for so many beats is dead
THREADS = 16  # that copy files; they mostly wait for the store
SCRATCH = Path("~/.cache/audiopalm/workdirs")
EXTRAS = {"gs": "gcs", "s3": "s3"}  # the extra that installs the client of a store
META = re.compile(r"checkpoints/\d+/meta/.*")
# Files that are not uploaded: unfinished, only of this machine, or damaged.
LOCAL = re.compile(
  r"(^|.*/)\.[^/]*\.part(/.*)?$|.*\.lock$|damaged_checkpoints/.*"
  r"|checkpoints/(?!\d+/).*"
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class StoreAddress:
  """A workdir in an object store, "gs://bucket/run", and its folder on this machine."""

  url: str
  home: Path

  @property
  def workdir(self) -> Path:
    return self.home / "workdir"

  def __str__(self) -> str:
    return self.url


def is_address(text: str) -> bool:
  """Returns whether a text is the URL of an object store, such as "gs://bucket/run"."""
  return re.match(r"[a-z][a-z0-9+.-]*://", text) is not None


def address(url: str, scratch: Path | None = None) -> StoreAddress:
  """Returns the address of a URL, with its local folder in `scratch` (default SCRATCH)."""
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
        "give the path of the mount."
      ) from error

  def read(self, name: str) -> bytes | None:
    """Returns the content of an object, None if there is none."""
    with self._object("read", name) as path, contextlib.suppress(FileNotFoundError):
      return self._objects.cat_file(path)
    return None

  def write(self, name: str, data: bytes) -> None:
    """Writes an object."""
    with self._object("written", name) as path:
      self._objects.pipe_file(path, data)

  def upload(self, name: str, source: Path) -> bool:
    """Writes a file as an object; returns False if there is no such file."""
    with self._object("written", name) as path:
      try:
        self._objects.put_file(str(source), path)
      except FileNotFoundError:
        if source.is_file():
          raise
        return False
    return True

  def download(self, name: str, target: Path) -> bool:
    """Writes an object as a file; returns False if there is no such object."""
    with self._object("read", name) as path, contextlib.suppress(FileNotFoundError):
      with files.replacing(target) as part:
        self._objects.get_file(path, str(part))
      return True
    return False

  def remove(self, name: str) -> None:
    """Removes an object if it exists."""
    with self._object("removed", name) as path, contextlib.suppress(FileNotFoundError):
      self._objects.rm_file(path)

  @contextlib.contextmanager
  def _object(self, what: str, name: str) -> Iterator[str]:
    """Yields the path of an object; turns the client's errors in the block into ours."""
    try:
      yield f"{self._root}/{name}"
    except AudiopalmError:
      raise
    except FileNotFoundError as error:
      raise ConfigError(
        f"{self.url}/{name} cannot be {what}: the store has no such location. Create the bucket "
        "first, or correct the address."
      ) from error
    except Exception as error:  # each client has its own
      text = str(error).splitlines()[0][:300] if str(error) else ""
      raise DataError(
        f"{self.url}/{name} cannot be {what}: {type(error).__name__}: {text}. Check the address, "
        "the credentials and the network, then run the same command again: local files are kept."
      ) from error


class _Copy(NamedTuple):
  """The size, modification time and checksum of a local file that was equal to its object."""

  bytes: int
  mtime_ns: int
  checksum: str


class Mirror:
  """Keeps the local workdir of an address in sync with its store."""

  def __init__(self, place: StoreAddress):
    self._place, self._store = place, Store(place.url)
    self._record = place.home / SYNCED
    self._synced: dict[str, _Copy] = {}
    self._unlisted: dict[str, _Copy] = {}  # uploaded since the index was written

  def fetch(self, must_exist: bool = False) -> None:
    """Downloads the files of the store that differ from the local ones.

    Local changes that were not uploaded, as after a crash, are kept; if the store has changed too,
    the local workdir is moved aside. With `must_exist`, raises ConfigError if the store has no run.
    """
    self._synced = self._read_record()
    stored, changed = self._index(), self._changed()
    if must_exist and not stored and not changed:
      raise ConfigError(
        f"There is no run in {self._place}: it has no {INDEX}. Train one: audiopalm train CONFIG "
        f"--workdir {self._place}"
      )
    if changed and not self._went_on(stored):
      return
    if changed:
      aside = self._set_aside()
      _say(f"{self._place} was changed elsewhere: local changes that it lacked are in {aside}.")
    # Files removed here are downloaded again, not removed in the store.
    for name in self._gone():
      del self._synced[name]
    coming = {name: entry for name, entry in stored.items() if self._differs(name, entry)}
    if coming:
      size = quantities.size(sum(entry["bytes"] for entry in coming.values()))
      _say(f"{self._place}: downloading {len(coming)} files ({size}) to {self._place.workdir}")
    try:
      with futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(self._bring, coming))
      for name in self._synced.keys() - stored.keys():
        (self._place.workdir / name).unlink(missing_ok=True)
        del self._synced[name]
    finally:  # completed downloads are not repeated
      self._write_record()

  def check_current(self) -> None:
    """Raises ConfigError if the store has changed since it was last fetched."""
    self._synced = self._read_record()
    if self._went_on(self._index()):
      raise ConfigError(
        f"{self._place} was changed elsewhere, and another command on this machine still reads the "
        f"older files ({self._place.workdir}). Wait until that command has ended."
      )

  def push(self) -> None:
    """Uploads files that were changed here, and removes objects of files that were removed here."""
    # Another command on this machine may have uploaded some of them.
    self._synced = self._read_record() | self._unlisted
    changed, gone = self._changed(), self._gone()
    if not changed and not gone and not self._unlisted:
      return
    # In the order of ranks: files that mark others as complete are uploaded after them.
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
        "version of it, or use another address."
      ) from error

  def _went_on(self, stored: Mapping[str, Mapping[str, Any]]) -> bool:
    """Returns whether the store has changed since this machine last read or wrote it."""
    return stored.keys() != self._synced.keys() or any(map(self._differs, stored, stored.values()))

  def _differs(self, name: str, entry: Mapping[str, Any]) -> bool:
    return name not in self._synced or self._synced[name].checksum != entry["sha256"]

  def _changed(self) -> list[str]:
    """Returns the names of local files that differ from the store, or are not in it."""
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
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile: left to the next push
      copy = _copy_of(path)
      if self._store.upload(name, path):
        # A file that grew during the upload is uploaded again by the next push.
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
      return {}  # all files are compared again
    return {name: _Copy(*fields) for name, fields in record.items()}

  def _gone(self) -> list[str]:
    """Returns the names of files that the store has and that were removed here."""
    return [name for name in self._synced if not (self._place.workdir / name).is_file()]

  def _write_record(self) -> None:
    files.write_json(self._record, self._synced)


class Claim:
  """Marks this process as the writer of a run in a store, by heartbeats: `with claim.held()`.

  It replaces a lock, which stores do not have. A process that finds another writer waits until that
  has had no heartbeat for BEATS * `beat_s` seconds; a writer that was replaced stops by SIGTERM.
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
    """Makes this process the writer until the block ends, once a former writer is dead.

    Raises ConfigError if that is alive.
    """
    writer = self._writer()
    # A writer with the same local folder is dead, as the caller holds the lock of that folder.
    if writer and any(writer[field] != self._own[field] for field in ("host", "home")):
      self._wait_for_its_end(writer)
    self._write()
    try:
      with _every(self._beat_s, self._renew, "store writer"):
        yield
    finally:
      if not self._lost:
        self._store.remove(WRITER)

  def check(self) -> None:
    """Raises ConfigError if another process has replaced this one."""
    if self._lost:
      raise ConfigError(
        f"Another process writes to {self._place} now, as this one had no heartbeat for "
        f"{BEATS * self._beat_s:.0f} s. Its later changes are only in {self._place.workdir}."
      )

  def _writer(self) -> dict[str, Any] | None:
    data = self._store.read(WRITER)
    return None if data is None else json.loads(data)

  def _write(self) -> None:
    self._store.write(WRITER, json.dumps({**self._own, "beat": self._beat}).encode())

  def _wait_for_its_end(self, first: Mapping[str, Any]) -> None:
    _say(f"{_who(first)} wrote to {self._place}: waiting to see whether it still does.")
    for _ in range(BEATS):
      time.sleep(self._beat_s)
      writer = self._writer()
      if writer is None:
        return
      if writer != first:
        raise ConfigError(
          f"{self._place} is in use: {_who(writer)} runs audiopalm {writer['command']} there. Wait "
          "until it has ended, stop it, or choose another --workdir."
        )

  def _renew(self) -> None:
    if self._lost:
      return
    with contextlib.suppress(DataError):  # a network error: the next heartbeat may succeed
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
  """Yields the local workdir of an address, fetched from the store.

  Changes in it are uploaded every `upload_every_s` seconds, and when the block ends. A command that
  `changes` the run has exclusive access, and may create the run. If another command on this machine
  uses the workdir already, one that does not change the run reads it without fetching.
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
  """Returns the local workdir of an address, fetched from the store."""
  place = address(url)
  with opened(place, "load", changes=False):
    return place.workdir


@contextlib.contextmanager
def _pushing(mirror: Mirror, check: Callable[[], None], every_s: float) -> Iterator[None]:
  """Pushes changes every `every_s` seconds and when the block ends, also by an error."""
  failed = False

  def push() -> None:
    check()
    mirror.push()

  def push_often() -> None:
    nonlocal failed
    try:
      push()
      failed = False
    except AudiopalmError as error:  # raised at the end, if it persists
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
      _say(str(error))  # in addition to the error that ends the command
    raise
  push()


@contextlib.contextmanager
def _every(seconds: float, act: Callable[[], None], name: str) -> Iterator[None]:
  """Calls `act` every `seconds` seconds, on a thread of its own, until the block ends."""
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
  """Returns the place of a file in the upload order: later ones mark earlier ones as complete."""
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
