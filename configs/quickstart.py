"""A first model: five tasks in English and French on one topic of the synthetic grammar.

  audiopalm train quickstart --workdir runs/quickstart

One decoder learns to transcribe, translate and speak sentences, which a synthesizer speaks in
twelve voices per language. It is tested on sentences and on voices that are not in the training
data of either language. The synthesizer is SVOX Pico, or espeak-ng with `--set synthesizer=espeak`.
The size suits two CPU cores and a coffee break; `make quickstart` runs all steps from `prepare` on.
`--set units=neural:FOLDER --set export=none` uses units of a published speech encoder
(docs/tokenizers.md).
"""

from typing import Literal

from audiopalm import config as c


def experiment(
  train_records: int = 4_000,
  synthesizer: Literal["pico", "espeak"] = "pico",
  units: str = "mfcc",
) -> c.Experiment:
  corpus = c.corpora.Synthetic(
    languages=("en", "fr"),
    topics=("prices",),
    train_records=train_records,
    validation_records=100,
    test_records=300,
    synthesizer=synthesizer,
  )
  return c.Experiment(
    name="quickstart",
    tokenizers=(
      c.tokenizers.text(size=512),
      c.tokenizers.named_units(units, c.tokenizers.units(size=256, rate_hz=25), rate_hz=25),
    ),
    mixture=c.mixtures.blend(
      (c.mixtures.asr(corpus), 0.23),
      (c.mixtures.tts(corpus), 0.19),
      (c.mixtures.ast(corpus), 0.17),
      (c.mixtures.s2st(corpus), 0.38),
      (c.mixtures.mt(corpus, unseen_words=("clock", "horloge")), 0.03),
    ),
    model=c.models.tiny(width=192),
    optimizer=c.optim.muon(peak_lr=3e-3, warmup_steps=60),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=16),
    data=c.Packed(row_length=384, batch_rows=8),
    steps=1_100,
    checkpoint_every_steps=250,
  )
