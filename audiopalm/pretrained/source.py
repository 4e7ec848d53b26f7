"""Reads a text model in a Hugging Face folder as a decoder, to start a speech-text model from it.

    config.json           settings, text_rows            read by models/pytorch/families.py
    model*.safetensors    parameters                     named by models/pytorch/torch_names.py

models/pytorch/tensors.py reads the files of tensors, tokenizers/pretrained.py the tokenizer.
"""

import dataclasses
import functools
import re
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiopalm.errors import CheckpointError
from audiopalm.models.base import LanguageModel, ModelSettings
from audiopalm.models.pytorch import families, fields, torch_names
from audiopalm.models.pytorch.fields import CONFIG
from audiopalm.models.pytorch.tensors import DTYPES, SINGLE_FILE, Tensors
from audiopalm.tokenizers import pretrained as tokenizers
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

# (prefix instead of "model.", name of the head): of a text model, of one without a head, and of
# multimodal models as named by transformers 4 and 5.
NAMES = (
  ("model.", torch_names.HEAD),
  ("", torch_names.HEAD),
  ("language_model.model.", "language_model.lm_head.weight"),
  ("model.language_model.", torch_names.HEAD),
)
# Tensors outside the text model: other towers, and buffers that old versions stored.
IGNORED = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.|.*\.rotary_emb\.inv_freq$")
BLOCK_BYTES = 2**18


def open(folder: str | Path) -> "PretrainedModel":
  """Returns the text model in a folder, after checking names, dtypes and shapes of its tensors.

  Reads no tensors. ConfigError if config.json is missing or describes no `Decoder`, CheckpointError
  if the tensors do not match it.
  """
  folder = Path(folder)
  settings, rows = described(folder)
  model = PretrainedModel(folder, settings, rows, Tensors(folder))
  model.check()
  return model


def described(folder: str | Path) -> tuple[ModelSettings, int]:
  """Returns (settings, vocabulary size) from the config.json of a folder; ConfigError if it is
  missing or describes no `Decoder`."""
  path = Path(folder) / CONFIG
  expected = (
    f"the folder of a text model as transformers saves it, with {CONFIG}, {SINGLE_FILE} and "
    f"{' or '.join(tokenizers.FILES)}"
  )
  config = fields.read(path, expected)
  return families.settings(config, path), families.rows(config, path)


@dataclasses.dataclass(frozen=True, eq=False)
class PretrainedModel:
  """A text model; `text_rows` is the number of rows of its embedding without padding."""

  folder: Path
  settings: ModelSettings
  text_rows: int
  tensors: Tensors

  def space(self, stream: str = "text") -> token_space.TokenSpace:
    """Returns its token space, with the same tokenizer fingerprint as in a run; ConfigError if the
    folder has no tokenizer."""
    tokenizer = tokenizers.in_folder(self.folder, self.text_rows, stream).read()
    return _space_of(tokenizer.spec)

  @functools.cached_property
  def model(self) -> LanguageModel:
    """The text model without speech."""
    text = StreamSpec("text", "text", (self.text_rows,), None, "")
    return self.settings.build(_space_of(text))

  def params(self, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Returns the parameters as float32 on the mesh; padding rows of embedding and head are zero.

    Each process reads only the shards of its devices, one array of the tree at a time.
    """
    return jax.tree_util.tree_map_with_path(
      lambda path, shape: self._placed(tuple(step.key for step in path), shape),
      self.model.shapes(mesh),
    )

  def check(self) -> None:
    """Raises CheckpointError, listing them, if any tensors do not match the settings."""
    names = self._names
    shapes = torch_names.shapes(self.settings, self.text_rows, tied=self.settings.tied)
    stored = self.tensors.stored
    actual = {
      name: f"{dtype} {shape}" for name, (dtype, shape) in stored.items() if not IGNORED.match(name)
    }
    expected = {}
    for name, shape in shapes.items():
      dtype, _ = stored.get(names[name], ("float32", None))
      allowed = dtype if dtype in DTYPES.values() else "float32, bfloat16 or float16"
      expected[names[name]] = f"{allowed} {shape}"
    head = actual.pop(names[torch_names.HEAD], None) if self.settings.tied else None
    lines = torch_names.differences(actual, expected)
    if lines:
      raise CheckpointError(
        f"The tensors in {self.folder} do not match its {CONFIG}:\n{lines}\nCopy the folder again, "
        "or save the model again with transformers."
      )
    if head is not None:
      self._check_head(head, actual[names[torch_names.EMBED]])

  def _check_head(self, head: str, table: str) -> None:
    """Raises CheckpointError for a stored head that is tied but differs from the embedding."""
    stored = [self._names[name] for name in (torch_names.EMBED, torch_names.HEAD)]
    all_rows = (slice(0, self.text_rows),)
    tables = (self.tensors.read(name, all_rows).tobytes() for name in stored)
    if head != table or next(tables) != next(tables):
      raise CheckpointError(
        f"{self.folder / CONFIG} ties the output head to the embedding (tie_word_embeddings), but "
        f"{stored[1]} ({head}) differs from {stored[0]} ({table}). Save the model again with the "
        "config it was trained with."
      )

  @functools.cached_property
  def _names(self) -> dict[str, str]:
    """{name in models/pytorch/torch_names.py: name in this folder} of the tensors."""
    stored = self.tensors.stored
    tail = torch_names.EMBED.removeprefix("model.")
    prefix, head = next((pair for pair in NAMES if f"{pair[0]}{tail}" in stored), NAMES[0])
    names = torch_names.shapes(self.settings, self.text_rows, tied=False)
    return {name: prefix + name.removeprefix("model.") for name in names} | {torch_names.HEAD: head}

  def _placed(self, path: tuple[str, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
    shards = {}

    def shard(index: tuple[slice, ...]) -> np.ndarray:
      ends = tuple(axis.indices(size)[:2] for axis, size in zip(index, shape.shape, strict=True))
      if ends not in shards:  # replicas share one copy
        shards[ends] = self._read(path, tuple(slice(*pair) for pair in ends))
      return shards[ends]

    # Waits, so that only one array of the tree is in host memory at a time.
    return jax.block_until_ready(jax.make_array_from_callback(shape.shape, shape.sharding, shard))

  def _read(self, path: tuple[str, ...], part: tuple[slice, ...]) -> np.ndarray:
    """Returns a part of a parameter array as float32."""
    array = np.zeros([axis.stop - axis.start for axis in part], np.float32)
    if path[0] == "layers":
      inner, block = path[1:], self.settings.block
      name, shape = (of(block)[inner] for of in (torch_names.layer_names, torch_names.layer_shapes))
      stored_part = torch_names.place_of(part[1:], inner, shape)

      def read_layer(number: int) -> None:
        tensor = self._names[torch_names.layer(part[0].start + number, name)]
        stored = self.tensors.read(tensor, stored_part)
        _copy(torch_names.restored(stored, inner, array.shape[1:]), array[number])

      with futures.ThreadPoolExecutor() as pool:
        list(pool.map(read_layer, range(len(array))))
      return array
    name = {"embed": torch_names.EMBED, "head": torch_names.HEAD, "norm": torch_names.NORM}[path[0]]
    if path[0] != "norm":
      part = (slice(part[0].start, min(part[0].stop, self.text_rows)), *part[1:])
    if part[0].start < part[0].stop:
      array[: part[0].stop - part[0].start] = self.tensors.read(self._names[name], part)
    return array


def _space_of(text: StreamSpec) -> token_space.TokenSpace:
  ranges = (token_space.Range(0, text.name, 0, 0, text.sizes[0]),)
  return token_space.TokenSpace(1, ranges, (), {}, {text.name: text}, {})


def _copy(transposed: np.ndarray, target: np.ndarray) -> None:
  """Copies a transposed view in blocks that fit the cache, ten times as fast as one copy."""
  axis = int(np.argmax(transposed.strides))
  step = max(1, BLOCK_BYTES // transposed.strides[axis])
  for start in range(0, transposed.shape[axis], step):
    block = (slice(None),) * axis + (slice(start, start + step),)
    target[block] = transposed[block].astype(np.float32)
