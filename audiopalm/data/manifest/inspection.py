"""A report on a manifest: hours, languages, speakers, lengths, examples and all faults."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from rich import box, console, progress, table

from audiopalm.audio import waveform
from audiopalm.data import spread
from audiopalm.data.executors import Local
from audiopalm.data.manifest import faults, lines, recordings
from audiopalm.data.manifest.faults import Fault
from audiopalm.data.manifest.lines import Files, Lines, ManifestLine, Reading
from audiopalm.errors import RecordError

JOB_LINES = 64
EXAMPLES = 10
BINS = 12  # most bins of the histogram
BAR = 40  # characters of its longest bar
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)  # bin widths; the first with at most BINS bins

Valid = Sequence[tuple[ManifestLine, float]]


@dataclasses.dataclass(frozen=True)
class Inspection:
  """A manifest, the lines whose recordings are valid with their seconds, and faults of the others.

  `notes` are remarks on valid recordings.
  """

  read: Lines
  valid: tuple[tuple[ManifestLine, float], ...]
  faults: tuple[Fault, ...]
  notes: tuple[Fault, ...] = ()

  @property
  def problems(self) -> int:
    return len(self.read.faults) + len(self.faults)


def inspect(files: Files, reading: Reading, executor: Local) -> Inspection:
  """Returns the inspection of a manifest; reads the recordings of all lines without faults."""
  read = lines.read(files, reading)
  jobs = [read.lines[at : at + JOB_LINES] for at in range(0, len(read.lines), JOB_LINES)]
  valid, failed, remarks = [], [], []
  with progress.Progress(console=console.Console(stderr=True), transient=True) as bar:
    task = bar.add_task("Reading recordings", total=len(read.lines))
    for job, results in zip(jobs, executor.map(_checked, jobs), strict=True):
      for line, result in zip(job, results, strict=True):
        if isinstance(result, str):
          failed.append(Fault(line.location, result))
        else:
          valid.append((line, result[0]))
          remarks += [Fault(line.location, note) for note in result[1]]
      bar.advance(task, len(job))
  return Inspection(read, tuple(valid), tuple(failed), tuple(remarks))


def _checked(job: Sequence[ManifestLine]) -> list[tuple[float, tuple[str, ...]] | str]:
  """Returns (seconds, notes) of each line with a valid recording, the fault of all others."""
  results = []
  for line in job:
    try:
      utterance = recordings.utterance(line)
      notes = utterance.notes
      if line.translation is not None:
        notes += recordings.utterance(line.translation).notes
      results.append((len(utterance.wave_S) / waveform.RATE_HZ, notes))
    except RecordError as error:
      results.append(str(error))
  return results


def show(inspection: Inspection, out: console.Console) -> None:
  """Prints an inspection, its faults last."""

  def section(title: str, rows: Iterable[str]) -> None:
    out.print(f"\n{title}", markup=False, highlight=False, soft_wrap=True)
    for row in rows:
      out.print(f"  {row}", markup=False, highlight=False, soft_wrap=True)

  if inspection.valid:
    out.print(_languages(inspection.valid))
    for text in _targets(inspection.valid):
      out.print(text, markup=False, highlight=False)
    section("Lengths", histogram([seconds for _, seconds in inspection.valid]))
    section("Examples", _examples(inspection.valid))
  if inspection.read.unused:
    section(f"Columns not used: {', '.join(inspection.read.unused)}", ())
  for title, rows in (
    ("Recordings: read, but check these", by_kind(inspection.notes)),
    ("The manifest as a whole: correct this first", faults.summary(inspection.read.faults)),
    ("Recordings: `prepare` would leave these out", by_kind(inspection.faults)),
  ):
    if rows:
      section(title, rows)
  kept, count = len(inspection.valid), len(inspection.read.lines)
  problems = f"{inspection.problems:,} problems"
  out.print(f"\n{count:,} lines can be read, {kept:,} can be used, {problems}.", highlight=False)


def histogram(lengths_s: Sequence[float]) -> list[str]:
  """Returns a text histogram of seconds, one bin per line: " 0-1 s         3  ####"."""
  longest_s = max(lengths_s)
  width_s = next((s for s in STEPS_S if longest_s / s <= BINS), longest_s / BINS)
  edges_s = np.arange(0, longest_s + width_s, width_s)
  counts, _ = np.histogram(lengths_s, edges_s)
  names = [f"{low:.4g}-{low + width_s:.4g} s" for low in edges_s[:-1]]
  widest, most = max(map(len, names)), counts.max()
  return [
    f"{name:>{widest}} {count:>9,}  {'#' * int(np.ceil(BAR * count / most))}".rstrip()
    for name, count in zip(names, counts.tolist(), strict=True)
  ]


def by_kind(failed: Iterable[Fault]) -> list[str]:
  """Returns a line per kind of fault: how many, on which lines, and the text of the first."""
  kinds: dict[tuple[str, str], list[Fault]] = {}
  for fault in failed:
    kinds.setdefault((fault.location.file, faults.kind_of(fault.text)), []).append(fault)
  return [
    f"{len(group):,} x {kind}: {file}, line{'s'[: len(group) > 1]} "
    f"{faults.spans([fault.location.line for fault in group])}. {group[0].text}"
    for (file, kind), group in kinds.items()
  ]


def _languages(valid: Valid) -> table.Table:
  rows = table.Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
  rows.add_column("language", no_wrap=True)
  for name in ("hours", "recordings", "speakers", "shortest", "mean", "longest"):
    rows.add_column(name, justify="right", no_wrap=True)
  for code in sorted({line.language for line, _ in valid}):
    lengths_s = [seconds for line, seconds in valid if line.language == code]
    speakers = {line.speaker for line, _ in valid if line.language == code} - {lines.SOMEBODY}
    spread_s = (min(lengths_s), sum(lengths_s) / len(lengths_s), max(lengths_s))
    counts = (f"{sum(lengths_s) / 3600:.2f}", f"{len(lengths_s):,}", f"{len(speakers):,}")
    rows.add_row(code, *counts, *(f"{seconds:.1f} s" for seconds in spread_s))
  return rows


def _targets(valid: Valid) -> Iterable[str]:
  """Yields the number of records for each source and target language."""
  kept = [line for line, _ in valid]
  members = collections.Counter(line.pair for line in kept)
  complete = [line for line in kept if not line.pair or members[line.pair] == 2]
  counts = collections.Counter(
    (source.language, target.language, target.audio is not None)
    for source, target in lines.joined(complete)
    if target is not None
  )
  for (source, target, spoken), count in sorted(counts.items()):
    yield f"{source} to {target}: {count:,} records, {'spoken' if spoken else 'text only'}"


def _examples(valid: Valid) -> Iterable[str]:
  for place in spread.evenly(len(valid), EXAMPLES):
    line, seconds = valid[int(place)]
    text = line.text or "(no transcript)"
    if line.translation:
      text += f" -> {line.translation.text}"
    number = f"{line.location.line:>6}"
    yield f"{number}  {line.language}  {line.speaker[:16]:<16}  {seconds:5.1f} s  {text}"
