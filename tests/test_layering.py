"""The tree keeps its layers: read from the syntax trees, nothing is imported.

A file imports strictly lower layers and its own folder; files at the package root have no folder.
`audiopalm/__init__.py`, which reaches its names lazily, is the one file outside the rule. The
folder data_pipelines/ is the package audiopalm.data_pipelines, which only `cli` imports.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
  ("errors", "version"),
  ("system", "quantities", "trust"),
  ("types", "language_tags", "settings"),
  ("sharding", "batch", "audio", "values", "orthography", "servers", "runs"),
  ("nn", "metrics", "tokens", "bits", "stored"),
  ("layouts",),
  ("models",),
  ("tokenizers",),
  ("data", "objectives", "pretrained"),
  ("experiment",),
  ("parts",),
  ("config",),
  ("inference",),
  ("evaluation", "exports"),
  ("training", "report"),
  ("planning",),
  ("cluster", "session", "seqio"),
  ("cli",),
  ("commands", "__main__"),
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
HIGHEST = {"data_pipelines": LAYER["data"], "configs": LAYER["config"]}  # what they may import

TENSORFLOW = (
  "apache_beam", "clu", "seqio", "t5", "tensorboard", "tensorflow", "tensorflow_datasets",
  "tensorflow_text",
)  # fmt: skip
MAY_USE_TENSORFLOW = ("audiopalm/data/seqio_tasks.py", "data_pipelines/")
BEAM = "audiopalm.data.beam"  # what runs in a process of its own; only `prepare` starts it
PIPELINES = "audiopalm.data_pipelines"  # the name of data_pipelines/, in a checkout too
MAY_USE_BEAM = ("audiopalm/data/beam.py", *MAY_USE_TENSORFLOW)
MAY_START_BEAM = "audiopalm/cli/prepare.py"
# What may be imported of models/ from outside it and parts/: no class of a model.
MODELS = (
  "audiopalm.models.base.",
  "audiopalm.models.pytorch.encoders.",
  "audiopalm.models.pytorch.families.",
  "audiopalm.models.pytorch.fields.",
  "audiopalm.models.pytorch.tensors.",
  "audiopalm.models.pytorch.torch_names.",
  "audiopalm.models.trained_encoders.",
  "audiopalm.models.frozen_encoder.",
)
MAY_NAME_MODELS = ("audiopalm/models/", "audiopalm/parts/")
# Settings of corpora say by name who serves them, which is imported where records are made.
MAY_NAME_PIPELINES = (
  "audiopalm/data/corpora.py",
  "audiopalm/data/manifest/corpus.py",
  "audiopalm/tokenizers/phonemes.py",
)
ROOT_FILE = "audiopalm/__init__.py"
FOLDERS = ("audiopalm", "configs", "data_pipelines")
EMPTY_WORDS = ("utils", "util", "helpers", "helper", "misc", "common", "v2")
MOST_LINES = 500


def faults(root: Path) -> list[str]:
  """Returns every breach of the rules under `root`, one line each."""
  found = []
  graph = {}
  files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
  modules = {_module(path, root) for path in files}
  for path in files:
    name = path.relative_to(root).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = _dotted(path.parent, root)
    imported = {_known(target, modules) for target in _imports(tree, package)}
    graph[_module(path, root)] = set() if name == ROOT_FILE else imported & modules
    found += [f"{name}: {text}" for text in _file_faults(name, path, tree, imported)]
  found += [f"circular import: {' -> '.join(cycle)}" for cycle in _cycles(graph)]
  return found


def _file_faults(name: str, path: Path, tree: ast.AST, imported: set[str]) -> Iterator[str]:
  lines = len(path.read_text(encoding="utf-8").splitlines())
  if lines > MOST_LINES:
    yield f"{lines} lines, at most {MOST_LINES}"
  for word in EMPTY_WORDS:
    if word in path.with_suffix("").parts[-len(Path(name).parts) :]:
      yield f"is called {word!r}, which says nothing"
  for target in sorted(imported):
    yield from _import_faults(name, target)
  if not name.startswith(("data_pipelines/", *MAY_NAME_PIPELINES)):
    for node in ast.walk(tree):
      if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if re.fullmatch(r"(audiopalm\.)?data_pipelines(\.\w+)+", node.value):
          yield f"names {node.value}, which only settings of corpora may"


def _import_faults(name: str, target: str) -> Iterator[str]:
  top, *rest = target.split(".")
  folder = name.split("/")[0]
  if top == "apache_beam":
    if not name.startswith(MAY_USE_BEAM):
      yield f"imports {top}; Beam stays in {' and '.join(MAY_USE_BEAM)}"
  elif top in TENSORFLOW and not name.startswith(MAY_USE_TENSORFLOW):
    yield f"imports {top}; TensorFlow stays in {' and '.join(MAY_USE_TENSORFLOW)}"
  if target == BEAM and name != MAY_START_BEAM:
    yield f"imports {target}, which only {MAY_START_BEAM} may"
  if target.startswith("audiopalm.models.") and not f"{target}.".startswith(MODELS):
    if not name.startswith(MAY_NAME_MODELS):
      yield f"imports {target}; a model is named by models/ and parts/ alone"
  if top == "data_pipelines":
    yield f"imports {target}, whose name is audiopalm.{target}"
  if f"{target}.".startswith(f"{PIPELINES}."):
    if folder == "configs":
      yield f"imports {target}"
    if folder == "audiopalm" and not name.startswith("audiopalm/cli/"):
      yield f"imports {target}, which only cli may"
    return
  if top == "configs":
    yield f"imports {target}"
  if top != "audiopalm" or name == ROOT_FILE or not rest:
    return
  if rest[0] not in LAYER:
    yield f"imports {target}, which has no layer"
  elif folder in HIGHEST:
    if LAYER[rest[0]] > HIGHEST[folder]:
      yield f"imports {target}, above what {folder} may"
  else:
    part = name.split("/")[1].removesuffix(".py")
    own_folder = name.count("/") > 1 and part == rest[0]
    if part not in LAYER:
      yield f"{part!r} has no layer"
    elif not own_folder and LAYER[rest[0]] >= LAYER[part]:
      yield f"imports {target}, which is not below it"


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
  """Yields everything imported anywhere in a file, also inside functions."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
      source = ".".join(filter(None, (*above, node.module)))
      yield from (f"{source}.{alias.name}" for alias in node.names)


def _module(path: Path, root: Path) -> str:
  return _dotted(path.with_suffix(""), root).removesuffix(".__init__")


def _dotted(path: Path, root: Path) -> str:
  """Returns the name under which a file or folder is imported."""
  parts = path.relative_to(root).parts
  return ".".join(("audiopalm", *parts) if parts[0] == "data_pipelines" else parts)


def _known(target: str, modules: set[str]) -> str:
  """Returns the module in `target`: "audiopalm.types.HOLE" is "audiopalm.types"."""
  parent = target.rpartition(".")[0]
  return parent if target not in modules and parent in modules else target


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
  done, path = set(), []

  def visit(module: str) -> Iterator[list[str]]:
    if module in path:
      yield [*path[path.index(module) :], module]
      return
    if module in done:
      return
    path.append(module)
    for target in sorted(graph.get(module, ())):
      yield from visit(target)
    path.pop()
    done.add(module)

  for module in sorted(graph):
    yield from visit(module)


def test_every_file_keeps_the_layers():
  assert faults(ROOT) == []


PLANTED = [
  ("audiopalm/nn/a.py", "import audiopalm.models.b", "which is not below it"),
  ("audiopalm/nn/a.py", "from audiopalm import models", "which is not below it"),
  ("audiopalm/data/a.py", "from audiopalm.models import decoder", "named by models/ and parts/"),
  ("audiopalm/nn/a.py", "def f():\n  from audiopalm.metrics import text", "which is not below it"),
  ("audiopalm/batch.py", "from audiopalm.values import paths", "which is not below it"),
  ("audiopalm/session.py", "from audiopalm.cli import main", "which is not below it"),
  ("audiopalm/nn/a.py", "from . import a", "circular import: audiopalm.nn.a -> audiopalm.nn.a"),
  ("audiopalm/data/a.py", "import tensorflow as tf", "TensorFlow stays in"),
  ("audiopalm/data/a.py", "from seqio import Task", "TensorFlow stays in"),
  ("configs/a.py", "import tensorflow_datasets", "TensorFlow stays in"),
  ("audiopalm/data/beam.py", "import tensorflow", "TensorFlow stays in"),
  ("audiopalm/data/a.py", "import apache_beam", "Beam stays in audiopalm/data/beam.py and"),
  ("audiopalm/data/a.py", "import audiopalm.data.beam", "which only audiopalm/cli/prepare.py may"),
  ("audiopalm/data/a.py", "import audiopalm.data_pipelines.synthetic", "which only cli may"),
  (
    "audiopalm/data/a.py",
    "a = 'audiopalm.data_pipelines.synthetic'",
    "which only settings of corpora may",
  ),
  ("configs/a.py", "from audiopalm import data_pipelines", "imports audiopalm.data_pipelines"),
  (
    "data_pipelines/a.py",
    "from data_pipelines import b",
    "imports data_pipelines.b, whose name is audiopalm.data_pipelines.b",
  ),
  ("configs/a.py", "from audiopalm.training import loop", "above what configs may"),
  ("data_pipelines/a.py", "from audiopalm import experiment", "above what data_pipelines may"),
  ("configs/a.py", "from configs import b", "imports configs.b"),
  ("audiopalm/strange/a.py", "import audiopalm.types", "'strange' has no layer"),
  ("audiopalm/nn/a.py", "import audiopalm.strange", "which has no layer"),
  ("audiopalm/nn/utils.py", "", "is called 'utils'"),
  ("audiopalm/common/a.py", "", "is called 'common'"),
  ("audiopalm/nn/a.py", "\n" * 501, "501 lines, at most 500"),
]


@pytest.mark.parametrize(("name", "text", "fault"), PLANTED)
def test_a_planted_breach_is_found(tmp_path, name, text, fault):
  path = tmp_path / name
  path.parent.mkdir(parents=True)
  path.write_text(text)
  assert any(line.endswith(fault) or fault in line for line in faults(tmp_path))


def test_a_circular_import_is_found_through_from_and_relative_imports(tmp_path):
  folder = tmp_path / "audiopalm" / "nn"
  folder.mkdir(parents=True)
  (folder / "a.py").write_text("from audiopalm.nn import b")
  (folder / "b.py").write_text("from .c import thing")
  (folder / "c.py").write_text("import audiopalm.nn.a")
  assert faults(tmp_path) == [
    "circular import: audiopalm.nn.a -> audiopalm.nn.b -> audiopalm.nn.c -> audiopalm.nn.a"
  ]


ALLOWED = [
  ("audiopalm/nn/a.py", "from audiopalm import types\nfrom audiopalm.nn import b"),
  ("audiopalm/training/a.py", "from audiopalm.models.base import Model"),
  ("audiopalm/data/seqio_tasks.py", "import seqio\nimport tensorflow as tf"),
  ("audiopalm/data/corpora.py", "served_by = 'audiopalm.data_pipelines.a'"),
  ("audiopalm/cli/prepare.py", "import audiopalm.data_pipelines.synthetic"),
  ("data_pipelines/a.py", "from audiopalm.data_pipelines.speech import saying"),
  ("audiopalm/__init__.py", "from audiopalm.session import load"),
  ("audiopalm/data/beam.py", "def f():\n  import apache_beam"),
  ("data_pipelines/a.py", "import apache_beam\nfrom audiopalm.data import corpora"),
  (
    "configs/a.py",
    "from audiopalm.parts import models\nfrom audiopalm.experiment import Experiment",
  ),
]


@pytest.mark.parametrize(("name", "text"), ALLOWED)
def test_what_is_allowed_passes(tmp_path, name, text):
  path = tmp_path / name
  path.parent.mkdir(parents=True)
  path.write_text(text)
  assert faults(tmp_path) == []


def test_every_class_has_a_name_of_its_own():
  places: dict[str, list[str]] = {}
  for folder in (*FOLDERS, "benchmarks"):
    for path in sorted((ROOT / folder).rglob("*.py")):
      for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
          places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
  assert len(places) > 200
  assert {name: where for name, where in places.items() if len(where) > 1} == {}
