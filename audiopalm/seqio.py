"""The tasks and the mixture of a run for programs that use SeqIO. Importing this loads TensorFlow.

    name = audiopalm.seqio.register("runs/quickstart")
    seqio.get_mixture_or_task(name).get_dataset(sequence_length=None, split="train")

docs/seqio.md has a whole program.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from audiopalm import experiment as experiments
from audiopalm import runs
from audiopalm.data import prepare, seqio_tasks
from audiopalm.data.seqio_tasks import GridConverter
from audiopalm.errors import ConfigError, DataError

__all__ = ["GridConverter", "register"]


def register(workdir: str | os.PathLike, *, trust: Sequence[str] = ()) -> str:
  """Returns the name of the SeqIO Mixture of a prepared run, after adding it and its Tasks to
  SeqIO's registries (`data.seqio_tasks.register`).

  ConfigError where WORKDIR holds no run, one that trains on clips, or one of packages that `trust`
  does not name (docs/extend.md); DataError where it is not prepared.
  """
  workdir = Path(workdir)
  experiment = experiments.of_run(workdir, trust)
  if not (workdir / "prepare.json").is_file():
    raise DataError(
      f"The run in {workdir} is not prepared, and SeqIO's tasks read what `prepare` makes. Run "
      f"audiopalm prepare {workdir / runs.CONFIG} --workdir {workdir}"
    )
  prepared = prepare.open_prepared(experiment, workdir)
  if not prepared.layouts:
    raise ConfigError(
      f"The run in {workdir} trains on clips of recordings, and SeqIO's tasks hold grids of "
      "tokens. Register a run whose config has data=Packed(...)."
    )
  return seqio_tasks.register(prepared, experiment.mixture)
