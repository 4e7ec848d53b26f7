"""A config names classes of audiopalm, and of packages that whoever opens it trusts."""

import dataclasses
import json
import sys

import pytest

from audiopalm import experiment, trust
from audiopalm.cli import config
from audiopalm.cluster import preflight
from audiopalm.data.corpora import SeqioText
from audiopalm.errors import ConfigError
from audiopalm.parts import mixtures

PACKAGE = """
import dataclasses, os
from pathlib import Path

Path(__file__).with_name("imported").touch()

@dataclasses.dataclass(frozen=True)
class Mine:
  size: int = 3

@dataclasses.dataclass
class Thawed:
  size: int = 3
"""

CONFIG = """
import dataclasses
from audiopalm.cli import config
from pkg_trust import Mine

def experiment():
  return dataclasses.replace(config.load("quickstart"), objective=Mine())
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
  """A folder on the path with a package that leaves a file when it is imported."""
  folder = tmp_path / "installed" / "pkg_trust"
  folder.mkdir(parents=True)
  (folder / "__init__.py").write_text(PACKAGE)
  monkeypatch.syspath_prepend(str(folder.parent))
  yield folder
  sys.modules.pop("pkg_trust", None)


def refused(call, *arguments):
  with pytest.raises(ConfigError) as error:
    call(*arguments)
  return str(error.value)


@pytest.mark.parametrize(
  "name",
  ["pkg_trust.Mine", "pkg_trust_more.Mine", "audiopalm.cli.main.main", "os.system", "", "Mine"],
)
def test_nothing_is_imported_of_a_package_that_is_not_trusted(package, name):
  text = json.dumps({"class": name, "trust": ["pkg_trust"]})
  for given in ((), ("pkg",), ("pkg_trust.deeper",)):
    with pytest.raises(ConfigError):
      experiment.from_json(text, given)
    with pytest.raises(ConfigError):
      trust.readable(name, given)
  assert "pkg_trust" not in sys.modules and not (package / "imported").exists()


def test_a_trusted_package_gives_its_frozen_dataclasses_and_nothing_else(package):
  assert trust.readable("pkg_trust.Mine", ("pkg_trust",))(size=4).size == 4
  text = refused(trust.readable, "pkg_trust.Thawed", ("pkg_trust",))
  assert "'pkg_trust.Thawed', which is not a frozen dataclass" in text
  text = refused(trust.readable, "pkg_trust.os", ("pkg_trust",))
  assert "which is not a frozen dataclass" in text
  text = refused(trust.readable, "pkg_trust.Gone", ("pkg_trust",))
  assert "'pkg_trust.Gone', which is not in pkg_trust as it is installed here" in text


@pytest.mark.parametrize(
  ("name", "text"),
  [
    (
      "pkg_trust.Mine",
      "If you trust the code of that package, which is imported then, add --trust",
    ),
    ("__main__.Mine", "may not name the class 'Mine' of a config file or a script"),
    ("audiopalm_config_a_12.Mine", "may not name the class 'Mine' of a config file or a script"),
    ("audiopalm.session.Session", "A config may name classes of audiopalm.data.augment, "),
  ],
)
def test_a_refusal_says_what_to_do(name, text):
  assert text in refused(trust.readable, name)


@pytest.mark.parametrize(
  ("names", "text"),
  [
    (["my-package"], "takes the name of a package as Python imports it, as in my_package, not"),
    (["a/b.py"], "takes the name of a package as Python imports it"),
    (["audiopalm"], "takes a package of yours, not 'audiopalm'"),
    (["audiopalm.cli"], "takes a package of yours, not 'audiopalm.cli'"),
    (["__main__"], "those of a script cannot be imported again"),
    ("my_package", "as in trust=('my_package',), not 'my_package'"),
  ],
)
def test_what_is_no_package_is_refused(names, text):
  assert text in refused(trust.packages, names)


def test_a_package_that_cannot_be_imported_says_why(package):
  text = refused(trust.check_found, ["pkg_trust", "pkg_trust_gone.deeper"])
  assert "The trusted package 'pkg_trust_gone.deeper' is not there. It must be installed" in text
  assert "or lie in a folder of PYTHONPATH, for this and every other process of the run" in text
  assert "pkg_trust" not in sys.modules
  (package / "broken.py").write_text("1 / 0")
  text = refused(trust.readable, "pkg_trust.broken.Mine", ("pkg_trust",))
  assert "'pkg_trust.broken', of a trusted package, cannot be imported: ZeroDivisionError: " in text


def test_processes_with_another_version_of_a_package_run_other_code(package):
  before = preflight.code(), preflight.code(["pkg_trust"])
  (package / "deeper.py").write_text("SIZE = 3")
  assert preflight.code() == before[0] != before[1] != preflight.code(["pkg_trust"])
  assert [name for name, _ in trust.files(["pkg_trust.deeper", "pkg_trust"])] == [
    "pkg_trust/__init__.py", "pkg_trust/deeper.py",
  ]  # fmt: skip


def test_a_package_is_recorded_and_asked_for_again(package, tmp_path):
  made = dataclasses.replace(
    config.load("quickstart"), objective=trust.readable("pkg_trust.Mine", ("pkg_trust",))()
  )
  assert "add --trust pkg_trust" in refused(made.to_json)
  text = dataclasses.replace(made, trust=("pkg_trust",)).to_json()
  assert json.loads(text)["trust"] == ["pkg_trust"]
  found = experiment.from_json(text, ["pkg_trust", "another"])
  assert found.objective == made.objective and found.trust == ("pkg_trust",)
  said = refused(experiment.from_json, text)
  assert "uses code of pkg_trust, outside of audiopalm" in said
  assert "add --trust pkg_trust (in Python: trust=('pkg_trust',))" in said
  (tmp_path / "config.json").write_text(text)
  assert experiment.of_run(tmp_path, ["pkg_trust"]) == found
  assert "add --trust pkg_trust" in refused(experiment.of_run, tmp_path)


def test_a_config_asks_for_the_packages_of_its_classes(package, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(CONFIG)
  said = refused(config.load, str(path))
  assert "the class 'pkg_trust.Mine', which is not audiopalm's" in said
  said = refused(config.load, str(path), [], ["pkg_trust"])
  assert (
    "objective is a Mine, which lacks losses, players, score, specials, variable_axes, variables of"
    in said
  )
  assert "audiopalm.objectives.base.Objective: docs/extend.md has an example" in said


def test_a_package_beside_the_config_alone_is_not_enough(tmp_path):
  (tmp_path / "pkg_beside.py").write_text(PACKAGE)
  path = tmp_path / "mine.py"
  path.write_text(CONFIG.replace("pkg_trust", "pkg_beside"))
  assert "add --trust pkg_beside" in refused(config.load, str(path))
  said = refused(config.load, str(path), [], ["pkg_beside"])
  assert "package 'pkg_beside' is not there" in said and "beside the config is not enough" in said


def test_a_package_that_lies_beside_the_config_too_is_the_one_that_others_import(
  tmp_path, monkeypatch
):
  (tmp_path / "pkg_both.py").write_text(PACKAGE)
  (tmp_path / "mine.py").write_text(
    CONFIG.replace("pkg_trust", "pkg_both").replace("objective=Mine()", "steps=Mine().size")
  )
  monkeypatch.syspath_prepend(str(tmp_path))
  assert config.load(str(tmp_path / "mine.py"), [], ["pkg_both"]).steps == 3
  assert "pkg_both" in sys.modules
  del sys.modules["pkg_both"]
  config.load(str(tmp_path / "mine.py"))
  assert "pkg_both" not in sys.modules


def test_a_module_that_a_corpus_imports_is_to_be_trusted(tmp_path):
  corpus = SeqioText(task="books", module="their.tasks", language="en", train_records=8)
  task = mixtures.text(corpus)
  made = dataclasses.replace(config.load("quickstart"), mixture=mixtures.blend((task, 1.0)))
  path = tmp_path / "config.json"
  path.write_text(made.to_json())
  said = refused(config.load, str(path))
  assert "uses code of their.tasks" in said and "add --trust their.tasks" in said
  assert config.load(str(path), [], ["their"]).trust == ("their",)
