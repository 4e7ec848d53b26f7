"""The encoder behind the HuBERT units of units.py, trained on the same recordings.

  audiopalm train configs/ablations/encoder.py --workdir runs/encoder

The small size of systems/hubert.py, at twice its learning rate: 4 layers of width 256 that predict
clusters of MFCCs in masked spans, without texts.
"""

from audiopalm import config as c

TOPICS = ("times", "weather", "shopping", "travel", "food", "home")
TAKES = c.Takes(snr_db=(5.0, 25.0))


def experiment(train_records: int = 4_000, test_records: int = 600) -> c.Experiment:
  speech = c.corpora.Synthetic(
    topics=TOPICS, train_records=train_records, validation_records=200, test_records=test_records,
    synthesizer="espeak", voices=12, held_out_voices=4, takes=TAKES,
  )  # fmt: skip
  return c.Experiment(
    name="encoder",
    tokenizers=(c.tokenizers.units(size=100, rate_hz=50.0, fit_s=1_200.0),),
    mixture=c.mixtures.recordings((speech,), ("units",)),
    model=c.models.speech_encoder(
      c.Codes("units"), layers=4, width=256, front="mel", positions="rotary"
    ),
    objective=c.ClipLosses((c.MaskedUnits("units"),), c.Spans(0.08, seconds=0.2)),
    optimizer=c.optim.adamw(peak_lr=1e-3, warmup_steps=100, weight_decay=0.01),
    evaluation=c.Evaluation(every_steps=250, held_out_batch_rows=64),
    data=c.Clips(seconds=4.0, batch_rows=16, shortest_s=0.2),
    steps=1_000,
    checkpoint_every_steps=250,
    export=None,
  )
