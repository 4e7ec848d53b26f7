"""Measures the speed of the training data loader, and the latency of a batch at any step.

  python benchmarks/data_speed.py
  python benchmarks/data_speed.py --records 400 --repeats 3

Prepares the recordings of configs/quickstart.py (five tasks, speech and text) once, in batch rows
of 512 and of 2,048. One process, pinned to one core, calls `batch_at` for batches of 8 rows, which
reads, lays out and concatenates examples without prefetching. The first call follows opening the
run; later calls are for the steps after it. Results are in
benchmarks/results/data_speed-MACHINE.json.
"""

import argparse
import functools
import os
from pathlib import Path
from typing import Any

import contenders
import figures
import score

ROW_LENGTHS = (512, 2_048)
STEPS = (10, 10_000_000)
SECONDS = 3.0  # per repeat
PACKAGES = ("grain", "array_record", "msgpack", "numpy")
TARGET_ROWS_S, TARGET_SEEK_S = 500, 0.05
TITLE = "Training data"


def main() -> None:
  parser = score.command_parser(__doc__)
  parser.add_argument("--records", type=int, default=3_000, help="training records")
  parser.add_argument("--repeats", type=int, default=7)
  parser.add_argument("--workdirs", type=Path, default=Path("runs"), help="folder of the workdirs")
  parser.add_argument("--worker", nargs=3, metavar=("WORKDIR", "RECORDS", "ROW"),
                      help=argparse.SUPPRESS)  # fmt: skip
  arguments = parser.parse_args()
  if arguments.worker:
    workdir, records, row_length = arguments.worker
    return contenders.serve(MeasuredLoader(Path(workdir), int(records), int(row_length)).answer)

  result = {
    "command": score.command(__file__),
    **score.conditions(PACKAGES),
    "records": arguments.records,
    "rows": {},
  }
  folder = arguments.workdirs / f"data_speed-{arguments.records}"
  for row_length in ROW_LENGTHS:
    workdir = folder / str(row_length)
    own = [f"--set={setting}" for setting in settings(arguments.records, row_length)]
    streams = ("--streams", str(folder / "streams"))
    score.audiopalm("prepare", "quickstart", "--workdir", str(workdir), *streams, *own)
    words = ("--worker", str(workdir), str(arguments.records), str(row_length))
    with contenders.Worker(__file__, *words) as worker:
      result["rows"][row_length] = measure(worker, row_length, arguments.repeats)
  score.write(f"data_speed-{score.machine_name()}", result)


def settings(records: int, row_length: int) -> list[str]:
  return [f"train_records={records}", f"data.row_length={row_length}"]


def measure(worker: contenders.Worker, row_length: int, repeats: int) -> dict[str, Any]:
  """Returns the figures at one row length, and prints them."""
  result: dict[str, Any] = {}
  worker.ask(what="rate", seconds=SECONDS)  # warms up
  rates = [worker.ask(what="rate", seconds=SECONDS) for _ in range(repeats)]
  result["rows_per_s"] = figures.spread([rate["rows_per_s"] for rate in rates], 1)
  result["tokens_per_s"] = figures.spread([rate["tokens_per_s"] for rate in rates], 0)
  print(f"rows of {row_length:,}: {figures.shown(result['rows_per_s'])} rows/s", flush=True)
  for step in STEPS:
    seeks = [worker.ask(what="seek", step=step) for _ in range(repeats)]
    for name in ("first_s", "later_s"):
      result.setdefault(name, {})[step] = figures.spread([seek[name] for seek in seeks], 6)
    print(
      f"rows of {row_length:,}, step {step:,}: first batch after "
      f"{figures.shown(in_ms(result['first_s'][step]), 1)} ms, later ones after "
      f"{figures.shown(in_ms(result['later_s'][step]), 2)} ms",
      flush=True,
    )
  return result


def in_ms(seconds: dict[str, float]) -> dict[str, float]:
  return {name: 1_000 * seconds[name] for name in ("median", "min", "max")}


class MeasuredLoader:
  """The loader of a prepared run, in a process pinned to one core."""

  def __init__(self, workdir: Path, records: int, row_length: int):
    from audiopalm.cli import config
    from audiopalm.data import loader, prepare

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    experiment = config.load("quickstart", settings(records, row_length))
    self._open = functools.partial(prepare.open_prepared, experiment, workdir)
    self._loader_of = lambda prepared: loader.Loader(prepared, experiment)
    self._loader = self._loader_of(self._open())
    self._batch_rows = experiment.data.batch_rows
    self._step = 0

  def answer(self, what: str, **arguments: float) -> dict[str, float]:
    return {"rate": self.rate, "seek": self.seek}[what](**arguments)

  def rate(self, seconds: float) -> dict[str, float]:
    """Returns batch rows and tokens per second over at least `seconds` of consecutive steps."""
    spent_s, batches, tokens = 0.0, 0, 0
    while spent_s < seconds:
      batch, took_s = contenders.timed(lambda: self._loader.batch_at(self._step))
      self._step += 1
      spent_s, batches = spent_s + took_s, batches + 1
      tokens += int((batch.tokens_BLK >= 0).sum())
    rows = batches * self._batch_rows
    return {"rows_per_s": rows / spent_s, "tokens_per_s": tokens / spent_s}

  def seek(self, step: int, later: int = 20) -> dict[str, float]:
    """Returns the seconds of batch_at in a newly opened run, and the mean of the steps after it."""
    prepared = self._open()
    _, first_s = contenders.timed(lambda: self._loader_of(prepared).batch_at(step))
    loader = self._loader_of(prepared)
    _, later_s = contenders.timed(lambda: [loader.batch_at(step + i) for i in range(1, later + 1)])
    return {"first_s": first_s, "later_s": later_s / later}


def section(results: list[dict[str, Any]]) -> str:
  """Returns the section of docs/performance.md; see render.py."""
  rows = []
  for result in results:
    for row_length, row in result["rows"].items():
      rows.append(
        (
          result["on"],
          f"{int(row_length):,}",
          figures.shown(row["rows_per_s"]),
          figures.shown(row["tokens_per_s"]),
          *(figures.shown(in_ms(row["first_s"][str(step)]), 1) for step in STEPS),
          *(figures.shown(in_ms(row["later_s"][str(step)]), 1) for step in STEPS),
        )
      )
  header = ["machine", "row length", "rows/s", "tokens/s"]
  header += [f"first batch, step {step:,}, ms" for step in STEPS]
  header += [f"later batch, step {step:,}, ms" for step in STEPS]
  text = figures.paragraph(f"""
    The speed of `data.loader.Loader.batch_at` on one core, without threads or prefetching: for a
    batch of 8 rows it reads the records of each batch row from the streams cache, lays them out for
    their task (`realize`) and concatenates them. The data are {results[0]["records"]:,} spoken
    records of `quickstart` in five tasks, with their files in the page cache. A *first batch*
    follows opening the files of a run; *later* batches follow it. A batch is a function of its
    step, so step {STEPS[1]:,} needs no earlier one. The targets were {TARGET_ROWS_S} rows/s and
    {1_000 * TARGET_SEEK_S:.0f} ms to any step.
  """)
  return f"{text}\n\n{figures.table(header, rows)}\n"


if __name__ == "__main__":
  main()
