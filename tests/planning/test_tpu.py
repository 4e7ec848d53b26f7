"""The largest configs as the compiler of TPUs makes them, held to what it made before.

A change for one kind of device that changes the program of another shows here. Needs libtpu, and a
few minutes. Written anew by

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
  """Returns the plan of a config, made in a process of its own, which has no CPU devices forced."""
  path = Path(folder, f"{config}.json")
  command = ["plan", config, "--topology", TOPOLOGIES[config], "--json", str(path)]
  paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
  environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": paths}
  subprocess.run([sys.executable, "-m", "audiopalm", *command], env=environment, check=True)
  return json.loads(path.read_text(encoding="utf-8"))


def summary(found):
  """Returns what of a plan follows from the compiled program alone, and the compiler's versions."""
  kept = ("memory", "flops", "bytes_moved", "collectives", "whole_outside_layers")
  versions = {name: importlib.metadata.version(name) for name in ("jax", "libtpu")}
  return {"versions": versions, **{name: found[name] for name in kept}}


def golden(config):
  return GOLDEN / f"plan_of_{config}_on_{TOPOLOGIES[config].replace(':', '-')}.json"


@pytest.mark.parametrize("config", TOPOLOGIES)
def test_the_config_fits_gathers_no_layer_whole_and_is_the_program_it_was(config, tmp_path):
  found = planned(config, tmp_path)
  assert found["fits"] and found["spare"] > 0
  chips = found["mesh"]["fsdp"] * found["mesh"]["data"]
  assert found["tokens"] >= CHIP_TOKENS[config] * chips
  whole = found["whole_outside_layers"]
  assert whole and all(any(table in each["of"] for table in TABLES) for each in whole)
  shapes = [each["shape"] for each in whole]
  assert len(shapes) == len(
    set(shapes)
  )  # once a direction: gathered in bfloat16, summed in float32
  known = json.loads(golden(config).read_text(encoding="utf-8"))
  made = summary(found)
  if made["versions"] != known["versions"]:
    pytest.skip(f"the golden program is of {known['versions']}, not of {made['versions']}")
  assert made == known


if __name__ == "__main__":
  for name in TOPOLOGIES:
    text = json.dumps(summary(planned(name, GOLDEN)), indent=1) + "\n"
    (GOLDEN / f"{name}.json").unlink()
    golden(name).write_text(text, encoding="utf-8")
