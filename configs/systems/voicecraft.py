"""VoiceCraft (arXiv:2403.16973): codes of speech learned in spans, from all that is around them.

  audiopalm train configs/systems/voicecraft.py --workdir runs/voicecraft

A small one, on the synthetic grammar in many voices: four codes a frame in delayed columns,
weighted as in the paper. Half of the records have one span that goes to the end, which is what
speaking asks.
"""

from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.layouts import Chain, Infilling
from audiopalm.objectives.next_token import NextToken
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation


def experiment(train_records: int = 3_000) -> Experiment:
  corpus = Synthetic(languages=("en", "fr"), train_records=train_records)
  delays = Chain(delays=(("codes", (0, 1, 2, 3)),))
  return Experiment(
    name="voicecraft",
    tokenizers=(tokenizers.text(size=512), tokenizers.mel_rvq(codebooks=4)),
    mixture=mixtures.blend((mixtures.tts(corpus, speech="codes", role="source"), 1.0)),
    layout=Infilling(("codes",), frames=(1, 100), to_end=0.5, chain=delays),
    model=models.tiny(width=192),
    objective=NextToken(column_weights=(5.0, 1.0, 0.5, 0.1)),
    optimizer=optim.adamw(peak_lr=2.5e-3, warmup_steps=80),
    evaluation=Evaluation(every_steps=200, rows=16),
    data=Packed(row_length=320, batch_rows=8, too_long="drop"),
    steps=1_000,
    checkpoint_every_steps=400,
  )
