"""The whole of a run as one frozen value: what is trained on what, apart from the hardware.

    Experiment = tokenizers x layout x model x objective x mixture      (+ optimizer, evaluation)

It reads and writes itself as JSON and takes changes by dotted path; `digest` names it.
"""

import dataclasses
import functools
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from audiopalm import values
from audiopalm.data.mixtures import Mixture
from audiopalm.errors import ConfigError
from audiopalm.layouts import Chain
from audiopalm.objectives.next_token import NextToken
from audiopalm.settings import Evaluation, Optimizer, WarmStart
from audiopalm.types import Task

RESERVED_TASKS = ("held_out_voices", "baselines")  # keys of the evaluation's JSON beside the tasks
TOO_LONG = ("error", "split", "drop")
EXPORTS = ("auto", None)


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that decides what a run learns; a `Machine` decides only how fast.

  `warm_start` names the run whose parameters it begins with, None for new ones. `layout` is a rule
  from a task to its layout. `batch_rows` rows of `row_length` make one step,
  however many devices and micro-batches share them. `too_long` says what becomes of a record longer
  than a row: an error, several rows ("split", for tasks without inputs only) or nothing ("drop").
  Of the checkpoints stay the newest `keep_checkpoints`, those of every `keep_every_steps`-th step,
  and the one that is best by `keep_best`: TASK/METRIC as metrics.jsonl holds it for held-out rows,
  "asr/loss" or "mt/accuracy_text"; only steps that are measured and saved can be the best.
  `export` "auto" refuses to train what could not be exported to PyTorch; None trains it.
  """

  name: str
  tokenizers: tuple[Any, ...]
  mixture: Mixture
  model: Any
  warm_start: WarmStart | None = None
  layout: Any = Chain()
  objective: Any = NextToken()
  optimizer: Optimizer = Optimizer()
  evaluation: Evaluation = Evaluation()
  row_length: int = 512
  batch_rows: int = 16
  steps: int = 1000
  seed: int = 0
  too_long: Literal["error", "split", "drop"] = "error"
  checkpoint_every_steps: int = 500
  keep_checkpoints: int = 2
  keep_every_steps: int | None = None
  keep_best: str | None = None
  export: Literal["auto"] | None = "auto"

  def __post_init__(self):
    for field in (
      "row_length",
      "batch_rows",
      "steps",
      "checkpoint_every_steps",
      "keep_checkpoints",
    ):
      _check_whole(field, getattr(self, field), 1)
    _check_whole("seed", self.seed, 0)
    if self.keep_every_steps is not None:
      _check_whole("keep_every_steps", self.keep_every_steps, 1)
    if self.too_long not in TOO_LONG:
      raise ConfigError(f"too_long must be one of {', '.join(TOO_LONG)}, not {self.too_long!r}.")
    if self.export not in EXPORTS:
      raise ConfigError(f"export must be 'auto' or None, not {self.export!r}.")
    streams = [tokenizer.stream for tokenizer in self.tokenizers]
    doubles = sorted({stream for stream in streams if streams.count(stream) > 1})
    if doubles:
      raise ConfigError(f"Two tokenizers have the stream {doubles[0]!r}. Give each its own stream.")
    for task in self.tasks:
      _check_task(task, streams)
      if task.paraphrases and self.too_long == "split":
        raise ConfigError(
          f"Task {task.name!r} has paraphrases, and too_long='split' would cut its records by the "
          "length of one of them. Set too_long='drop', or leave the paraphrases out."
        )
    if self.keep_best is not None:
      _check_best(self)

  @property
  def tasks(self) -> tuple[Task, ...]:
    """The tasks of the mixture, in its order."""
    return tuple(task for task, _ in self.mixture.tasks)

  @property
  def corpora(self) -> tuple[Any, ...]:
    """The corpora of the tasks, each once, in the order they first appear."""
    return tuple(dict.fromkeys(task.corpus for task in self.tasks))

  @functools.cached_property
  def digest(self) -> str:
    """16 hex digits that name this experiment: equal for equal settings, on any machine."""
    return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

  def to_json(self) -> str:
    """Returns the resolved config; `from_json` gives back an equal Experiment."""
    return values.to_json(self)


def from_json(text: str) -> Experiment:
  """Returns the Experiment that `Experiment.to_json` wrote; ConfigError for anything else."""
  value = values.from_json(text)
  if not isinstance(value, Experiment):
    raise ConfigError(f"A resolved config must hold an Experiment, not {values.a(value)}.")
  return value


def with_values(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
  """Returns `experiment` with the fields at dotted paths set; text is read by the field's type.

  with_values(experiment, {"optimizer.peak_lr": "3e-4", "mixture.tasks.asr": "2"})
  """
  for path, value in changes.items():
    experiment = values.replaced(experiment, path, value)
  return experiment


def _check_whole(field: str, number: Any, least: int) -> None:
  if type(number) is not int or number < least:
    raise ConfigError(f"{field} must be a whole number of at least {least}, not {number!r}.")


def _check_task(task: Task, streams: Sequence[str]) -> None:
  if not re.fullmatch(r"[a-z][a-z0-9_]*", task.name) or task.name in RESERVED_TASKS:
    raise ConfigError(
      f"Task {task.name!r} needs another name: small letters, digits and _, and not one of "
      f"{', '.join(RESERVED_TASKS)}."
    )
  if not task.outputs:
    raise ConfigError(f"Task {task.name!r} has no outputs. Give at least one (role, stream) pair.")
  for role, stream in task.sides:
    if stream not in streams:
      raise ConfigError(
        f"Task {task.name!r} names the stream {stream!r}, but the tokenizers give "
        f"{', '.join(streams)}. Name one of these, or add a tokenizer."
      )
    if role not in task.corpus.roles:
      raise ConfigError(
        f"Task {task.name!r} names the role {role!r}, but corpus {task.corpus.name!r} has "
        f"{', '.join(task.corpus.roles)}. Name one of these."
      )
  if task.unseen_pairs:
    first, last = task.from_to
    pairs = task.corpus.pairs(tuple(dict.fromkeys((first, last))))
    known = [f"{pair[first]}-{pair[last]}" for pair in pairs]
    wrong = [pair for pair in task.unseen_pairs if pair not in known]
    if wrong or set(known) <= set(task.unseen_pairs):
      raise ConfigError(
        f"Task {task.name!r} has unseen_pairs={task.unseen_pairs!r}: expected some, not all, of "
        f"{', '.join(known)}, the languages of its {first} and its {last}."
      )


def _check_best(experiment: Experiment) -> None:
  task, slash, metric = experiment.keep_best.partition("/")
  known = [each.name for each in experiment.tasks]
  if task not in known or not slash or not metric:
    raise ConfigError(
      f"keep_best names a task and one of its held-out metrics, as in {known[0]}/loss, not "
      f"{experiment.keep_best!r}. Tasks: {', '.join(known)}."
    )
  both = math.lcm(experiment.checkpoint_every_steps, experiment.evaluation.every_steps)
  if both >= experiment.steps:
    raise ConfigError(
      f"keep_best={experiment.keep_best!r} needs steps that are both saved and measured before the "
      f"last, but checkpoint_every_steps={experiment.checkpoint_every_steps} and "
      f"evaluation.every_steps={experiment.evaluation.every_steps} first meet at {both} of "
      f"{experiment.steps} steps. Let one be a multiple of the other."
    )
