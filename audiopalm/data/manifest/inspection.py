"""What a manifest holds: hours, languages, speakers, lengths, examples, and all its faults."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from rich import box, console, progress, table

from audiopalm.audio import waveform
from audiopalm.data import quarantine, spread
from audiopalm.data.executors import Local
from audiopalm.data.manifest import faults, lines, recordings
from audiopalm.data.manifest.faults import Fault
from audiopalm.data.manifest.lines import Files, Line, Lines, Reading
from audiopalm.errors import RecordError

JOB_LINES = 64
EXAMPLES = 10
BINS = 12  # of the histogram, at most
BAR = 40  # letters of its longest bar
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)  # widths of a bin, the first that makes few enough


@dataclasses.dataclass(frozen=True)
class Inspected:
  """A manifest and what its recordings turned out as: seconds of those that are sound, by line.

  `wrong` are the faults of the others, `unfit` those of the manifest as a whole; `noted` is what to
  know of recordings that are sound.
  """

  read: Lines
  sound: tuple[tuple[Line, float], ...]
  wrong: tuple[Fault, ...]
  noted: tuple[Fault, ...] = ()

  @property
  def unfit(self) -> tuple[Fault, ...]:
    return self.read.faults

  @property
  def problems(self) -> int:
    return len(self.unfit) + len(self.wrong)


def inspect(files: Files, reading: Reading, executor: Local) -> Inspected:
  """Returns what a manifest holds, after reading every recording whose line can be used."""
  read = lines.read(files, reading)
  jobs = [read.lines[at : at + JOB_LINES] for at in range(0, len(read.lines), JOB_LINES)]
  sound, wrong, noted = [], [], []
  with progress.Progress(console=console.Console(stderr=True), transient=True) as bar:
    line = bar.add_task("Reading recordings", total=len(read.lines))
    for job, heard in zip(jobs, executor.map(hear, jobs), strict=True):
      for one, (seconds, reason, notes) in zip(job, heard, strict=True):
        noted += [Fault(one.place, note) for note in notes]
        if reason is None:
          sound.append((one, seconds))
        else:
          wrong.append(Fault(one.place, reason))
      bar.advance(line, len(job))
  return Inspected(read, tuple(sound), tuple(wrong), tuple(noted))


def hear(job: Sequence[Line]) -> list[tuple[float, str | None, tuple[str, ...]]]:
  """Returns (seconds, None, what to know) of each line that is sound, (0, what is wrong, ()) of the
  others."""
  heard: list[tuple[float, str | None, tuple[str, ...]]] = []
  for line in job:
    try:
      said = recordings.utterance(line)
      notes = said.notes
      if line.translation is not None:
        notes += recordings.utterance(line.translation).notes
      heard.append((len(said.wave_S) / waveform.RATE_HZ, None, notes))
    except RecordError as error:
      heard.append((0.0, str(error), ()))
  return heard


def show(found: Inspected, out: console.Console) -> None:
  """Prints all of it; faults last, where they are seen."""
  if found.sound:
    out.print(_languages(found.sound))
    for text in _targets(found):
      out.print(text, markup=False, highlight=False)
    for title, rows in (
      ("Lengths", histogram([seconds for _, seconds in found.sound])),
      ("Examples", _examples(found.sound)),
    ):
      out.print(f"\n{title}")
      for row in rows:
        out.print(f"  {row}", markup=False, highlight=False, soft_wrap=True)
  if found.read.unused:
    names = ", ".join(found.read.unused)
    out.print(f"\nColumns not used: {names}", markup=False, highlight=False, soft_wrap=True)
  for title, rows in (
    ("Recordings: read, but look at them", by_kind(found.noted)),
    ("The manifest as a whole: correct this first", faults.listed(found.unfit)),
    ("Recordings: `prepare` would leave these out", by_kind(found.wrong)),
  ):
    if rows:
      out.print(f"\n{title}")
    for row in rows:
      out.print(f"  {row}", markup=False, highlight=False, soft_wrap=True)
  count = len(found.read.lines)
  out.print(f"\n{count:,} lines can be read, {found.problems:,} problems.", highlight=False)


def histogram(lengths_s: Sequence[float]) -> list[str]:
  """Returns a text histogram of seconds, one bin a line:

  0-1 s     3  ####
  1-2 s    30  ########################################
  """
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


def by_kind(wrong: Iterable[Fault]) -> list[str]:
  """Returns faults of recordings: of each kind how many, in which lines, and the first's text."""
  kinds: dict[tuple[str, str], list[Fault]] = {}
  for fault in wrong:
    kinds.setdefault((fault.place.file, quarantine.kind_of(fault.text)), []).append(fault)
  return [
    f"{len(some):,} x {kind}: {file}, line{'s'[: len(some) > 1]} "
    f"{faults.spans([fault.place.line for fault in some])}. {some[0].text}"
    for (file, kind), some in kinds.items()
  ]


def _languages(sound: Sequence[tuple[Line, float]]) -> table.Table:
  shown = table.Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
  shown.add_column("language", no_wrap=True)
  for name in ("hours", "recordings", "speakers", "shortest", "mean", "longest"):
    shown.add_column(name, justify="right", no_wrap=True)
  by_language: dict[str, list[tuple[Line, float]]] = collections.defaultdict(list)
  for line, seconds in sound:
    by_language[line.language].append((line, seconds))
  for code, some in sorted(by_language.items()):
    seconds = [one for _, one in some]
    shown.add_row(
      code,
      f"{sum(seconds) / 3600:.2f}",
      f"{len(some):,}",
      f"{len({line.speaker for line, _ in some} - {lines.SOMEBODY}):,}",
      *(f"{one:.1f} s" for one in (min(seconds), sum(seconds) / len(seconds), max(seconds))),
    )
  return shown


def _targets(found: Inspected) -> Iterable[str]:
  """Yields how many records go from which language to which."""
  kept = [line for line, _ in found.sound]
  there = collections.Counter(line.pair for line in kept)
  whole = [line for line in kept if not line.pair or there[line.pair] == 2]
  counts = collections.Counter(
    (source.language, target.language, target.audio is not None)
    for source, target in lines.joined(whole)
    if target is not None
  )
  for (source, target, spoken), count in sorted(counts.items()):
    yield f"{source} to {target}: {count:,} records, {'spoken' if spoken else 'in words alone'}"


def _examples(sound: Sequence[tuple[Line, float]]) -> Iterable[str]:
  for at in spread.evenly(len(sound), EXAMPLES):
    line, seconds = sound[int(at)]
    said = line.text or "(words not known)"
    if line.translation:
      said += f" -> {line.translation.text}"
    about = f"{line.place.line:>6}  {line.language}  {line.speaker[:16]:<16}  {seconds:5.1f} s"
    yield f"{about}  {said}"
