"""Where each array of the large configs lies is written down; a change of it must be meant.

Written anew by: python tests/planning/test_shardings.py
"""

import dataclasses
import json
from pathlib import Path

import pytest

from audiopalm.cli import config
from audiopalm.parts import machines, models
from audiopalm.planning import shardings

GOLDEN = Path(__file__).with_name("golden")


def large(name):
  return config.load(f"audiopalm_{name}")


def billion():
  return dataclasses.replace(large("8b"), model=models.decoder_1b())


CASES = {
  "8b on v5e:16x16": lambda: (large("8b"), machines.named("v5e"), 256),
  "8b on v5e:16x16, context and tensor": lambda: (
    large("8b"), dataclasses.replace(machines.named("v5e"), context=4, tensor=4), 256
  ),
  "62b on v5p:8x8x8": lambda: (large("62b"), machines.named("v5p"), 512),
  "1b on 8 CPU devices": lambda: (billion(), machines.named("cpu8"), 8),
}  # fmt: skip


def written(name):
  return json.dumps(shardings.described(*CASES[name]()), indent=1) + "\n"


def path_of(name):
  return GOLDEN / f"{name.replace(':', '-').replace(', ', '_').replace(' ', '_')}.json"


@pytest.mark.parametrize("name", CASES)
def test_arrays_lie_where_they_lay(name):
  assert written(name) == path_of(name).read_text(encoding="utf-8")


if __name__ == "__main__":
  for name in CASES:
    path_of(name).write_text(written(name), encoding="utf-8")
