"""Eight CPU devices for the whole test run, asked for before JAX is imported.

The default machine uses the first of them; tests of sharding use all eight.
"""

import os

DEVICES = "--xla_force_host_platform_device_count=8"

os.environ["JAX_PLATFORMS"] = "cpu"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
  os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}".strip()
