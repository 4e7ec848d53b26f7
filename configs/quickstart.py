"""A first model: five tasks in English and French on a slice of the synthetic grammar.

  audiopalm train quickstart --workdir runs/quickstart

One decoder learns to transcribe, to translate and to speak sentences that a synthesizer says in
eight voices a language; it is tested on sentences, and on voices, that it never met in either
language. SVOX Pico speaks, or with `--set synthesizer=espeak` espeak-ng. Made for two CPU cores and
one coffee; `make quickstart` runs it with everything before and after.
"""

from typing import Literal

from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation


def experiment(
  train_records: int = 4_000, synthesizer: Literal["pico", "espeak"] = "pico"
) -> Experiment:
  corpus = Synthetic(
    languages=("en", "fr"),
    topics=("prices",),
    train_records=train_records,
    validation_records=100,
    test_records=300,
    synthesizer=synthesizer,
  )
  return Experiment(
    name="quickstart",
    tokenizers=(tokenizers.text(size=512), tokenizers.units(size=256, rate_hz=25)),
    mixture=mixtures.blend(
      (mixtures.asr(corpus), 0.23),
      (mixtures.tts(corpus), 0.19),
      (mixtures.ast(corpus), 0.17),
      (mixtures.s2st(corpus), 0.38),
      (mixtures.mt(corpus, unseen_words=("clock", "horloge")), 0.03),
    ),
    model=models.tiny(width=192),
    optimizer=optim.muon(peak_lr=3e-3, warmup_steps=60),
    evaluation=Evaluation(every_steps=200, rows=16),
    data=Packed(row_length=384, batch_rows=8),
    steps=1_100,
    checkpoint_every_steps=250,
  )
