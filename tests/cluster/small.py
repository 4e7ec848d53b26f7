"""A text-only run that takes seconds, and functions that start it as a user would."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiopalm.training import metrics

ROOT = Path(__file__).parents[2]
STEPS = 300
CONFIG = f"""
from audiopalm.data.corpora import SyntheticText
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

def experiment():
  corpus = SyntheticText(languages=("en",), topics=("weather",), train_records=64,
                         validation_records=8, test_records=8)
  return Experiment(
    name="small",
    tokenizers=(tokenizers.text(size=512),),
    mixture=mixtures.blend((mixtures.text(corpus), 1.0)),
    model=models.tiny(width=64, layers=1),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=2),
    evaluation=Evaluation(every_steps=100, held_out_batch_rows=8),
    data=Packed(row_length=64, batch_rows=8),
    steps={STEPS},
    checkpoint_every_steps=50,
  )
"""
TIMED = ("tokens_per_s", "mfu")  # differ between equal runs
# On a CPU this machine uses all devices; "cpu" uses one.
MACHINE = ("--machine", "gpu")


def start(folder: Path, *arguments: Any, **environment: str) -> subprocess.Popen:
  """Starts `audiopalm` in a folder with one CPU device per process, and errors in its output."""
  flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
  return subprocess.Popen(
    [sys.executable, "-m", "audiopalm", *map(str, arguments)],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, **environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def ended(started: subprocess.Popen, code: int = 0) -> str:
  """Returns the output of a command that must end with `code`."""
  try:
    output, _ = started.communicate(timeout=600)
  finally:
    started.kill()
  assert started.returncode == code, output
  return output


def train(workdir: Path) -> tuple[Any, ...]:
  """Returns the command that trains the config of `prepared` in a workdir."""
  return ("train", "small.py", "--workdir", workdir, *MACHINE)


def curve(workdir: Path) -> list[dict[str, Any]]:
  """Returns the lines of metrics.jsonl without timings."""
  lines = metrics.read(workdir)
  return [{name: line[name] for name in line if name not in TIMED} for line in lines]


def steps(workdir: Path) -> Iterator[int]:
  """Yields the finished steps."""
  return (line["step"] for line in metrics.read(workdir) if "loss" in line)
