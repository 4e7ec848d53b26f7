"""VoiceCraft (arXiv:2403.16973): predicts spans of speech codes from the codes around them.

  audiopalm train configs/systems/voicecraft.py --workdir runs/voicecraft

A small one, on the synthetic grammar in many voices: four codes per frame in delayed columns
(section 3.1), with loss weights 5, 1, 0.5 and 0.1 as in the paper's code. One to three spans of a
recording are moved behind the rest and predicted; half of the records have one span up to the end,
as in TTS.
"""

from audiopalm import config as c


def experiment(train_records: int = 3_000, test_records: int = 300) -> c.Experiment:
  corpus = c.corpora.Synthetic(
    languages=("en", "fr"),
    train_records=train_records,
    validation_records=test_records,
    test_records=test_records,
  )
  delays = c.Chain(delays=(("codes", (0, 1, 2, 3)),))
  return c.Experiment(
    name="voicecraft",
    tokenizers=(c.tokenizers.text(size=512), c.tokenizers.mel_rvq(codebooks=4)),
    mixture=c.mixtures.blend((c.mixtures.tts(corpus, speech="codes", role="source"), 1.0)),
    layout=c.Infilling(("codes",), frames=(1, 100), to_end=0.5, chain=delays),
    model=c.models.tiny(width=192),
    objective=c.NextToken(column_weights=(5.0, 1.0, 0.5, 0.1)),
    optimizer=c.optim.adamw(peak_lr=2.5e-3, warmup_steps=80),
    evaluation=c.Evaluation(every_steps=200, held_out_batch_rows=16),
    data=c.Packed(row_length=320, batch_rows=8, too_long="drop"),
    steps=1_000,
    checkpoint_every_steps=400,
  )
