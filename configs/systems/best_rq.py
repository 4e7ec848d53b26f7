"""BEST-RQ (arXiv:2202.01855): an encoder predicts random-projection labels of masked frames.

  audiopalm train configs/systems/best_rq.py --workdir runs/best_rq

small: 4 layers of width 256, log-mel frames of 40 ms, on the speech of the synthetic grammar. base:
the published shape, plan it with --set size=base. Held-out accuracy is that of the labels of masked
frames, one of 1,024 (base: 8,192).
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256, "hidden": 1_024},
  "base": {"layers": 24, "width": 1_024, "heads_per_layer": 8, "order": "conformer"},
}
CLASSES = {"small": 1_024, "base": 8_192}


def experiment(
  size: Literal["small", "base"] = "small", train_records: int = 2_000
) -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr"), train_records=train_records)
  return c.Experiment(
    name="best_rq",
    tokenizers=(),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus), 1.0)),
    model=c.models.speech_encoder(
      c.Labels(classes=CLASSES[size]), front="mel_40ms", positions="rotary", **SIZES[size]
    ),
    objective=c.ClipLosses((c.RandomProjection(),), c.Spans(0.04, seconds=0.4, noise=0.1)),
    optimizer=c.optim.adamw(peak_lr=1e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
