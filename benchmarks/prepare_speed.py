"""Measures the speed of `prepare`, in total and by stage, with one worker and with two.

  python benchmarks/prepare_speed.py
  python benchmarks/prepare_speed.py --records 100 --repeats 1 --workers 1

Runs `audiopalm prepare quickstart` in a new workdir each time, so Pico speaks every record (and
those that tokenizers are fitted on twice). The numbers of workers alternate. Results are in
benchmarks/results/prepare_speed-MACHINE.json.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import contenders
import figures
import score

PACKAGES = ("py-nanotts", "espeakng-loader", "array_record", "sentencepiece", "numpy", "scipy")
STAGES = ("tokenizers", "streams", "rows")
TITLE = "Preparing data"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--records", type=int, default=600, help="training records")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--workers", default="1,2", help="numbers of worker processes")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="folder of the workdir")
  arguments = parser.parse_args()

  workers = [int(number) for number in arguments.workers.split(",")]
  runs: dict[int, list[dict[str, Any]]] = {number: [] for number in workers}
  for repeat in range(arguments.repeats):
    for number in workers:
      times = run(arguments.workdirs / "prepare_speed", arguments.records, number)
      runs[number].append(times)
      print(f"repeat {repeat + 1}, {number} workers: {json.dumps(times)}", flush=True)
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES),
    "spoken_by": "Pico",
    "records": arguments.records,
    "audio_h": runs[workers[0]][0]["audio_h"],
    "workers": {number: spreads(repeats) for number, repeats in runs.items()},
  }
  score.write(f"prepare_speed-{score.machine_name()}", result)


def run(workdir: Path, records: int, workers: int) -> dict[str, Any]:
  """Returns the seconds of one `prepare` by stage, and a worker's speed by part of its work."""
  shutil.rmtree(workdir, ignore_errors=True)
  settings = ("--set", f"train_records={records}", "--workers", str(workers))
  command = ("prepare", "quickstart", "--workdir", str(workdir), *settings)
  _, whole_s = contenders.timed(lambda: score.audiopalm(*command))
  prepared = json.loads((workdir / "prepare.json").read_text(encoding="utf-8"))
  (factors,) = prepared["real_time_factors"].values()
  (corpus,) = workdir.glob("streams/synthetic-*")
  shards = [json.loads(path.read_text(encoding="utf-8")) for path in corpus.glob("*-of-*.json")]
  audio_s = sum(sum(shard["seconds"].values()) for shard in shards)
  return {
    "audio_h": round(audio_s / 3600, 3),
    "whole_s": round(whole_s, 2),
    "stages_s": prepared["spent_s"],
    "worker_real_time": {name: round(factor, 1) for name, factor in factors.items()},
  }


def spreads(runs: list[dict[str, Any]]) -> dict[str, Any]:
  """Returns the figures of repeats with one number of workers."""
  return {
    "hours_per_hour": figures.spread([3600 * run["audio_h"] / run["whole_s"] for run in runs], 1),
    "streams_hours_per_hour": figures.spread(
      [3600 * run["audio_h"] / run["stages_s"]["streams"] for run in runs], 1
    ),
    "whole_s": figures.spread([run["whole_s"] for run in runs], 2),
    "stages_s": {
      stage: figures.spread([run["stages_s"][stage] for run in runs], 2) for stage in STAGES
    },
    "worker_real_time": {
      part: figures.spread([run["worker_real_time"][part] for run in runs], 1)
      for part in runs[0]["worker_real_time"]
    },
  }


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  whole, parts = [], []
  for result in results:
    for workers, values in result["workers"].items():
      head = (result["on"], workers)
      whole.append(
        (
          *head,
          figures.shown(values["hours_per_hour"]),
          figures.shown(values["streams_hours_per_hour"]),
          *(figures.shown(values["stages_s"][stage], 1) for stage in STAGES),
        )
      )
      speeds = values["worker_real_time"]
      names = ("source", "units", "text", "other", "all")
      parts.append((*head, *(figures.shown(speeds[name]) for name in names)))
  first = ["machine", "workers"]
  header = ["total, x real time", "streams, x real time"]
  header += [f"{stage}, s" for stage in STAGES]
  of_worker = ["speaking", "units", "text", "other", "all"]
  spoken_by = results[0].get("spoken_by", "espeak-ng")  # older results have no such field
  text = figures.paragraph(f"""
    `audiopalm prepare` of `quickstart` with {results[0]["records"]:,} training records, in a new
    workdir: {results[0]["audio_h"]:.2f} hours of speech in all splits, which {spoken_by}
    speaks as they are read. Speeds are hours of speech per hour. *Total* is the whole command,
    including the start of Python and its workers. *Tokenizers* speaks the sample for fitting and
    fits the tokenizers, which takes about as long for a corpus of any size; *streams* speaks every
    record and writes its ids; *rows* packs examples of five tasks.
  """)
  of_workers = figures.paragraph("""
    The parts of *streams*, in hours of speech per hour of one worker; *other* is serialization,
    FLAC encoding of the evaluated splits, and writing.
  """)
  tables = figures.table([*first, *header], whole), figures.table([*first, *of_worker], parts)
  return f"{text}\n\n{tables[0]}\n\n{of_workers}\n\n{tables[1]}\n"


if __name__ == "__main__":
  main()
