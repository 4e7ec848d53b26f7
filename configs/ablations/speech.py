r"""Speech learned by a text model: one run of AudioPaLM's tables 5 to 13 (arXiv:2306.12925).

  audiopalm train configs/ablations/speech.py --workdir runs/base --set text_lm=runs/text

At its defaults the base of all comparisons: ASR and direct AST on six topics of the synthetic
grammar in three languages, from a text model, zero rows for the units. German to French is in no
AST. Each comparison of plan.toml changes one parameter or the rates of tasks.
"""

import dataclasses
from typing import Literal

from audiopalm import config as c

TOPICS = ("times", "weather", "shopping", "travel", "food", "home")
OTHERS = tuple(topic for topic in c.corpora.TOPICS if topic not in TOPICS)
UNSEEN = ("de-fr",)


def experiment(
  text_lm: str,
  init: Literal["text", "scratch"] = "text",
  text_step: int | None = None,
  train_records: int = 12_000,
  synthesizer: Literal["espeak", "pico"] = "espeak",
) -> c.Experiment:
  # As the committed results were spoken: by espeak-ng, in eight voices, without pauses.
  speech = c.corpora.Synthetic(
    topics=TOPICS, train_records=train_records, validation_records=600, test_records=1_200,
    synthesizer=synthesizer, voices=8, takes=None,
  )  # fmt: skip
  more = dataclasses.replace(speech, topics=OTHERS, validation_records=60, test_records=60)
  text = c.corpora.SyntheticTranslations(
    topics=TOPICS, train_records=40_000, validation_records=600, test_records=1_200
  )
  units = c.tokenizers.units(size=256, rate_hz=25, collapse=True)
  warm_start = {"text": c.WarmStart(text_lm, text_step), "scratch": None}[init]
  return c.Experiment(
    name="speech",
    tokenizers=(c.tokenizers.pretrained(text_lm), units),
    warm_start=warm_start,
    mixture=c.mixtures.blend(
      (c.mixtures.asr(speech), 1.0),
      (c.mixtures.ast(speech, unseen_pairs=UNSEEN), 1.0),
      (c.mixtures.asr_ast(speech, unseen_pairs=UNSEEN), 0.0),
      (c.mixtures.s2st(speech, unseen_pairs=UNSEEN), 0.0),
      (dataclasses.replace(c.mixtures.asr(more), name="asr_more"), 0.0),
      (dataclasses.replace(c.mixtures.ast(more, unseen_pairs=UNSEEN), name="ast_more"), 0.0),
      (c.mixtures.mt(text), 0.0),
      (c.mixtures.text(text), 0.0),
      unit="examples",
    ),
    model=c.models.pretrained(text_lm),
    optimizer=c.optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=c.Evaluation(every_steps=250, held_out_batch_rows=32, max_output_rows=64),
    data=c.Packed(row_length=256, batch_rows=8),
    steps=2_000,
    checkpoint_every_steps=250,
    keep_every_steps=500,
  )
