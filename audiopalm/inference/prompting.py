"""Prompts for a trained model, and the streams of its answers."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from audiopalm import layouts
from audiopalm.errors import ConfigError, LayoutError
from audiopalm.inference import beams, decode
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.layouts import incremental
from audiopalm.layouts.cells import Part
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import CorpusSettings, Grid, Task


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
  """One question to the model: the given streams ("source.units": ids) and the tag.

  `begun` is the beginning of a predicted stream, for a task that continues its input. `holes` are
  spans of a stream to be replaced, for a layout with `Infill`. See `layouts.begin` and
  `layouts.prompt`. `grid` is the result of `layouts.prompt`, if it is already known.
  """

  streams: Mapping[str, np.ndarray]
  tag: str
  begun: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  holes: Sequence[tuple[int, int]] | None = None
  grid: Grid | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Continuation:
  """The model's answer: the predicted streams as far as they were decoded, and their likelihood.

  `log_likelihood` is in nats over `cells` predicted cells. `complete` is False if no stop was
  generated.
  """

  streams: Mapping[str, np.ndarray]
  log_likelihood: float
  cells: int
  complete: bool


def find_task(trained: Trained, name: str) -> Task:
  """Returns the task of the run by its name; ConfigError listing the known ones."""
  trained.check_answers()
  return trained.prepared.task(name)


@functools.lru_cache(maxsize=256)
def asked_layout(rule: layouts.Rule, task: Task) -> Part:
  """Returns the layout of a task for inference: inputs are given even if training predicts them."""
  return rule.layout_of(dataclasses.replace(task, loss_on_inputs=False))


def _plan(trained: Trained, task: Task) -> incremental.Plan:
  return incremental.compile(asked_layout(trained.experiment.layout, task), trained.prepared.space)


def output_modalities(trained: Trained, task: Task) -> tuple[str, ...]:
  """Returns "text" or "speech" for each output of the task, in order."""
  tokenizers = trained.prepared.tokenizers
  return tuple(tokenizers[stream].spec.modality for _, stream in task.outputs)


def continuations(
  trained: Trained,
  task: Task,
  prompts: Sequence[Prompt],
  *,
  sampling: Sampling | Beams,
  max_rows: int,
  key: jax.Array,
  fill: bool = False,
) -> list[Continuation]:
  """Returns the model's answer to each prompt, in the order of the prompts.

  At most `max_rows` rows are decoded for each, `evaluation.decode_batch_rows` prompts at a time.
  Either all prompts are begun or none. `fill` pads every batch to the same number of rows, so that
  one compiled program serves all batches, also those of the next task.
  """
  if not prompts:
    return []
  plan = _plan(trained, task)
  layout, space = plan.layout, plan.space
  grids, starts = [], set()
  for prompt in prompts:
    if prompt.begun:
      grid = layouts.begin(layout, prompt.streams, prompt.begun, prompt.tag, space)
    elif prompt.grid is not None:
      grid = prompt.grid
    else:
      grid = layouts.prompt(layout, prompt.streams, prompt.tag, space, holes=prompt.holes)
    grids.append(grid)
    begun_JK = grid.tokens_LK[grid.prompt_rows :]
    starts.add(functools.reduce(plan.after, begun_JK, (plan.start, 0, 0))[0])
  if len(starts) > 1:
    raise ConfigError(
      "The prompts begin differently: their answers continue in different streams. Ask for those "
      "apart."
    )
  plan = dataclasses.replace(plan, start=starts.pop())
  decoded = decode.decode(
    trained.language_model,
    trained.params,
    grids,
    plan,
    sampling=sampling,
    max_rows=max_rows,
    key=key,
    machine=trained.machine,
    batch_rows=trained.experiment.evaluation.decode_batch_rows,
    fill=fill,
    given=[layouts.conditioning(layout, prompt.streams, space) for prompt in prompts],
  )
  return [_recovered(answer, plan) for answer in decoded]


def voice_of(tokenizer: Fitted, corpus: CorpusSettings, language: str) -> str | None:
  """Returns the default voice of a language.

  It is the first training voice of the corpus that the tokenizer can produce; None, the tokenizer's
  default, if it can produce none of them or the ids encode the voice.
  """
  voices = corpus.train_voices(language)
  return next((voice for voice in voices if voice in tokenizer.voices), None)


def check_begun(trained: Trained, task: Task) -> None:
  """Raises ConfigError for a task whose output cannot continue a beginning given by the user.

  Such a task has one output on one column, so that every row but the last, the stop, belongs to it.
  """
  plan = _plan(trained, task)
  if len(task.outputs) > 1 or plan.counts or len(plan.class_KV) > 1:
    raise ConfigError(
      f"Task {task.name!r} takes no input, and its output cannot be continued from a beginning: "
      "that needs one output on one column of the grid."
    )


def check_sampling(trained: Trained, task: Task, sampling: Sampling | Beams) -> None:
  """Raises ConfigError for a task that cannot be decoded with `sampling`."""
  if isinstance(sampling, Beams):
    beams.check(_plan(trained, task), f"task {task.name!r}")


def room(trained: Trained, longest_rows: int) -> int:
  """Returns the most rows to decode if the references have at most `longest_rows`: half more, plus
  8.

  The result is rounded up to a power of two, so that tasks share compiled programs, and at most
  `evaluation.max_output_rows`. The limit bounds the cost of an output that never stops.
  """
  wanted = 1 << (longest_rows * 3 // 2 + 8 - 1).bit_length()
  return min(wanted, trained.experiment.evaluation.max_output_rows)


def _recovered(decoded: decode.Decoded, plan: incremental.Plan) -> Continuation:
  predicted = layouts.predicted_streams(plan.layout)
  streams = dict.fromkeys(predicted, np.zeros(0, np.int32))
  complete = decoded.complete
  try:
    recovered = layouts.recover(plan.layout, decoded.tokens_LK, plan.space)
    streams |= {name: recovered.streams[name] for name in predicted if name in recovered.streams}
    complete = complete and recovered.complete
  except LayoutError:
    complete = False  # cut before the first whole frame: an empty answer
  return Continuation(streams, decoded.log_likelihood, decoded.predicted_cells, complete)
