"""An encoder of a few thousand parameters that trains on made-up clips; also a program:

python tests/training/clip_run.py WORKDIR STEPS [--mesh data=2,fsdp=4]
  [--coordinator-address HOST:PORT --num-processes N --process-id I]
"""

import argparse
import dataclasses
import io
import sys
from pathlib import Path

import numpy as np
import rich.console

from audiopalm.audio import waveform
from audiopalm.cli import processes
from audiopalm.data import cache
from audiopalm.data.clips import Clips
from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import Experiment
from audiopalm.models import clip_heads
from audiopalm.models.encoder import Encoder
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import distances, encoding, fronts
from audiopalm.objectives.clip_losses import ClipLosses
from audiopalm.objectives.random_projection import RandomProjection
from audiopalm.objectives.spans import Spans
from audiopalm.parts import mixtures, optim
from audiopalm.settings import Evaluation, Machine
from audiopalm.tokens import space as token_space
from audiopalm.training import loop

CORPUS = Synthetic(languages=("en", "fr"))
ONE = Machine(name="one", data=1, fsdp=1, tensor=1)


def experiment(**changes) -> Experiment:
  made = Experiment(
    name="clips",
    tokenizers=(),
    mixture=mixtures.blend((mixtures.speech(CORPUS), 1.0)),
    model=SpeechEncoder(
      Encoder(
        fronts.Mels(bins=20, strides=(2, 2), width=16),
        encoding.EncoderBlockSettings(
          layers=2,
          width=16,
          heads=2,
          hidden=24,
          order="pre",
          activation="gelu",
          key_bias=True,
          norm_eps=1e-5,
          distances=distances.Rotary(),
          conv_width=0,
        ),  # fmt: skip
        projection_norm=True,
        positions=None,
      ),
      heads=(clip_heads.Labels(classes=32),),
    ),
    objective=ClipLosses((RandomProjection(bins=20),), Spans(0.185, seconds=0.4, noise=0.1)),
    optimizer=optim.adamw(peak_lr=1e-2, warmup_steps=2, decay="constant"),
    evaluation=Evaluation(every_steps=4, held_out_batch_rows=8),
    data=Clips(seconds=0.8, batch_rows=8),
    steps=6,
    checkpoint_every_steps=3,
    export=None,
  )
  return dataclasses.replace(made, **changes)


class Entries:
  """Made-up recordings of 0.6 to 1.1 s, each the same wherever it is asked for."""

  lengths = {
    "source.wave": np.array([9_600 + 400 * (number % 20) for number in range(60)], np.int32)
  }

  def __len__(self) -> int:
    return 60

  def __getitem__(self, number: int) -> cache.Entry:
    random = np.random.default_rng(int(number))
    samples = int(self.lengths["source.wave"][number])
    wave_S = random.normal(0, 0.1, samples).cumsum() * 0.05 % 0.5
    flac = waveform.to_flac(wave_S.astype(np.float32), waveform.RATE_HZ)
    said = cache.EntryUtterance("en", "someone", "", samples / waveform.RATE_HZ, {}, flac)
    return cache.Entry(f"made/{number:03d}", {"source": said})


class Prepared:
  """What `data.prepare.open_prepared` gives, of made-up recordings."""

  def __init__(self, made: Experiment):
    self.tasks, self.data, self.layouts = made.tasks, made.data, {}
    self.space = token_space.build((), {}, lambda tag: ())
    self.manifest = token_space.manifest(self.space)

  def entries(self, of, split) -> Entries:
    return Entries()


def run(workdir, made: Experiment | None = None, machine: Machine = ONE, said=None):
  """Returns the summary of a run; what it prints goes to `said`, a text file, or nowhere."""
  made = made or experiment()
  console = rich.console.Console(file=said or io.StringIO(), width=100)
  return loop.run(made, Prepared(made), machine, Path(workdir), console=console)


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir", type=Path)
  parser.add_argument("steps", type=int)
  parser.add_argument("--mesh", default="data=1,fsdp=1")
  processes.add_arguments(parser)
  args = parser.parse_args()
  processes.join(args)
  axes = {axis: int(size) for axis, size in (part.split("=") for part in args.mesh.split(","))}
  run(args.workdir, experiment(steps=args.steps), Machine(name="given", **axes), said=sys.stdout)
  return 0


if __name__ == "__main__":
  sys.exit(main())
