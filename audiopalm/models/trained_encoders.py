"""Opens the encoder that a run trained, in its workdir or in a copy.

WORKDIR/config.json, checkpoints/      the newest checkpoint of a run with a `SpeechEncoder`
COPY/encoder.json, model.safetensors   settings, and the arrays of the layers in use
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from audiopalm import bits, runs, stored, values
from audiopalm.errors import CheckpointError, ConfigError
from audiopalm.models import encoder as encoders
from audiopalm.models.base import Params
from audiopalm.models.frozen_encoder import FrozenEncoder
from audiopalm.models.speech_encoder import SpeechEncoder
from audiopalm.nn import transformer
from audiopalm.sharding import name_of

RECORD, ARRAYS = "encoder.json", "model.safetensors"
KIND = f"{SpeechEncoder.__module__}.{SpeechEncoder.__qualname__}"


def holds(folder: Path) -> bool:
  """Returns whether a folder is one that `open` takes, not one of a published encoder."""
  if (folder / RECORD).is_file():
    return True
  return (folder / runs.CONFIG).is_file() and runs.holds(str(folder))


def open(folder: Path, layer: int | None = None) -> "TrainedEncoder":
  """Returns the encoder in the workdir of a run, as its newest checkpoint has it, or in a copy.

  Its states are those after `layer` layers, by default the last. ConfigError for a run of another
  model, and for a layer that is not there; CheckpointError where nothing was trained yet, and for
  arrays that are not what was saved.
  """
  if (folder / RECORD).is_file():
    settings, checkpoint = values.from_json((folder / RECORD).read_text(encoding="utf-8")), None
  else:
    settings, checkpoint = _of_run(folder)
  if not isinstance(settings, encoders.Encoder):
    raise ConfigError(f"{folder / RECORD} describes {values.a(settings)}, expected an Encoder.")
  layer = settings.block.layers if layer is None else layer
  encoders.check_layer(settings, layer)
  return TrainedEncoder(folder, settings, layer, checkpoint)


def _of_run(workdir: Path) -> tuple[encoders.Encoder, Path]:
  """Returns (settings, the folder of the checkpoint)."""
  model = json.loads(runs.config(workdir)).get("model", {})
  if model.get("class") != KIND:
    raise ConfigError(
      f"The run in {workdir} has a model of class {str(model.get('class')).rpartition('.')[2]}, "
      "expected one that trains a speech encoder, models.speech_encoder(...): configs/systems has "
      "wav2vec2, hubert, wavlm, w2v_bert and best_rq."
    )
  newest = runs.newest(workdir)
  if newest is None:
    raise CheckpointError(
      f"The run in {workdir} has no checkpoint yet, so its encoder is not trained. Train it first: "
      f"audiopalm train CONFIG --workdir {workdir}"
    )
  settings = values.from_json(json.dumps(model["encoder"]))
  return settings, workdir.absolute() / runs.CHECKPOINTS / str(newest["step"])  # Orbax insists


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedEncoder(FrozenEncoder):
  """An encoder of ours, in a `checkpoint` of a run or, without one, in a copy."""

  checkpoint: Path | None

  @functools.cached_property
  def params(self) -> Params:
    arrays = jax.tree.map(jnp.asarray, self._arrays)
    return {**arrays, "layers": transformer.unstacked(arrays["layers"]) if self.layer else ()}

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of the settings, the layer and the arrays in use."""
    digest = hashlib.sha256(f"{values.stable_repr(self.settings)} {self.layer}".encode())
    for name, array in _named(self._arrays).items():
      digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()

  def save(self, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(values.to_json(self.settings), encoding="utf-8")
    safetensors.save_file(_named(self._arrays), folder / ARRAYS)
    # safetensors lets nobody else read its file: give it the mode of the settings beside it.
    (folder / ARRAYS).chmod((folder / RECORD).stat().st_mode & 0o666)

  @functools.cached_property
  def _arrays(self) -> Params:
    """The arrays that the states depend on, stacked over layers, in numpy."""
    read = self._of_copy() if self.checkpoint is None else self._of_checkpoint(self.checkpoint)
    expected = _abstract(self.model.arrays, self.layer)
    wrong = [
      f"{name}: {read[name].shape if name in read else 'nothing'}, expected {shape.shape}"
      for name, shape in _named(expected).items()
      if name not in read or read[name].shape != shape.shape
    ]
    if wrong:
      raise CheckpointError(
        f"The arrays in {self.folder} do not match its settings:\n  "
        + "\n  ".join(wrong[:12])
        + "\nCopy the folder again."
      )
    return jax.tree_util.tree_map_with_path(lambda path, _: read[name_of(path)], expected)

  def _of_copy(self) -> dict[str, np.ndarray]:
    try:
      return safetensors.load_file(self.folder / ARRAYS)
    except (OSError, ValueError, SafetensorError) as error:
      raise CheckpointError(f"{self.folder / ARRAYS} cannot be read: {error}") from error

  def _of_checkpoint(self, checkpoint: Path) -> dict[str, np.ndarray]:
    place = checkpoint / "params"
    on_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
      lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=on_device),
      stored.described(place),
    )
    tree = stored.read(place, shapes)
    saved = runs.fields(checkpoint)["sums"]["params"]
    if wrong := bits.differing(saved, bits.sums(tree)):
      raise CheckpointError(
        f"{len(wrong)} arrays in {checkpoint} are not what was saved: {', '.join(wrong[:3])}. "
        "Restore it from a copy, or remove it to take an older one."
      )
    arrays = encoders.cut(jax.device_get(tree["encoder"]), self.layer)
    return _named(arrays)


def _named(tree: Params) -> dict[str, Any]:
  """Returns {path: array}, sorted by path; arrays as they lie in a row."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  named = {name_of(path): leaf for path, leaf in leaves}
  return {
    name: np.ascontiguousarray(leaf) if isinstance(leaf, np.ndarray) else leaf
    for name, leaf in sorted(named.items())
  }


def _abstract(arrays: Mapping[str, Any], layer: int) -> Params:
  """Returns shapes with the first `layer` layers alone."""

  def of_layers(shape: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((layer, *shape.shape[1:]), shape.dtype)

  return {**arrays, "layers": jax.tree.map(of_layers, arrays["layers"])}
