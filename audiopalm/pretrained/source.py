"""A text model in a Hugging Face folder, as a decoder: where a speech-text model can start.

    config.json           settings, text_rows            read by models/pytorch/families.py
    model*.safetensors    params, part by part           named by models/pytorch/torch_names.py

Its tokenizer is read by tokenizers/pretrained.py.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiopalm.errors import CheckpointError, ConfigError
from audiopalm.models.base import LanguageModel, ModelSettings
from audiopalm.models.pytorch import families, torch_names
from audiopalm.pretrained import tensors
from audiopalm.tokenizers import pretrained as tokenizers
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

CONFIG = "config.json"
# What stands for "model." in the names of the text model, and its head: of a model for text, of one
# without a head, of a multimodal one, of a multimodal one as transformers 5 may name it.
NAMES = (
  ("model.", torch_names.HEAD),
  ("", torch_names.HEAD),
  ("language_model.model.", "language_model.lm_head.weight"),
  ("model.language_model.", torch_names.HEAD),
)
# What is no part of the text model: towers beside it, and what old versions stored.
OTHERS = re.compile(r"(model\.)?(vision_tower|multi_modal_projector)\.|.*\.rotary_emb\.inv_freq$")
BLOCK_BYTES = 2**18


def open(folder: str | Path) -> "Source":
  """Returns the text model of a folder, its tensors checked by name, type and shape but not read.

  ConfigError where config.json is not there or describes what a `Decoder` is not, CheckpointError
  where the tensors are not those of its config.json.
  """
  folder = Path(folder)
  settings, rows = described(folder)
  source = Source(folder, settings, rows, tensors.Tensors(folder))
  source.check()
  return source


def described(folder: str | Path) -> tuple[ModelSettings, int]:
  """Returns (settings, rows of the vocabulary) of a folder; ConfigError without either."""
  path = Path(folder) / CONFIG
  if not path.is_file():
    raise ConfigError(
      f"{folder} has no {CONFIG}. Expected the folder of a text model as transformers saves it, "
      f"with {CONFIG}, {tensors.ONE} and {' or '.join(tokenizers.FILES)}."
    )
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise ConfigError(f"{path} is no JSON ({error}). Copy the folder again.") from error
  if not isinstance(config, Mapping):
    raise ConfigError(f"{path} holds {type(config).__name__}, expected an object of settings.")
  return families.settings(config, path), families.rows(config, path)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
  """A text model; its tables have `text_rows` rows, those that pad them are not counted."""

  folder: Path
  settings: ModelSettings
  text_rows: int
  tensors: tensors.Tensors

  def space(self, stream: str = "text") -> token_space.TokenSpace:
    """Returns the ids of its text, with the fingerprint that a run has for its tokenizer;
    ConfigError where the folder has none."""
    tokenizer = tokenizers.in_folder(self.folder, self.text_rows, stream).read()
    return _space_of(tokenizer.spec)

  @functools.cached_property
  def model(self) -> LanguageModel:
    """The text model by itself."""
    text = StreamSpec("text", "text", (self.text_rows,), None, "")
    return self.settings.build(_space_of(text))

  def params(self, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """Returns the parameters, float32, on the mesh; rows that pad the tables are zero.

    Each process reads what its devices hold, one array of the tree after another.
    """
    return jax.tree_util.tree_map_with_path(
      lambda path, shaped: self._placed(tuple(step.key for step in path), shaped),
      self.model.shapes(mesh),
    )

  def check(self) -> None:
    """Raises CheckpointError, listing them, for tensors that are not those of the settings."""
    names = self._names
    shapes = torch_names.shapes(self.settings, self.text_rows, tied=self.settings.tied)
    stored = self.tensors.stored
    found = {
      name: f"{kind} {shape}" for name, (kind, shape) in stored.items() if not OTHERS.match(name)
    }
    expected = {}
    for name, shape in shapes.items():
      kind, _ = stored.get(names[name], ("float32", None))
      exact = kind if kind in tensors.EXACT.values() else "float32, bfloat16 or float16"
      expected[names[name]] = f"{exact} {shape}"
    head = found.pop(names[torch_names.HEAD], None) if self.settings.tied else None
    lines = torch_names.differences(found, expected)
    if lines:
      raise CheckpointError(
        f"The tensors in {self.folder} are not those of its {CONFIG}:\n{lines}\nCopy the folder "
        "again, or save the model again with transformers."
      )
    if head is not None:
      self._check_head(head, found[names[torch_names.EMBED]])

  def _check_head(self, head: str, table: str) -> None:
    """Raises CheckpointError for a head that is stored though tied, and is not the embedding."""
    stored = [self._names[name] for name in (torch_names.EMBED, torch_names.HEAD)]
    all_rows = (slice(0, self.text_rows),)
    tables = (self.tensors.read(name, all_rows).tobytes() for name in stored)
    if head != table or next(tables) != next(tables):
      raise CheckpointError(
        f"{self.folder / CONFIG} ties the output head to the embedding (tie_word_embeddings), but "
        f"{stored[1]} ({head}) is another table than {stored[0]} ({table}). Save the model again "
        "with the config it was trained with."
      )

  @functools.cached_property
  def _names(self) -> dict[str, str]:
    """What the tensors of models/pytorch/torch_names.py are called in this folder."""
    stored = self.tensors.stored
    tail = torch_names.EMBED.removeprefix("model.")
    body, head = next((pair for pair in NAMES if f"{pair[0]}{tail}" in stored), NAMES[0])
    ours = torch_names.shapes(self.settings, self.text_rows, tied=False)
    return {name: body + name.removeprefix("model.") for name in ours} | {torch_names.HEAD: head}

  def _placed(self, path: tuple[str, ...], shaped: jax.ShapeDtypeStruct) -> jax.Array:
    parts = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
      ends = tuple(one.indices(size)[:2] for one, size in zip(index, shaped.shape, strict=True))
      if ends not in parts:  # devices that hold the same share it
        parts[ends] = self._read(path, tuple(slice(*pair) for pair in ends))
      return parts[ends]

    # Waits, so that the host holds no more than one array of the tree at a time.
    return jax.block_until_ready(jax.make_array_from_callback(shaped.shape, shaped.sharding, part))

  def _read(self, path: tuple[str, ...], part: tuple[slice, ...]) -> np.ndarray:
    """Returns a part of one of our arrays, float32."""
    found = np.zeros([one.stop - one.start for one in part], np.float32)
    if path[0] == "layers":
      inner, width = path[1:], self.settings.head_width
      name = dict(torch_names.layer_names(self.settings))[inner]
      where = torch_names.there(part[1:], inner, width)

      def read_layer(place: int) -> None:
        tensor = self._names[torch_names.layer(part[0].start + place, name)]
        theirs = self.tensors.read(tensor, where)
        _copy(torch_names.turned_back(theirs, inner, width), found[place])

      with futures.ThreadPoolExecutor() as pool:
        list(pool.map(read_layer, range(len(found))))
      return found
    name = {"embed": torch_names.EMBED, "head": torch_names.HEAD, "norm": torch_names.NORM}[path[0]]
    if path[0] != "norm":
      part = (slice(part[0].start, min(part[0].stop, self.text_rows)), *part[1:])
    if part[0].start < part[0].stop:
      found[: part[0].stop - part[0].start] = self.tensors.read(self._names[name], part)
    return found


def _space_of(text: StreamSpec) -> token_space.TokenSpace:
  ranges = (token_space.Range(0, text.name, 0, 0, text.sizes[0]),)
  return token_space.TokenSpace(1, ranges, (), {}, {text.name: text}, {})


def _copy(turned: np.ndarray, into: np.ndarray) -> None:
  """Copies a transposed view block by block, ten times as fast as in one go: what is read and what
  is written stay in the cache."""
  axis = int(np.argmax(turned.strides))
  step = max(1, BLOCK_BYTES // turned.strides[axis])
  for start in range(0, turned.shape[axis], step):
    block = (slice(None),) * axis + (slice(start, start + step),)
    into[block] = turned[block].astype(np.float32)
