"""The tasks and the mixture of a run as SeqIO knows them, for whoever works with SeqIO.

    name = seqio_tasks.register(mixture, layout, space, row_length, streams_dir)
    seqio.get_mixture_or_task(name).get_dataset(sequence_length=None, split="train")

`audiopalm.seqio.register(workdir)` does this for a run.
Nothing is registered by importing this file, the only one of the package that loads TensorFlow.
Examples are those the trainer packs into rows: the same grids, one by one. SeqIO's own packer must
not be used on them: it takes id 0 for padding.
"""

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import seqio
import tensorflow as tf

from audiopalm.data import cache, rows
from audiopalm.data.mixtures import Mixture
from audiopalm.metrics import text as text_metrics
from audiopalm.tokens import space as token_space
from audiopalm.types import HOLE, Task


def register(
  mixture: Mixture,
  layout: Any,
  space: token_space.TokenSpace,
  row_length: int,
  streams_dir: Path,
  *,
  too_long: Literal["error", "split", "drop"] = "error",
) -> str:
  """Returns the name of a SeqIO Mixture, after adding it and its Tasks to SeqIO's registries.

      audiopalm_9f31c04ab2d8e675_5d0c7e21       the mixture
      audiopalm_asr_9f31c04ab2d8e675_5d0c7e21   a task of it

  The first number is the manifest's hash, the second that of the other arguments, so another run
  gets other names and registering the same run twice changes nothing. `layout` is the rule from
  task to layout (`Experiment.layout`).

  An example has the features tokens [L, K], weights [L, K] and visible [L] of `types.Grid`, and
  beside them id, and reference: the text of the last output, which the task's metric functions
  compare with predictions that are texts (transcripts, where the output is speech). Rates are
  shares of examples or tokens as `mixture.unit` says. The seed of `get_dataset` is the seed of
  layouts that draw at random, epoch 0 of the trainer.
  """
  specs = space.streams
  ending = _ending(mixture, space, row_length, streams_dir, too_long)
  registered, per_example = [], []
  for task, _ in mixture.tasks:
    name = f"audiopalm_{task.name}_{ending}"
    source = _Source(
      task,
      layout.layout_of(task),
      space,
      cache.folder_of(streams_dir, task.corpus, specs),
      row_length,
      too_long,
    )
    if name not in seqio.TaskRegistry.names():
      _add_task(name, source)
    registered.append(name)
    per_example.append(source.tokens_per_example if mixture.unit == "tokens" else 1.0)
  name = f"audiopalm_{ending}"
  if name not in seqio.MixtureRegistry.names():
    rated = zip(registered, mixture.weights(per_example), strict=True)
    seqio.MixtureRegistry.add(name, [(task, rate) for task, rate in rated if rate])
  return name


def metric_functions(
  task: Task, space: token_space.TokenSpace
) -> tuple[Callable[[Sequence[str], Sequence[str]], dict[str, float]], ...]:
  """Returns the metric functions of a task, pure functions of (targets, predictions) as texts.

  Words that were heard or read and are only said again or written down: error rates. A translation:
  BLEU and chrF, of transcripts where it is spoken. A task without inputs has none. Of several
  languages that are measured in different ways (`metrics.text`) a score is left out: SeqIO does not
  say which language an example is in.
  """
  if not task.inputs:
    return ()
  if task.outputs[0][0] == task.inputs[0][0] and len(task.outputs) == 1:
    metrics = (text_metrics.wer, text_metrics.cer)
  elif space.streams[task.outputs[-1][1]].modality == "text":
    metrics = (text_metrics.bleu, text_metrics.chrf)
  else:
    metrics = (text_metrics.asr_bleu, text_metrics.asr_chrf)
  roles = tuple(dict.fromkeys(role for role, _ in task.sides))
  said_in = {pair[task.outputs[-1][0]] for pair in task.corpus.pairs(roles)}
  of_languages = [[metric.of(code) for code in sorted(said_in)] for metric in metrics]
  return tuple(
    each[0]
    for each in of_languages
    if all(one.measures for one in each)
    and len({text_metrics.rule(one.name, one.language) for one in each}) == 1
  )


class GridConverter(seqio.FeatureConverter):
  """The feature converter of these tasks: grids as they are, with rows of padding behind them.

  As many as `task_feature_lengths` asks for: holes that weigh nothing, as in a batch of the
  trainer. Nothing is packed; id and reference stay beside the grid.
  """

  TASK_FEATURES = {
    "tokens": seqio.FeatureConverter.FeatureSpec(tf.int32, rank=2),
    "weights": seqio.FeatureConverter.FeatureSpec(tf.float32, rank=2),
    "visible": seqio.FeatureConverter.FeatureSpec(tf.int32, rank=1),
  }
  MODEL_FEATURES = TASK_FEATURES
  PACKING_FEATURE_DTYPES = None
  PADDING: Mapping[str, float] = {"tokens": HOLE, "weights": 0.0, "visible": 0}

  def __init__(self):
    super().__init__(pack=False)

  def __call__(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]):
    def padded(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      return example | {
        name: _padded(example[name], task_feature_lengths[name], value)
        for name, value in self.PADDING.items()
      }

    return ds.map(padded, num_parallel_calls=tf.data.AUTOTUNE)

  def _convert_features(self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]):
    return self(ds, task_feature_lengths)

  def get_model_feature_lengths(self, task_feature_lengths: Mapping[str, int]) -> dict[str, int]:
    return {name: task_feature_lengths[name] for name in self.MODEL_FEATURES}


def _padded(array: tf.Tensor, length: int, value: float) -> tf.Tensor:
  """Returns an array with rows of `value` behind it, so that it has `length`."""
  sizes = [[0, length - tf.shape(array)[0]]] + [[0, 0]] * (array.shape.rank - 1)
  whole = tf.pad(array, sizes, constant_values=tf.cast(value, array.dtype))
  whole.set_shape([length, *array.shape[1:]])
  return whole


class _Source:
  """The examples of one task, split by split; entries are opened when first asked for."""

  def __init__(self, task, layout, space, folder, row_length, too_long):
    self.task, self.layout, self.space = task, layout, space
    self._folder, self._row_length, self._too_long = folder, row_length, too_long

  @functools.cache  # noqa: B019  the registry keeps a source as long as the process lives
  def opened(self, split: str) -> tuple[cache.Entries, rows.Segments]:
    entries = cache.open_split(self._folder, split)
    chosen = rows.segments(
      self.task,
      self.layout,
      self.space,
      entries,
      row_length=self._row_length,
      too_long=self._too_long,
    )
    return entries, chosen

  @property
  def tokens_per_example(self) -> float:
    entries, chosen = self.opened("train")
    cells, _ = rows.mean_cell(self.task, self.layout, self.space, entries, chosen)
    return float(chosen.lengths_N.mean() * cells)

  def examples(self, split: str, seed: int) -> Iterator[dict[str, Any]]:
    entries, chosen = self.opened(split)
    grids = rows.realized(self.task, self.layout, self.space, entries, chosen, seed=seed)
    role = self.task.outputs[-1][0]
    for number, grid in zip(chosen.records_N.tolist(), grids, strict=True):
      entry = entries[number]
      yield {
        "tokens": grid.tokens_LK,
        "weights": grid.weights_LK,
        "visible": grid.visible_L,
        "id": entry.id,
        "reference": entry.utterances[role].text,
      }

  def dataset(self, split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    """Returns the examples of a split as SeqIO's FunctionDataSource asks for them."""
    del shuffle_files  # one split is one list of records: `get_dataset` shuffles the examples
    columns = self.space.columns
    return tf.data.Dataset.from_generator(
      functools.partial(self.examples, split, 0 if seed is None else int(seed)),
      output_signature={
        "tokens": tf.TensorSpec((None, columns), tf.int32),
        "weights": tf.TensorSpec((None, columns), tf.float32),
        "visible": tf.TensorSpec((None,), tf.int32),
        "id": tf.TensorSpec((), tf.string),
        "reference": tf.TensorSpec((), tf.string),
      },
    )


def _add_task(name: str, source: _Source) -> None:
  ids = seqio.PassThroughVocabulary(max(source.space.sizes))
  numbers = seqio.PassThroughVocabulary(0)

  def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    return source.dataset(split, shuffle_files, seed)

  splits = tuple(source.task.corpus.splits)
  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(dataset, splits=splits),
    output_features={
      "tokens": seqio.Feature(ids, add_eos=False, dtype=tf.int32, rank=2),
      "weights": seqio.Feature(numbers, add_eos=False, dtype=tf.float32, rank=2),
      "visible": seqio.Feature(numbers, add_eos=False, dtype=tf.int32),
    },
    preprocessors=[],
    postprocess_fn=_as_text,
    metric_fns=list(metric_functions(source.task, source.space)),
  )


def _as_text(output: Any, example: Any = None, is_target: bool = False) -> Any:
  """Returns the reference for a target; a prediction is a text already."""
  if not is_target:
    return output
  return np.asarray(example["reference"]).item().decode()


def _ending(mixture: Mixture, space, row_length: int, streams_dir: Path, too_long: str) -> str:
  arguments = repr((mixture, row_length, str(Path(streams_dir).resolve()), too_long))
  digest = hashlib.sha256(arguments.encode()).hexdigest()[:8]
  return f"{token_space.manifest_hash(space)}_{digest}"
