"""w2v-BERT (arXiv:2108.06209): a contrastive loss at half the depth, its code ids at the top.

  audiopalm train configs/systems/w2v_bert.py --workdir runs/w2v_bert

small: 4 Conformer layers of width 256, log-mel frames of 40 ms, on the corpora of hubert.py. base:
the published XL shape, plan it with --set size=base. Held-out accuracy of speech is that of the
code ids, one of 1,024.
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256},
  "base": {"layers": 24, "width": 1_024, "heads_per_layer": 8, "dropout": 0.1},
}
HALF_WAY = {"small": 2, "base": 12}


def experiment(
  size: Literal["small", "base"] = "small",
  train_records: int = 2_000,
  data_dir: str | None = None,
  held_out_speaker: str | None = "theo",
  manifests: tuple[str, ...] = (),
  dev_manifests: tuple[str, ...] = (),
) -> c.Experiment:
  real = {"held_out_speaker": held_out_speaker, "dev_manifests": dev_manifests}
  speech = c.corpora.recordings(data_dir, manifests, train_records=train_records, **real)
  band = {"high_hz": c.corpora.band_hz(speech)}
  return c.Experiment(
    name="w2v_bert",
    tokenizers=(),
    mixture=c.mixtures.recordings(speech),
    model=c.models.speech_encoder(
      c.Quantizer(groups=1, entries=1_024, code_width=256),
      c.Labels(classes=1_024),
      front="mel_40ms",
      positions="clipped",
      order="conformer",
      **SIZES[size],
      **band,
    ),  # fmt: skip
    objective=c.ClipLosses(
      (c.Contrastive(layer=HALF_WAY[size], ids_head="labels"),), c.Spans(0.065, seconds=0.4)
    ),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
