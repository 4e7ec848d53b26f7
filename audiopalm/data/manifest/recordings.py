"""A line of a manifest as an utterance: its audio read, cut and checked."""

import os
import platform
from collections.abc import Sequence

from audiopalm.audio import waveform
from audiopalm.data.manifest.lines import Line
from audiopalm.errors import AudioError, DataError, RecordError
from audiopalm.types import Utterance

PROBED = 1_000  # recordings looked for, at most, before a machine is said to lack all of them


def utterance(line: Line) -> Utterance:
  """Returns what a line stands for, its wave at the working rate; None for words alone.

  RecordError, naming line and file, for what nothing can be learnt from: no text, not even of a
  translation; audio that is missing, not audio, truncated, too short, longer than
  `waveform.LONGEST_S`, silent, not finite, or that ends before its words do.
  """
  name = f"{line.place} ({line.audio or 'translation'})"
  if not line.text and (line.translation is None or not line.translation.text):
    raise RecordError(f"{name}: empty text. Write what is said, or leave it out.")
  if line.audio is None:
    return Utterance(None, waveform.RATE_HZ, line.text, line.language, line.speaker)
  loaded = waveform.load(line.audio, span_s=line.span_s, longest_s=waveform.LONGEST_S, name=name)
  seconds = len(loaded.wave_S) / waveform.RATE_HZ
  last_s = max((word.end_s for word in line.words), default=0.0)
  if last_s > seconds + waveform.SLACK_S:
    raise AudioError(
      f"{name}: ends before its words: the last ends at {last_s:.2f} s, the recording lasts "
      f"{seconds:.2f} s. Correct the times, which count from its start, or leave them out."
    )
  return Utterance(
    loaded.wave_S,
    waveform.RATE_HZ,
    line.text,
    line.language,
    line.speaker,
    line.words,
    tuple(f"{name}: {note}" for note in loaded.notes),
  )


def check_machine(line: Line, others: Sequence[Line]) -> None:
  """Raises DataError if a recording cannot be opened here, and none of the `others` can either.

  One that is missing is a fault of its record; where all are, their folder is not there: a machine
  without it must not go on and leave every record out.
  """
  if line.audio is None or os.access(line.audio, os.R_OK):
    return
  probed = [one for one in others[:: max(1, len(others) // PROBED)] if one.audio is not None]
  if not any(os.access(one.audio, os.R_OK) for one in probed):
    raise DataError(
      f"{line.place}: {line.audio} cannot be opened on {platform.node()}, nor can any recording of "
      f"its split ({len(probed):,} were tried). Mount or copy the folder that holds them, "
      "let this user read it, or correct the paths; then run the same command again."
    )
