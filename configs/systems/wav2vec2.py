"""wav2vec 2.0 (arXiv:2006.11477): masked frames identify their own code among distractors.

  audiopalm train configs/systems/wav2vec2.py --workdir runs/wav2vec2

small: 4 layers of width 256, log-mel frames of 20 ms, on the corpora of hubert.py. base: the
published shape on waves, plan it with --set size=base. Held-out accuracy is that of identifying
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
    name="wav2vec2",
    tokenizers=(),
    mixture=c.mixtures.recordings(speech),
    model=c.models.speech_encoder(c.Quantizer(groups=2, entries=320), **SIZES[size], **band),
    objective=c.ClipLosses((c.Contrastive(),), c.Spans(0.065, seconds=0.2)),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
