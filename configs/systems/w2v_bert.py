"""w2v-BERT (arXiv:2108.06209): a contrastive loss at half the depth, its code ids at the top.

  audiopalm train configs/systems/w2v_bert.py --workdir runs/w2v_bert

small: 4 Conformer layers of width 256, log-mel frames of 40 ms, on the speech of the synthetic
grammar. base: the published XL shape, plan it with --set size=base. Held-out accuracy of speech is
that of the code ids, one of 1,024.
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256},
  "base": {"layers": 24, "width": 1_024, "heads_per_layer": 8, "dropout": 0.1},
}
HALF_WAY = {"small": 2, "base": 12}


def experiment(
  size: Literal["small", "base"] = "small", train_records: int = 2_000
) -> c.Experiment:
  corpus = c.corpora.Synthetic(languages=("en", "fr"), train_records=train_records)
  return c.Experiment(
    name="w2v_bert",
    tokenizers=(),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus), 1.0)),
    model=c.models.speech_encoder(
      c.Quantizer(groups=1, entries=1_024, code_width=256),
      c.Labels(classes=1_024),
      front="mel_40ms",
      positions="clipped",
      order="conformer",
      **SIZES[size],
    ),  # fmt: skip
    objective=c.ClipLosses(
      (c.Contrastive(layer=HALF_WAY[size], ids_head="labels"),), c.Spans(0.065, seconds=0.4)
    ),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
