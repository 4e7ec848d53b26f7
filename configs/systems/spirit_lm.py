"""SPIRIT LM (arXiv:2402.05755): text and speech in one sequence, alternating at word boundaries.

  audiopalm train configs/systems/spirit_lm.py --workdir runs/spirit_lm

A small one, on the synthetic grammar spoken by espeak-ng, which gives the times of words: a third
each of interleaved sequences, of speech and of text, as in section 3.1. Sentences are short here,
so spans are too: 2 to 6 words of text and 1 to 3 of speech, not 10 to 30 and 5 to 15.
"""

from audiopalm import config as c


def experiment(train_records: int = 3_000, test_records: int = 300) -> c.Experiment:
  shared = {
    "languages": ("en", "fr"),
    "validation_records": test_records,
    "test_records": test_records,
  }
  speech = c.corpora.Synthetic(**shared, train_records=train_records, synthesizer="espeak")
  text = c.corpora.SyntheticText(**shared, train_records=10 * train_records)
  return c.Experiment(
    name="spirit_lm",
    tokenizers=(c.tokenizers.text(size=512), c.tokenizers.units(size=256, rate_hz=25.0)),
    mixture=c.mixtures.blend(
      (c.mixtures.interleaved(speech), 1.0),
      (c.mixtures.continuation(speech), 1.0),
      (c.mixtures.text(text), 1.0),
    ),
    # The tokenizer keeps repeated units, as word times need a fixed rate; the layout removes them.
    layout=c.Interleaving(text_words=(2, 6), unit_words=(1, 3), collapse=True),
    model=c.models.tiny(width=192),
    optimizer=c.optim.adamw(peak_lr=2.5e-3, warmup_steps=80),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=16),
    data=c.Packed(row_length=256, batch_rows=16, too_long="drop"),
    steps=1_000,
    checkpoint_every_steps=400,
  )
