"""What an evaluation saves of every example: enough to compute scores without the model."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from audiopalm.data import json_lines
from audiopalm.errors import DataError
from audiopalm.metrics.likelihood import Sums
from audiopalm.types import Modality

# The system under test, and the baselines it is compared with.
MODEL = "model"
UNTRAINED, NEAREST_COPY, UNITS_CEILING = "untrained", "nearest_copy", "units_ceiling"
SYSTEMS = (MODEL, UNTRAINED, NEAREST_COPY, UNITS_CEILING)  # as scores name them, in order

Measure = Literal["words", "translation"]


@dataclasses.dataclass(frozen=True)
class Said:
  """One output of one example: what should have been said, and what was.

  `measure` says how the two texts compare: "words" where there is one right wording (WER, CER),
  "translation" where there are many (BLEU, chrF). For speech `hypothesis` is the run's own
  transcript of the written WAV at `wave` (None where no task of it transcribes this language),
  `independent` that of another recognizer whose rule is `heard_by` (None where none was asked),
  `mcd` the mel-cepstral distance in dB to the reference recording, and `fault` or
  `independent_fault` why a wave could not be read back or transcribed: the transcript then is
  empty. `measured` are readings of meters by score, None where one shows nothing, `measured_by` its
  rule. `language` is that of both texts and `voice` what speech is said in, None in what older
  versions wrote.
  """

  stream: str
  modality: Modality
  measure: Measure
  reference: str
  hypothesis: str | None
  mcd: float | None = None
  wave: str | None = None
  fault: str | None = None
  heard_by: str | None = None
  measured: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
  measured_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
  language: str | None = None
  independent: str | None = None
  independent_fault: str | None = None
  voice: str | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
  """One example of one task by one system: one line of JSON.

  `language` is "en", or "en-fr" where the language changes; `voice` the speaker of the input, or of
  a spoken output where the input is text. `complete` is False where the output was cut before its
  stop. `new_words` is True for an example with words that its task was never trained on
  (`Task.unseen_words`), `zero_shot` for one of languages that its task was never trained on
  (`Task.unseen_pairs`). `left_out` is True for an example longer than a row: it was not asked, and
  is counted but not scored. `decoding` says how the outputs were decoded, None where they were not.
  """

  system: str
  task: str
  split: str
  id: str
  language: str
  voice: str | None
  said: tuple[Said, ...]
  complete: bool = True
  likelihood: Mapping[str, Sums] = dataclasses.field(default_factory=dict)
  new_words: bool = False
  zero_shot: bool = False
  left_out: bool = False
  decoding: str | None = None


def language_of(line: Answer, said: Said) -> str:
  """Returns the language of an output."""
  if said.language is not None:
    return said.language
  # Older versions knew no subtags: the pair "en-zh" is translated from its first to its last.
  return line.language.split("-")[0 if said.measure == "words" else -1]


def write(path: Path, lines: Iterable[Answer]) -> None:
  """Writes answers as JSONL; the file is replaced at once and never half written."""
  json_lines.write(path, map(dataclasses.asdict, lines))


def read(path: Path) -> tuple[Answer, ...]:
  """Returns the answers that `write` wrote; DataError naming the line for anything else."""
  lines = []
  for number, values in json_lines.read(path, again="Run `audiopalm evaluate` again."):
    try:
      said = tuple(_said(output) for output in values.pop("said"))
      likelihood = {name: Sums(**sums) for name, sums in values.pop("likelihood").items()}
      lines.append(Answer(**values, said=said, likelihood=likelihood))
    except (TypeError, KeyError, AttributeError) as error:
      raise DataError(
        f"{path}, line {number}: expected the outputs of an evaluation, but it cannot be read "
        f"({error}). Run `audiopalm evaluate` again."
      ) from error
  if not lines:  # none is written without a line
    raise DataError(
      f"{path}: expected the outputs of an evaluation, but it is empty. Run `audiopalm evaluate` "
      "again."
    )
  return tuple(lines)


def _said(values: Mapping[str, object]) -> Said:
  """Returns an output; in older files `heard_by` says that another recognizer made `hypothesis`."""
  if values.get("heard_by") is not None and "independent" not in values:
    moved = {"hypothesis": None, "fault": None}
    moved |= {"independent": values["hypothesis"], "independent_fault": values.get("fault")}
    return Said(**{**values, **moved})
  return Said(**values)
