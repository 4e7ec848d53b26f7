import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import audiopalm


@pytest.mark.parametrize(
  ("modules", "without"),
  [
    ("audiopalm", ("jax", "tensorflow", "seqio")),
    ("audiopalm.metrics.text, audiopalm.evaluation.scoring", ("jax", "tensorflow", "seqio")),
    ("audiopalm.cli.main", ("tensorflow", "seqio", "apache_beam")),
    ("audiopalm.data.streams, audiopalm.data.fitting", ("jax", "tensorflow", "scipy.signal")),
    ("audiopalm.session, audiopalm.training.loop", ("tensorflow", "seqio", "scipy.signal")),
  ],
)
def test_importing_a_module_loads_only_what_it_needs(modules, without):
  code = f"import sys, {modules}; print([m for m in {without} if m in sys.modules])"
  said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert said.stdout.strip() == "[]"


def test_what_a_user_types_is_found_when_it_is_asked_for():
  assert audiopalm.load.__module__ == "audiopalm.session"
  assert audiopalm.Experiment is audiopalm.config.Experiment
  for name in ("prepare", "train", "evaluate", "generate", "export"):
    assert getattr(audiopalm, name).__module__ == "audiopalm.commands"
  importlib.import_module("audiopalm.exports.folder")
  assert callable(audiopalm.export)  # no package takes its place
  assert set(audiopalm.__all__) <= set(dir(audiopalm))


def test_one_import_has_all_that_a_config_is_written_with():
  for name in audiopalm.config.__all__:
    assert getattr(audiopalm.config, name) is not None
  for module in ("corpora", "mixtures", "models", "optim", "synthesizers", "tokenizers"):
    assert getattr(audiopalm.config, module).__name__ == f"audiopalm.parts.{module}"


def test_another_name_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'audiopalm' has no attribute 'lod'"):
    audiopalm.lod  # noqa: B018


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
  """The folder into which an installation of the package puts its modules."""
  pytest.importorskip("setuptools")
  source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
  root = Path(audiopalm.__file__).parents[1]
  for name in ("audiopalm", "configs", "data_pipelines", "launch"):
    shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
  for name in ("setup.py", "pyproject.toml", "README.md"):
    shutil.copy(root / name, source)
  build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", built]
  subprocess.run(build, cwd=source, check=True, capture_output=True)
  return built


def test_one_top_level_package_is_installed_with_all_modules_of_the_corpora(built):
  assert [path.name for path in built.iterdir()] == ["audiopalm"]
  folder = Path(audiopalm.__file__).parents[1] / "data_pipelines"
  modules = {path.relative_to(folder) for path in folder.rglob("*.py")}
  installed = built / "audiopalm" / "data_pipelines"
  assert {path.relative_to(installed) for path in installed.rglob("*.py")} == modules
  for name in modules:
    assert (installed / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("checkout", [True, False])
def test_corpora_and_synthesizers_are_found_in_a_checkout_and_in_an_installation(
  built, tmp_path, checkout
):
  """A synthesizer is a process of its own, which must find the package too."""
  root = Path(audiopalm.__file__).parents[1]
  place = root if checkout else built
  alone = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in repr(f)]"
  code = (
    "import audiopalm.data_pipelines.synthetic.topics.food as module\n"
    "from audiopalm import servers\n"
    "import importlib.util\n"
    "print(module.__file__)\n"
    "print(servers.ROOT)\n"
    "print(importlib.util.find_spec('data_pipelines'))"
  )
  # Without what is installed beside: an editable installation of another checkout would help out.
  said = subprocess.run(
    [sys.executable, "-c", f"{alone}\n{code}"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(place)},
    capture_output=True,
    text=True,
    check=True,
  )
  file, found, top = said.stdout.splitlines()
  own = place / "data_pipelines" if checkout else place / "audiopalm" / "data_pipelines"
  assert Path(file) == own / "synthetic" / "topics" / "food.py"
  assert Path(found) == place
  assert checkout or top == "None"


def test_an_installed_package_has_its_configs_and_templates(built, tmp_path):
  assert (built / "audiopalm" / "launch" / "Dockerfile").is_file()
  folder, installed = Path(audiopalm.__file__).parents[1] / "configs", built / "audiopalm/configs"
  shipped = {path.relative_to(folder) for path in folder.rglob("*.py")}
  assert {path.relative_to(installed) for path in installed.rglob("*.py")} == shipped
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
