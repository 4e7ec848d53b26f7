"""Writes docs/performance.md from the results in benchmarks/results.

  python benchmarks/render.py

A benchmark is listed in BENCHMARKS, and its module defines two names. The module must import
quickly; the processes that measure import what they measure.

  TITLE                      heading of the section
  section(results) -> str    Markdown of the section: what was measured and how, and tables

It writes benchmarks/results/NAME-MACHINE.json, with MACHINE from `score.machine_name`, which has
"command" and the entries of `score.conditions` besides its figures. `section` gets the contents of
these files, at least one, each with "on": MACHINE added; keys of objects are strings, as in JSON.
This module adds to each section the machines and the command to repeat it, and marks benchmarks
without results. `figures` formats numbers and tables.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import score

BENCHMARKS = (
  "step_speed", "decode_speed", "data_speed", "prepare_speed", "scaling", "plan_ranking",
  "checkpoint_stall", "accelerator_speed",
)  # fmt: skip
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
INTRODUCTION = """\
# Performance

`python benchmarks/render.py` writes this page from the files in
[benchmarks/results](../benchmarks/results). `make bench` repeats the measurements that run on a CPU
and writes this page again. Figures are medians over repeats, with minimum and maximum in
parentheses; the files hold all repeats. The programs of a comparison run in turn, each in its own
process.
"""


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--out", type=Path, default=PAGE)
  arguments = parser.parse_args()
  arguments.out.write_text(page(score.RESULTS), encoding="utf-8")
  print(f"Wrote {arguments.out}")


def page(folder: Path, benchmarks: Sequence[str] = BENCHMARKS) -> str:
  """Returns the page for the results in a folder."""
  return "\n".join([INTRODUCTION, *(rendered(folder, name) for name in benchmarks)])


def rendered(folder: Path, name: str) -> str:
  """Returns the section of a benchmark, with what it ran on and the command to repeat it."""
  module = importlib.import_module(name)
  heading = f"## {module.TITLE}\n"
  results = results_of(folder, name)
  if not results:
    return (
      f"{heading}\nNot measured yet: no file `benchmarks/results/{name}-MACHINE.json`. To measure "
      f"it, run `python benchmarks/{name}.py`.\n"
    )
  notes = [
    f"- {result['on']}: {result['machine']}; commit {result['commit']}; Python "
    f"{result['python']}, {', '.join(f'{k} {v}' for k, v in result['versions'].items())}; "
    f"`{result['command']}`"
    for result in results
  ]
  return "\n".join([heading, module.section(results), *notes, ""])


def results_of(folder: Path, name: str) -> list[dict[str, Any]]:
  """Returns the results of a benchmark in the order of machine names."""
  results = []
  for path in sorted(folder.glob(f"{name}-*.json")):
    result = json.loads(path.read_text(encoding="utf-8"))
    results.append(result | {"on": path.stem.removeprefix(f"{name}-")})
  return results


if __name__ == "__main__":
  main()
