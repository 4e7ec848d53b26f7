"""All tasks on the whole synthetic grammar, in English, French and German.

  audiopalm train synthetic --workdir runs/synthetic

Adds to the quickstart a third language, all topics, spoken questions with spoken answers, plain
text, and the chain that transcribes, translates and speaks in one sequence (AudioPaLM,
arXiv:2306.12925, section 3.4.1). Text has a weight of four in the loss, as a sentence has several
times as many units as text tokens.
"""

from typing import Literal

from audiopalm import config as c


def experiment(
  languages: tuple[str, ...] = ("en", "fr", "de"),
  train_records: int = 10_000,
  synthesizer: Literal["pico", "espeak"] = "pico",
) -> c.Experiment:
  speech = c.corpora.Synthetic(
    languages=languages, train_records=train_records, synthesizer=synthesizer
  )
  dialogue = c.corpora.SyntheticDialogue(
    languages=languages, train_records=train_records // 2, synthesizer=synthesizer
  )
  text = c.corpora.SyntheticText(languages=languages)
  return c.Experiment(
    name="synthetic",
    tokenizers=(c.tokenizers.text(size=1_000), c.tokenizers.units(size=256, rate_hz=25)),
    mixture=c.mixtures.blend(
      (c.mixtures.asr(speech), 0.2),
      (c.mixtures.tts(speech), 0.15),
      (c.mixtures.ast(speech), 0.15),
      (c.mixtures.s2st(speech), 0.15),
      (c.mixtures.mt(speech), 0.1),
      (c.mixtures.chain(speech), 0.1),
      (c.mixtures.continuation(speech), 0.05),
      (c.mixtures.dialogue(dialogue), 0.05),
      (c.mixtures.text(text), 0.05),
    ),
    model=c.models.tiny(width=256),
    objective=c.NextToken(text_weight=4.0),
    optimizer=c.optim.muon(peak_lr=3e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=500, held_out_batch_rows=16, examples=150),
    data=c.Packed(row_length=512, batch_rows=8),
    steps=2_000,
    checkpoint_every_steps=250,
  )
