"""The exported folder: files for PyTorch, and files from which `import` restores the run exactly.

docs/export.md lists the files. audiopalm.json, audiopalm.safetensors and the text tokenizer's own
file (text.model, text.tokenizer.json) are for `audiopalm import` only. tokenizers/STREAM has the
files that a tokenizer of the user's own class saves, and its `sources`. variables.safetensors has
the variables of the objective by path ("codebook/counts"), if there are any.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from flax import traverse_util
from safetensors import numpy as arrays_files

from audiopalm import experiment as experiments
from audiopalm.data import files
from audiopalm.data.prepared import Prepared
from audiopalm.errors import CheckpointError, ConfigError, TokenSpaceError
from audiopalm.experiment import Experiment
from audiopalm.exports import speech, standalone, tasks, text_tokenizer
from audiopalm.parts import pytorch
from audiopalm.tokenizers import kept
from audiopalm.tokenizers.base import Fitted
from audiopalm.tokens import space as token_space
from audiopalm.tokens.space import TokenSpace
from audiopalm.version import VERSION

FORMAT = 1
OURS = "audiopalm.json"
MODEL, REST, MANIFEST = "model.safetensors", "audiopalm.safetensors", "manifest.json"
TOKENIZERS, VARIABLES = "tokenizers", "variables.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class ExportedRun:
  """The contents of an exported folder.

  `params` are numpy arrays in the tree of the model, `longest` is the longest input of each task by
  stream, in frames, `variables` are those of the objective (`objectives.base.Objective`).
  """

  experiment: Experiment
  tokenizers: Mapping[str, Fitted]
  manifest: Mapping[str, Any]
  params: Mapping[str, Any]
  step: int
  longest: Mapping[str, Mapping[str, int]]
  variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def check(experiment: Experiment) -> None:
  """Raises ConfigError for an experiment that could not be exported after training."""
  pytorch.check(experiment.model)
  known = (*text_tokenizer.KINDS, *speech.KINDS)
  for tokenizer in map(kept.plain, experiment.tokenizers):
    if type(tokenizer) not in known and not hasattr(tokenizer, "sources"):
      raise ConfigError(
        f"No PyTorch export exists for the tokenizer {tokenizer.stream!r} "
        f"({type(tokenizer).__name__}): an exported folder contains its tokenizers, which may be "
        f"{', '.join(kind.__name__ for kind in known)}, or of a class with `sources`, the files "
        "that run it. Use one of these, or train without export: export=None in the experiment "
        "(--set export=none)."
      )
    if type(tokenizer) in text_tokenizer.KINDS:
      text_tokenizer.check(tokenizer)


def check_new(out: Path) -> None:
  """Raises ConfigError if `out` exists, unless it is an empty folder."""
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    contents = sorted(path.name for path in out.iterdir())[:3] if out.is_dir() else ["a file"]
    raise ConfigError(
      f"{out} is not empty (it holds {', '.join(contents)}), and is not overwritten. Give a folder "
      "that does not exist yet."
    )


def write(out: Path, run: ExportedRun, prepared: Prepared) -> str:
  """Writes the folder atomically; returns the name of the class or file that runs the model."""
  check(run.experiment)
  check_new(out)
  space, experiment = prepared.space, run.experiment
  model = pytorch.of(experiment.model, space)
  tensors, rest = model.tensors(run.params)
  generation = tasks.generation_config(experiment, prepared, run.longest, bool(model.sources))
  with files.replacing(out) as part:
    part.mkdir()
    save_arrays(part / MODEL, tensors, {"format": "pt"})
    save_arrays(part / REST, rest, {})
    arrays, empty = _flat(run.variables)
    if arrays:
      save_arrays(part / VARIABLES, arrays, {})
    config = model.config(space.special("stop"), experiment.data.row_length)
    _write_json(part / "config.json", config)
    _write_json(part / tasks.FILE, generation)
    for source in model.sources:
      shutil.copyfile(source, part / source.name)
    _write_tokenizers(part, run, space)
    files.write_json(part / MANIFEST, run.manifest)
    about = {
      "format": FORMAT,
      "audiopalm": VERSION,
      "model": model.name,
      "step": run.step,
      "manifest_hash": token_space.manifest_hash(token_space.from_manifest(run.manifest)),
      "longest_input": run.longest,
      "variables": sorted(arrays),
      **({"empty_variables": empty} if empty else {}),
      "experiment": json.loads(experiment.to_json()),
    }
    files.write_json(part / OURS, about)
  return model.name


def read(folder: Path, trust: Sequence[str] = ()) -> ExportedRun:
  """Returns the run that `write` wrote, with identical arrays. ConfigError for any other folder, or
  if it needs packages that `trust` does not name; CheckpointError or TokenSpaceError if damaged."""
  about = _read_about(folder)
  experiment = experiments.from_json(json.dumps(about["experiment"]), trust)
  manifest = files.read_json(folder / MANIFEST)
  space = token_space.from_manifest(manifest)
  (tensors, _), (rest, _) = load_arrays(folder / MODEL), load_arrays(folder / REST)
  tokenizers = _read_tokenizers(folder, experiment)
  for name, tokenizer in tokenizers.items():
    if tokenizer.spec.fingerprint != space.streams[name].fingerprint:
      raise TokenSpaceError(
        f"The tokenizer {name!r} in {folder} is not the one the model was trained with: its "
        "fingerprint differs from that in manifest.json. Export the run again."
      )
  params = pytorch.of(experiment.model, space).params(tensors, rest)
  # Older folders have neither variables nor empty dicts.
  leaves = load_arrays(folder / VARIABLES)[0] if about.get("variables") else {}
  leaves |= dict.fromkeys(about.get("empty_variables", ()), traverse_util.empty_node)
  variables = traverse_util.unflatten_dict(leaves, sep="/")
  return ExportedRun(
    experiment, tokenizers, manifest, params, about["step"], about["longest_input"], variables
  )


def _flat(variables: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], list[str]]:
  """Returns the arrays of a tree by path, and the paths of its empty dicts, which have no array."""
  leaves = traverse_util.flatten_dict(variables, keep_empty_nodes=True, sep="/")
  empty = sorted(path for path, leaf in leaves.items() if leaf is traverse_util.empty_node)
  return {path: leaf for path, leaf in leaves.items() if path not in empty}, empty


def _read_about(folder: Path) -> dict[str, Any]:
  if not folder.is_dir():
    raise ConfigError(f"{folder}: no such folder. Give one that `audiopalm export` wrote.")
  if not (folder / OURS).is_file():
    holds = "no config.json"
    if (folder / "config.json").is_file():
      kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
      holds = f"a config.json of model_type {kind!r}"
    raise ConfigError(
      f"{folder} was not written by `audiopalm export`: it has no {OURS} ({holds}). Only exported "
      "runs can be imported, because ids, tasks and tokenizers of other models are unknown."
    )
  about = files.read_json(folder / OURS)
  if about.get("format") != FORMAT:
    raise ConfigError(
      f"{folder} has export format {about.get('format')!r}, this version of audiopalm reads format "
      f"{FORMAT}. Import it with audiopalm {about.get('audiopalm', 'of the same version')}."
    )
  return about


def _write_tokenizers(part: Path, run: ExportedRun, space: TokenSpace) -> None:
  text = token_space.text_stream(space.streams)
  plain = tuple(map(kept.plain, run.experiment.tokenizers))
  names = speech.names(plain)
  for settings in plain:
    stream, tokenizer = settings.stream, run.tokenizers[settings.stream]
    if stream in names:
      save_arrays(part / f"{names[stream]}.safetensors", *speech.pack(tokenizer))
    elif type(settings) in text_tokenizer.KINDS:
      (part / text_tokenizer.own_file(settings)).write_bytes(tokenizer.content)
      if text is not None and stream == text.name:
        for name, value in text_tokenizer.files(tokenizer, space).items():
          _write_json(part / name, value)
    else:  # a tokenizer of the user's own class
      tokenizer.save(part / TOKENIZERS / stream)
      for source in settings.sources:
        shutil.copyfile(source, part / TOKENIZERS / stream / Path(source).name)
  if names:
    standalone.write(part, names.values())


def _read_tokenizers(folder: Path, experiment: Experiment) -> dict[str, Fitted]:
  plain = tuple(map(kept.plain, experiment.tokenizers))
  names = speech.names(plain)
  fitted = {}
  for settings in plain:
    stream = settings.stream
    if stream in names:
      fitted[stream] = speech.unpack(
        settings, *load_arrays(folder / f"{names[stream]}.safetensors")
      )
    elif type(settings) in text_tokenizer.KINDS:
      path = folder / text_tokenizer.own_file(settings)
      if not path.is_file():
        raise CheckpointError(f"{path} is missing. Export the run again, or copy the folder again.")
      fitted[stream] = settings.fitted(path.read_bytes())
    else:
      fitted[stream] = settings.load(folder / TOKENIZERS / stream)
  return fitted


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
  """Writes a `.safetensors` file; `texts` are its metadata."""
  whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
  arrays_files.save_file(whole, path, dict(texts))
  path.chmod(0o644)  # safetensors makes it readable for its owner only


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """Returns (arrays, metadata); CheckpointError for a missing, truncated or damaged file."""
  try:
    with safetensors.safe_open(path, "numpy") as file:
      return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
  except (OSError, safetensors.SafetensorError) as error:
    raise CheckpointError(
      f"{path} is missing or damaged ({error}). Export the run again, or copy the folder again."
    ) from error


def _write_json(path: Path, value: object) -> None:
  path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
