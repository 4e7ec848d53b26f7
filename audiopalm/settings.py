"""Frozen settings of training, evaluation and hardware."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import ClassVar, Literal

from audiopalm.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """An optimizer and its learning rate: linear warm-up to `peak_lr`, then `decay` to `end_lr` at
  the last step.

  A step is skipped if its gradients are not finite, or if their norm is more than `spike` times its
  running mean. `train_only` freezes all parameters whose path (models/decoder.py) contains none of
  its entries: ("embed", "head") trains only the tables, ("layers/mlp",) only a part of every layer.
  AudioPaLM: Adafactor, constant 5e-5 (PaLM) or linear to 1e-4 then exponential to 1e-5 (PaLM-2);
  arXiv:2306.12925, section 3.6.
  """

  name: Literal["adamw", "muon", "adafactor"] = "adamw"
  peak_lr: float = 1e-3
  end_lr: float = 0.0
  warmup_steps: int = 100
  decay: Literal["constant", "cosine", "linear", "exponential"] = "cosine"
  b1: float = 0.9
  b2: float = 0.98
  eps: float = 1e-8
  weight_decay: float = 0.0
  clip_norm: float | None = 1.0
  spike: float | None = None
  train_only: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Settings of held-out losses in training and of `audiopalm evaluate`."""

  every_steps: int = 500
  held_out_batch_rows: int = 64  # batch rows per task for the held-out loss in training
  examples: int = 300  # test examples per task and language that `evaluate` decodes
  decode_batch_rows: int = 64  # sequences decoded at a time; each beam is one
  max_output_rows: int = 256  # grid rows that follow a prompt
  beams: int = 1  # of beam search (`inference.sampling.Beams`); 1: greedy decoding
  length_penalty: float = 0.6  # of beam search: higher values favor longer answers

  renamed: ClassVar[Mapping[str, str]] = {  # fields in the config.json of earlier versions
    "rows": "held_out_batch_rows",
    "batch_rows": "decode_batch_rows",
  }

  def __post_init__(self):
    for field in (
      "every_steps", "held_out_batch_rows", "examples", "decode_batch_rows", "max_output_rows",
      "beams",
    ):  # fmt: skip
      value = getattr(self, field)
      if type(value) is not int or value < 1:
        raise ConfigError(f"evaluation.{field} must be an integer of at least 1, not {value!r}.")
    if not 0 <= self.length_penalty < math.inf:
      raise ConfigError(
        f"evaluation.length_penalty must be a number of at least 0, not {self.length_penalty!r}."
      )


@dataclasses.dataclass(frozen=True)
class WarmStart:
  """The source of a run's first parameters: the folder of a Hugging Face text model, or the workdir
  of an earlier run, with its newest checkpoint or the one of `step`.

  Layers are copied, and so are the rows of the embedding and output tables for every id that both
  runs have. `new_rows` initializes other rows: "zero", as in AudioPaLM (arXiv:2306.12925, section
  5.1), "random" (normal, with the standard deviation of the text rows) or the "mean" of the text
  rows. The folder is not needed to resume.
  """

  folder: str
  step: int | None = None
  new_rows: Literal["zero", "random", "mean"] = "zero"

  def __post_init__(self):
    known = typing.get_args(WarmStart.__annotations__["new_rows"])
    if self.new_rows not in known:
      raise ConfigError(
        f"warm_start.new_rows must be one of {', '.join(known)}, not {self.new_rows!r}."
      )


@dataclasses.dataclass(frozen=True)
class Machine:
  """The hardware settings of a run, which may change when it resumes.

  `data`, `fsdp`, `context` and `tensor` are mesh axis sizes; one of them may be -1 (the remaining
  devices). `context` splits the rows of long sequences. With several slices of TPUs `data` is a
  multiple of their number: only its gradients cross the slower network between them. `attention`
  (`nn.attention`) and `remat` (`nn.transformer`) are names; an unavailable backend is an error.

  `compute_dtype` is the dtype of activations, `product_dtype` that of the operands of matrix
  products, whose sums are float32; None is `compute_dtype`, unless a run chooses another on a CPU
  (`parts.machines.choose_products`).
  """

  name: str = "cpu"
  data: int = 1
  fsdp: int = -1
  context: int = 1
  tensor: int = 1
  attention: Literal["xla", "splash", "cudnn"] = "xla"
  remat: Literal["none", "full", "dots", "offload"] = "none"
  micro_batch_tokens: int | None = None  # grid rows per device and micro-batch; None: all of them
  unroll_layers: bool = False
  compute_dtype: Literal["float32", "bfloat16"] = "float32"
  product_dtype: Literal["float32", "bfloat16"] | None = None
  loss_chunk_cells: int = 4096  # cells whose logits are in memory at one time, per column

  renamed: ClassVar[Mapping[str, str]] = {"loss_chunk_rows": "loss_chunk_cells"}  # in older files

  def __post_init__(self):
    sizes = self.mesh_sizes
    shown = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
    if [*sizes.values()].count(-1) > 1:
      raise ConfigError(
        f"Machine {self.name!r} leaves more than one mesh axis open ({shown}). Give at most one of "
        "them as -1."
      )
    if any(size < 1 and size != -1 for size in sizes.values()):
      raise ConfigError(
        f"Machine {self.name!r} has a mesh axis of no devices ({shown}). Give each at least 1, or "
        "one of them as -1 for all devices that are left."
      )
    if self.micro_batch_tokens is not None and self.micro_batch_tokens < 1:
      raise ConfigError(
        f"Machine {self.name!r}: micro_batch_tokens={self.micro_batch_tokens} must be at least 1, "
        "or None to take a device's whole share at once."
      )
    if self.compute_dtype == "bfloat16" and self.product_dtype == "float32":
      raise ConfigError(
        f"Machine {self.name!r} multiplies in float32 what its layers hold in bfloat16. Give it "
        "compute_dtype='float32' too, or leave out product_dtype."
      )

  @property
  def products(self) -> str:
    """The dtype of the operands of matrix products."""
    return self.product_dtype or self.compute_dtype

  @property
  def mesh_sizes(self) -> dict[str, int]:
    """The sizes of the mesh axes, outermost first: those that communicate least."""
    return {axis: getattr(self, axis) for axis in ("data", "fsdp", "context", "tensor")}

  def accumulation(self, batch_rows: int, row_length: int) -> int:
    """Returns the number of micro-batches of a device with `batch_rows`: the fewest of equal size
    with at most `micro_batch_tokens`, or with one row each."""
    most = batch_rows * row_length if self.micro_batch_tokens is None else self.micro_batch_tokens
    sizes = (size for size in range(batch_rows, 1, -1) if batch_rows % size == 0)
    return batch_rows // next((size for size in sizes if size * row_length <= most), 1)
