"""An object store for tests, `fake://`: its objects are put, got and removed whole.

Each lies in one flat folder under its quoted name. There are no folders, and nothing can be
renamed, copied, appended to or locked, so that code which relies on a file system fails here.
"""

import os
import threading
from pathlib import Path
from urllib import parse

import fsspec


class FakeStore(fsspec.AbstractFileSystem):
  """The store in `folder`; `log` has a line for each object that was put or removed."""

  protocol = "fake"
  cachable = False
  folder: Path
  log: list[str]
  fails: str | None = None  # a part of the names whose objects cannot be put or got
  lock = threading.Lock()

  @classmethod
  def objects(cls) -> dict[str, bytes]:
    """Returns everything that is stored, by its name."""
    return {parse.unquote(path.name): path.read_bytes() for path in cls.folder.iterdir()}

  def cat_file(self, path, start=None, end=None, **options):
    return self._path(path).read_bytes()

  def pipe_file(self, path, value, mode="overwrite", **options):
    if self.fails is not None and self.fails in path:
      raise RuntimeError("503 Service Unavailable")
    if not self._strip_protocol(path).startswith("bucket/"):
      raise FileNotFoundError("The specified bucket does not exist")
    part = self.folder.with_name(f"{threading.get_ident()}.part")
    part.write_bytes(value)
    os.replace(part, self._path(path))  # an object is there whole or not at all
    self._noted(f"put {self._strip_protocol(path)}")

  def put_file(self, lpath, rpath, callback=None, mode="overwrite", **options):
    self.pipe_file(rpath, Path(lpath).read_bytes())

  def get_file(self, rpath, lpath, callback=None, outfile=None, **options):
    if self.fails is not None and self.fails in rpath:
      raise RuntimeError("503 Service Unavailable")
    Path(lpath).write_bytes(self._path(rpath).read_bytes())

  def rm_file(self, path):
    self._path(path).unlink()
    self._noted(f"removed {self._strip_protocol(path)}")

  def info(self, path, **options):
    found = self._path(path).stat()  # a prefix of names is no object
    return {"name": path, "size": found.st_size, "type": "file"}

  def _path(self, path) -> Path:
    return self.folder / parse.quote(self._strip_protocol(path), safe="")

  def _noted(self, line: str) -> None:
    with self.lock:
      self.log.append(line)

  def _refused(self, *arguments, **options):
    raise NotImplementedError("an object store has no such operation")

  _open = open = ls = mkdir = makedirs = mv = cp_file = rm = rmdir = touch = _refused


def install(folder: Path) -> type[FakeStore]:
  """Returns the class of a new, empty store, which fsspec finds as `fake://` from now on."""
  folder.mkdir()
  store = type("FakeStore", (FakeStore,), {"folder": folder, "log": [], "fails": None})
  fsspec.register_implementation("fake", store, clobber=True)
  return store
