"""From the command line to the model, an editor can follow every step: no parameter is of any type.

How many functions lie on that road is counted in tests/cli/test_train_run.py, where it is run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "audiopalm"
ROAD = (
  ROOT / "cli" / "main.py",
  ROOT / "cli" / "train.py",
  *sorted((ROOT / "training").glob("*.py")),
  ROOT / "sharding.py",
  ROOT / "objectives" / "base.py",
  ROOT / "models" / "base.py",
)


def of_any_type(text: str) -> list[str]:
  """Returns "function(parameter)" for each parameter whose type is Any, alone or in a union."""
  return [
    f"{node.name}({each.arg})"
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.FunctionDef)
    for each in (
      *node.args.posonlyargs,
      *node.args.args,
      *node.args.kwonlyargs,
      node.args.vararg,
      node.args.kwarg,
    )  # fmt: skip
    if each is not None and each.annotation is not None and "Any" in _members(each.annotation)
  ]


def _members(annotation: ast.expr) -> Iterator[str]:
  """Yields the names of the types that a union is made of."""
  if isinstance(annotation, ast.BinOp):
    yield from _members(annotation.left)
    yield from _members(annotation.right)
  else:
    yield ast.unparse(annotation).removeprefix("typing.")


@pytest.mark.parametrize("path", ROAD, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_parameter_on_the_main_road_is_of_any_type(path):
  assert of_any_type(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
  "text",
  [
    "def f(x: Any): ...",
    "def f(*, x: Any | None = None): ...",
    "class A:\n  def f(self, x: typing.Any): ...",
    "def f(**x: Any): ...",
  ],
)
def test_a_planted_parameter_of_any_type_is_found(text):
  assert of_any_type(text) == ["f(x)"]


def test_what_holds_anything_is_no_parameter_of_any_type():
  assert of_any_type("def f(x: Mapping[str, Any]) -> Any: ...") == []
