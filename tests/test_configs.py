"""Every config that comes with the project loads, survives JSON and says how to launch it."""

import ast
import gzip
import json
import re
from pathlib import Path

import jax
import pytest

from audiopalm import experiment
from audiopalm.cli import config
from audiopalm.errors import ConfigError
from audiopalm.layouts import incremental
from audiopalm.planning import program
from audiopalm.settings import Machine

FOLDER = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.py"))
OF_FILES = FOLDER / "real_speech.py"  # needs files of the user
ALONE = sorted({*FOLDER.glob("*.py")} - {OF_FILES})


@pytest.mark.parametrize("path", ALONE, ids=lambda path: path.stem)
def test_a_config_loads_and_survives_json(path):
  found = config.load(str(path))
  assert found.name == path.stem
  assert experiment.from_json(found.to_json()) == found


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_starts_with_its_launch_line(path):
  docstring = ast.get_docstring(ast.parse(path.read_text()))
  name = path.stem if path.parent == FOLDER else path.relative_to(FOLDER.parent)
  assert re.search(rf"^  audiopalm train {name} --workdir runs/", docstring, re.MULTILINE)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_short_and_has_no_conditions(path):
  tree = ast.parse(path.read_text())
  assert len(path.read_text().splitlines()) <= 60
  assert not [node for node in ast.walk(tree) if isinstance(node, ast.If | ast.ClassDef)]


@pytest.mark.parametrize("name", ["spirit_lm", "voicecraft"])
def test_the_layouts_of_a_system_have_ids_and_plans(name):
  found = config.load(f"configs/systems/{name}.py", [])
  assert experiment.from_json(found.to_json()) == found
  space = program.space_of(found)
  for task in found.tasks:
    plan = incremental.compile(found.layout.layout_of(task), space)
    assert len(plan.class_KV) == space.columns


@pytest.mark.parametrize(
  ("name", "millions"),
  [("wav2vec2", 95.0), ("hubert", 94.6), ("wavlm", 94.6), ("w2v_bert", 588), ("best_rq", 593)],
)
def test_encoders_of_both_sizes_are_planned_without_devices(name, millions):
  machine = Machine(name="eight", data=2, fsdp=4, remat="dots")
  for size in ("small", "base"):
    found = config.load(f"configs/systems/{name}.py", [f"size={size}"])
    assert experiment.from_json(found.to_json()) == found
    space = program.space_of(found)
    if size == "base":
      assert found.model.parameters(space) / 1e6 == pytest.approx(millions, rel=0.01)
    mesh = program.abstract_mesh(machine, 8)
    with jax.sharding.use_abstract_mesh(mesh):
      _, shapes = program.traced_train_step(found, machine, mesh)
    largest = max(jax.tree.leaves(shapes.params), key=lambda array: array.size)
    assert not largest.sharding.is_fully_replicated
  with pytest.raises(ConfigError, match="size takes one of small, base, not 'huge'"):
    config.load(f"configs/systems/{name}.py", ["size=huge"])


def test_the_shipped_names_are_those_of_the_folder():
  names = {path.relative_to(FOLDER).with_suffix("").as_posix() for path in CONFIGS}
  assert {*config.shipped()} == names and {"quickstart", "systems/best_rq"} <= names


def test_the_delayed_config_takes_its_columns_and_codec():
  delayed, flat = (config.load("delayed", [f"columns={name}"]) for name in ("delayed", "flat"))
  assert delayed.layout.delays == (("codes", (0, 1, 2, 3, 4, 5, 6, 7)),)
  assert flat.layout.delays == ()
  depth = config.load("delayed", ["columns=depth"])
  assert depth.layout.delays == (("codes", (0,) * 8),)
  assert (depth.model.depth_head.width, flat.model.depth_head) == (128, None)
  assert delayed.tokenizers == flat.tokenizers == depth.tokenizers
  codec = config.load("delayed", ["codec=lyra", "folder=/models/lyra"]).tokenizers[1]
  assert (codec.codebooks, codec.folder) == (8, "/models/lyra")
  with pytest.raises(ConfigError, match="columns takes one of delayed, flat, depth, not 'slanted'"):
    config.load("delayed", ["columns=slanted"])


@pytest.mark.parametrize("name", ["quickstart", "synthetic", "delayed"])
def test_configs_are_spoken_by_pico_unless_told(name):
  for settings, expected in ((), "pico"), (["synthesizer=espeak"], "espeak"):
    speaks = {corpus.synthesizer for corpus in config.load(name, settings).corpora}
    assert expected in speaks and speaks <= {expected, "pico"}  # plain text is spoken by nobody
  with pytest.raises(ConfigError, match="synthesizer takes one of pico, espeak, not 'festival'"):
    config.load(name, ["synthesizer=festival"])


def test_the_digit_config_takes_its_speaker_and_folder():
  settings = ["held_out_speaker=nicolas", "data_dir=/data/tfds"]
  corpus = config.load("spoken_digit", settings).corpora[0]
  assert (corpus.held_out_speaker, corpus.data_dir) == ("nicolas", "/data/tfds")
  assert "nicolas" not in corpus.train_voices("en")


@pytest.fixture
def recorded(tmp_path):
  """Returns a folder with the manifests that configs/real_speech.py reads, of a line or two."""

  def put(name, *rows):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))

  def line(audio, language, **more):
    return {"audio": audio, "text": "one", "language": language, "speaker": "s", **more}

  for split in ("train", "dev"):
    for folder, language in (("so762", "en"), ("kerstin", "de"), ("nathalie", "nl")):
      put(f"{folder}/{split}.jsonl", line(split, language))
    english = {"translation": "eins", "translation_language": "en"}
    put(f"fillets/ast.{split}.jsonl", line(split, "cs", **english))
    pair = [line(f"{split}-{code}", code, pair="p") for code in ("cs", "nl")]
    put(f"fillets/s2st.{split}.jsonl", *pair)
    for code in ("cs", "nl"):
      turns = [{**line(f"{split}-{code}-{n}", code), "speaker": str(n)} for n in range(2)]
      row = {"id": f"{code}/{split}", "language": code, "turns": turns}
      put(f"fillets/dialogues.{code}.{split}.jsonl", row)
  (tmp_path / "multi30k").mkdir()
  (tmp_path / "multi30k/train.en.gz").write_bytes(gzip.compress(b"A dog runs.\n"))
  return tmp_path


def test_recorded_sentences_are_tested_on_their_dev_files(recorded):
  settings = [f"data_dir={recorded}", "captions=7"]
  found = config.load("real_speech", settings)
  assert experiment.from_json(found.to_json()) == found
  tests = {corpus.test for corpus in found.corpora if corpus.name != "captions"}
  assert len(tests) == 6 and all("dev.jsonl" in str(path) for paths in tests for path in paths)
  directions = {task.name: len(task.corpus.pairs(task.roles)) for task in found.tasks}
  assert directions["s2st"] == directions["dialogue"] == 2 and directions["ast"] == 1
  assert sum(found.mixture.shares) == pytest.approx(1)
  space = program.space_of(found)
  for task in found.tasks:
    incremental.compile(found.layout.layout_of(task), space)
  with pytest.raises(
    ConfigError, match="needs a value for 'data_dir'. Give it with --set data_dir="
  ):
    config.load("real_speech")
  settings += ["units=neural:/models/whisper", "window_s=8"]
  units = config.load("real_speech", settings).tokenizers[1]
  assert (units.folder, units.window_s, units.size) == ("/models/whisper", 8.0, 512)
