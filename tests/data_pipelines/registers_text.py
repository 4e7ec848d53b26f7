"""What somebody else's package would be: it registers SeqIO tasks of small texts when imported."""

import functools

import seqio
import tensorflow as tf

LINES = {"train": 40, "validation": 4}
BYTES = seqio.ByteVocabulary()


def _dataset(split, shuffle_files=False, seed=None):
  del shuffle_files, seed
  numbers = tf.data.Dataset.range(LINES[split])
  return numbers.map(
    lambda number: {
      "en": tf.strings.format(f"{split} dog {{}}", number),
      "fr": tf.strings.format(f"{split} chien {{}}", number),
    }
  )


def _task(name, *preprocessors, vocabulary=BYTES, features=("inputs", "targets")):
  seqio.TaskRegistry.add(
    name,
    source=seqio.FunctionDataSource(_dataset, splits=tuple(LINES), num_input_examples=LINES),
    preprocessors=[
      functools.partial(seqio.preprocessors.rekey, key_map={"inputs": "en", "targets": "fr"}),
      *preprocessors,
    ],
    output_features={
      name: seqio.Feature(vocabulary, add_eos=True, rank=1, required=False) for name in features
    },
  )


_task("made_up_mt", seqio.preprocessors.tokenize, seqio.preprocessors.append_eos)
_task(
  "made_up_mt_ids",
  functools.partial(seqio.preprocessors.tokenize, copy_pretokenized=False),
  seqio.preprocessors.append_eos,
)
_task(
  "made_up_ids",
  lambda examples: examples.map(lambda _: {"targets": tf.range(3)}),
  vocabulary=seqio.PassThroughVocabulary(300),
)
seqio.MixtureRegistry.add("made_up_mixture", [("made_up_mt", 1.0)])
