"""BEST-RQ (arXiv:2202.01855): an encoder predicts random-projection labels of masked frames.

  audiopalm train configs/systems/best_rq.py --workdir runs/best_rq

small: 4 layers of width 256, log-mel frames of 40 ms, on the corpora of hubert.py. base:
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
    name="best_rq",
    tokenizers=(),
    mixture=c.mixtures.recordings(speech),
    model=c.models.speech_encoder(
      c.Labels(classes=CLASSES[size]), front="mel_40ms", positions="rotary", **SIZES[size], **band
    ),
    objective=c.ClipLosses((c.RandomProjection(**band),), c.Spans(0.04, seconds=0.4, noise=0.1)),
    optimizer=c.optim.adamw(peak_lr=1e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
