"""Utterances of a manifest's lines: their audio is read, cut and checked."""

import os
import platform
from collections.abc import Sequence

from audiopalm.audio import waveform
from audiopalm.data.manifest.lines import ManifestLine
from audiopalm.errors import AudioError, DataError, RecordError
from audiopalm.types import Utterance

PROBED = 1_000  # most recordings that are probed to decide whether a machine lacks all of them


def utterance(line: ManifestLine) -> Utterance:
  """Returns the utterance of a line, its wave at the working rate, None for a text translation.

  Raises RecordError, naming line and file, if neither the line nor its translation has text, or if
  the recording is missing, not audio, truncated, too short, longer than `waveform.LONGEST_S`,
  silent, not finite, or ends before its words or phones do.
  """
  name = f"{line.location} ({line.audio or 'translation'})"
  if not line.text and (line.translation is None or not line.translation.text):
    raise RecordError(f"{name}: empty text. Write the transcript, or leave it out.")
  if line.audio is None:
    return Utterance(None, waveform.RATE_HZ, line.text, line.language, line.speaker)
  loaded = waveform.load(line.audio, span_s=line.span_s, longest_s=waveform.LONGEST_S, name=name)
  seconds = len(loaded.wave_S) / waveform.RATE_HZ
  last_s = max((word.end_s for word in (*line.words, *line.phones)), default=0.0)
  if last_s > seconds + waveform.SLACK_S:
    raise AudioError(
      f"{name}: ends before its words or phones: the last ends at {last_s:.2f} s, the recording "
      f"lasts {seconds:.2f} s. Correct the times, which count from its start, or leave them out."
    )
  return Utterance(
    loaded.wave_S,
    waveform.RATE_HZ,
    line.text,
    line.language,
    line.speaker,
    line.words,
    tuple(f"{name}: {note}" for note in loaded.notes),
    line.phones,
  )


def check_machine(line: ManifestLine, others: Sequence[ManifestLine]) -> None:
  """Raises DataError if neither a line's recording nor that of any of the `others` can be opened.

  A single missing recording is a fault of its record. If all are missing, this machine lacks their
  folder, and must not go on and leave out every record.
  """
  if line.audio is None or _is_readable(line.audio):
    return
  stride = max(1, len(others) // PROBED)
  probed = [other for other in others[::stride] if other.audio is not None]
  if not any(_is_readable(other.audio) for other in probed):
    raise DataError(
      f"{line.location}: {line.audio} cannot be opened on {platform.node()}, nor can any recording "
      f"of its split ({len(probed):,} were tried). Mount or copy the folder that holds them, "
      "let this user read it, or correct the paths; then run the same command again."
    )


def _is_readable(path: str) -> bool:
  return "\0" not in path and os.access(path, os.R_OK)  # ValueError for a null byte
