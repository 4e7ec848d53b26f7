"""Writes a manifest with the times of words and phones, a batch of lines at a time.

train.timed.jsonl.part        the lines that are finished
train.timed.jsonl.part.json   how many they are, and the summary so far; what is behind them in
                              the file was cut short, and is written again
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import console, progress

from audiopalm.data import files, json_lines
from audiopalm.data.executors import Local
from audiopalm.data.manifest import copies, faults, recordings
from audiopalm.data.manifest.copies import Copy
from audiopalm.data.manifest.lines import Files, Reading
from audiopalm.errors import ConfigError, RecordError
from audiopalm.inference.alignment import Aligned, Aligner, SpokenText, targets
from audiopalm.tokenizers.base import Fitted

BATCH = 64  # lines between two writes
JOB = 8  # lines that a worker reads at one time
ENDING = ".jsonl"


@dataclasses.dataclass(frozen=True)
class TimingSummary:
  """Of how many lines how many were aligned, with which mean confidence, and why the others were
  not: {kind: {"records", "first"}} as `faults.kinds` has it."""

  lines: int
  aligned: int
  confidence: float
  kinds: dict[str, dict[str, Any]]


def write(
  aligner: Aligner, manifest: Files, reading: Reading, out: Path, workers: int | None = None
) -> TimingSummary:
  """Returns the summary of the manifest written to `out`; goes on with one that was begun.

  ConfigError if `out` exists, or was begun from another manifest or with another checkpoint.
  """
  if out.suffix != ENDING:
    raise ConfigError(f"--out {out} is written as JSON Lines: expected a name with {ENDING}.")
  if out.exists():
    raise ConfigError(f"--out {out} exists already. Delete it, or give another name.")
  copied = copies.read(manifest, reading, out.absolute().parent)
  begun = _Begun(out, {"manifest": copied.digest, **_identity(aligner)})
  lines = copied.copies
  with (
    Local(workers) as executor,
    progress.Progress(console=console.Console(stderr=True), transient=True) as bar,
  ):
    task = bar.add_task("Aligning", total=len(lines), completed=begun.lines)
    while begun.lines < len(lines):
      batch = lines[begun.lines : begun.lines + BATCH]
      jobs = [(batch[at : at + JOB], aligner.tokenizer) for at in range(0, len(batch), JOB)]
      readings = [item for job in executor.map(_read, jobs) for item in job]
      begun.add([_timed(aligner, copy, item) for copy, item in zip(batch, readings, strict=True)])
      bar.update(task, completed=begun.lines)
  begun.finish()
  return begun.summary


def _identity(aligner: Aligner) -> dict[str, Any]:
  trained = aligner.trained
  return {"experiment": trained.experiment.digest, "step": trained.step}


_Readable = tuple[np.ndarray, SpokenText]


def _read(job: tuple[Sequence[Copy], Fitted]) -> list[_Readable | str]:
  """Returns the recording of each line and what to find in it, or why there is nothing to find."""
  batch, tokenizer = job
  results = []
  for copy in batch:
    if copy.line is None:
      results.append(f"{copy.location}: {copy.reason}")
      continue
    try:
      utterance = recordings.utterance(copy.line)
    except RecordError as error:  # it names the line
      results.append(str(error))
      continue
    try:
      results.append((utterance.wave_S, targets(utterance, tokenizer)))
    except RecordError as error:
      results.append(f"{copy.location}: {error}")
  return results


@dataclasses.dataclass(frozen=True)
class _Line:
  """A finished line; `confidence` is None, and `reason` says why, if it is as it was."""

  data: bytes
  confidence: float | None = None
  reason: str = ""


def _timed(aligner: Aligner, copy: Copy, read: _Readable | str) -> _Line:
  data = copy.data + b"\n" if copy.values is None else _written(copy.values)
  if isinstance(read, str):
    return _Line(data, None, read)
  try:
    aligned = aligner.align(*read)
  except RecordError as error:
    return _Line(data, None, f"{copy.location}: {error}")
  return _Line(_written(copy.values | _columns(aligned)), aligned.confidence)


def _written(values: dict[str, Any]) -> bytes:
  try:
    return json_lines.dumps(values).encode()
  except UnicodeEncodeError:  # half a character, which only an escape can stand for
    return f"{json.dumps(values)}\n".encode()


def _columns(aligned: Aligned) -> dict[str, Any]:
  timed = {"words": aligned.words, "phones": aligned.phones}
  columns = {
    name: [[word.text, round(word.start_s, 3), round(word.end_s, 3)] for word in values]
    for name, values in timed.items()
    if values
  }
  return columns | {"confidence": round(aligned.confidence, 4)}


class _Begun:
  """A manifest that is being written: its finished lines, and what is known of them."""

  def __init__(self, out: Path, identity: dict[str, Any]):
    self._out, self._part = out, out.with_name(f"{out.name}.part")
    self._state_file = self._part.with_name(f"{self._part.name}.json")
    self._state = {
      "identity": identity, "bytes": 0, "lines": 0, "aligned": 0, "confidence": 0.0, "kinds": {},
    }  # fmt: skip
    if self._state_file.is_file():
      state = files.read_json(self._state_file)
      if state["identity"] != identity:
        raise ConfigError(
          f"{self._part} was begun from another manifest, or with another run or checkpoint. "
          f"Delete it and {self._state_file.name}, or give another --out."
        )
      self._state = state
    self._part.parent.mkdir(parents=True, exist_ok=True)
    with self._part.open("ab") as file:
      file.truncate(self._state["bytes"])

  @property
  def lines(self) -> int:
    return self._state["lines"]

  @property
  def summary(self) -> TimingSummary:
    state = self._state
    mean = state["confidence"] / state["aligned"] if state["aligned"] else 0.0
    return TimingSummary(state["lines"], state["aligned"], mean, state["kinds"])

  def add(self, lines: Sequence[_Line]) -> None:
    with self._part.open("ab") as file:
      file.write(b"".join(line.data for line in lines))
      file.flush()
      os.fsync(file.fileno())
      written = file.tell()
    state = self._state
    for line in lines:
      if line.confidence is None:
        kind = faults.kind_of(line.reason)
        about = state["kinds"].setdefault(kind, {"records": 0, "first": line.reason})
        about["records"] += 1
      else:
        state["aligned"] += 1
        state["confidence"] += line.confidence
    state["lines"] += len(lines)
    state["bytes"] = written
    files.write_json(self._state_file, state)

  def finish(self) -> None:
    os.replace(self._part, self._out)
    self._state_file.unlink(missing_ok=True)
