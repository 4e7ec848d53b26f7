"""Optimizers a config can name: `optim.adamw(peak_lr=3e-4, warmup_steps=1_000)`.

Each takes the other fields of `settings.Optimizer`: the schedule, b1, weight decay, clipping, ...
"""

from typing import Any

from audiopalm.settings import Optimizer


def adamw(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Adam with decoupled weight decay. Source: Loshchilov and Hutter, arXiv:1711.05101."""
  return Optimizer("adamw", peak_lr, **fields)


def muon(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Muon for the kernels of the layers, whose momentum is made orthogonal, and Adam for all
  else. Updates have the size of Adam's, so its learning rates carry over.

  The matrix products of the update are the same for any batch: small batches pay most for them.
  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scale: Liu
  et al., arXiv:2502.16982, section 2.2.
  """
  return Optimizer("muon", peak_lr, **fields)


def adafactor(
  peak_lr: float = 1e-2, *, b1: float = 0.0, eps: float = 1e-30, **fields: Any
) -> Optimizer:
  """Returns Adafactor: factored second moments, steps in units of each tensor's own size.

  `b1 = 0` keeps no first moment, which halves the optimizer's memory again; PaLM and AudioPaLM use
  0.9. AudioPaLM fine-tunes at a constant 5e-5: `adafactor(5e-5, decay="constant", b1=0.9)`.
  Source: Shazeer and Stern, arXiv:1804.04235; AudioPaLM, arXiv:2306.12925, section 3.6.
  """
  return Optimizer("adafactor", peak_lr, b1=b1, eps=eps, **fields)
