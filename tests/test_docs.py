"""Links of README and docs lead to files, and the tests that docs/reliability.md names exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\[([^\]]*)\]\(([^)#\s]+)[^)]*\)")


def links(page):
  found = LINK.findall(page.read_text(encoding="utf-8"))
  return [(text, page.parent / to) for text, to in found if "://" not in to]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_has_one(page):
  assert [str(path) for _, path in links(page) if not path.exists()] == []


def test_every_test_that_reliability_names_is_in_its_file():
  named = [
    (name, path)
    for text, path in links(ROOT / "docs/reliability.md")
    for name in text.split(", ")
    if name.startswith("test_") and name != path.stem  # the name of a file is all its tests
  ]
  assert len(named) >= 20
  gone = [name for name, path in named if f"def {name}(" not in path.read_text(encoding="utf-8")]
  assert gone == []


def test_tables_in_docstrings_of_modules_are_indented_so_that_nobody_reflows_them():
  paths = [
    path
    for folder in ("audiopalm", "data_pipelines", "configs", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
  ]
  assert len(paths) > 250
  for path in paths:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    _, *paragraphs = docstring.split("\n\n")
    tables = [part for part in paragraphs if re.search(r"^\S.*\S  +\S", part, re.M)]
    # Where nothing but tables follows the first line, ruff takes their indentation away.
    assert tables in ([], paragraphs), path
