"""Eight CPU devices for the whole test run, asked for before JAX is imported.

The default machine uses the first of them; tests of sharding use all eight. Programs that XLA has
compiled once are kept for the length of the run, also for the processes that tests start.
"""

import os
import shutil
import tempfile

DEVICES = "--xla_force_host_platform_device_count=8"

os.environ["JAX_PLATFORMS"] = "cpu"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}".strip()

COMPILED = tempfile.mkdtemp(prefix="audiopalm-compiled-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"


def pytest_unconfigure(config):
  shutil.rmtree(COMPILED, ignore_errors=True)
