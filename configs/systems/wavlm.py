"""WavLM (arXiv:2110.13900): HuBERT with speech and noise mixed in, and gated position biases.

  audiopalm train configs/systems/wavlm.py --workdir runs/wavlm --set units=neural:runs/hubert_1

The targets are the units of the clip before mixing. small: 4 layers of width 256, log-mel frames of
20 ms, on the corpora of hubert.py; without `units`, clusters of MFCCs. base: the published shape on
waves, plan it with --set size=base.
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256, "front": "mel", "positions": "buckets"},
  "base": {
    "layers": 12, "width": 768, "front": "wave", "positions": "gated", "order": "post",
    "dropout": 0.1, "front_gradient": 0.1,
  },
}  # fmt: skip


def experiment(
  size: Literal["small", "base"] = "small",
  units: str = "mfcc",
  layer: int | None = None,
  clusters: int = 100,
  train_records: int = 2_000,
  data_dir: str | None = None,
  held_out_speaker: str | None = "theo",
  manifests: tuple[str, ...] = (),
  dev_manifests: tuple[str, ...] = (),
) -> c.Experiment:
  real = {"held_out_speaker": held_out_speaker, "dev_manifests": dev_manifests}
  speech = c.corpora.recordings(data_dir, manifests, train_records=train_records, **real)
  band = {"high_hz": c.corpora.band_hz(speech)}
  mfcc = c.tokenizers.units(size=clusters, rate_hz=50.0, **band)
  return c.Experiment(
    name="wavlm",
    tokenizers=(c.tokenizers.named_units(units, mfcc, layer=layer, size=clusters),),
    mixture=c.mixtures.recordings(speech, ("units",)),
    model=c.models.speech_encoder(c.Codes("units"), **SIZES[size], **band),
    objective=c.ClipLosses(
      (c.MaskedUnits("units"),),
      c.Spans(0.08, seconds=0.2),
      mixing=c.Mixing(probability=0.2, noise=0.1),
    ),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
