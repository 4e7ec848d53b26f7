import subprocess
import sys

import pytest

import audiopalm


@pytest.mark.parametrize(
  ("module", "without"),
  [
    ("audiopalm", ("jax", "tensorflow", "seqio")),
    ("audiopalm.metrics.text", ("jax", "tensorflow", "seqio")),
    ("audiopalm.evaluation.scoring", ("jax", "tensorflow", "seqio")),
    ("audiopalm.cli.main", ("tensorflow", "seqio", "apache_beam")),
    ("audiopalm.session", ("tensorflow", "seqio")),
    ("audiopalm.training.loop", ("tensorflow", "seqio")),
  ],
)
def test_importing_a_module_loads_only_what_it_needs(module, without):
  code = f"import sys, {module}; print([m for m in {without} if m in sys.modules])"
  said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert said.stdout.strip() == "[]"


def test_load_is_found_when_it_is_asked_for():
  assert audiopalm.load.__module__ == "audiopalm.session"


def test_another_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'audiopalm' has no attribute 'lod'"):
    audiopalm.lod  # noqa: B018
