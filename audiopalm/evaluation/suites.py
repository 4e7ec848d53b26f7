"""What tasks do, and the suites that follow from it: what to evaluate, without names of tasks.

    recognition     speech in, its own words out: WER where spaces separate words, CER
    translation     text out in another language than the input, chains too: BLEU, chrF
    speech_out      speech out: WER, CER or ASR-BLEU of its transcript, MCD, what meters read
    retention       text on all sides, what speech may have cost a text model: NLL, BLEU
    zero_resource   no input and one output, and pairs to judge: which of two is likelier

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
  """What a task must do to be in a suite, in words, and the scores that lead there."""

  asks: str
  scores: tuple[str, ...]


SPEECH_SCORES = (
  "wer", scoring.INDEPENDENT_WER, scoring.INDEPENDENT_RAW_WER, "cer", scoring.INDEPENDENT_CER,
  "asr_bleu", scoring.INDEPENDENT_ASR_BLEU, "mcd", "mos", "similarity",
)  # fmt: skip
ALL = "all"
ZERO_RESOURCE = "zero_resource"
SUITES = {
  "recognition": Suite("speech in, its own words out", ("wer", "cer")),
  "translation": Suite("text out in another language than the input", ("bleu", "chrf")),
  "speech_out": Suite("an input, and speech out", SPEECH_SCORES),
  "retention": Suite("text on all sides", ("nll", "bleu")),
  ZERO_RESOURCE: Suite("no input, and one output", ("accuracy", "accuracy_per_token")),
}

Members = Mapping[str, Mapping[str, str]]  # by suite and task the output that counts: "target.text"


@dataclasses.dataclass(frozen=True, eq=False)
class TaskKind:
  """What a task does, by the modality of each stream: which sides are speech, and its suites."""

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
    """Whether it is given, as text, the words that it is to say."""
    inputs, outputs = ({role for role, _ in of} for of in (self.task.inputs, self.task.outputs))
    return bool(inputs) and not self.hears and bool(self.spoken) and inputs == outputs

  def measure(self, role: str) -> Measure:
    """Returns how texts of a role compare: "translation" unless in the first side's language."""
    first = self.task.sides[0][0]
    pairs = self.task.corpus.pairs(self.task.roles)
    return "translation" if any(pair[first] != pair[role] for pair in pairs) else "words"

  @functools.cached_property
  def suites(self) -> dict[str, str]:
    """The suites that it is in, in order, each with the address of the output that counts there.

    Of several, such as a translation by way of a third language, the last: what a chain is for.
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
  """Returns what each task does, by its name; `specs` are those of the run's streams."""
  modalities = {name: spec.modality for name, spec in specs.items()}
  return {task.name: TaskKind(task, modalities) for task in tasks}


def members(kinds: Iterable[TaskKind]) -> Members:
  """Returns the tasks of every suite that has any, in order, each with the output that counts."""
  kinds = list(kinds)
  tasks_of = {
    suite: {kind.task.name: kind.suites[suite] for kind in kinds if suite in kind.suites}
    for suite in SUITES
  }
  return {suite: tasks for suite, tasks in tasks_of.items() if tasks}


def choose(
  names: Collection[str], kinds: Mapping[str, TaskKind], *, pairs: bool
) -> tuple[list[str], list[str]]:
  """Returns the suites named and the tasks to ask for them, both in order.

  "all" stands for every suite that has tasks, and asks all tasks. `pairs` says whether there are
  any to judge. ConfigError for an unknown suite, and for one that has nothing.
  """
  tasks_of = members(kinds.values())
  for name in names:
    if name not in (*SUITES, ALL):
      known = ", ".join(SUITES)
      raise ConfigError(f"Unknown suite {name!r}. Known are {known}, and all. {_described(kinds)}")
  if pairs and not {ZERO_RESOURCE, ALL} & set(names):
    raise ConfigError(f"Pairs are judged in the suite {ZERO_RESOURCE}: name it too, or no pairs.")
  chosen = [*names, *([ZERO_RESOURCE] if pairs else [])]
  for name in chosen:
    if name in SUITES and name not in tasks_of:
      raise ConfigError(
        f"Suite {name!r} has nothing in this run: it needs a task with {SUITES[name].asks}. "
        f"{_described(kinds)}"
      )
  if ZERO_RESOURCE in chosen and not pairs:
    raise ConfigError(
      f"Suite {ZERO_RESOURCE!r} judges pairs of a right and a wrong text or recording: give their "
      "files by --pairs FILE."
    )
  if ALL in names:
    return [name for name in tasks_of if pairs or name != ZERO_RESOURCE], list(kinds)
  asked = {task for name in chosen if name != ZERO_RESOURCE for task in tasks_of[name]}
  return [name for name in tasks_of if name in chosen], [task for task in kinds if task in asked]


def sections(
  scores: Scores,
  tasks_of: Members,
  zero_shot: Collection[tuple[str, str]],
  judged: Scores,
) -> dict[str, dict[str, dict]]:
  """Returns {suite: {task: {score: value, "intervals", "examples", "languages"}}}.

  `scores` are those of `scoring.score`, `zero_shot` the (task, language) never trained on, `judged`
  the scores of pairs by manifest. Languages stand where there are several, or "zero_shot" ones.
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
  """Returns the scores that lead in a suite, of the output that counts there."""
  section: dict = {}
  intervals = {}
  for name in SUITES[suite].scores:
    # The likelihood is the task's; where there are several outputs, each has the other scores.
    own = values if name == "nll" else values.get("outputs", {output: values}).get(output, {})
    if name in own:
      section[name] = own[name]
      if name in own.get("intervals", {}):
        intervals[name] = own["intervals"][name]
  if intervals:
    section["intervals"] = intervals
  return {**section, "examples": values["examples"]}


def _described(kinds: Mapping[str, TaskKind]) -> str:
  """Returns what the tasks of a run do, and in which suites that puts them."""
  described = [
    f"{name} from {streams(kind.task.inputs)} to {streams(kind.task.outputs)} "
    f"({', '.join(kind.suites) or 'no suite'})"
    for name, kind in kinds.items()
  ]
  return f"Tasks of this run: {'; '.join(described)}."


def streams(sides: Sequence[Side]) -> str:
  """Returns sides of a task as an error names them: "source.units", or "nothing"."""
  return " and ".join(".".join(side) for side in sides) or "nothing"
