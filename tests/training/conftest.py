import importlib
import io
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
  """The module of a whole experiment that takes seconds; it is a program too."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("tiny")


@pytest.fixture(scope="session")
def straight(tiny, tmp_path_factory):
  """(workdir, summary, what was printed) of six steps without an interruption."""
  workdir, said = tmp_path_factory.mktemp("straight"), io.StringIO()
  return workdir, tiny.run(workdir, said=said), said.getvalue()


class SmallDevice:
  """A file system in memory of a few megabytes, at `path`."""

  def __init__(self, path: Path):
    self.path = path

  def resize(self, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)


@pytest.fixture
def small_device(tmp_path):
  """A device of 2 MiB that can really be full."""
  place = tmp_path / "small"
  place.mkdir()
  mount = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True
  )
  if mount.returncode:
    pytest.skip("this machine lets us mount no small device")
  try:
    yield SmallDevice(place)
  finally:
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture(scope="session")
def small_source(tmp_path_factory):
  """Returns (folder, rows) of a tiny text model as transformers saves it, with a tokenizer."""
  tokenizers = pytest.importorskip("tokenizers", reason="audiopalm[pretrained] is not installed")
  folder = tmp_path_factory.mktemp("source")
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[1] / "pretrained"))
    by_hand = importlib.import_module("by_hand")
  by_hand.write(folder, by_hand.config("qwen2"), by_hand.tensors("qwen2"))
  words = {f"word{number}": number for number in range(100)}
  made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="word0"))
  made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  made.save(str(folder / "tokenizer.json"))
  return folder, by_hand.ROWS
