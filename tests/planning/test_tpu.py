"""The largest configs compiled for TPUs, compared with the golden plans.

This catches a change for one kind of device that changes the program of another. Needs libtpu, and
a few minutes. To write the golden plans again:

  python tests/planning/test_tpu.py
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "golden"
TOPOLOGIES = {"audiopalm_8b": "v5e:16x16", "audiopalm_62b": "v5p:8x8x8"}
CHIP_TOKENS = {"audiopalm_8b": 2_048, "audiopalm_62b": 8_192}
TABLES = ("['embed']['table']", "['head']['table']", "(head)")

pytestmark = [
  pytest.mark.long,
  pytest.mark.timeout(1_200),
  pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="compiling for TPUs needs libtpu"
  ),
]


def planned(config, folder):
  """Returns the plan of a config, made in its own process without forced CPU devices."""
  path = Path(folder, f"{config}.json")
  command = ["plan", config, "--topology", TOPOLOGIES[config], "--json", str(path)]
  paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
  environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": paths}
  subprocess.run([sys.executable, "-m", "audiopalm", *command], env=environment, check=True)
  return json.loads(path.read_text(encoding="utf-8"))


def summary(plan):
  """Returns the fields that depend on the compiled program only, and the compiler's versions."""
  kept = ("memory", "flops", "bytes_moved", "collectives", "whole_outside_layers")
  versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
  return {"versions": versions, **{name: plan[name] for name in kept}}


def golden(config):
  return GOLDEN / f"plan_of_{config}_on_{TOPOLOGIES[config].replace(':', '-')}.json"


@pytest.mark.parametrize("config", TOPOLOGIES)
def test_the_config_fits_gathers_no_full_layer_and_equals_the_golden_plan(config, tmp_path):
  plan = planned(config, tmp_path)
  assert plan["fits"] and plan["spare"] > 0
  chips = plan["mesh"]["fsdp"] * plan["mesh"]["data"]
  assert plan["tokens"] >= CHIP_TOKENS[config] * chips
  full = plan["whole_outside_layers"]
  assert full and all(any(table in each["of"] for table in TABLES) for each in full)
  shapes = [each["shape"] for each in full]
  assert len(shapes) == len(set(shapes))  # forward gathers bfloat16, backward sums float32
  expected = json.loads(golden(config).read_text(encoding="utf-8"))
  actual = summary(plan)
  if actual["versions"] != expected["versions"]:
    pytest.skip(f"the golden plan is of {expected['versions']}, not of {actual['versions']}")
  assert actual == expected


if __name__ == "__main__":
  for name in TOPOLOGIES:
    text = json.dumps(summary(planned(name, GOLDEN)), indent=1) + "\n"
    (GOLDEN / f"{name}.json").unlink()
    golden(name).write_text(text, encoding="utf-8")
