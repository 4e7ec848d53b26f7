"""From the command line to the model, an editor can follow every step: every parameter has a type.

How many functions lie on that road is counted in tests/cli/test_train_run.py, where it is run.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "audiopalm"
ROAD = tuple(
  path
  for pattern in (
    "cli/main.py",
    "cli/train.py",
    "experiment.py",
    "session.py",
    "types.py",
    "sharding.py",
    "data/[!_]*.py",
    "tokens/*.py",
    "layouts/*.py",
    "models/*.py",
    "nn/*.py",
    "objectives/*.py",
    "training/*.py",
    "inference/*.py",
  )
  for path in sorted(ROOT.glob(pattern))
)


def untyped(text: str) -> list[str]:
  """Returns "function(parameter)" for each parameter whose type is missing, or is Any, alone or in
  a union. Functions inside of functions need no types."""
  return [
    f"{function.name}({parameter.arg})"
    for function in _functions(ast.parse(text))
    for parameter in (
      *function.args.posonlyargs,
      *function.args.args,
      *function.args.kwonlyargs,
      function.args.vararg,
      function.args.kwarg,
    )
    if parameter is not None and parameter.arg not in ("self", "cls")
    if parameter.annotation is None or "Any" in _members(parameter.annotation)
  ]


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
  """Yields the functions of a module and of its classes."""
  for child in ast.iter_child_nodes(node):
    if isinstance(child, ast.FunctionDef):
      yield child
    elif isinstance(child, ast.ClassDef | ast.If | ast.Try):
      yield from _functions(child)


def _members(annotation: ast.expr) -> Iterator[str]:
  """Yields the names of the types that a union is made of."""
  if isinstance(annotation, ast.BinOp):
    yield from _members(annotation.left)
    yield from _members(annotation.right)
  else:
    yield ast.unparse(annotation).removeprefix("typing.")


@pytest.mark.parametrize("path", ROAD, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_parameter_on_the_main_road_has_a_type(path):
  assert untyped(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
  "text",
  [
    "def f(x: Any): ...",
    "def f(*, x: Any | None = None): ...",
    "class A:\n  def f(self, x: typing.Any): ...",
    "def f(**x: Any): ...",
    "def f(x): ...",
    "class A:\n  def f(self, *, x=None): ...",
    "if TYPE_CHECKING:\n  def f(*x): ...",
  ],
)
def test_a_planted_parameter_without_a_type_is_found(text):
  assert untyped(text) == ["f(x)"]


def test_what_holds_anything_is_no_parameter_of_any_type():
  assert untyped("def f(x: Mapping[str, Any]) -> Any: ...") == []


def test_a_function_within_a_function_needs_no_types():
  assert untyped("def f(x: int):\n  def g(y): ...") == []
