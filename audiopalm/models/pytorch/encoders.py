"""Opens a published speech encoder in a Hugging Face folder.

config.json, preprocessor_config.json      settings        encoder_names.py
model*.safetensors or pytorch_model*.bin   parameters      encoder_names.py, tensors.py

encoder = encoders.open(folder, layer=9)
hidden_TD = encoder.encode(wave_S)         # 16 kHz; encoder.rate_hz states a second
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from audiopalm.errors import CheckpointError
from audiopalm.models.base import Params
from audiopalm.models.encoder import check_layer
from audiopalm.models.frozen_encoder import FrozenEncoder
from audiopalm.models.pytorch import encoder_names, fields, torch_names
from audiopalm.models.pytorch.tensors import DTYPES, SINGLE_FILE, Tensors

EXPECTED = (
  "the folder of a speech encoder as transformers saves it, with "
  f"{fields.CONFIG}, {encoder_names.PROCESSOR} and model.safetensors"
)
CARD = "README.md"
RATE_HZ = 16_000
LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md")


def open(
  folder: str | Path,
  layer: int | None = None,
  window_s: float | None = None,
  *,
  whole: bool = True,
) -> "PretrainedEncoder":
  """Returns the encoder in a folder; checks names, types and shapes of its tensors, reads none.

  Its states are those after `layer` layers, by default the last; later ones are neither read nor
  computed. `window_s` shortens Whisper's window of 30 s (`fronts.LogMels`), at the price of other
  states than the published encoder gives. `whole` False opens what `PretrainedEncoder.save` wrote,
  which lacks the later layers. ConfigError where the folder describes no encoder that is
  computed here, CheckpointError where its tensors do not match.
  """
  folder = Path(folder)
  config = fields.read(folder / fields.CONFIG, EXPECTED)
  processor = fields.read(folder / encoder_names.PROCESSOR, EXPECTED)
  settings = encoder_names.settings(config, processor, folder / fields.CONFIG, window_s)
  layer = settings.block.layers if layer is None else layer
  check_layer(settings, layer)
  encoder = PretrainedEncoder(folder, settings, layer, Tensors(folder))
  encoder.check(settings.block.layers if whole else layer)
  return encoder


def has_torch() -> bool:
  """Returns whether PyTorch and transformers are installed, which `published` needs."""
  return all(importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))


def published(folder: str | Path) -> tuple[Callable[[np.ndarray], Any], Any]:
  """Returns (wave_S -> inputs, the encoder) of transformers with PyTorch, to compare with. Tensors
  that the folder lacks are random."""
  import transformers

  processor = json.loads((Path(folder) / encoder_names.PROCESSOR).read_text(encoding="utf-8"))
  model = transformers.AutoModel.from_pretrained(folder).eval()
  if model.config.model_type == "whisper":
    extractor, model = transformers.WhisperFeatureExtractor(**processor), model.encoder
  elif model.config.model_type == "wav2vec2-bert":
    extractor = transformers.SeamlessM4TFeatureExtractor(**processor)
  else:
    extractor = transformers.Wav2Vec2FeatureExtractor(**processor)
  return lambda wave_S: extractor(wave_S, sampling_rate=RATE_HZ, return_tensors="pt"), model


def published_states(folder: str | Path, layer: int) -> Callable[[np.ndarray], np.ndarray]:
  """Returns wave_S -> hidden_TD after `layer` layers of what `published` returns."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()  # of the tensors that a copy lacks
  transformers.logging.disable_progress_bar()
  extract, model = published(folder)
  stack = getattr(model, "encoder", model)
  stack.layers = stack.layers[:layer]

  @torch.inference_mode()
  def states(wave_S: np.ndarray) -> np.ndarray:
    return model(**extract(wave_S)).last_hidden_state[0].numpy()

  return states


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainedEncoder(FrozenEncoder):
  """A published encoder, and the files with its tensors."""

  tensors: Tensors

  @functools.cached_property
  def params(self) -> Params:
    outside = {name: tree for name, tree in self.model.arrays.items() if name != "layers"}
    layer = {"layers": self.model.arrays["layers"]}

    def read(tree: Params, number: int) -> Params:
      return jax.tree_util.tree_map_with_path(
        lambda path, _: jnp.asarray(self._array(tuple(step.key for step in path), number)), tree
      )

    apart = [read(layer, number)["layers"] for number in range(self.layer)]
    return {**read(outside, 0), "layers": tuple(apart)}

  @functools.cached_property
  def fingerprint(self) -> str:
    """SHA-256 of the settings, the layer and the tensors in use, as float32 under the encoder's own
    names: the same where prefix, file type or float type differ and the values do not."""
    digest = hashlib.sha256(f"{self.settings} {self.layer}".encode())
    for path in self._origins:
      for names in self._names(path, self.layer):
        for name in names:
          tensor = np.asarray(self.tensors.read(name), np.float32)
          digest.update("/".join(path).encode() + tensor.tobytes())
    return digest.hexdigest()

  @property
  def license_note(self) -> str | None:
    """What the folder says about its license: that of its model card, else the first line of its
    license file; None where it says nothing."""
    card = self.folder / CARD
    if card.is_file():
      text = card.read_text(encoding="utf-8", errors="replace")
      declared = re.search(r"\A---\n(?:.*\n)*?license:\s*(\S.*)", text)
      if declared:
        return f"{declared[1].strip()} ({CARD})"
    for name in LICENSES:
      if (self.folder / name).is_file():
        lines = (self.folder / name).read_text(encoding="utf-8", errors="replace").split("\n")
        first = next((line.strip() for line in lines if line.strip()), "empty")
        return f"{first} ({name})"
    return None

  def save(self, folder: Path) -> None:
    """Writes what the states depend on, as `open` reads it with `whole` False: the JSON files, the
    tensors in use as float32, and what the folder says about its license."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (fields.CONFIG, encoder_names.PROCESSOR, CARD, *LICENSES):
      if (self.folder / name).is_file():
        shutil.copyfile(self.folder / name, folder / name)
    in_use = (names for path in self._origins for names in self._names(path, self.layer))
    arrays = {
      name: np.ascontiguousarray(self.tensors.read(name), np.float32)
      for names in in_use
      for name in names
    }
    if broken := [name for name, array in arrays.items() if not np.isfinite(array).all()]:
      raise CheckpointError(
        f"{len(broken)} tensors in {self.folder} have values that are not finite, the first is "
        f"{broken[0]}. Copy the folder again."
      )
    path = folder / SINGLE_FILE
    safetensors.save_file(arrays, path)
    # safetensors lets nobody else read its file: give it the mode of the settings beside it.
    path.chmod((folder / fields.CONFIG).stat().st_mode & 0o666)

  def check(self, layers: int) -> None:
    """Raises CheckpointError that lists tensors which do not match so many layers."""
    stored = self.tensors.stored
    actual = {
      name: f"{dtype} {shape}"
      for name, (dtype, shape) in stored.items()
      if not encoder_names.IGNORED.match(name)
    }
    expected = {}
    for path, origin in self._origins.items():
      for names in self._names(path, layers):
        for name, shape in zip(names, origin.shapes.values(), strict=True):
          dtype, _ = stored.get(name, ("float32", None))
          allowed = dtype if dtype in DTYPES.values() else "float32, bfloat16 or float16"
          expected[name] = f"{allowed} {shape}"
    lines = torch_names.differences(actual, expected)
    if lines:
      raise CheckpointError(
        f"The tensors in {self.folder} do not match its {fields.CONFIG}:\n{lines}\nCopy the folder "
        "again, or save the model again with transformers."
      )

  @functools.cached_property
  def _prefix(self) -> str:
    """What precedes the encoder's own names."""
    stored, probes = self.tensors.stored, encoder_names.PROBES
    return next(
      (
        prefix
        for prefix in encoder_names.PREFIXES
        if any(f"{prefix}{probe}" in stored for probe in probes)
      ),
      "",
    )

  @functools.cached_property
  def _origins(self) -> dict[encoder_names.Keys, encoder_names.Origin]:
    old_norm = any(name.endswith(".weight_g") for name in self.tensors.stored)
    return encoder_names.origins(self.settings, old_norm)

  def _names(self, path: encoder_names.Keys, layers: int) -> list[list[str]]:
    """Returns the names of an array's tensors, in one list for each layer it is in."""
    numbers = range(layers) if path[0] == "layers" else range(1)
    return [self._names_in(path, number) for number in numbers]

  def _names_in(self, path: encoder_names.Keys, number: int) -> list[str]:
    return [self._prefix + name.format(number) for name in self._origins[path].shapes]

  def _array(self, path: encoder_names.Keys, number: int) -> np.ndarray:
    """Returns an array of ours, of layer `number` where it is in all layers."""
    names = self._names_in(path, number)
    tensors = (self.tensors.read(name).astype(np.float32) for name in names)
    return self._origins[path].convert(*tensors)
