"""What tasks do, and the suites that follow from it: what to evaluate, without names of tasks.

    recognition     speech in, its own words out: WER where spaces separate words, CER
    translation     text out in another language than the input, chains too: BLEU, chrF
    speech_out      speech out: WER, CER or ASR-BLEU of its transcript, MCD, what meters read
    retention       text on all sides, what speech may have cost a text model: NLL, BLEU
    zero_resource   no input and one output, and pairs to judge: which of two is likelier

A task may be in several. Needs no jax.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from audiopalm.errors import ConfigError
from audiopalm.evaluation import ears
from audiopalm.evaluation.lines import Measure
from audiopalm.types import Side, Task


@dataclasses.dataclass(frozen=True)
class Suite:
  """What a task must do to be in a suite, in words, and the scores that lead there."""

  asks: str
  scores: tuple[str, ...]


SPEECH_SCORES = (
  "wer", ears.WER, ears.RAW_WER, "cer", ears.CER, "asr_bleu", ears.ASR_BLEU, "mcd", "mos",
  "similarity",
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


def hears(task: Task, prepared: Any) -> bool:
  """Returns whether an input of the task is speech."""
  return any(modality(side, prepared) == "speech" for side in task.inputs)


def speaks(task: Task, prepared: Any) -> bool:
  """Returns whether an output of the task is speech."""
  return any(modality(side, prepared) == "speech" for side in task.outputs)


def reads_aloud(task: Task, prepared: Any) -> bool:
  """Returns whether the task is given the words that it is to say, as text."""
  inputs = {role for role, _ in task.inputs}
  return (
    bool(inputs)
    and not hears(task, prepared)
    and speaks(task, prepared)
    and inputs == {role for role, _ in task.outputs}
  )


def modality(side: Side, prepared: Any) -> str:
  """Returns "text" or "speech": what a side of a task is."""
  return prepared.tokenizers[side[1]].spec.modality


def streams(sides: Sequence[Side]) -> str:
  """Returns sides of a task as an error names them: "source.units", or "nothing"."""
  return " and ".join(".".join(side) for side in sides) or "nothing"


def measure(task: Task, role: str) -> Measure:
  """Returns how texts of a role compare: "translation" if its language is not the first side's."""
  first = task.sides[0][0]
  pairs = task.corpus.pairs(roles(task))
  return "translation" if any(pair[first] != pair[role] for pair in pairs) else "words"


def roles(task: Task) -> tuple[str, ...]:
  """Returns the roles of a task, each once, inputs first."""
  return tuple(dict.fromkeys(role for role, _ in task.sides))


def members(tasks: Sequence[Task], prepared: Any) -> Members:
  """Returns the tasks of every suite that has any, in order, each with the output that counts.

  Of several, such as a translation by way of a third language, the last one: what a chain is for.
  """
  found: dict[str, dict[str, str]] = {suite: {} for suite in SUITES}
  for task in tasks:
    for suite, sides in _outputs(task, prepared).items():
      if sides:
        found[suite][task.name] = ".".join(sides[-1])
  return {suite: of for suite, of in found.items() if of}


def chosen(
  names: Collection[str], tasks: Sequence[Task], prepared: Any, *, pairs: bool
) -> tuple[list[str], list[str]]:
  """Returns the suites named and the tasks to be asked for them, both in order.

  "all" is every suite that has tasks, and asks all tasks. `pairs` says whether there are any to be
  judged. ConfigError for an unknown suite, and for one that has nothing.
  """
  there = members(tasks, prepared)
  for name in names:
    if name not in (*SUITES, ALL):
      known = ", ".join(SUITES)
      raise ConfigError(
        f"Unknown suite {name!r}. Known are {known}, and all. {_told(tasks, there)}"
      )
  if pairs and not {ZERO_RESOURCE, ALL} & set(names):
    raise ConfigError(f"Pairs are judged in the suite {ZERO_RESOURCE}: name it too, or no pairs.")
  wanted = [*names, *([ZERO_RESOURCE] if pairs else [])]
  for name in wanted:
    if name in SUITES and name not in there:
      raise ConfigError(
        f"Suite {name!r} has nothing in this run: it needs a task with {SUITES[name].asks}. "
        f"{_told(tasks, there)}"
      )
  if ZERO_RESOURCE in wanted and not pairs:
    raise ConfigError(
      f"Suite {ZERO_RESOURCE!r} judges pairs of a right and a wrong text or recording: give their "
      "files by --pairs FILE."
    )
  if ALL in names:
    return [name for name in there if pairs or name != ZERO_RESOURCE], [one.name for one in tasks]
  asked = {task for name in names if name != ZERO_RESOURCE for task in there[name]}
  return [name for name in there if name in wanted], [
    task.name for task in tasks if task.name in asked
  ]


def sections(
  scores: Mapping[str, Any],
  there: Members,
  zero_shot: Collection[tuple[str, str]],
  judged: Mapping[str, Any],
) -> dict[str, dict[str, dict]]:
  """Returns {suite: {task: {score: value, "intervals", "examples", "languages"}}}.

  `scores` are those of `scoring.score`, `zero_shot` the (task, language) never trained on, `judged`
  the scores of pairs by manifest. Languages stand where there are several, or "zero_shot" ones.
  """
  found = {}
  for suite in SUITES:
    outputs = there.get(suite, {})
    rows = {
      task: _section(suite, of, outputs[task], [one for name, one in zero_shot if name == task])
      for task, of in scores.items()
      if task in outputs
    }
    if rows:
      found[suite] = rows
  if judged:
    found[ZERO_RESOURCE] = {
      name: _section(ZERO_RESOURCE, of, "", []) for name, of in judged.items()
    }
  return found


def _section(
  suite: str, values: Mapping[str, Any], output: str, zero_shot: Collection[str]
) -> dict[str, Any]:
  section = _leading(suite, values, output)
  languages = values.get("languages", {})
  if len(languages) > 1 or zero_shot:
    section["languages"] = {
      name: _leading(suite, of, output) | ({"zero_shot": True} if name in zero_shot else {})
      for name, of in languages.items()
    }
  return section


def _leading(suite: str, values: Mapping[str, Any], output: str) -> dict[str, Any]:
  """Returns the scores that lead in a suite, of the output that counts there."""
  section: dict[str, Any] = {}
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


def _outputs(task: Task, prepared: Any) -> dict[str, Sequence[Side]]:
  """Returns by suite the outputs of a task that count there, none where it is not in it."""
  heard = [side[0] for side in task.inputs if modality(side, prepared) == "speech"]
  texts = [side for side in task.outputs if modality(side, prepared) == "text"]
  answered = task.outputs if task.inputs else ()
  return {
    "recognition": [side for side in texts if side[0] in heard],
    "translation": [
      side for side in answered if side in texts and measure(task, side[0]) == "translation"
    ],
    "speech_out": [side for side in answered if side not in texts],
    "retention": texts if not heard and len(texts) == len(task.outputs) else (),
    ZERO_RESOURCE: task.outputs if not task.inputs and len(task.outputs) == 1 else (),
  }


def _told(tasks: Sequence[Task], there: Members) -> str:
  """Returns what the tasks of a run do, and in which suites that puts them."""
  told = []
  for task in tasks:
    within = ", ".join(suite for suite, of in there.items() if task.name in of) or "no suite"
    told.append(f"{task.name} from {streams(task.inputs)} to {streams(task.outputs)} ({within})")
  return f"Tasks of this run: {'; '.join(told)}."
