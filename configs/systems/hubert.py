"""HuBERT (arXiv:2106.07447): predicts clusters of masked frames, of MFCCs, then of its own states.

  audiopalm train configs/systems/hubert.py --workdir runs/hubert_1
  audiopalm train configs/systems/hubert.py --workdir runs/hubert_2 \
      --set units=neural:runs/hubert_1 --set layer=3

small: 4 layers of width 256, log-mel frames of 20 ms, on the speech of the synthetic grammar.
base: the published shape on waves, plan it with --set size=base.
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
  size: Literal["small", "base"] = "small",
  units: str = "mfcc",
  layer: int | None = None,
  clusters: int = 100,
  train_records: int = 2_000,
) -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr"), train_records=train_records)
  mfcc = c.tokenizers.units(size=clusters, rate_hz=50.0)
  return c.Experiment(
    name="hubert",
    tokenizers=(c.tokenizers.named_units(units, mfcc, layer=layer, size=clusters),),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus, streams=("units",)), 1.0)),
    model=c.models.speech_encoder(c.Codes("units"), **SIZES[size]),
    objective=c.ClipLosses((c.MaskedUnits("units"),), c.Spans(0.08, seconds=0.2)),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
