"""Optimizers a config can name: `optim.adamw(peak_lr=3e-4, warmup_steps=1_000)`."""

import dataclasses
from typing import Any

from audiopalm.settings import Optimizer


def adamw(
  peak_lr: float = 1e-3,
  *,
  end_lr: float = 0.0,
  warmup_steps: int = 100,
  decay: str = "cosine",
  b1: float = 0.9,
  b2: float = 0.98,
  eps: float = 1e-8,
  weight_decay: float = 0.0,
  clip_norm: float | None = 1.0,
  train_only: tuple[str, ...] = (),
) -> Optimizer:
  """Returns Adam with decoupled weight decay. Source: Loshchilov and Hutter, arXiv:1711.05101."""
  return Optimizer(
    name="adamw", peak_lr=peak_lr, end_lr=end_lr, warmup_steps=warmup_steps, decay=decay,
    b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, clip_norm=clip_norm,
    train_only=train_only,
  )  # fmt: skip


def muon(peak_lr: float = 1e-3, **adam: Any) -> Optimizer:
  """Returns Muon for the kernels of the layers, whose momentum is made orthogonal, and Adam for all
  else; takes what `adamw` takes. Updates have the size of Adam's, so its learning rates carry over.

  The matrix products of the update are the same for any batch: small batches pay most for them.
  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scale: Liu
  et al., arXiv:2502.16982, section 2.2.
  """
  return dataclasses.replace(adamw(peak_lr, **adam), name="muon")


def adafactor(
  peak_lr: float = 1e-2,
  *,
  end_lr: float = 0.0,
  warmup_steps: int = 100,
  decay: str = "cosine",
  b1: float = 0.0,
  weight_decay: float = 0.0,
  clip_norm: float | None = 1.0,
  train_only: tuple[str, ...] = (),
) -> Optimizer:
  """Returns Adafactor: factored second moments, steps in units of each tensor's own size.

  `b1 = 0` keeps no first moment, which halves the optimizer's memory again; PaLM and AudioPaLM use
  0.9. AudioPaLM fine-tunes at a constant 5e-5: `adafactor(5e-5, decay="constant", b1=0.9)`.
  Source: Shazeer and Stern, arXiv:1804.04235; AudioPaLM, arXiv:2306.12925, section 3.6.
  """
  return Optimizer(
    name="adafactor", peak_lr=peak_lr, end_lr=end_lr, warmup_steps=warmup_steps, decay=decay,
    b1=b1, eps=1e-30, weight_decay=weight_decay, clip_norm=clip_norm,
    train_only=train_only,
  )  # fmt: skip
