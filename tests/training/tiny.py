"""A whole experiment of a few thousand parameters, its data made up in memory; also a program:

python tests/training/tiny.py WORKDIR STEPS [--slow] [--hangs-at N] [--mesh data=2,fsdp=4]
  [--coordinator-address HOST:PORT --num-processes N --process-id I]
"""

import argparse
import dataclasses
import io
import os
import signal
import sys
import time
import types
from pathlib import Path

import jax
import msgpack
import numpy as np
import rich.console

from audiopalm import runs, sharding
from audiopalm.cli import processes
from audiopalm.data import cache, examples, loader
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.errors import AudiopalmError
from audiopalm.experiment import Experiment
from audiopalm.models import decoder
from audiopalm.parts import mixtures, optim
from audiopalm.settings import Evaluation, Machine
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.units import KMeansUnits
from audiopalm.tokens import space as token_space
from audiopalm.training import checkpoint, loop, metrics, state, verification, writing
from audiopalm.types import StreamSpec

CORPUS = Synthetic(languages=("en", "fr"))
SPECS = (
  StreamSpec("text", "text", (40,), None, "made-up text"),
  StreamSpec("units", "speech", (50,), 25.0, "made-up units"),
)
ROW_LENGTH = 96
ONE = Machine(name="one", data=1, fsdp=1, tensor=1)
KILLS = {
  "before it was opened": (verification, "fault"),
  "before it has its name": (checkpoint, "accept"),
  "before config.json": (os, "replace"),
  "before older ones go": (writing.Writer, "_remove"),
}


def experiment(*, batch_rows=8, **changes) -> Experiment:
  made = Experiment(
    name="tiny",
    tokenizers=(SentencePieceText(), KMeansUnits()),
    mixture=mixtures.blend((mixtures.asr(CORPUS), 2.0), (mixtures.mt(CORPUS), 1.0)),
    model=decoder.Decoder(layers=2, width=16, heads=2, kv_heads=2, head_width=8, hidden=32),
    optimizer=optim.adamw(peak_lr=1e-2, warmup_steps=2, decay="constant"),
    evaluation=Evaluation(every_steps=4, held_out_batch_rows=8),
    data=Packed(row_length=ROW_LENGTH, batch_rows=batch_rows),
    steps=6,
    checkpoint_every_steps=3,
  )
  return dataclasses.replace(made, **changes)


class Entries:
  """Made-up records: each is the same ids wherever it is asked for."""

  def __len__(self) -> int:
    return 60

  def __getitem__(self, number: int) -> cache.Entry:
    random = np.random.default_rng(int(number))

    def said(language):
      streams = {
        "text": random.integers(0, 40, random.integers(3, 8)).astype(np.int32),
        "units": random.integers(0, 50, random.integers(8, 20)).astype(np.int32),
      }
      words = -(-len(streams["text"]) // 2)  # of two ids each, as long as each other in speech
      ends = {
        name: [len(ids) * word // words for word in range(1, words + 1)]
        for name, ids in streams.items()
      }
      return cache.EntryUtterance(
        language, "someone", "", 1.0, streams, packed_word_ends=msgpack.packb(ends)
      )

    return cache.Entry(f"made/{number:03d}", {"source": said("en"), "target": said("fr")})


class Prepared:
  """What `data.prepare.open_prepared` gives, of made-up entries."""

  def __init__(self, made: Experiment):
    self.tasks = made.tasks
    self.data = made.data
    self.layouts = {task.name: made.layout.layout_of(task) for task in made.tasks}
    streams = [tokenizer.stream for tokenizer in made.tokenizers]
    specs = [spec for spec in SPECS if spec.name in streams]
    self.space = token_space.build(specs, self.layouts, lambda tag: [ord(c) % 40 for c in tag[:9]])
    self.manifest = token_space.manifest(self.space)

  def entries(self, of, split) -> Entries:
    return Entries()

  def rows(self, task, split) -> "Rows":
    return Rows()


class Rows:
  """A row index: two whole examples a row."""

  tokens_per_row, examples_per_row = 60.0, 2.0

  def __len__(self) -> int:
    return len(Entries()) // 2

  def __getitem__(self, row: int) -> types.SimpleNamespace:
    records_N = np.array([2 * row, 2 * row + 1])
    return types.SimpleNamespace(
      records_N=records_N, starts_N=np.full(2, examples.WHOLE), lengths_N=np.zeros(2, int)
    )


def params(model, mesh):
  """Returns parameters drawn by numpy: nothing to compile, the same on every mesh."""
  random = np.random.default_rng(0)

  def draw(path, shape):
    values = random.normal(0, 0.2, shape.shape) + (path[-1].key == "scale")
    return jax.device_put(values.astype(shape.dtype), shape.sharding)

  return jax.tree_util.tree_map_with_path(draw, model.shapes(mesh))


def run(workdir, made: Experiment | None = None, machine: Machine = ONE, said=None, **options):
  """Returns the summary of a run; what it prints goes to `said`, a text file, or nowhere."""
  made = made or experiment()
  console = rich.console.Console(file=said or io.StringIO(), width=100)
  return loop.run(made, Prepared(made), machine, Path(workdir), console=console, **options)


def batch(step: int = 0):
  made = experiment()
  return loader.Loader(Prepared(made), made).batch_at(step)


def saved(workdir, made: Experiment | None = None):
  """Returns the state in a run's newest checkpoint, as numpy arrays in lists by field."""
  made = made or experiment()
  prepared, mesh = Prepared(made), sharding.mesh(ONE)
  model = made.model.build(prepared.space)
  with jax.set_mesh(mesh):
    wanted = state.shapes(model, made.objective, state.learners_of(made), mesh)
    found, _ = checkpoint.restore_state(Path(workdir), wanted, prepared.manifest)
  return jax.device_get(found)


def at_batch(monkeypatch, number, act):
  """Has `act` done before the batch of a step is made, the first time."""
  batch_at, done = loader.Loader.batch_at, []

  def acting(self, step):
    if step == number and not done:
      done.append(step)
      act()
    return batch_at(self, step)

  monkeypatch.setattr(loader.Loader, "batch_at", acting)


def changed_batches(monkeypatch, change):
  batch_at = loader.Loader.batch_at
  monkeypatch.setattr(
    loader.Loader, "batch_at", lambda self, step: change(step, batch_at(self, step))
  )


def not_finite(batch):
  return dataclasses.replace(batch, weights_BLK=batch.weights_BLK * np.float32("nan"))


def assert_same_run(a, b):
  """Parameters, optimizer, counters and every logged loss of two runs are the same bits."""
  jax.tree.map(np.testing.assert_array_equal, saved(a), saved(b))
  timed = ("tokens_per_s", "mfu")
  lines = [
    [{k: v for k, v in line.items() if k not in timed} for line in metrics.read(workdir)]
    for workdir in (a, b)
  ]
  assert lines[0] == lines[1]


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument("workdir", type=Path)
  parser.add_argument("steps", type=int)
  parser.add_argument("--slow", action="store_true", help="half a second between batches")
  parser.add_argument("--hangs-at", type=int, help="a batch that never comes")
  parser.add_argument("--every", type=int, default=3, help="steps between checkpoints; all stay")
  parser.add_argument("--mesh", default="data=1,fsdp=1")
  parser.add_argument("--killed", choices=KILLS, help="SIGKILL where a checkpoint comes to count")
  parser.add_argument("--unreadable", type=int, help="a checkpoint that process 1 cannot read")
  processes.add_arguments(parser)
  args = parser.parse_args()
  processes.join(args)
  axes = {axis: int(size) for axis, size in (part.split("=") for part in args.mesh.split(","))}
  if args.slow or args.hangs_at:
    batch_at = loader.Loader.batch_at

    def slow(self, step):
      time.sleep(600 if step == args.hangs_at else 0.5)
      return batch_at(self, step)

    loader.Loader.batch_at = slow
  if args.killed:
    where, name = KILLS[args.killed]
    usual = getattr(where, name)

    def kill(*of):
      # Other files take their place too, and the checkpoint that is resumed from is accepted.
      if Path(str(of[1])).name not in (runs.CONFIG, str(args.steps)) and where in (os, checkpoint):
        return usual(*of)
      os.kill(os.getpid(), signal.SIGKILL)

    setattr(where, name, kill)
  if args.unreadable and args.process_id == 1:
    read_meta = checkpoint.read_meta

    def read(workdir, step):
      if step == args.unreadable:
        raise OSError("made up")
      return read_meta(workdir, step)

    checkpoint.read_meta = read
  try:
    made = experiment(steps=args.steps, checkpoint_every_steps=args.every, keep_checkpoints=9)
    run(
      args.workdir,
      made,
      Machine(name="given", **axes),
      said=sys.stdout,
      hang_s=3.0 if args.hangs_at else None,
    )
  except AudiopalmError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    processes.leave(error.exit_code)
    return error.exit_code
  print("tensorflow loaded:", "tensorflow" in sys.modules)
  return 0


if __name__ == "__main__":
  sys.exit(main())
