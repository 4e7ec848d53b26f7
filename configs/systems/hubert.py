"""HuBERT (arXiv:2106.07447): predicts clusters of masked frames, of MFCCs, then of its own states.

  audiopalm train configs/systems/hubert.py --workdir runs/hubert_1
  audiopalm train configs/systems/hubert.py --workdir runs/hubert_2 \
      --set units=neural:runs/hubert_1 --set layer=3

small: 4 layers of width 256, log-mel frames of 20 ms, on the speech of the synthetic grammar, or of
spoken_digit in `data_dir` and of `manifests` (docs/tokenizers.md). `mixing` is the share of clips
with other sound in them, as in WavLM. With `ctc` above 0 texts are learned too, as phonemes. base:
the published shape on waves, plan it with --set size=base.
"""

from typing import Literal

from audiopalm import config as c

SIZES = {
  "small": {"layers": 4, "width": 256, "front": "mel", "positions": "rotary"},
  "base": {"layers": 12, "width": 768, "front": "wave", "positions": "convolved", "order": "post",
           "dropout": 0.1, "front_gradient": 0.1},
}  # fmt: skip


def experiment(
  size: Literal["small", "base"] = "small",
  units: str = "mfcc",
  layer: int | None = None,
  clusters: int = 100,
  ctc: float = 0.0,
  mixing: float = 0.0,
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
  targets = c.tokenizers.named_units(units, mfcc, layer=layer, size=clusters)
  texts = ((c.tokenizers.phonemes(), c.Transcript("phonemes"), c.CTC("phonemes", ctc)),)
  tokenizers, heads, losses = zip(
    (targets, c.Codes("units"), c.MaskedUnits("units")), *(texts if ctc else ()), strict=True
  )
  return c.Experiment(
    name="hubert",
    tokenizers=tokenizers,
    mixture=c.mixtures.recordings(speech, tuple(one.stream for one in tokenizers)),
    model=c.models.speech_encoder(*heads, **SIZES[size], **band),
    objective=c.ClipLosses(
      losses, c.Spans(0.08, seconds=0.2), c.Mixing(mixing) if mixing else None
    ),
    optimizer=c.optim.adamw(peak_lr=5e-4, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
