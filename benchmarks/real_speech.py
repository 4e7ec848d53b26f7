"""Trains and scores configs/real_speech.py with one tokenizer, and tabulates all that were scored.

  python benchmarks/real_speech.py mfcc --data-dir DATA
  python benchmarks/real_speech.py whisper --data-dir DATA --units neural:FOLDER --set window_s=8
  python benchmarks/real_speech.py --table

The name says where results are: benchmarks/results/real_speech-NAME.json. Prepares, trains and
evaluates, with the baselines of `audiopalm evaluate`; to resume a stopped run, give the same
command again. `--table` writes the table of docs/real_speech.md from the results.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import score

CONFIG = "real_speech"
PAGE = Path(__file__).resolve().parents[1] / "docs/real_speech.md"
TABLE = re.compile(r"(?<=<!-- scores -->\n).*?(?=<!-- end -->)", re.DOTALL)
SCORES = ("cer", "wer", "bleu", "chrf", "asr_bleu", "mcd")  # those that a table shows, in order
RATES = ("cer", "wer")  # fractions, shown in %
NAMES = {"asr_bleu": "ASR-BLEU", "chrf": "chrF"}
# By column: what a run itself says, and its baselines.
SYSTEMS = {
  "": "", "nearest_copy": "nearest copied", "untrained": "untrained",
  "units_ceiling": "recordings through units",
}  # fmt: skip
NOTHING = "No run has results yet.\n"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("name", nargs="?", help="what results are called: mfcc, whisper, ...")
  parser.add_argument("--data-dir", metavar="DATA", help="the folder of the corpora")
  parser.add_argument("--units", default="mfcc", help="mfcc, or neural:FOLDER")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="folder of the runs")
  parser.add_argument("--table", action="store_true", help="write the table of the page")
  score.add_settings(parser)
  arguments = parser.parse_args()
  if arguments.name is None and not arguments.table:
    parser.error("give the name of a tokenizer, or --table")
  if arguments.name is not None:
    if arguments.data_dir is None:
      parser.error("--data-dir DATA says where the corpora are (docs/real_speech.md)")
    measure(arguments.name, arguments.data_dir, arguments.units, arguments)
  if arguments.table:
    results = {
      path.stem.removeprefix(f"{CONFIG}-"): json.loads(path.read_text(encoding="utf-8"))
      for path in sorted(score.RESULTS.glob(f"{CONFIG}-*.json"))
    }
    page = PAGE.read_text(encoding="utf-8")
    filled = "\n".join(table(results)) + "\n" if results else NOTHING
    PAGE.write_text(TABLE.sub(lambda _: filled, page), encoding="utf-8")


def measure(name: str, data_dir: str, units: str, arguments: Any) -> None:
  """Runs the config, and writes its results without the places of this machine's files."""
  places = {data_dir: "DATA", units.partition(":")[2] or units: "FOLDER" if ":" in units else units}
  words = ["python", "benchmarks/real_speech.py", name, "--data-dir", data_dir, "--units", units]
  words += [f"--set={setting}" for setting in arguments.settings]
  at_start = score.conditions()  # before the run: commits may follow during it
  settings = [f"data_dir={data_dir}", f"units={units}", *arguments.settings]
  run = score.run(CONFIG, arguments.workdirs / f"{CONFIG}_{name}", settings)
  run["settings"] = [placeless(setting, places) for setting in run["settings"]]
  command = shlex.join(placeless(word, places) for word in words)
  score.write(f"{CONFIG}-{name}", {"command": command, **at_start, **run})


def placeless(text: str, places: Mapping[str, str]) -> str:
  """Returns a text with names in place of folders of this machine."""
  for place, stands_for in places.items():
    text = text.replace(place, stands_for)
  return text


def table(results: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
  """Yields the lines of a table: a row for each score of a task in a language, and for each run the
  columns of SYSTEMS that any of its tasks have."""
  columns = [
    (name, system)
    for name, result in results.items()
    for system in SYSTEMS
    if not system or result["scores"]["baselines"].get(system)
  ]
  titles = [f"{name}, {SYSTEMS[system]}" if system else f"**{name}**" for name, system in columns]
  yield f"| task | score | examples | {' | '.join(titles)} |"
  yield f"| --- | --- | ---: | {' | '.join('---:' for _ in titles)} |"
  tasks = dict.fromkeys(task for of in results.values() for task in tasks_of(of["scores"]))
  for task in tasks:
    cells = [scores_of(results[name]["scores"], system).get(task, {}) for name, system in columns]
    for name in SCORES:
      shown = [shown_score(of, name) for of in cells]
      if any(shown):
        title = NAMES.get(name, name.upper()) + (" %" if name in RATES else "")
        count = max(of.get("examples", 0) for of in cells)
        yield f"| {task} | {title} | {count:,} | {' | '.join(shown)} |"


def tasks_of(scores: Mapping[str, Any]) -> list[str]:
  """Returns the tasks of a run, in its order."""
  return [name for name, of in scores.items() if isinstance(of, dict) and "examples" in of]


def scores_of(scores: Mapping[str, Any], system: str) -> Mapping[str, Any]:
  """Returns the scores of a run, or of one of its baselines, by task."""
  return scores["baselines"].get(system, {}) if system else scores


def shown_score(scores: Mapping[str, Any], name: str) -> str:
  """Returns a score with its interval as a table shows it, "" where there is none."""
  if name not in scores:
    return ""
  factor = 100 if name in RATES else 1
  value = f"{factor * scores[name]:.1f}"
  interval: Sequence[float] | None = scores.get("intervals", {}).get(name)
  if interval is None:
    return value
  low, high = interval
  return f"{value} ({factor * low:.1f} to {factor * high:.1f})"


if __name__ == "__main__":
  main()
