"""A complete training run, apart from the hardware, as one frozen value.

Experiment = tokenizers x layout x model x objective x mixture, fed by its data
             (+ optimizer, evaluation)
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from audiopalm import runs, values
from audiopalm import trust as trusts
from audiopalm.data import feeds, files
from audiopalm.data.mixtures import Mixture
from audiopalm.data.packed import Packed
from audiopalm.data.prepared import Data
from audiopalm.errors import ConfigError
from audiopalm.layouts import Chain, Rule
from audiopalm.models.base import ModelSettings
from audiopalm.objectives.base import Objective
from audiopalm.objectives.next_token import NextToken
from audiopalm.settings import Evaluation, Optimizer, WarmStart
from audiopalm.tokenizers.base import Tokenizer
from audiopalm.types import CorpusSettings, Task

RESERVED_TASKS = ("held_out_voices", "baselines")  # other keys in the JSON of scores


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that determines what a run learns; a `Machine` only determines its speed.

  `warm_start` names a model to take first parameters from, None for new ones. `layout` is a rule
  from a task to its layout, `data` says what a batch is (`data.prepared.Data`). The newest
  `keep_checkpoints` checkpoints are kept, those of each `keep_every_steps`-th step, and the best by
  `keep_best`, a held-out TASK/METRIC of metrics.jsonl such as "asr/loss" or "mt/accuracy_text".
  `export` "auto" refuses to train a model without a PyTorch export; None trains it. `trust` names
  the packages outside of audiopalm whose classes it uses.
  """

  name: str
  tokenizers: tuple[Tokenizer, ...]
  mixture: Mixture
  model: ModelSettings
  warm_start: WarmStart | None = None
  layout: Rule = Chain()
  objective: Objective = NextToken()
  optimizer: Optimizer = Optimizer()
  evaluation: Evaluation = Evaluation()
  data: Data = Packed()
  steps: int = 1000
  seed: int = 0
  checkpoint_every_steps: int = 500
  keep_checkpoints: int = 2
  keep_every_steps: int | None = None
  keep_best: str | None = None
  export: Literal["auto"] | None = "auto"
  trust: tuple[str, ...] = ()

  def __post_init__(self):
    trusts.packages(self.trust)
    for field in ("steps", "checkpoint_every_steps", "keep_checkpoints"):
      feeds.check_count(field, getattr(self, field))
    if type(self.seed) is not int or not 0 <= self.seed < 2**63:
      raise ConfigError(f"seed must be an integer from 0 to 2^63 - 1, not {self.seed!r}.")
    if self.keep_every_steps is not None:
      feeds.check_count("keep_every_steps", self.keep_every_steps)
    if self.export not in ("auto", None):
      raise ConfigError(f"export must be 'auto' or None, not {self.export!r}.")
    streams = [tokenizer.stream for tokenizer in self.tokenizers]
    doubles = sorted({stream for stream in streams if streams.count(stream) > 1})
    if doubles:
      raise ConfigError(f"Two tokenizers have the stream {doubles[0]!r}. Give each its own stream.")
    for task in self.tasks:
      _check_task(task)
      if self.data.answers:
        _check_outputs(task, self.tokenizers)
    self.data.check(self.tasks, streams)
    if self.keep_best is not None:
      _check_best(self)

  @property
  def tasks(self) -> tuple[Task, ...]:
    """The tasks of the mixture, in its order."""
    return tuple(task for task, _ in self.mixture.tasks)

  @property
  def corpora(self) -> tuple[CorpusSettings, ...]:
    """The corpora of the tasks, each once, in the order they first appear."""
    return tuple(dict.fromkeys(task.corpus for task in self.tasks))

  @functools.cached_property
  def digest(self) -> str:
    """16 hex digits, equal for equal settings."""
    return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

  def to_json(self) -> str:
    """Returns the resolved config; `from_json` gives back an equal Experiment.

    ConfigError for a class of a package that `trust` does not name.
    """
    return values.to_json(self, self.trust)


def from_json(text: str, trust: Sequence[str] = ()) -> Experiment:
  """Returns the Experiment that `Experiment.to_json` wrote, also in versions without a separate
  `data`.

  ConfigError for any other text, and unless `trust` has all packages it was written with. No other
  packages outside of audiopalm are imported.
  """
  trust = trusts.packages(trust)
  with contextlib.suppress(json.JSONDecodeError):  # `values.from_json` explains it
    fields = json.loads(text)
    if isinstance(fields, dict):
      recorded = fields.get("trust")
      trusts.check_given(map(str, recorded if isinstance(recorded, list) else ()), trust)
      if "row_length" in fields and "data" not in fields:
        packed = {name: fields.pop(name) for name in ("row_length", "batch_rows", "too_long")}
        text = json.dumps({**fields, "data": {"class": "audiopalm.data.packed.Packed", **packed}})
  value = values.from_json(text, trust)
  if not isinstance(value, Experiment):
    raise ConfigError(f"A resolved config must hold an Experiment, not {values.a(value)}.")
  return value


def of_run(workdir: str | Path, trust: Sequence[str] = ()) -> Experiment:
  """Returns the Experiment of the run in a workdir; `trust` as in `from_json`."""
  return from_json(runs.config(workdir), trust)


@contextlib.contextmanager
def replacing_config(workdir: Path, experiment: str) -> Iterator[None]:
  """Replaces config.json of a run by `experiment` (JSON), with one rename at the end of the
  block."""
  value, path = json.loads(experiment), workdir / runs.CONFIG
  try:
    is_current = json.loads(path.read_text(encoding="utf-8")) == value
  except (OSError, ValueError):  # absent or damaged
    is_current = False
  if is_current:
    yield
    return
  with files.replacing(path) as part:
    files.dump_json(part, value)
    yield


def trusting(experiment: Experiment, trust: Sequence[str]) -> Experiment:
  """Returns the experiment with more packages trusted; ConfigError for a class or a module of any
  other package, and for a class that lacks an attribute of its protocol."""
  both = trusts.packages((*experiment.trust, *trust))
  experiment = dataclasses.replace(experiment, trust=both)
  experiment.to_json()
  for corpus in experiment.corpora:
    trusts.check_given(getattr(corpus, "imports", ()), both)
  for field, value, protocol in _parts(experiment):
    missing = values.lacking(value, protocol)
    if missing:
      raise ConfigError(
        f"{field} is {values.a(value)}, which lacks {', '.join(missing)} of "
        f"{protocol.__module__}.{protocol.__name__}: docs/extend.md has an example of such a class."
      )
  return experiment


def _parts(experiment: Experiment) -> Iterator[tuple[str, Any, type]]:
  """Yields (name, value, protocol) of the parts whose class may be a user's."""
  for tokenizer in experiment.tokenizers:
    yield f"tokenizers.{tokenizer.stream}", tokenizer, Tokenizer
  for corpus in experiment.corpora:
    yield f"corpus {corpus.name!r}", corpus, CorpusSettings
  yield "data", experiment.data, Data
  yield "layout", experiment.layout, Rule
  yield "model", experiment.model, ModelSettings
  yield "objective", experiment.objective, Objective


def with_values(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
  """Returns `experiment` with the fields at dotted paths set; text is parsed by the field's type.

  with_values(experiment, {"optimizer.peak_lr": "3e-4", "mixture.tasks.asr": "2"})
  """
  return values.replaced(experiment, changes)


def _check_task(task: Task) -> None:
  if not re.fullmatch(r"[a-z][a-z0-9_]*", task.name) or task.name in RESERVED_TASKS:
    raise ConfigError(
      f"Task {task.name!r} needs another name: lowercase letters, digits and _, and not one of "
      f"{', '.join(RESERVED_TASKS)}."
    )
  for role, _ in task.sides:
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


def _check_outputs(task: Task, tokenizers: Sequence[Tokenizer]) -> None:
  silent = [settings.stream for settings in tokenizers if not getattr(settings, "answers", True)]
  for _, stream in task.outputs:
    if stream in silent:
      raise ConfigError(
        f"Task {task.name!r} predicts the stream {stream!r}, whose ids are neither words nor sound "
        "by themselves: there would be nothing to hear or to score. Give it as an input of the "
        "task, or leave it out."
      )


def _check_best(experiment: Experiment) -> None:
  task, slash, metric = experiment.keep_best.partition("/")
  known = [known_task.name for known_task in experiment.tasks]
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
