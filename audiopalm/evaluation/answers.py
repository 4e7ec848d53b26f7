"""The saved outputs of each evaluated example, from which all scores are computed."""

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
SYSTEMS = (MODEL, UNTRAINED, NEAREST_COPY, UNITS_CEILING)  # in the order of the scores

Measure = Literal["words", "translation"]
AGAIN = "Run `audiopalm evaluate` again."


@dataclasses.dataclass(frozen=True)
class Output:
  """One output of one example: the reference and what the system produced.

  `measure` selects the metrics: "words" if one wording is correct (WER, CER), "translation" if
  several are (BLEU, chrF). For speech, `wave` is the path of the WAV, `hypothesis` the run's own
  transcript of it (None if no task of the run transcribes the language), `independent` the
  transcript of another recognizer with the rule `heard_by` (None without one), and `mcd` the
  mel-cepstral distance in dB to the reference recording. `fault` and `independent_fault` are why a
  WAV could not be read or transcribed; that transcript is then empty. `measured` has the values of
  meters by score (None if one gave none), `measured_by` their rules. `language` is the language of
  both texts, `voice` the speaker of the speech.
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
  """The outputs of one system for one example of one task: one line of JSON.

  `language` is "en", or "en-fr" if the output has another language than the input; `voice` is the
  speaker of the input, or of a speech output if the input is text. `complete` is False if decoding
  ended before the stop token. `new_words` is True for an example with words that the task was not
  trained on (`Task.unseen_words`), `zero_shot` for one of languages that it was not trained on
  (`Task.unseen_pairs`). `left_out` is True for an example longer than a row, which is counted but
  not scored. `decoding` describes the decoding method, None if nothing was decoded.
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
  """Writes answers as JSONL; the file is replaced atomically."""
  lines = []
  for answer in answers:
    values = dataclasses.asdict(answer)
    lines.append({"said" if name == "outputs" else name: values[name] for name in values})
  json_lines.write(path, lines)


def read(path: Path) -> tuple[Answer, ...]:
  """Returns the answers that `write` wrote; raises DataError, with the line, for other content."""
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
  if not answers:  # evaluations write no empty file
    raise DataError(f"{path}: expected the outputs of an evaluation, but it is empty. {AGAIN}")
  return tuple(answers)


def _output(values: dict[str, Any], pair: str) -> Output:
  """Returns an `Output` from JSON, also from that of older versions, which wrote no language, and
  another recognizer's transcript as `hypothesis`."""
  if values.get("language") is None:
    # Older versions had no subtags: "en-zh" is the pair from "en" to "zh".
    values["language"] = pair.split("-")[0 if values["measure"] == "words" else -1]
  if values.get("heard_by") is not None and "independent" not in values:
    moved = {"independent": values["hypothesis"], "independent_fault": values.get("fault")}
    values |= {**moved, "hypothesis": None, "fault": None}
  return Output(**values)
