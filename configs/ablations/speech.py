r"""Speech learned by a text model: one run of AudioPaLM's tables 5 to 13 (arXiv:2306.12925).

  audiopalm train configs/ablations/speech.py --workdir runs/base --set captions=DIR \
    --set text_lm=runs/text

At its defaults the base of all comparisons: ASR and direct AST on spoken captions, from a text
model, zero rows for the units. Each comparison changes one parameter.
"""

from typing import Literal

from audiopalm.experiment import Experiment
from audiopalm.parts import corpora, mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation, WarmStart

MOST_WORDS = 10
UNSEEN = ("de-fr",)


def experiment(
  captions: str,
  text_lm: str,
  init: Literal["text", "scratch"] = "text",
  tasks: Literal["asr+ast", "ast", "asr+asr_ast"] = "asr+ast",
  train_records: int = 16_000,
) -> Experiment:
  speech = corpora.multi30k(
    captions,
    most_words=MOST_WORDS,
    train_records=train_records,
    validation_records=600,
    test_records=1_400,
    voices=4,
  )
  text = corpora.multi30k_text(
    captions,
    most_words=MOST_WORDS,
    train_records=48_000,
    validation_records=600,
    test_records=1_400,
  )
  rates = {name: 1.0 for name in tasks.split("+")}
  return Experiment(
    name="speech",
    tokenizers=(
      tokenizers.pretrained(text_lm),
      tokenizers.units(size=256, rate_hz=25, collapse=True),
    ),
    warm_start=WarmStart(text_lm) if init == "text" else None,
    mixture=mixtures.blend(
      (mixtures.asr(speech), rates.get("asr", 0.0)),
      (mixtures.ast(speech, unseen_pairs=UNSEEN), rates.get("ast", 0.0)),
      (mixtures.asr_ast(speech, unseen_pairs=UNSEEN), rates.get("asr_ast", 0.0)),
      (mixtures.mt(text), 0.0),
      (mixtures.text(text), 0.0),
      unit="examples",
    ),
    model=models.pretrained(text_lm),
    optimizer=optim.adamw(peak_lr=2e-3, warmup_steps=100),
    evaluation=Evaluation(every_steps=200, rows=32, examples=200, max_output_rows=64),
    row_length=256,
    batch_rows=8,
    steps=3_000,
    checkpoint_every_steps=500,
  )
