"""How fast `prepare` turns recordings into rows, whole and by stage, with one worker and with two.

  python benchmarks/prepare_speed.py
  python benchmarks/prepare_speed.py --records 100 --repeats 1 --workers 1

Runs `audiopalm prepare quickstart` from nothing, in a new workdir each time, so that Pico
speaks every record (twice those that tokenizers are fitted on). Numbers of workers take turns.
Results are in benchmarks/results/prepare_speed-MACHINE.json.
"""

import argparse
import json
import shutil
from pathlib import Path

import contenders
import figures
import score

PACKAGES = ("py-nanotts", "espeakng-loader", "array_record", "sentencepiece", "numpy", "scipy")
STAGES = ("tokenizers", "streams", "rows")
TITLE = "Preparing data"


def main() -> None:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--records", type=int, default=600, help="spoken for training")
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--workers", default="1,2", help="numbers of worker processes")
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="where data are kept")
  arguments = parser.parse_args()

  workers = [int(number) for number in arguments.workers.split(",")]
  runs: dict[int, list[dict]] = {number: [] for number in workers}
  for repeat in range(arguments.repeats):
    for number in workers:
      found = run(arguments.workdirs / "prepare_speed", arguments.records, number)
      runs[number].append(found)
      print(f"repeat {repeat + 1}, {number} workers: {json.dumps(found)}", flush=True)
  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES),
    "spoken_by": "Pico",
    "records": arguments.records,
    "audio_h": runs[workers[0]][0]["audio_h"],
    "workers": {number: spreads(found) for number, found in runs.items()},
  }
  score.write(f"prepare_speed-{score.machine_name()}", result)


def run(workdir: Path, records: int, workers: int) -> dict:
  """Returns what one `prepare` took: seconds by stage, and what a worker's second gave by part."""
  shutil.rmtree(workdir, ignore_errors=True)
  settings = ("--set", f"train_records={records}", "--workers", str(workers))
  command = ("prepare", "quickstart", "--workdir", str(workdir), *settings)
  _, whole_s = contenders.timed(lambda: score.audiopalm(*command))
  found = json.loads((workdir / "prepare.json").read_text(encoding="utf-8"))
  (factors,) = found["real_time_factors"].values()
  (corpus,) = workdir.glob("streams/synthetic-*")
  sides = [json.loads(path.read_text(encoding="utf-8")) for path in corpus.glob("*-of-*.json")]
  audio_s = sum(sum(side["seconds"].values()) for side in sides)
  return {
    "audio_h": round(audio_s / 3600, 3),
    "whole_s": round(whole_s, 2),
    "stages_s": found["spent_s"],
    "worker_real_time": {name: round(factor, 1) for name, factor in factors.items()},
  }


def spreads(runs: list[dict]) -> dict:
  """Returns the figures of the repeats with one number of workers."""
  return {
    "hours_per_hour": figures.spread([3600 * one["audio_h"] / one["whole_s"] for one in runs], 1),
    "streams_hours_per_hour": figures.spread(
      [3600 * one["audio_h"] / one["stages_s"]["streams"] for one in runs], 1
    ),
    "whole_s": figures.spread([one["whole_s"] for one in runs], 2),
    "stages_s": {
      stage: figures.spread([one["stages_s"][stage] for one in runs], 2) for stage in STAGES
    },
    "worker_real_time": {
      part: figures.spread([one["worker_real_time"][part] for one in runs], 1)
      for part in runs[0]["worker_real_time"]
    },
  }


def section(results: list[dict]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  whole, parts = [], []
  for result in results:
    for workers, found in result["workers"].items():
      here = (result["on"], workers)
      whole.append(
        (
          *here,
          figures.shown(found["hours_per_hour"]),
          figures.shown(found["streams_hours_per_hour"]),
          *(figures.shown(found["stages_s"][stage], 1) for stage in STAGES),
        )
      )
      speeds = found["worker_real_time"]
      names = ("source", "units", "text", "other", "all")
      parts.append((*here, *(figures.shown(speeds[name]) for name in names)))
  first = ["machine", "workers"]
  header = ["whole, hours an hour", "streams, hours an hour"]
  header += [f"{stage}, s" for stage in STAGES]
  of_worker = ["speak", "units", "text", "the rest", "together"]
  spoken_by = results[0].get("spoken_by", "espeak-ng")  # which older results do not say
  text = figures.paragraph(f"""
    `audiopalm prepare` of `quickstart` with {results[0]["records"]:,} training records, from
    nothing: {results[0]["audio_h"]:.2f} hours of speech in all splits, spoken by {spoken_by}
    as they are read. *Whole* is the command from start to end, starting Python and its workers
    included.
    *Tokenizers* speaks the sample they are fitted on and fits them, about the same for a corpus of
    any size; *streams* speaks every record and writes its ids; *rows* packs examples of five tasks.
  """)
  of_workers = figures.paragraph("""
    In *streams*, hours of speech an hour of one worker's time, by what it does; *the rest* is
    packing, FLAC of the splits that are evaluated, and writing.
  """)
  tables = figures.table([*first, *header], whole), figures.table([*first, *of_worker], parts)
  return f"{text}\n\n{tables[0]}\n\n{of_workers}\n\n{tables[1]}\n"


if __name__ == "__main__":
  main()
