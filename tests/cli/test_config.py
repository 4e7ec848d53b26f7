"""Config files and --set: what is set, and the text of every refusal."""

import os
import sys

import pytest

from audiopalm import values
from audiopalm.cli import config
from audiopalm.errors import ConfigError

CONFIG = '''
"""A config."""

from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers

def experiment(
  records: int = 8, speaker: str | None = "anna", languages: tuple[str, ...] = ("en",)
):
  corpus = Synthetic(languages=languages, train_records=records)
  return Experiment(
    name=f"try {speaker}",
    tokenizers=(tokenizers.text(size=300), tokenizers.units(size=32, rate_hz=25)),
    mixture=mixtures.blend((mixtures.asr(corpus), 0.5), (mixtures.tts(corpus), 0.5)),
    model=models.tiny(),
  )
'''


@pytest.fixture
def write(tmp_path):
  def write(text=CONFIG, old="", new=""):
    path = tmp_path / "try.py"
    path.write_text(text.replace(old, new) if old else text)
    return str(path)

  return write


def test_parameters_are_set_by_name_and_read_by_their_type(write):
  found = config.load(write(), ["records=12", "speaker=none", "languages=en,fr"])
  assert found.name == "try None"
  assert found.corpora[0].train_records == 12
  assert found.corpora[0].languages == ("en", "fr")


def test_fields_are_set_by_dotted_path_and_read_by_their_type(write):
  settings = [
    "optimizer.peak_lr=3e-4",
    "optimizer.clip_norm=none",
    "steps=20",
    "data.too_long=drop",
  ]
  settings += [
    "data.too_long=drop",
    "tokenizers.units.size=64",
    "mixture.tasks.asr=2",
    "optimizer.name=adafactor",
  ]
  found = config.load(write(), settings)
  assert (found.optimizer.peak_lr, found.optimizer.clip_norm) == (3e-4, None)
  assert (found.steps, found.data.too_long, found.optimizer.name) == (20, "drop", "adafactor")
  assert found.tokenizers[1].size == 64
  assert [rate for _, rate in found.mixture.tasks] == [2.0, 0.5]


def test_the_resolved_config_of_a_run_is_a_config_too(write, tmp_path):
  found = config.load(write(), ["records=12"])
  (tmp_path / "config.json").write_text(found.to_json())
  assert config.load(str(tmp_path / "config.json")) == found
  assert config.load(str(tmp_path / "config.json"), ["steps=20"]).steps == 20
  with pytest.raises(ConfigError, match="There is no setting 'records'"):
    config.load(str(tmp_path / "config.json"), ["records=3"])
  (tmp_path / "config.json").write_text('{"class": "os.system"}')
  with pytest.raises(ConfigError, match=r"(?s)'os.system', which is not .*in .*config.json"):
    config.load(str(tmp_path / "config.json"))


def test_of_two_values_for_one_path_the_last_counts(write):
  assert config.load(write(), ["steps=20", "steps=30"]).steps == 30


def test_a_value_may_hold_an_equals_sign(write):
  assert config.load(write(), ["speaker=a=b"]).name == "try a=b"


@pytest.mark.parametrize(
  ("setting", "texts"),
  [
    ("optimizer.peak_rl=1", ["There is no setting 'optimizer.peak_rl'", "optimizer.peak_lr"]),
    ("peak_lr=1", ["There is no setting 'peak_lr'", "optimizer.peak_lr"]),
    ("record=1", ["There is no setting 'record'", "records"]),
    ("zzz=1", ["There is no setting 'zzz'. Near: records, speaker"]),
    ("steps.more=1", ["There is no setting 'steps.more'"]),
    ("steps=many", ["steps takes an integer, not 'many'."]),
    ("steps=0", ["steps must be an integer of at least 1, not 0."]),
    ("optimizer.peak_lr=x", ["optimizer.peak_lr takes a number, not 'x'."]),
    ("optimizer.clip_norm=x", ["optimizer.clip_norm takes a number or none, not 'x'."]),
    ("optimizer.name=sgd", ["optimizer.name takes one of adamw, muon, adafactor, not 'sgd'."]),
    ("optimizer=adamw", ["optimizer is an Optimizer: set one of its fields (name, peak_lr"]),
    ("records=x", ["records takes an integer, not 'x'."]),
    ("languages=xx", ["languages=('xx',) must be one or more of en, fr, de", "try.py:11"]),
    ("steps", ["--set takes PATH=VALUE, as in optimizer.peak_lr=3e-4, not 'steps'."]),
    ("=1", ["--set takes PATH=VALUE", "'=1'"]),
  ],
)
def test_a_wrong_setting_says_what_was_expected(write, setting, texts):
  with pytest.raises(ConfigError) as error:
    config.load(write(), [setting])
  for text in texts:
    assert text in str(error.value)


def test_every_synonym_is_of_a_setting_and_is_none_itself():
  known = set(values.paths(config.load("quickstart")))
  assert set(values.SYNONYMS.values()) <= known
  assert not set(values.SYNONYMS) & {path.rsplit(".", 1)[-1] for path in known}


@pytest.mark.parametrize(
  ("name", "path"),
  [
    ("lr", "optimizer.peak_lr"),
    ("optimizer.learning_rate", "optimizer.peak_lr"),
    ("batch_size", "data.batch_rows"),
    ("max_steps", "steps"),
    ("num_steps", "steps"),
    ("seq_len", "data.row_length"),
    ("sequence_length", "data.row_length"),
    ("vocab_size", "tokenizers.text.size"),
  ],
)
def test_a_name_of_other_codebases_is_refused_with_the_path_it_has_here(write, name, path):
  with pytest.raises(ConfigError) as error:
    config.load(write(), [f"{name}=1"])
  assert str(error.value) == f"There is no setting {name!r}. Near: {path}."


def test_a_parameter_may_be_called_as_other_codebases_call_a_setting(write):
  text = CONFIG.replace("records: int", "batch_size: int").replace("=records", "=batch_size")
  assert config.load(write(text), ["batch_size=12"]).corpora[0].train_records == 12


@pytest.mark.parametrize(
  ("old", "new", "texts"),
  [
    ("def experiment", "def something", ["try.py: has no function experiment()"]),
    ("  return Experiment(", "  return dict(", ["must return an Experiment, not a dict"]),
    ("records: int = 8", "records: int", ["needs a value for 'records'", "--set records=..."]),
    ("records: int = 8", "steps: int = 8", ["'steps' is a parameter of experiment() and a field"]),
    ("speaker: str |", "speaker: strr |", ["try.py:9: NameError: name 'strr' is not defined"]),
    ("size=300", "siez=300", ["try.py:14: TypeError:", "siez"]),
    ("models.tiny()", "models.tiny(", ["try.py:12: SyntaxError: '(' was never closed"]),
    ("import mixtures", "import mixtoures", ["try.py:6: ImportError: cannot import name"]),
  ],
)
def test_a_wrong_config_says_where(write, old, new, texts):
  with pytest.raises(ConfigError) as error:
    config.load(write(CONFIG, old, new))
  for text in texts:
    assert text in str(error.value)


def test_a_config_that_is_not_there_lists_those_that_come_with_the_package(tmp_path):
  with pytest.raises(ConfigError, match=r"no config .*nothing.py'.* Python file .*quickstart"):
    config.load(str(tmp_path / "nothing.py"))
  with pytest.raises(ConfigError, match="no config 'quikstart'"):
    config.load("quikstart")


def test_a_file_with_another_ending_is_no_config(tmp_path):
  path = tmp_path / "notes.txt"
  path.write_text("hello")
  with pytest.raises(ConfigError, match=r"a config is a Python file, with a name that ends in .py"):
    config.load(str(path))


def test_a_config_that_comes_with_the_package_goes_by_its_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert config.load("quickstart").name == "quickstart"


def written(folder, beside, config=CONFIG):
  """Returns the path of a config that takes its number of records from a module beside it."""
  folder.mkdir()
  (folder / "sizes.py").write_text(beside, encoding="utf-8")
  text = config.replace("train_records=records", "train_records=sizes.RECORDS")
  text = text.replace("from audiopalm.data", "import sizes\nfrom audiopalm.data")
  (folder / "try.py").write_text(text, encoding="utf-8")
  return folder / "try.py"


def test_a_config_imports_the_module_beside_it_and_no_other_config_sees_that(tmp_path, monkeypatch):
  paths = [written(tmp_path / name, f"RECORDS = {n}") for name, n in (("a", 12), ("b", 16))]
  monkeypatch.chdir(tmp_path / "b")  # whose sizes.py is not the one beside a/try.py
  before = list(sys.path)
  found = [config.load(os.path.relpath(path)).corpora[0].train_records for path in paths]
  assert found == [12, 16]
  assert sys.path == before and "sizes" not in sys.modules
  assert not list(tmp_path.rglob("*.pyc"))


def test_a_config_in_a_folder_with_installed_packages_leaves_them_imported(tmp_path, monkeypatch):
  installed = tmp_path / "a" / ".venv" / "site-packages"
  path = written(tmp_path / "a", "import an_installed_one\nRECORDS = an_installed_one.RECORDS")
  installed.mkdir(parents=True)
  (installed / "an_installed_one.py").write_text("RECORDS = 12", encoding="utf-8")
  monkeypatch.syspath_prepend(str(installed))
  assert config.load(str(path)).corpora[0].train_records == 12
  assert "an_installed_one" in sys.modules and "sizes" not in sys.modules
  del sys.modules["an_installed_one"]


def test_a_config_changed_within_a_second_is_read_as_it_is_now(tmp_path):
  path = written(tmp_path / "a", "RECORDS = 12")
  assert config.load(str(path)).corpora[0].train_records == 12
  (path.parent / "sizes.py").write_text("RECORDS = 16", encoding="utf-8")
  assert config.load(str(path)).corpora[0].train_records == 16


def test_a_config_may_hold_a_dataclass_under_postponed_annotations(write):
  head = "from __future__ import annotations\nimport dataclasses\n"
  held = "@dataclasses.dataclass\nclass Sizes:\n  records: int = 12\n\ndef experiment("
  text = CONFIG.replace("def experiment(", held).replace('"""A config."""', head)
  text = text.replace("train_records=records", "train_records=Sizes().records")
  found = config.load(write(text), ["languages=en,fr"])
  assert found.corpora[0].train_records == 12
  assert found.corpora[0].languages == ("en", "fr")


def test_an_error_by_a_relative_path_names_the_line_of_the_config_or_of_its_module(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  wrong = {
    "a": ("RECORDS = 12", "models.tiny()", "1 / 0", "a/try.py:17: ZeroDivisionError: division"),
    "b": ("\n\nRECORDS = 1 / 0", "", "", "b/sizes.py:3, from b/try.py:4: ZeroDivisionError"),
    "c": ("RECORDS = (", "", "", r"c/sizes.py:1, from c/try.py:4: SyntaxError: '\(' was never"),
    "d": ("RECORDS = 12", "  return Exp", "  return Exp(", r"d/try.py:\d+: SyntaxError: "),
    "e": ("import nothing_like_it", "", "", "e/sizes.py:1, from e/try.py:4: ModuleNotFoundError"),
    "f": ("raise SystemExit('no')", "", "", "f/sizes.py:1, from f/try.py:4: SystemExit: no"),
  }
  for name, (beside, old, new, text) in wrong.items():
    written(tmp_path / name, beside, CONFIG.replace(old, new) if old else CONFIG)
    with pytest.raises(ConfigError, match=f"^{text}"):
      config.load(f"{name}/try.py")
