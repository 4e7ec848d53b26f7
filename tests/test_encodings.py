"""Every text file that the code opens names its encoding: that of the locale differs by machine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("audiopalm", "data_pipelines", "configs", "benchmarks", "docs")
TEXT = {"read_text": 0, "write_text": 1}  # and which argument would be the encoding
OPENERS = {"open": 1, "fdopen": 1}  # and which argument is the mode, where it is not a method


def faults(text: str) -> list[int]:
  """Returns the numbers of the lines that read or write text by the encoding of the locale."""
  found = []
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Call) and _is_text(node):
      if not {"encoding", None} & {keyword.arg for keyword in node.keywords}:
        found.append(node.lineno)
  return found


def _is_text(call: ast.Call) -> bool:
  """Returns whether a call opens, reads or writes text, and does not name its encoding by place."""
  name = getattr(call.func, "attr", getattr(call.func, "id", ""))
  if name in TEXT:
    return len(call.args) <= TEXT[name]
  if name in OPENERS:
    is_method = isinstance(call.func, ast.Attribute) and name == "open"
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[0 if is_method else OPENERS[name] :][:1]
    values = [mode.value for mode in modes if isinstance(mode, ast.Constant)]
    text = [value for value in values if isinstance(value, str) and set(value) <= set("rwaxt+")]
    return bool(text) or (not is_method and len(call.args) == 1 and not modes)
  asks = [keyword.value for keyword in call.keywords if keyword.arg == "text"]
  return any(isinstance(value, ast.Constant) and value.value is True for value in asks)


@pytest.mark.parametrize(
  "line",
  [
    "path.read_text()", "path.write_text(text)", "open(path)", "open(path, 'w')",
    "path.open('a+')", "os.fdopen(1, 'w')", "subprocess.run(line, text=True)",
  ],
)  # fmt: skip
def test_a_call_without_an_encoding_is_found(line):
  assert faults(line) == [1]


@pytest.mark.parametrize(
  "line",
  [
    "path.read_text(encoding='utf-8')", "path.read_text('utf-8')", "path.write_text(text, 'utf-8')",
    "open(path, 'rb')", "path.open('wb')", "wave.open(path)", "open(path, encoding='utf-8')",
    "subprocess.run(line)", "subprocess.run(line, text=True, encoding='utf-8')",
    "path.write_text(text, **how)", "pretrained.open(folder)",
  ],
)  # fmt: skip
def test_other_calls_are_not(line):
  assert faults(line) == []


def test_every_text_file_names_its_encoding():
  paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
  assert len(paths) > 100
  found = {
    str(path.relative_to(ROOT)): lines
    for path in (*paths, ROOT / "setup.py")
    if (lines := faults(path.read_text(encoding="utf-8")))
  }
  assert found == {}
