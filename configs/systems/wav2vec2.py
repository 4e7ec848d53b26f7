"""wav2vec 2.0 (arXiv:2006.11477): masked frames identify their own code among distractors.

  audiopalm train configs/systems/wav2vec2.py --workdir runs/wav2vec2

small: 4 layers of width 256, log-mel frames of 20 ms, on the speech of the synthetic grammar. base:
the published shape on waves, plan it with --set size=base. Held-out accuracy is that of identifying
the own code among 101.
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256, "front": "mel", "positions": "rotary"},
  "base": {
    "layers": 12, "width": 768, "front": "wave", "positions": "convolved", "order": "post",
    "dropout": 0.1, "front_gradient": 0.1,
  },
}  # fmt: skip


def experiment(
  size: Literal["small", "base"] = "small", train_records: int = 2_000
) -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr"), train_records=train_records)
  return c.Experiment(
    name="wav2vec2",
    tokenizers=(),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus), 1.0)),
    model=c.models.speech_encoder(c.Quantizer(groups=2, entries=320), **SIZES[size]),
    objective=c.ClipLosses((c.Contrastive(),), c.Spans(0.065, seconds=0.2)),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
