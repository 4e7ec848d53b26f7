"""A run that came from an exported folder: its tokenizers and ids without its data.

    WORKDIR/imported.json    the longest input of each task by stream, for runs without entries

It answers at once. `prepare` with the run's config.json adds the data that scores are taken on; the
tokenizers are found there and so the ids stay.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiopalm.data import files, fitting, prepare
from audiopalm.data.prepared import Prepared
from audiopalm.errors import DataError
from audiopalm.tokens import space as token_space

FILE = "imported.json"


def write(
  workdir: Path,
  experiment: Any,
  tokenizers: Mapping[str, Any],
  manifest: Mapping[str, Any],
  longest: Mapping[str, Mapping[str, int]],
) -> Prepared:
  """Returns the run's Prepared, written into WORKDIR; TokenSpaceError if its ids do not follow from
  its tokenizers and tasks."""
  prepared = prepare.laid_out(experiment, workdir, workdir / "streams", tokenizers)
  token_space.check(prepared.manifest, manifest, "The exported model")
  fitting.save(tokenizers, experiment.tokenizers, experiment.corpora, workdir / "tokenizers")
  files.write_json(workdir / "manifest.json", prepared.manifest)
  files.write_json(workdir / FILE, {"longest_input": longest})
  return open_run(experiment, workdir)


def without_data(workdir: Path) -> bool:
  """Returns whether WORKDIR holds an imported run that was not prepared since."""
  return (workdir / FILE).is_file() and not (workdir / "prepare.json").is_file()


def open_run(experiment: Any, workdir: Path) -> Prepared:
  """Returns the Prepared of an imported run, which has no entries and no rows."""
  fitted = fitting.load(experiment.tokenizers, experiment.corpora, workdir / "tokenizers")
  if fitted is None:
    raise DataError(
      f"{workdir / 'tokenizers'} does not hold the tokenizers of experiment {experiment.name!r}, "
      "or holds them damaged. Import the exported folder again."
    )
  prepared = prepare.laid_out(experiment, workdir, workdir / "streams", fitted)
  written = files.read_json(workdir / "manifest.json")
  token_space.check(prepared.manifest, written, f"{workdir / 'manifest.json'}")
  longest = files.read_json(workdir / FILE)["longest_input"]
  return dataclasses.replace(prepared, longest=longest)
