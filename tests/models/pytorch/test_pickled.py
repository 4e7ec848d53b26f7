"""pytorch_model.bin without PyTorch: tensors as they were saved, and no code of a pickle's."""

import collections
import io
import os
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from audiopalm.errors import CheckpointError
from audiopalm.models.pytorch import pickled
from audiopalm.models.pytorch.tensors import Tensors

KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}


class Saved:
  """An array that is pickled as torch pickles a tensor."""

  def __init__(self, array, key, offset=0, shape=None, strides=None):
    self.array, self.key, self.offset = array, key, offset
    self.shape = array.shape if shape is None else shape
    self.strides = tuple(s // array.itemsize for s in array.strides) if strides is None else strides

  def __reduce__(self):
    arguments = Stored(self.array, self.key), self.offset, self.shape, self.strides, False, {}
    return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


class Stored:
  def __init__(self, array, key):
    self.array, self.key = array, key


class Pickler(pickle.Pickler):
  def persistent_id(self, value):
    if isinstance(value, Stored):
      kind = getattr(sys.modules["torch"], KINDS[value.array.dtype.name])
      return "storage", kind, value.key, "cpu", value.array.size
    return None


@pytest.fixture
def save(monkeypatch):
  """save(path, content, arrays): writes what torch.save would, with modules of its names."""
  utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")

  def _rebuild_tensor_v2():
    raise AssertionError("nothing is called by name")

  _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = (
    "torch._utils", "_rebuild_tensor_v2"
  )  # fmt: skip
  utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
  for kind in KINDS.values():
    setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

  def write(path, content, arrays=()):
    with monkeypatch.context() as patch:
      patch.setitem(sys.modules, "torch", torch)
      patch.setitem(sys.modules, "torch._utils", utils)
      buffer = io.BytesIO()
      Pickler(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", buffer.getvalue())
      for saved in arrays:
        archive.writestr(f"archive/data/{saved.key}", saved.array.tobytes())

  return write


def test_tensors_are_read_with_their_types_offsets_and_strides(save, tmp_path):
  whole = np.arange(24, dtype=np.float32).reshape(4, 6)
  half = np.array([1.5, -2.25], ml_dtypes.bfloat16)
  arrays = [Saved(whole, "0"), Saved(half, "1")]
  content = collections.OrderedDict(
    whole=arrays[0], half=arrays[1], part=Saved(whole, "0", 7, (4, 2), (1, 6)),
    scalar=Saved(whole, "0", 23, (), ()), none=Saved(whole, "0", 0, (0, 3), (3, 1)),
  )  # fmt: skip
  content._metadata = {"version": 1}
  save(tmp_path / "pytorch_model.bin", content, arrays)
  tensors = Tensors(tmp_path)
  assert tensors.stored == {
    "whole": ("float32", (4, 6)), "half": ("bfloat16", (2,)), "part": ("float32", (4, 2)),
    "scalar": ("float32", ()), "none": ("float32", (0, 3)),
  }  # fmt: skip
  np.testing.assert_array_equal(tensors.read("whole"), whole)
  np.testing.assert_array_equal(tensors.read("whole", (slice(1, 3),)), whole[1:3])
  np.testing.assert_array_equal(tensors.read("half"), half)
  np.testing.assert_array_equal(tensors.read("part"), whole.ravel()[7:][:, None][:4] + [0, 6])
  assert tensors.read("scalar") == 23 and tensors.read("none").size == 0


class Code:
  def __reduce__(self):
    return os.system, ("touch harmed",)


def test_code_in_a_pickle_is_refused_and_not_run(save, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / "pytorch_model.bin", {"a": Code()})
  with pytest.raises(CheckpointError, match="damaged .it asks for .*system, which is no tensor"):
    Tensors(tmp_path)
  assert not (tmp_path / "harmed").exists()


def test_a_tensor_beyond_its_storage_is_refused(save, tmp_path):
  array = np.zeros(6, np.float32)
  for saved in (
    Saved(array, "0", 3, (2, 2), (2, 1)),
    Saved(array, "0", -1, (2,), (1,)),
    Saved(array, "0", 5, (2,), (-1,)),
  ):
    save(tmp_path / "pytorch_model.bin", {"a": saved}, [saved])
    with pytest.raises(CheckpointError, match=r"data/0 has 6 values, too few for a tensor \("):
      Tensors(tmp_path).read("a")


@pytest.mark.parametrize("content", ({"a": 3}, [1], "text"))
def test_anything_but_a_dict_of_tensors_is_refused(content, save, tmp_path):
  save(tmp_path / "pytorch_model.bin", content)
  with pytest.raises(CheckpointError, match="something else than a dict of tensors"):
    Tensors(tmp_path)


def test_damaged_files_are_refused(save, tmp_path):
  path, saved = tmp_path / "pytorch_model.bin", Saved(np.zeros(6, np.float32), "0")
  path.write_bytes(pickle.dumps({"a": 3}))
  with pytest.raises(pickled.Unreadable, match="PyTorch before 1.6 wrote other files"):
    pickled.tensors(path)
  save(path, {"a": saved})
  with pytest.raises(CheckpointError, match="is missing or damaged .*archive/data/0"):
    Tensors(tmp_path).read("a")
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", b"\x80\x02}q\x00")
  with pytest.raises(CheckpointError, match="is missing or damaged"):
    Tensors(tmp_path)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("other", b"")
  with pytest.raises(CheckpointError, match="it has no data.pkl, as torch.save writes it"):
    Tensors(tmp_path)


def test_parts_are_found_by_their_index(save, tmp_path):
  for number in (0, 1):
    saved = Saved(np.full(3, number, np.float32), "0")
    save(tmp_path / f"part-{number}.bin", {f"t{number}": saved}, [saved])
  index = '{"weight_map": {"t0": "part-0.bin", "t1": "part-1.bin"}}'
  (tmp_path / "pytorch_model.bin.index.json").write_text(index)
  np.testing.assert_array_equal(Tensors(tmp_path).read("t1"), [1, 1, 1])


def test_an_archive_that_looks_encrypted_or_compressed_otherwise_is_damaged(tmp_path):
  path = tmp_path / "pytorch_model.bin"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("x/data.pkl", b"N.")
  content = path.read_bytes()
  entry = content.index(b"PK\x01\x02")  # of the directory: flags at 8, compression at 10
  for at, value in ((8, 1), (10, 99)):
    path.write_bytes(content[: entry + at] + bytes([value]) + content[entry + at + 1 :])
    with pytest.raises(CheckpointError, match="is missing or damaged"):
      Tensors(tmp_path)
