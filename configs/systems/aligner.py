"""A CTC aligner: an encoder that estimates when each phoneme of a known text is spoken.

  audiopalm train configs/systems/aligner.py --workdir runs/aligner
  audiopalm align train.jsonl --workdir runs/aligner --out train.timed.jsonl

A small one, for sentences of the synthetic grammar that espeak-ng speaks, which needs
audiopalm[data]. CTC learns from texts without times; benchmarks/alignment.py compares the estimated
times with those of espeak-ng.
"""

from audiopalm import config as c


def experiment(
  synthesizer: str = "espeak", languages: tuple[str, ...] = ("en", "fr", "de"), voices: int = 12
) -> c.Experiment:
  corpus = c.corpora.Synthetic(
    languages=languages, voices=voices, train_records=3_000, validation_records=48,
    test_records=96, synthesizer=synthesizer,
  )  # fmt: skip
  return c.Experiment(
    name="aligner",
    tokenizers=(c.tokenizers.phonemes(fit_texts=500),),
    mixture=c.mixtures.blend((c.mixtures.speech(corpus, streams=("phonemes",)), 1.0)),
    model=c.models.speech_encoder(
      c.Transcript("phonemes"), layers=3, width=128, heads_per_layer=2, order="conformer"
    ),
    objective=c.ClipLosses((c.CTC("phonemes"),), mask=None),
    optimizer=c.optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=100, held_out_batch_rows=48),
    data=c.Clips(seconds=5.0, batch_rows=12),
    steps=600,
    checkpoint_every_steps=200,
    export=None,
  )
