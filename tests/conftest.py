"""Eight CPU devices for the whole test run, asked for before JAX is imported.

The default machine uses the first of them; tests of sharding use all eight. Tests compile many
programs and run each once, so XLA optimizes less and emits a program as one module without fusion
emitters, which halves what compiling takes; what it compiled is kept for the length of the run,
also for the processes that tests start. Tracing makes many objects that stay, so the garbage
collector looks for cycles less often: a tenth of the time.
"""

import gc
import importlib
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

import pytest

FLAGS = [
  "--xla_force_host_platform_device_count=8",
  "--xla_backend_optimization_level=0",
  "--xla_cpu_parallel_codegen_split_count=1",
]
if importlib.metadata.version("jaxlib") < "0.11":  # XLA aborts on a flag that it does not know
  FLAGS.append("--xla_cpu_use_fusion_emitters=false")

given = os.environ.get("XLA_FLAGS", "")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NPROC", "16")  # see audiopalm/cluster/local.py
os.environ["XLA_FLAGS"] = " ".join([given, *(flag for flag in FLAGS if flag not in given)]).strip()

gc.set_threshold(200_000, 50, 100)

if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share what the first process made for them
  COMPILED = tempfile.mkdtemp(prefix="audiopalm-compiled-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


def pytest_runtest_setup(item):
  if item.get_closest_marker("torch"):
    for name in ("torch", "transformers"):
      pytest.importorskip(name, reason="needs pip install '.[export]'")


def pytest_unconfigure(config):
  if "PYTEST_XDIST_WORKER" not in os.environ:
    shutil.rmtree(COMPILED, ignore_errors=True)


@pytest.fixture
def fake_store(tmp_path, monkeypatch):
  """An object store under fake:// that can put, get and remove objects, and nothing else."""
  monkeypatch.syspath_prepend(str(Path(__file__).parent))
  return importlib.import_module("object_store").install(tmp_path / "objects")


@pytest.fixture(scope="session")
def folders():
  """The module that writes folders of small speech encoders with random weights."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("encoder_folders")


@pytest.fixture(scope="session")
def clip_models():
  """The module that makes small encoders of clips."""
  with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parent))
    yield importlib.import_module("clip_models")
