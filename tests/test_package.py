import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_an_installed_package_has_its_configs_and_templates(tmp_path):
  pytest.importorskip("setuptools")
  root = Path(audiopalm.__file__).parents[1]
  for name in ("audiopalm", "configs", "data_pipelines", "launch"):
    shutil.copytree(root / name, tmp_path / "source" / name)
  for name in ("setup.py", "pyproject.toml", "README.md"):
    shutil.copy(root / name, tmp_path / "source")
  built = tmp_path / "built"
  build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", built]
  subprocess.run(build, cwd=tmp_path / "source", check=True, capture_output=True)
  assert (built / "audiopalm" / "launch" / "Dockerfile").is_file()
  line = ["launch", "--on", "slurm", "--nodes", "2", "--dry-run"]
  line += ["--", "train", "quickstart", "--workdir", "run"]
  said = subprocess.run(
    [sys.executable, "-m", "audiopalm", *line],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(built)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert f"#SBATCH --chdir={tmp_path}\n" in said.stdout
