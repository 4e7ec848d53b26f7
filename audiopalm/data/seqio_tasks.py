"""The tasks and the mixture of a run as SeqIO tasks and a SeqIO mixture.

    name = seqio_tasks.register(prepared, mixture)
    seqio.get_mixture_or_task(name).get_dataset(sequence_length=None, split="train")

`audiopalm.seqio.register(workdir)` does this for a run. Importing this module registers nothing,
but loads TensorFlow. Examples are the grids that the trainer packs into batch rows, one by one. Do
not use SeqIO's packer on them: it treats id 0 as padding.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from audiopalm.data import packed, rows
from audiopalm.data.mixtures import Mixture
from audiopalm.data.prepared import Prepared
from audiopalm.metrics import text as text_metrics
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, Task


def register(prepared: Prepared, mixture: Mixture) -> str:
  """Adds a SeqIO Mixture and its Tasks to SeqIO's registries, and returns the Mixture's name.

      audiopalm_9f31c04ab2d8e675_5d0c7e21       the mixture
      audiopalm_asr_9f31c04ab2d8e675_5d0c7e21   a task of it

  The first number is the manifest's hash, the second that of the mixture and of the packing, so
  another run has other names and registering the same run twice changes nothing.

  An example has the features tokens [L, K], weights [L, K] and visible [L] of `types.Grid`, id, and
  reference: the text of the last output, which the task's metric functions compare with predictions
  that are texts (transcripts, if the output is speech). Rates are shares of examples or tokens,
  depending on `mixture.unit`. The seed of `get_dataset` is the seed of random layouts, in epoch 0
  of the trainer.
  """
  data, streams_dir = prepared.data, str(prepared.streams_dir.resolve())
  text = repr((mixture, data.row_length, streams_dir, data.too_long))
  ending = f"{prepared.manifest_hash}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
  names, per_example = [], []
  for task, _ in mixture.tasks:
    names.append(f"audiopalm_{task.name}_{ending}")
    if names[-1] not in seqio.TaskRegistry.names():
      _add_task(names[-1], prepared, task)
    index = prepared.rows(task, "train")
    in_tokens = mixture.unit == "tokens"
    per_example.append(index.tokens_per_row / index.examples_per_row if in_tokens else 1.0)
  name = f"audiopalm_{ending}"
  if name not in seqio.MixtureRegistry.names():
    rated = zip(names, mixture.weights(per_example), strict=True)
    seqio.MixtureRegistry.add(name, [(task, rate) for task, rate in rated if rate])
  return name


def metric_functions(task: Task, space: TokenSpace) -> tuple[text_metrics.Metric, ...]:
  """Returns the metric functions of a task, pure functions of (targets, predictions) as texts.

  A task with one output, of the same role as its first input, has error rates; others, such as
  translations, BLEU and chrF, those of transcripts if the output is speech. A task without inputs
  has none. A score that is computed in different ways for the languages of a task (`metrics.text`)
  is omitted, as SeqIO does not pass the language of an example.
  """
  if not task.inputs:
    return ()
  role, stream = task.outputs[-1]
  if task.outputs[0][0] == task.inputs[0][0] and len(task.outputs) == 1:
    metrics = (text_metrics.wer, text_metrics.cer)
  elif space.streams[stream].modality == "text":
    metrics = (text_metrics.bleu, text_metrics.chrf)
  else:
    metrics = (text_metrics.asr_bleu, text_metrics.asr_chrf)
  codes = sorted({languages[role] for languages in task.corpus.pairs(task.roles)})
  shared = []
  for metric in metrics:
    by_language = [metric.of(code) for code in codes]
    rules = {text_metrics.rule(own.name, own.language) for own in by_language}
    if len(rules) == 1 and all(own.measures for own in by_language):
      shared.append(by_language[0])
  return tuple(shared)


class GridConverter(seqio.FeatureConverter):
  """The feature converter of these tasks, which only pads grids.

  They are padded to `task_feature_lengths` with holes of weight 0, as in a batch of the trainer.
  Nothing is packed; id and reference are kept.
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
  """Returns an array padded with rows of `value` to `length`."""
  sizes = [[0, length - tf.shape(array)[0]]] + [[0, 0]] * (array.shape.rank - 1)
  whole = tf.pad(array, sizes, constant_values=tf.cast(value, array.dtype))
  whole.set_shape([length, *array.shape[1:]])
  return whole


def _add_task(name: str, prepared: Prepared, task: Task) -> None:
  ids = seqio.PassThroughVocabulary(max(prepared.space.sizes))
  numbers = seqio.PassThroughVocabulary(0)

  # SeqIO reads the names of the parameters.
  def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
    del shuffle_files  # a split is one list of records; `get_dataset` shuffles the examples
    columns = prepared.space.columns
    return tf.data.Dataset.from_generator(
      functools.partial(_examples, prepared, task, split, 0 if seed is None else int(seed)),
      output_signature={
        "tokens": tf.TensorSpec((None, columns), tf.int32),
        "weights": tf.TensorSpec((None, columns), tf.float32),
        "visible": tf.TensorSpec((None,), tf.int32),
        "id": tf.TensorSpec((), tf.string),
        "reference": tf.TensorSpec((), tf.string),
      },
    )

  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(dataset, splits=tuple(task.corpus.splits)),
    output_features={
      "tokens": seqio.Feature(ids, add_eos=False, dtype=tf.int32, rank=2),
      "weights": seqio.Feature(numbers, add_eos=False, dtype=tf.float32, rank=2),
      "visible": seqio.Feature(numbers, add_eos=False, dtype=tf.int32),
    },
    preprocessors=[],
    postprocess_fn=_as_text,
    metric_fns=list(metric_functions(task, prepared.space)),
  )


def _examples(prepared: Prepared, task: Task, split: str, seed: int) -> Iterator[dict[str, Any]]:
  """Yields the examples of a split in the order of its entries."""
  segments = prepared.rows(task, split).segments
  segments = segments[np.lexsort((segments.starts_N, segments.records_N))]
  source = packed.examples_of(prepared, task, split)
  grids = rows.realized(source, segments, seed=seed)
  for number, grid in zip(segments.records_N.tolist(), grids, strict=True):
    entry = source.entries[number]
    yield {
      "tokens": grid.tokens_LK,
      "weights": grid.weights_LK,
      "visible": grid.visible_L,
      "id": entry.id,
      "reference": entry.utterances[task.outputs[-1][0]].text,
    }


def _as_text(output: str, example: Mapping[str, Any] | None = None, is_target: bool = False) -> str:
  """Returns the reference of a target; a prediction is already a text."""
  if not is_target:
    return output
  return np.asarray(example["reference"]).item().decode()
