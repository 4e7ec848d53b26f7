r"""The text models that the ablations of speech begin with: plain text and MT in three languages.

  audiopalm train configs/ablations/text.py --workdir runs/text

Six topics of the synthetic grammar. `mt_without` leaves out pairs of languages.
"""

from typing import Literal

from audiopalm import config as c

TOPICS = ("times", "weather", "shopping", "travel", "food", "home")
SIZES = {"small": (128, 3), "base": (192, 4), "large": (256, 6)}


def experiment(
  size: Literal["small", "base", "large"] = "base", mt_without: tuple[str, ...] = ()
) -> c.Experiment:
  text = c.corpora.SyntheticTranslations(
    topics=TOPICS, train_records=40_000, validation_records=600, test_records=1_200
  )
  width, layers = SIZES[size]
  return c.Experiment(
    name=f"text_{size}",
    tokenizers=(c.tokenizers.text(size=1_000),),
    mixture=c.mixtures.blend(
      (c.mixtures.mt(text, unseen_pairs=mt_without), 0.8), (c.mixtures.text(text), 0.2)
    ),
    model=c.models.tiny(width=width, layers=layers),
    optimizer=c.optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=c.Evaluation(
      every_steps=100, held_out_batch_rows=32, examples=300, max_output_rows=64
    ),
    data=c.Packed(row_length=256, batch_rows=8),
    steps=800,
    checkpoint_every_steps=100,
    keep_every_steps=100,
  )
