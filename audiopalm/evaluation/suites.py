"""Suites: groups of tasks by what they do, to evaluate without naming tasks.

    recognition     speech in, its transcript out: WER (in languages with spaces), CER
    translation     text out in another language than the input, also in chains: BLEU, chrF
    speech_out      speech out: WER, CER or ASR-BLEU of its transcript, MCD, values of meters
    retention       text on all sides, which training on speech may degrade: NLL, BLEU
    zero_resource   no input and one output, to judge pairs: which of two is more likely

A task may be in several. Needs no jax.
"""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence

from audiopalm.errors import ConfigError
from audiopalm.evaluation import scoring
from audiopalm.evaluation.answers import Measure
from audiopalm.metrics.tally import Scores
from audiopalm.types import Modality, Side, StreamSpec, Task


@dataclasses.dataclass(frozen=True)
class Suite:
  """What a task must have to be in a suite, in words, and the suite's scores in order."""

  needs: str
  scores: tuple[str, ...]


SPEECH_SCORES = (
  "wer", scoring.INDEPENDENT_WER, scoring.INDEPENDENT_RAW_WER, "cer", scoring.INDEPENDENT_CER,
  "asr_bleu", scoring.INDEPENDENT_ASR_BLEU, "mcd", "mos", "similarity",
)  # fmt: skip
ALL = "all"
ZERO_RESOURCE = "zero_resource"
SUITES = {
  "recognition": Suite("speech in and its transcript out", ("wer", "cer")),
  "translation": Suite("text out in another language than the input", ("bleu", "chrf")),
  "speech_out": Suite("an input and speech out", SPEECH_SCORES),
  "retention": Suite("text on all sides", ("nll", "bleu")),
  ZERO_RESOURCE: Suite("no input and one output", ("accuracy", "accuracy_per_token")),
}

Members = Mapping[str, Mapping[str, str]]  # {suite: {task: the scored output, "target.text"}}


@dataclasses.dataclass(frozen=True, eq=False)
class TaskKind:
  """What a task does, given the modality of each stream: its speech sides and its suites."""

  task: Task
  modalities: Mapping[str, Modality]

  @property
  def hears(self) -> bool:
    """Whether an input is speech."""
    return any(self.modalities[stream] == "speech" for _, stream in self.task.inputs)

  @property
  def spoken(self) -> list[Side]:
    """The outputs that are speech."""
    return [side for side in self.task.outputs if self.modalities[side[1]] == "speech"]

  @property
  def reads_aloud(self) -> bool:
    """Whether its output is the text of its input, spoken."""
    inputs, outputs = ({role for role, _ in of} for of in (self.task.inputs, self.task.outputs))
    return bool(inputs) and not self.hears and bool(self.spoken) and inputs == outputs

  def measure(self, role: str) -> Measure:
    """Returns "words" if a role is always in the language of the first side, else "translation"."""
    first = self.task.sides[0][0]
    pairs = self.task.corpus.pairs(self.task.roles)
    return "translation" if any(pair[first] != pair[role] for pair in pairs) else "words"

  @functools.cached_property
  def suites(self) -> dict[str, str]:
    """The suites of the task, in order, each with the address of the output to score.

    If several outputs qualify, as in a chain of translations, it is the last one.
    """
    task = self.task
    heard = [role for role, stream in task.inputs if self.modalities[stream] == "speech"]
    texts = [side for side in task.outputs if side not in self.spoken]
    translated = [side for side in texts if self.measure(side[0]) == "translation"]
    outputs = {
      "recognition": [side for side in texts if side[0] in heard],
      "translation": translated if task.inputs else (),
      "speech_out": self.spoken if task.inputs else (),
      "retention": texts if not heard and not self.spoken else (),
      ZERO_RESOURCE: task.outputs if not task.inputs and len(task.outputs) == 1 else (),
    }
    return {suite: ".".join(sides[-1]) for suite, sides in outputs.items() if sides}


def kinds(tasks: Sequence[Task], specs: Mapping[str, StreamSpec]) -> dict[str, TaskKind]:
  """Returns {task name: kind}; `specs` are those of the run's streams."""
  modalities = {name: spec.modality for name, spec in specs.items()}
  return {task.name: TaskKind(task, modalities) for task in tasks}


def members(kinds: Iterable[TaskKind]) -> Members:
  """Returns the tasks of each suite that has any, in order, each with the output to score."""
  kinds = list(kinds)
  tasks_of = {
    suite: {kind.task.name: kind.suites[suite] for kind in kinds if suite in kind.suites}
    for suite in SUITES
  }
  return {suite: tasks for suite, tasks in tasks_of.items() if tasks}


def choose(
  names: Collection[str], kinds: Mapping[str, TaskKind], *, pairs: bool
) -> tuple[list[str], list[str]]:
  """Returns the suites named and the tasks to evaluate for them, both in order.

  "all" selects all suites that have tasks, and all tasks. `pairs` is whether there are pairs to
  judge. Raises ConfigError for an unknown suite, and for one without tasks or pairs.
  """
  tasks_of = members(kinds.values())
  for name in names:
    if name not in (*SUITES, ALL):
      known = ", ".join(SUITES)
      raise ConfigError(f"Unknown suite {name!r}. Known: {known}, and all. {_described(kinds)}")
  if pairs and not {ZERO_RESOURCE, ALL} & set(names):
    raise ConfigError(f"Pairs are judged in the suite {ZERO_RESOURCE}: name it too, or no pairs.")
  chosen = [*names, *([ZERO_RESOURCE] if pairs else [])]
  for name in chosen:
    if name in SUITES and name not in tasks_of:
      raise ConfigError(
        f"Suite {name!r} has no task in this run: it needs one with {SUITES[name].needs}. "
        f"{_described(kinds)}"
      )
  if ZERO_RESOURCE in chosen and not pairs:
    raise ConfigError(
      f"Suite {ZERO_RESOURCE!r} judges pairs of a right and a wrong text or recording: name their "
      "files by --pairs FILE."
    )
  if ALL in names:
    return [name for name in tasks_of if pairs or name != ZERO_RESOURCE], list(kinds)
  selected = {task for name in chosen if name != ZERO_RESOURCE for task in tasks_of[name]}
  return [name for name in tasks_of if name in chosen], [task for task in kinds if task in selected]


def sections(
  scores: Scores,
  tasks_of: Members,
  zero_shot: Collection[tuple[str, str]],
  judged: Scores,
) -> dict[str, dict[str, dict]]:
  """Returns {suite: {task: {score: value, "intervals", "examples", "languages"}}}.

  `scores` are those of `scoring.score`, `zero_shot` the (task, language) never trained on, `judged`
  the scores of pairs by manifest. "languages" is present if there are several or "zero_shot" ones.
  """
  sections = {}
  for suite in SUITES:
    outputs = tasks_of.get(suite, {})
    rows = {
      task: _section(suite, values, outputs[task], {code for of, code in zero_shot if of == task})
      for task, values in scores.items()
      if task in outputs
    }
    if suite == ZERO_RESOURCE and judged:
      rows = {name: _section(suite, values, "", ()) for name, values in judged.items()}
    if rows:
      sections[suite] = rows
  return sections


def _section(suite: str, values: Scores, output: str, zero_shot: Collection[str]) -> dict:
  section = _leading(suite, values, output)
  languages = values.get("languages", {})
  if len(languages) > 1 or zero_shot:
    section["languages"] = {
      name: _leading(suite, own, output) | ({"zero_shot": True} if name in zero_shot else {})
      for name, own in languages.items()
    }
  return section


def _leading(suite: str, values: Scores, output: str) -> dict:
  """Returns the scores of a suite for one output, with intervals and the number of examples."""
  section: dict = {}
  intervals = {}
  for name in SUITES[suite].scores:
    # The likelihood is that of the task; other scores are of one output if there are several.
    own = values if name == "nll" else values.get("outputs", {output: values}).get(output, {})
    if name in own:
      section[name] = own[name]
      if name in own.get("intervals", {}):
        intervals[name] = own["intervals"][name]
  if intervals:
    section["intervals"] = intervals
  return {**section, "examples": values["examples"]}


def _described(kinds: Mapping[str, TaskKind]) -> str:
  """Returns a sentence with the inputs, outputs and suites of each task of a run."""
  described = [
    f"{name} from {streams(kind.task.inputs)} to {streams(kind.task.outputs)} "
    f"({', '.join(kind.suites) or 'no suite'})"
    for name, kind in kinds.items()
  ]
  return f"Tasks of this run: {'; '.join(described)}."


def streams(sides: Sequence[Side]) -> str:
  """Returns sides of a task as messages name them: "source.units", or "nothing"."""
  return " and ".join(".".join(side) for side in sides) or "nothing"
