"""BEST-RQ (arXiv:2202.01855): an encoder learns to predict random labels of what it cannot hear.

  audiopalm train configs/systems/best_rq.py --workdir runs/best_rq

A small one, on the speech of the synthetic grammar: 4 layers, 3.7 million parameters. Held-out
accuracy is that of the labels of masked frames, of 1,024.
"""

from audiopalm import config as c


def experiment(train_records: int = 2_000) -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr"), train_records=train_records)
  return c.Experiment(
    name="best_rq",
    tokenizers=(),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus), 1.0)),
    model=c.models.speech_encoder(c.Labels(classes=1_024), front="mel_40ms"),
    objective=c.ClipLosses((c.RandomProjection(),), c.Spans(0.04, seconds=0.4, noise=0.1)),
    optimizer=c.optim.adamw(peak_lr=1e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=200, rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
