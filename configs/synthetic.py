"""All tasks on the whole synthetic grammar, in English, French and German.

  audiopalm train synthetic --workdir runs/synthetic

Adds to the quickstart a third language, all topics, spoken questions with spoken answers, plain
text, and the chain that transcribes, translates and speaks in one go (AudioPaLM,
arXiv:2306.12925, section 3.4.1). Words weigh four times in the loss, as a sentence has several
times as many units.
"""

from typing import Literal

from audiopalm.data.corpora import Synthetic, SyntheticDialogue, SyntheticText
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.objectives.next_token import NextToken
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation


def experiment(
  languages: tuple[str, ...] = ("en", "fr", "de"),
  train_records: int = 10_000,
  synthesizer: Literal["pico", "espeak"] = "pico",
) -> Experiment:
  speech = Synthetic(languages=languages, train_records=train_records, synthesizer=synthesizer)
  dialogue = SyntheticDialogue(
    languages=languages, train_records=train_records // 2, synthesizer=synthesizer
  )
  text = SyntheticText(languages=languages)
  return Experiment(
    name="synthetic",
    tokenizers=(tokenizers.text(size=1_000), tokenizers.units(size=256, rate_hz=25)),
    mixture=mixtures.blend(
      (mixtures.asr(speech), 0.2),
      (mixtures.tts(speech), 0.15),
      (mixtures.ast(speech), 0.15),
      (mixtures.s2st(speech), 0.15),
      (mixtures.mt(speech), 0.1),
      (mixtures.chain(speech), 0.1),
      (mixtures.continuation(speech), 0.05),
      (mixtures.dialogue(dialogue), 0.05),
      (mixtures.text(text), 0.05),
    ),
    model=models.tiny(width=256),
    objective=NextToken(text_weight=4.0),
    optimizer=optim.muon(peak_lr=3e-3, warmup_steps=100),
    evaluation=Evaluation(every_steps=500, rows=16, examples=150),
    data=Packed(row_length=512, batch_rows=8),
    steps=2_000,
    checkpoint_every_steps=250,
  )
