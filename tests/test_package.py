import subprocess
import sys

import pytest

import audiopalm


def test_importing_the_package_loads_neither_jax_nor_tensorflow():
  code = "import sys, audiopalm; print([m for m in ('jax', 'tensorflow') if m in sys.modules])"
  said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert said.stdout.strip() == "[]"


def test_load_is_found_when_it_is_asked_for():
  assert audiopalm.load.__module__ == "audiopalm.session"


def test_another_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'audiopalm' has no attribute 'lod'"):
    audiopalm.lod  # noqa: B018
