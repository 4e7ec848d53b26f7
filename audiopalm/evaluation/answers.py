"""What an evaluation saves of every example: enough to compute scores without the model."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from audiopalm.data import json_lines
from audiopalm.errors import DataError
from audiopalm.metrics.likelihood import Sums
from audiopalm.types import Modality

# The system under test, and the baselines it is compared with.
MODEL = "model"
UNTRAINED, NEAREST_COPY, UNITS_CEILING = "untrained", "nearest_copy", "units_ceiling"
SYSTEMS = (MODEL, UNTRAINED, NEAREST_COPY, UNITS_CEILING)  # as scores name them, in order

Measure = Literal["words", "translation"]
AGAIN = "Run `audiopalm evaluate` again."


@dataclasses.dataclass(frozen=True)
class Output:
  """One output of one example: the reference and what the system produced.

  `measure` says how the two texts compare: "words" where there is one right wording (WER, CER),
  "translation" where there are many (BLEU, chrF). For speech `hypothesis` is the run's own
  transcript of the written WAV at `wave` (None where no task of it transcribes this language),
  `independent` that of another recognizer whose rule is `heard_by` (None where none was asked),
  `mcd` the mel-cepstral distance in dB to the reference recording, and `fault` or
  `independent_fault` why a wave could not be read back or transcribed: the transcript then is
  empty. `measured` are readings of meters by score, None where one shows nothing, `measured_by` its
  rule. `language` is that of both texts, `voice` that of the speech.
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
  language: str = "und"  # undetermined
  independent: str | None = None
  independent_fault: str | None = None
  voice: str | None = None

  @property
  def role(self) -> str:
    return self.stream.rpartition(".")[0]


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
  outputs: tuple[Output, ...]
  complete: bool = True
  likelihood: Mapping[str, Sums] = dataclasses.field(default_factory=dict)
  new_words: bool = False
  zero_shot: bool = False
  left_out: bool = False
  decoding: str | None = None


def write(path: Path, answers: Iterable[Answer]) -> None:
  """Writes answers as JSONL; the file is replaced at once and never half written."""
  lines = []
  for answer in answers:
    values = dataclasses.asdict(answer)
    lines.append({"said" if name == "outputs" else name: values[name] for name in values})
  json_lines.write(path, lines)


def read(path: Path) -> tuple[Answer, ...]:
  """Returns the answers that `write` wrote; DataError naming the line for anything else."""
  answers = []
  for number, values in json_lines.read(path, again=AGAIN):
    try:
      outputs = tuple(_output(output, values["language"]) for output in values.pop("said"))
      likelihood = {name: Sums(**sums) for name, sums in values.pop("likelihood").items()}
      answers.append(Answer(**values, outputs=outputs, likelihood=likelihood))
    except (TypeError, KeyError, AttributeError) as error:
      raise DataError(
        f"{path}, line {number}: expected the outputs of an evaluation, but it cannot be read "
        f"({error}). {AGAIN}"
      ) from error
  if not answers:  # none is written without a line
    raise DataError(f"{path}: expected the outputs of an evaluation, but it is empty. {AGAIN}")
  return tuple(answers)


def _output(values: dict[str, Any], pair: str) -> Output:
  """Returns an output, also of older versions, which wrote no language and another recognizer's
  transcript as `hypothesis`."""
  if values.get("language") is None:
    # They knew no subtags: the pair "en-zh" is translated from its first to its last.
    values["language"] = pair.split("-")[0 if values["measure"] == "words" else -1]
  if values.get("heard_by") is not None and "independent" not in values:
    moved = {"independent": values["hypothesis"], "independent_fault": values.get("fault")}
    values |= {**moved, "hypothesis": None, "fault": None}
  return Output(**values)
