"""A decoder over grids of tokens in plain PyTorch: one file that runs the folder it is in.

    import torch_decoder
    model = torch_decoder.load("exported")           # an nn.Module, float32
    logits = model(tokens_BLK)                       # a list: [B, L, V] for each column
    tokens_LK = model.generate(prompt_LK, "tts")     # greedy decoding with the plan of the task

Letters: B batch, L row, K column, D model, N query head, H head width. A cell is an id of its
column, -1 where there is none. It needs torch and safetensors; audiopalm wrote it (Apache-2.0) and
is not needed to use it.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

PREDICT, COPY, GIVEN, TIED = 0, 2, 3, 4  # what a plan says of a cell; 1 is a hole
FIRST, GROW, DROP = 1, 2, 3  # what a plan does with its count of frames

Config = Mapping[str, Any]  # what a JSON file of the folder holds
Rotation = tuple[torch.Tensor, torch.Tensor]  # cosines and sines of the angles of all rows
LayerCache = dict[str, torch.Tensor]  # the keys and values of the rows before, of one layer
Cells = torch.Tensor | Sequence  # ids, also as nested lists or as a numpy array


def load(folder: str | os.PathLike) -> "TorchDecoder":
  """Returns the TorchDecoder of an exported folder, ready to run."""
  folder = Path(folder)
  config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
  model = TorchDecoder(
    config, json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
  )
  model.load_state_dict(load_file(folder / "model.safetensors"))
  return model.eval()


class Norm(nn.Module):
  def __init__(self, width: int, config: Config):
    super().__init__()
    self.weight = nn.Parameter(torch.ones(width))
    self.eps, self.offset = config["norm_eps"], config["norm_offset"]

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
    return (wide * (self.weight + 1 if self.offset else self.weight)).to(x.dtype)


class TorchAttention(nn.Module):
  def __init__(self, config: Config):
    super().__init__()
    width, self.head_width = config["width"], config["head_width"]
    wide, narrow = config["heads"] * self.head_width, config["kv_heads"] * self.head_width
    bias = config["qkv_bias"]
    self.q_proj = nn.Linear(width, wide, bias=bias)
    self.k_proj = nn.Linear(width, narrow, bias=bias)
    self.v_proj = nn.Linear(width, narrow, bias=bias)
    self.o_proj = nn.Linear(wide, width, bias=False)
    if config["qk_norm"]:
      self.q_norm, self.k_norm = Norm(self.head_width, config), Norm(self.head_width, config)
    self.normed, self.softcap = config["qk_norm"], config["attention_softcap"]
    self.groups, self.scale = config["heads"] // config["kv_heads"], config["query_scale"]

  def forward(
    self,
    x: torch.Tensor,
    rotation: Rotation | None,
    mask_BLJ: torch.Tensor,
    cache: LayerCache | None,
  ) -> torch.Tensor:
    query, key, value = (
      project(x).unflatten(-1, (-1, self.head_width))
      for project in (self.q_proj, self.k_proj, self.v_proj)
    )
    if self.normed:
      query, key = self.q_norm(query), self.k_norm(key)
    if rotation is not None:
      query, key = rotate(query, rotation), rotate(key, rotation)
    query = query * self.scale
    if cache is not None:  # a dict of the keys and values of the rows before
      if cache:
        key, value = torch.cat([cache["key"], key], 1), torch.cat([cache["value"], value], 1)
      cache.update(key=key, value=value)
    key, value = (part.repeat_interleave(self.groups, dim=2) for part in (key, value))
    scores = torch.einsum("blnh,bjnh->bnlj", query, key).float()
    if self.softcap is not None:
      scores = self.softcap * torch.tanh(scores / self.softcap)
    weights = scores.masked_fill(~mask_BLJ[:, None], -1e30).softmax(-1).to(x.dtype)
    return self.o_proj(torch.einsum("bnlj,bjnh->blnh", weights, value).flatten(-2))


class TorchMLP(nn.Module):
  def __init__(self, config: Config):
    super().__init__()
    self.gate_proj = nn.Linear(config["width"], config["hidden"], bias=False)
    self.up_proj = nn.Linear(config["width"], config["hidden"], bias=False)
    self.down_proj = nn.Linear(config["hidden"], config["width"], bias=False)
    self.silu = config["activation"] == "silu"

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    gate = self.gate_proj(x)
    gate = functional.silu(gate) if self.silu else functional.gelu(gate, approximate="tanh")
    return self.down_proj(gate * self.up_proj(x))


class Layer(nn.Module):
  def __init__(self, config: Config):
    super().__init__()
    width = config["width"]
    self.parallel, self.post_norms = config["parallel_block"], config["post_norms"]
    self.self_attn, self.mlp = TorchAttention(config), TorchMLP(config)
    self.input_layernorm = Norm(width, config)
    if self.post_norms:
      self.post_feedforward_layernorm = Norm(width, config)
      if not self.parallel:
        self.pre_feedforward_layernorm = Norm(width, config)
    if self.post_norms or not self.parallel:
      self.post_attention_layernorm = Norm(width, config)

  def forward(
    self,
    x: torch.Tensor,
    rotation: Rotation | None,
    mask_BLJ: torch.Tensor,
    cache: LayerCache | None,
  ) -> torch.Tensor:
    normed = self.input_layernorm(x)
    branch = self.self_attn(normed, rotation, mask_BLJ, cache)
    x = x + (self.post_attention_layernorm(branch) if self.post_norms else branch)
    if not self.parallel:
      # The two families put the norm before the MLP under different names.
      before = self.pre_feedforward_layernorm if self.post_norms else self.post_attention_layernorm
      normed = before(x)
    branch = self.mlp(normed)
    return x + (self.post_feedforward_layernorm(branch) if self.post_norms else branch)


class Stack(nn.Module):
  def __init__(self, config: Config, rows: int):
    super().__init__()
    self.embed_tokens = nn.Embedding(rows, config["width"])
    self.layers = nn.ModuleList(Layer(config) for _ in range(config["layers"]))
    self.norm = Norm(config["width"], config)


class TorchDepthHead(Stack):
  """What the cells of a row are predicted from: a stack over its columns, each of which sees those
  before it."""

  def __init__(self, config: Config):
    super().__init__(config["depth_head"], sum(config["sizes"]))
    self.width, self.columns = config["depth_head"]["width"], len(config["sizes"])
    self.into = nn.Linear(config["width"], self.columns * self.width, bias=False)

  def forward(
    self, x_BLD: torch.Tensor, cells_BLK: torch.Tensor, starts: list[int]
  ) -> torch.Tensor:
    """Returns states [B, L, K, E] of the cells `cells_BLK`, which the rows `x_BLD` predict."""
    before = [x_BLD.new_zeros(*x_BLD.shape[:2], self.width)]
    for column in range(self.columns - 1):
      ids_BL = cells_BLK[..., column]
      rows_BLE = self.embed_tokens(ids_BL.clamp(min=0) + starts[column]) * math.sqrt(self.width)
      before.append(rows_BLE * (ids_BL >= 0)[..., None])
    x = self.into(x_BLD).unflatten(-1, (self.columns, -1)) + torch.stack(before, dim=2)
    mask_1KK = torch.ones(1, self.columns, self.columns, dtype=torch.bool, device=x.device).tril()
    shape = x.shape
    x = x.flatten(0, 1)
    for layer in self.layers:
      x = layer(x, None, mask_1KK, None)
    return self.norm(x).reshape(shape)


class TorchDecoder(nn.Module):
  """`config` is config.json, `generation` generation_config.json."""

  def __init__(self, config: Config, generation: Config | None = None):
    super().__init__()
    self.config, self.generation = config, generation
    self.sizes = config["sizes"]
    self.starts = [sum(self.sizes[:column]) for column in range(len(self.sizes))]
    self.model = Stack(config, sum(self.sizes))
    self.depth = TorchDepthHead(config) if "depth_head" in config else None
    if not config["tied"]:
      width = self.depth.width if self.depth else config["width"]
      self.lm_head = nn.Linear(width, sum(self.sizes), bias=False)
    for number, frequencies in enumerate(layer_frequencies(config)):
      self.register_buffer(f"frequencies_{number}", frequencies, persistent=False)

  def forward(
    self, tokens_BLK: torch.Tensor, visible_BL: torch.Tensor | None = None
  ) -> list[torch.Tensor]:
    """Returns the logits of each column, [B, L, V]: those of row i + 1 in row i.

    Rows of one number above 0 in `visible_BL` see each other both ways; all others see their past.
    With a depth head a column of row i + 1 sees the columns before it, holes after the last row.
    """
    x_BLD = self.hidden(tokens_BLK, visible_BL)
    next_BLK = torch.cat([tokens_BLK[:, 1:], torch.full_like(tokens_BLK[:, :1], -1)], dim=1)
    return self.columns(x_BLD, next_BLK, range(len(self.sizes)))

  def columns(
    self, x_BLD: torch.Tensor, cells_BLK: torch.Tensor, columns: Iterable[int]
  ) -> list[torch.Tensor]:
    """Returns the logits of some columns of the cells that the rows `x_BLD` predict."""
    states = None if self.depth is None else self.depth(x_BLD, cells_BLK, self.starts)
    table_VD = self.model.embed_tokens.weight if self.config["tied"] else self.lm_head.weight
    logits = []
    for column in columns:
      start, size = self.starts[column], self.sizes[column]
      x = x_BLD if states is None else states[:, :, column]
      logits.append(self._capped(functional.linear(x, table_VD[start : start + size]).float()))
    return logits

  def hidden(
    self,
    tokens_BLK: torch.Tensor,
    visible_BL: torch.Tensor | None = None,
    caches: list[LayerCache] | None = None,
    past: int = 0,
  ) -> torch.Tensor:
    """Returns the states of the rows, [B, L, D]; `caches`, a dict for each layer, hold the `past`
    rows before these."""
    x = 0
    for column, start in enumerate(self.starts):
      ids_BL = tokens_BLK[..., column]
      cells_BLD = self.model.embed_tokens(ids_BL.clamp(min=0) + start)
      x = x + cells_BLD * (ids_BL >= 0)[..., None]
    if self.config["embed_scale"]:
      x = x * math.sqrt(self.config["width"])
    rows = torch.arange(past, past + tokens_BLK.shape[1], device=x.device)
    seen = torch.arange(past + tokens_BLK.shape[1], device=x.device)
    behind_LJ = rows[:, None] - seen[None]
    mask_BLJ = (behind_LJ >= 0)[None]
    if visible_BL is not None and not past:
      block_BLJ = (visible_BL[:, :, None] == visible_BL[:, None]) & (visible_BL[:, :, None] > 0)
      mask_BLJ = mask_BLJ | block_BLJ
    for number, layer in enumerate(self.model.layers):
      angles_LH = rows[:, None].float() * getattr(self, f"frequencies_{number}")
      window = self.config["windows"][number]
      near_BLJ = mask_BLJ & (behind_LJ < window)[None] if window else mask_BLJ
      rotation = angles_LH.cos()[:, None], angles_LH.sin()[:, None]
      x = layer(x, rotation, near_BLJ, caches[number] if caches else None)
    return self.model.norm(x)

  def _capped(self, logits: torch.Tensor) -> torch.Tensor:
    cap = self.config["final_softcap"]
    return logits if cap is None else cap * torch.tanh(logits / cap)

  @torch.no_grad()
  def generate(
    self,
    prompt_LK: Cells,
    task: str,
    max_rows: int | None = None,
    frames: int = 0,
    given_LK: Cells | None = None,
    visible_L: Cells | None = None,
  ) -> torch.Tensor:
    """Returns tokens_LK: the prompt and the rows after it, each id the likeliest one allowed.

    `frames` is the length of the prompt's stream that the plan counts ("counted"), `given_LK` what
    stands beside predicted columns, where the plan has such.
    """
    plan = TorchPlan(self.generation["tasks"][task]["plan"], self.generation["classes"], frames)
    limit = self.generation["tasks"][task]["max_new_tokens"] if max_rows is None else max_rows
    tokens_LK = torch.as_tensor(prompt_LK)
    visible_BL = None if visible_L is None else torch.as_tensor(visible_L)[None]
    caches = [{} for _ in self.model.layers]
    x_BLD = self.hidden(tokens_LK[None], visible_BL, caches)

    def score(column, cells_K):
      cells_BLK = tokens_LK.new_tensor([[cells_K]])
      return self.columns(x_BLD[:, -1:], cells_BLK, [column])[0][0, 0]

    for row in range(limit):
      if plan.done:
        break
      beside_K = given_LK[row] if given_LK is not None and row < len(given_LK) else None
      cells_K = plan.row(score, tokens_LK[-1].tolist(), beside_K)
      tokens_LK = torch.cat([tokens_LK, tokens_LK.new_tensor([cells_K])])
      x_BLD = self.hidden(tokens_LK[None, -1:], None, caches, len(tokens_LK) - 1)
    return tokens_LK

  def streams(self, tokens_LK: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns {stream: ids [T, Q]} of the rows after a prompt: every codebook's ids as they came.

    Outputs of one stream follow one another; frames that are not whole are left out.
    """
    streams = {}
    for column, classes in enumerate(self.generation["classes"]):
      for ids in classes:
        local = tokens_LK[:, column] - ids["start"]
        if not ids["ends"]:
          inside = (local >= 0) & (local < ids["size"])
          streams.setdefault(ids["stream"], {})[ids["level"]] = local[inside]
    return {
      stream: torch.stack([ids[: min(map(len, levels.values()))] for ids in levels.values()], -1)
      for stream, levels in streams.items()
    }


class TorchPlan:
  """A task's plan, row by row: which classes of ids each column may take, and where each leads."""

  def __init__(self, plan: Config, classes: list[list[Config]], frames: int):
    self.plan, self.classes, self.length, self.left = plan, classes, frames, frames
    self.state = plan["start"]

  @property
  def done(self) -> bool:
    return self.state == self.plan["end"]

  def row(
    self, score: Callable[[int, list[int]], torch.Tensor], above_K: list[int], given_K: Cells | None
  ) -> list[int]:
    """Returns the next row's cells; moves on.

    `score(column, cells_K)` gives the logits of a column, with the cells of those before it.
    """
    modes, lead = self.plan["modes"][self.state], self.plan["lead"][self.state]
    cells_K = [-1] * len(modes)
    for k, mode in enumerate(modes):
      if mode == COPY:
        cells_K[k] = above_K[k]
      elif mode == GIVEN and given_K is not None:
        cells_K[k] = int(given_K[k])
    for k, mode in enumerate(modes):
      if mode in (PREDICT, TIED):
        allowed = self.plan["allowed"][self.state][k]
        if mode == TIED:  # the lead is given, or a column before this one
          ends = self.classes[lead][self._class_of(lead, cells_K[lead])]["ends"]
          allowed = [c for c in allowed if self.classes[k][c]["ends"] == ends]
        cells_K[k] = self._likeliest(score(k, cells_K), [self.classes[k][c] for c in allowed])
    self._move(self._class_of(lead, cells_K[lead]) if lead >= 0 else 0)
    return cells_K

  def _class_of(self, column: int, cell: int) -> int:
    starts = [ids["start"] for ids in self.classes[column]]
    return max(range(len(starts)), key=lambda c: (starts[c] <= cell, starts[c]))

  @staticmethod
  def _likeliest(logits: torch.Tensor, allowed: list[Config]) -> int:
    mask = torch.full_like(logits, -math.inf)
    for ids in allowed:
      mask[ids["start"] : ids["start"] + ids["size"]] = 0
    return int((logits + mask).argmax())

  def _move(self, led: int) -> None:
    count = self.plan["count"][self.state][led]
    following = self.plan["next"][self.state][led]
    if count in (FIRST, GROW):
      self.length = 1 if count == FIRST else self.length + 1
      self.left = self.length
    elif count == DROP:
      self.left -= 1
      if self.left == 0:
        following, self.left = self.plan["empty"][self.state][led], self.length
    self.state = following


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
  """Returns x with each pair (i, i + H / 2) turned by its angle."""
  cosines, sines = rotation
  first, second = x.float().chunk(2, dim=-1)
  turned = first * cosines - second * sines, second * cosines + first * sines
  return torch.cat(turned, dim=-1).to(x.dtype)


def layer_frequencies(config: Config) -> Iterator[torch.Tensor]:
  """Yields the angle per row of each pair of values, float32 [H / 2], layer by layer."""
  for base, scaling in zip(config["rope_bases"], config["rope_scalings"], strict=True):
    exponents = torch.arange(0, config["head_width"], 2, dtype=torch.float64) / config["head_width"]
    frequencies = base**-exponents
    if scaling is not None and scaling["rope_type"] == "linear":
      frequencies = frequencies / scaling["factor"]
    elif scaling is not None:
      turns = scaling["original_max_position_embeddings"] * frequencies / (2 * math.pi)
      low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
      keep = ((turns - low) / (high - low)).clamp(0, 1)
      frequencies = frequencies * (keep + (1 - keep) / scaling["factor"])
    yield frequencies.float()
