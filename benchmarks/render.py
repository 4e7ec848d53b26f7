"""Writes docs/performance.md from the results in benchmarks/results.

  python benchmarks/render.py

A benchmark takes part by its name in BENCHMARKS and by two names in its file, whose imports are
cheap (what is measured is imported by the processes that measure):

  TITLE                      heading of the section
  section(results) -> str    Markdown below it: what was measured and how, and tables of figures

It writes benchmarks/results/NAME-MACHINE.json with MACHINE of `score.machine_name`, holding
"command" and what `score.conditions` returns beside its figures. `section` gets the contents of
these files, one a machine and at least one, each with "on": MACHINE added; JSON has made the keys
of objects strings. A benchmark without files is said to be not measured. What it ran on, and how
to run it again, is written below each section here. `figures` has what sections are made of.
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

import score

BENCHMARKS = (
  "step_speed", "decode_speed", "data_speed", "prepare_speed", "scaling", "plan_ranking",
  "checkpoint_stall", "accelerator_speed",
)  # fmt: skip
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
INTRODUCTION = """\
# Performance

Written by `python benchmarks/render.py` from the files in
[benchmarks/results](../benchmarks/results); `make bench` measures what runs on a CPU again and
writes this page. Figures are medians over repeats, with the least and the greatest in brackets;
all repeats are in the files. Contenders of a comparison take turns in processes of their own.
"""


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", type=Path, default=PAGE)
  arguments = parser.parse_args()
  arguments.out.write_text(page(score.RESULTS), encoding="utf-8")
  print(f"Wrote {arguments.out}")


def page(folder: Path, benchmarks: Sequence[str] = BENCHMARKS) -> str:
  """Returns the page for the results in a folder."""
  return "\n".join([INTRODUCTION, *(rendered(folder, name) for name in benchmarks)])


def rendered(folder: Path, name: str) -> str:
  """Returns the section of a benchmark, with what it ran on and how to run it again."""
  module = importlib.import_module(name)
  heading = f"## {module.TITLE}\n"
  results = found(folder, name)
  if not results:
    return (
      f"{heading}\nNot measured yet, for want of a machine or of time: no file "
      f"`benchmarks/results/{name}-MACHINE.json`. Make one: `python benchmarks/{name}.py`.\n"
    )
  notes = [
    f"- {result['on']}: {result['machine']}; commit {result['commit']}; Python "
    f"{result['python']}, {', '.join(f'{k} {v}' for k, v in result['versions'].items())}; "
    f"`{result['command']}`"
    for result in results
  ]
  return "\n".join([heading, module.section(results), *notes, ""])


def found(folder: Path, name: str) -> list[dict]:
  """Returns the results of a benchmark, by name of machine."""
  results = []
  for path in sorted(folder.glob(f"{name}-*.json")):
    read = json.loads(path.read_text(encoding="utf-8"))
    results.append(read | {"on": path.stem.removeprefix(f"{name}-")})
  return results


if __name__ == "__main__":
  main()
