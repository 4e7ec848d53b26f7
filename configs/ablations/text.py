"""The text models that the ablations of speech begin with: captions in three languages, and MT.

  audiopalm train configs/ablations/text.py --workdir runs/text --set captions=DIR

DIR holds the captions of Multi30k (github.com/multi30k/dataset, data/task1/raw). Sentences alone,
and each translated into the two other languages.
"""

from typing import Literal

from audiopalm.experiment import Experiment
from audiopalm.parts import corpora, mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

MOST_WORDS = 10
SIZES = {"small": (128, 3), "base": (192, 4), "large": (256, 6)}


def experiment(
  captions: str, size: Literal["small", "base", "large"] = "base", mt_without: tuple[str, ...] = ()
) -> Experiment:
  text = corpora.multi30k_text(
    captions,
    most_words=MOST_WORDS,
    train_records=48_000,
    validation_records=600,
    test_records=1_400,
  )
  width, layers = SIZES[size]
  return Experiment(
    name=f"text_{size}",
    tokenizers=(tokenizers.text(size=2_000),),
    mixture=mixtures.blend(
      (mixtures.mt(text, unseen_pairs=mt_without), 0.8), (mixtures.text(text), 0.2)
    ),
    model=models.tiny(width=width, layers=layers),
    optimizer=optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=Evaluation(every_steps=200, rows=32, examples=200, max_output_rows=64),
    row_length=256,
    batch_rows=8,
    steps=2_000,
    checkpoint_every_steps=500,
  )
