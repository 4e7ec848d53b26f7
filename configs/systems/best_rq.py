"""BEST-RQ (arXiv:2202.01855): an encoder learns to predict random labels of what it cannot hear.

  audiopalm train configs/systems/best_rq.py --workdir runs/best_rq

A small one, on the speech of the synthetic grammar: 4 layers, 3.7 million parameters. Held-out
accuracy is that of the labels of masked frames, of 1,024.
"""

from audiopalm.data.clips import Clips
from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.parts import mixtures, models, optim
from audiopalm.settings import Evaluation


def experiment(train_records: int = 2_000) -> Experiment:
  corpus = Synthetic(languages=("en", "fr"), train_records=train_records)
  return Experiment(
    name="best_rq",
    tokenizers=(),
    mixture=mixtures.blend((mixtures.speech(corpus), 1.0)),
    model=models.speech_encoder(),
    objective=RandomProjection(),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=100),
    evaluation=Evaluation(every_steps=200, rows=64),
    data=Clips(seconds=4.0, batch_rows=16),
    steps=1_000,
    checkpoint_every_steps=200,
    export=None,
  )
