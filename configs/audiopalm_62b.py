"""AudioPaLM 62B (arXiv:2306.12925): PaLM 62B over 256,000 pieces of text and 1,024 units of speech.

  audiopalm plan audiopalm_62b --topology v5p:8x8x8
  audiopalm train audiopalm_62b --workdir runs/audiopalm_62b

Planning needs neither a TPU nor data. To train, replace `Synthetic` with your own recordings:
corpora.manifest("train.jsonl", validation="dev.jsonl", test="test.jsonl"). A step has 2,048 rows
of 2,048, four per chip of v5p:8x8x8. The paper's optimizer is Adafactor: optim.adafactor(5e-5,
decay="constant", b1=0.9), which has half the state of AdamW.
"""

from audiopalm import config as c


def experiment() -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr", "de"))
  return c.Experiment(
    name="audiopalm_62b",
    tokenizers=(c.tokenizers.text(size=256_000), c.tokenizers.units(size=1_024, rate_hz=25)),
    mixture=c.mixtures.blend(
      (c.mixtures.asr(corpus), 0.3),
      (c.mixtures.ast(corpus), 0.3),
      (c.mixtures.s2st(corpus), 0.2),
      (c.mixtures.tts(corpus), 0.1),
      (c.mixtures.mt(corpus), 0.1),
    ),
    model=c.models.decoder_62b(),
    objective=c.NextToken(z_loss=1e-4),
    optimizer=c.optim.adamw(peak_lr=1e-4, warmup_steps=1_000),
    data=c.Packed(row_length=2_048, batch_rows=2_048),
    steps=100_000,
  )
