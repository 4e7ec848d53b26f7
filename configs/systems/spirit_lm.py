"""SPIRIT LM (arXiv:2402.05755): text and speech in one sequence, changed at word boundaries.

  audiopalm train configs/systems/spirit_lm.py --workdir runs/spirit_lm

A small one, of the synthetic grammar as espeak says it, which tells when each word is spoken: a
third each of text and speech in turns, of speech and of text. Its sentences are short, so the spans
are shorter than the paper's 10 to 30 words of text and 5 to 15 of speech.
"""

from audiopalm.data.corpora import Synthetic, SyntheticText
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.layouts import Interleaving
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation


def experiment(train_records: int = 3_000) -> Experiment:
  languages = ("en", "fr")
  corpus = Synthetic(languages=languages, train_records=train_records, synthesizer="espeak")
  return Experiment(
    name="spirit_lm",
    tokenizers=(tokenizers.text(size=512), tokenizers.units(size=256, rate_hz=25.0)),
    mixture=mixtures.blend(
      (mixtures.interleaved(corpus), 1.0),
      (mixtures.continuation(corpus), 1.0),
      (mixtures.text(SyntheticText(languages=languages)), 1.0),
    ),
    layout=Interleaving(text_words=(2, 6), unit_words=(1, 3), collapse=True),
    model=models.tiny(width=192),
    optimizer=optim.adamw(peak_lr=2.5e-3, warmup_steps=80),
    evaluation=Evaluation(every_steps=200, rows=16),
    data=Packed(row_length=256, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=400,
  )
