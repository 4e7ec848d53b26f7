"""Prepares the data of an experiment: tokenizers, streams cache, manifest and row indexes.

    WORKDIR/tokenizers/      fitted on training records
    WORKDIR/manifest.json    the token space: every id and what it depends on
    WORKDIR/streams/         the streams cache, unless another folder is named (see cache.py)
    WORKDIR/rows/<hash>/     row indexes, under the hash of the manifest (see rows.py)
    WORKDIR/prepare.json     the summary, with the seconds of each stage; written last
    WORKDIR/imported.json    of a run from an exported folder: the longest input of each task

Finished files are kept and reused, so an interrupted run continues where it stopped; unfinished
ones are removed. An imported run can generate at once, without streams and rows; `prepare` with its
config.json adds the data for scores.
"""

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import progress

from audiopalm import values
from audiopalm.data import cache, files, fitting, lock, records, streams, summary
from audiopalm.data.executors import Executor, Local
from audiopalm.data.prepared import Prepared, RunSettings
from audiopalm.errors import DataError, TokenSpaceError
from audiopalm.tokenizers.base import Fitted
from audiopalm.tokens import space as token_space
from audiopalm.types import WAVE, CorpusSettings

SHARD_RECORDS = 256
# Temporary files in a workdir, besides those of streams, that a killed `prepare` leaves.
PARTS = (
  ".manifest.json.*.part",
  ".prepare.json.*.part",
  ".beam.*.part",
  "tokenizers/**/.*.part",
  "rows/**/.*.part",
)
IMPORTED = "imported.json"


def prepare(
  experiment: RunSettings,
  workdir: Path,
  streams_dir: Path | None = None,
  workers: int | None = None,
  *,
  executor: Executor | None = None,
  max_bad: float | None = None,
) -> Prepared:
  """Prepares what is missing of the data of an experiment, and returns the data.

  `streams_dir` (default WORKDIR/streams) may be shared by runs, which then share tokenizers too;
  WORKDIR may not (see `lock.held`). `workers` processes of this machine fit the tokenizers, and
  tokenize unless there is an `executor`. Faulty records are left out and counted. Raises DataError
  if their share of a split exceeds `max_bad` (None: no limit) or a task has no records left,
  TokenSpaceError if WORKDIR has a checkpoint of another token space.
  """
  workdir = Path(workdir).absolute()
  shared = Path(streams_dir).absolute() / "tokenizers" if streams_dir else None
  streams_dir = Path(streams_dir).absolute() if streams_dir else workdir / "streams"
  spent = _Stages()
  with _writing(workdir, streams_dir):
    with Local(workers) as local:
      place = workdir / "tokenizers"
      kept = fitting.load(experiment.tokenizers, experiment.corpora, place)
      fitted = kept or fitting.fit(experiment.tokenizers, experiment.corpora, local, shared)
      prepared = laid_out(experiment, workdir, streams_dir, fitted)
      _check_checkpoint(prepared, workdir)
      if not kept:
        fitting.save(fitted, experiment.tokenizers, experiment.corpora, place)
      files.write_json(workdir / "manifest.json", prepared.manifest)
      spent.end("tokenizers")
      print(f"Tokenizers: {', '.join(fitted)} ({spent.seconds['tokenizers']:.0f} s)")
      shards = list(_shards(experiment, prepared))
      done = _tokenize(shards, local) if executor is None else []
    if executor is not None:  # after the worker processes of `local` have ended
      done = _tokenize(shards, executor)
    spent.end("streams")
    summary.check_left_out(prepared, max_bad)
    prepared.data.index(prepared)
    spent.end("rows")
    path = workdir / "prepare.json"
    previous = files.read_json(path) if path.is_file() else {}
    report = summary.summarize(prepared, done, previous if isinstance(previous, dict) else {})
    report["spent_s"] = spent.seconds
    report["settings"] = settings_digest(experiment)
    # Relative if it is inside the workdir, so that a workdir can be moved.
    real, root = streams_dir.resolve(), workdir.resolve()
    report["streams_dir"] = str(real.relative_to(root) if real.is_relative_to(root) else real)
    files.write_json(path, report)
  summary.show(report)
  return prepared


@contextlib.contextmanager
def _writing(workdir: Path, streams_dir: Path) -> Iterator[None]:
  """Removes temporary files of killed processes; those written in the block are not removed."""
  with lock.shared(streams_dir, lambda: files.remove_parts(streams_dir, "**/.*.part")):
    for pattern in PARTS:
      files.remove_parts(workdir, pattern)
    yield


class _Stages:
  """The wall-clock seconds of each stage of this process."""

  def __init__(self):
    self.seconds: dict[str, float] = {}
    self._start_s = time.perf_counter()

  def end(self, stage: str) -> None:
    now_s = time.perf_counter()
    self.seconds[stage] = round(now_s - self._start_s, 3)
    self._start_s = now_s


def open_prepared(experiment: RunSettings, workdir: Path) -> Prepared:
  """Returns the data that `prepare` wrote to WORKDIR for this experiment, after quick checks.

  Raises DataError or TokenSpaceError if a file is missing, damaged, unfinished, or made from other
  settings.
  """
  workdir = Path(workdir)
  report = files.read_json(workdir / "prepare.json")
  if not isinstance(report, dict) or not {"settings", "streams_dir"} <= report.keys():
    raise DataError(
      f"{workdir / 'prepare.json'}: expected a summary as written by `audiopalm prepare`, got "
      "something else. Delete it and run `audiopalm prepare` with this config again."
    )
  if report["settings"] != settings_digest(experiment):
    raise DataError(
      f"{workdir} was prepared for other settings: expected those of experiment "
      f"{experiment.name!r} (tokenizers, tasks, layout, data). Run `audiopalm "
      "prepare` with this config again."
    )
  advice = "Run `audiopalm prepare` with this config again."
  prepared = _reopened(experiment, workdir, workdir / report["streams_dir"], advice)
  for corpus in experiment.corpora:
    for split in corpus.splits:
      _check_entries(prepared, corpus, split)
  prepared.data.check_index(prepared)
  return prepared


def write_imported(
  workdir: Path,
  experiment: RunSettings,
  tokenizers: Mapping[str, Fitted],
  manifest: Mapping[str, Any],
  longest: Mapping[str, Mapping[str, int]],
) -> Prepared:
  """Writes the data side of an exported run to WORKDIR, and returns it. Raises TokenSpaceError if
  the manifest is not that of its tokenizers and tasks."""
  prepared = laid_out(experiment, workdir, workdir / "streams", tokenizers)
  token_space.check(prepared.manifest, manifest, "The exported model")
  fitting.save(tokenizers, experiment.tokenizers, experiment.corpora, workdir / "tokenizers")
  files.write_json(workdir / "manifest.json", prepared.manifest)
  files.write_json(workdir / IMPORTED, {"longest_input": longest})
  return dataclasses.replace(prepared, longest=longest)


def open_run(experiment: RunSettings, workdir: Path) -> Prepared:
  """Returns the data that `prepare` wrote to WORKDIR, or that of an imported run that was not
  prepared since, which has no entries and no rows."""
  if not (workdir / IMPORTED).is_file() or (workdir / "prepare.json").is_file():
    return open_prepared(experiment, workdir)
  advice = "Import the exported folder again."
  prepared = _reopened(experiment, workdir, workdir / "streams", advice)
  longest = files.read_json(workdir / IMPORTED)["longest_input"]
  return dataclasses.replace(prepared, longest=longest)


def _reopened(experiment: RunSettings, workdir: Path, streams_dir: Path, advice: str) -> Prepared:
  """Returns the Prepared of the tokenizers in WORKDIR, checked against its manifest."""
  fitted = fitting.load(experiment.tokenizers, experiment.corpora, workdir / "tokenizers")
  if fitted is None:
    raise DataError(
      f"{workdir / 'tokenizers'} does not contain the tokenizers of experiment "
      f"{experiment.name!r}, or they are damaged. {advice}"
    )
  prepared, path = laid_out(experiment, workdir, streams_dir, fitted), workdir / "manifest.json"
  token_space.check(prepared.manifest, files.read_json(path), f"{path}")
  return prepared


def open_if_ready(experiment: RunSettings, workdir: Path) -> Prepared | None:
  """Returns the result of `open_prepared`, None if `prepare` has to run first."""
  try:
    return open_prepared(experiment, workdir)
  except (DataError, TokenSpaceError):
    return None


def settings_digest(experiment: RunSettings) -> str:
  """Returns 16 hex digits that identify the settings `prepare` depends on; rates, steps and models
  are not among them."""
  parts = (
    experiment.tokenizers,
    experiment.tasks,
    experiment.layout,
    *experiment.data.prepared_by,
    *experiment.objective.specials,
  )
  return hashlib.sha256(values.stable_repr(parts).encode()).hexdigest()[:16]


def _check_checkpoint(prepared: Prepared, workdir: Path) -> None:
  """Raises TokenSpaceError, with the difference, if WORKDIR has a checkpoint of another space.

  Without a checkpoint nothing depends on the old ids, and they are simply replaced.
  """
  path = workdir / "manifest.json"
  if path.is_file() and any((workdir / "checkpoints").glob("[0-9]*")):
    manifest = files.read_json(path)
    token_space.check(prepared.manifest, manifest, f"The checkpoint in {workdir}")


def laid_out(
  experiment: RunSettings, workdir: Path, streams_dir: Path, fitted: Mapping[str, Fitted]
) -> Prepared:
  """Returns the Prepared of fitted tokenizers, with the layouts and token space they determine."""
  layouts = experiment.data.layouts(experiment.layout, experiment.tasks)
  specs = {name: tokenizer.spec for name, tokenizer in fitted.items()}
  text = token_space.text_stream(specs)
  encode_text = fitted[text.name].encode_text if text else lambda tag: ()
  space = token_space.build(
    tuple(specs.values()), layouts, encode_text, specials=experiment.objective.specials
  )
  tasks = tuple(experiment.tasks)
  return Prepared(tasks, fitted, layouts, space, experiment.data, workdir, streams_dir)


def _tokenize(shards: Sequence[streams.Shard], executor: Executor) -> list[streams.Tokenized]:
  """Tokenizes the shards that are not finished, and returns their costs."""
  finished = cache.finished([shard.path for shard in shards])
  waiting = [shard for shard, whole in zip(shards, finished, strict=True) if not whole]
  if len(waiting) < len(shards):
    print(f"Streams: {len(shards) - len(waiting)} of {len(shards)} shards exist already")
  done = []
  if not waiting:
    return done
  columns = (
    progress.TextColumn("{task.description}"),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TextColumn("records"),
    progress.TimeRemainingColumn(),
  )
  with progress.Progress(*columns) as bar:
    line = bar.add_task("Tokenizing", total=sum(shard.stop - shard.start for shard in waiting))
    for result in executor.map(streams.tokenize_shard, waiting):
      done.append(result)
      bar.advance(line, result.shard.stop - result.shard.start)
  return done


def _shards(experiment: RunSettings, prepared: Prepared) -> Iterator[streams.Shard]:
  """Yields the shards of all corpora, after writing the cache.json of each corpus."""
  tokenizers = tuple(
    streams.TokenizerFile(
      settings,
      prepared.workdir / "tokenizers" / settings.stream,
      prepared.tokenizers[settings.stream].spec,
    )
    for settings in experiment.tokenizers
  )
  for corpus in experiment.corpora:
    folder = prepared.folder(corpus)
    counts = {split: records.count(corpus, split) for split in corpus.splits}
    shards = {split: -(-count // SHARD_RECORDS) for split, count in counts.items()}
    contents = {
      "format": cache.FORMAT,
      "corpus": repr(corpus),
      "records": counts,
      "shards": shards,
      "tokenizers": {file.spec.name: file.spec.fingerprint for file in tokenizers},
    }
    files.write_json(folder / "cache.json", contents)
    for split, count in counts.items():
      for number in range(shards[split]):
        start = number * SHARD_RECORDS
        stop = min(count, start + SHARD_RECORDS)
        yield streams.Shard(
          corpus, split, number, shards[split], start, stop, folder, tokenizers,
          clips=prepared.data.keeps_waves,
        )  # fmt: skip


def _check_entries(prepared: Prepared, corpus: CorpusSettings, split: str) -> None:
  """Raises DataError unless a split of the cache is complete, with ids of these tokenizers."""
  for address, highest in prepared.entries(corpus, split).maxima.items():
    stream = address.split(".")[1]
    if stream == WAVE:
      continue
    sizes = prepared.tokenizers[stream].spec.sizes
    if any(id >= size for id, size in zip(highest, sizes, strict=False)):
      raise DataError(
        f"{prepared.folder(corpus)}: split {split!r} has ids of {address} up to {highest}, but "
        f"its tokenizer has sizes {sizes}. Delete that folder and run `audiopalm prepare` again."
      )
