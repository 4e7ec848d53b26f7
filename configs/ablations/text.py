r"""The text models that the ablations of speech begin with: plain text and MT in three languages.

  audiopalm train configs/ablations/text.py --workdir runs/text

Six topics of the synthetic grammar. `mt_without` leaves out pairs of languages.
"""

from typing import Literal

from audiopalm.data.corpora import SyntheticTranslations
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

TOPICS = ("times", "weather", "shopping", "travel", "food", "home")
SIZES = {"small": (128, 3), "base": (192, 4), "large": (256, 6)}


def experiment(
  size: Literal["small", "base", "large"] = "base", mt_without: tuple[str, ...] = ()
) -> Experiment:
  text = SyntheticTranslations(
    topics=TOPICS, train_records=40_000, validation_records=600, test_records=1_200
  )
  width, layers = SIZES[size]
  return Experiment(
    name=f"text_{size}",
    tokenizers=(tokenizers.text(size=1_000),),
    mixture=mixtures.blend(
      (mixtures.mt(text, unseen_pairs=mt_without), 0.8), (mixtures.text(text), 0.2)
    ),
    model=models.tiny(width=width, layers=layers),
    optimizer=optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=Evaluation(every_steps=100, rows=32, examples=300, max_output_rows=64),
    data=Packed(row_length=256, batch_rows=8),
    steps=800,
    checkpoint_every_steps=100,
    keep_every_steps=100,
  )
