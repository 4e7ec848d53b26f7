"""Optimizers for a config: `optim.adamw(peak_lr=3e-4, warmup_steps=1_000)`.

All of them take the fields of `settings.Optimizer` by name.
"""

from typing import Any

from audiopalm.settings import Optimizer


def adamw(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Adam with decoupled weight decay. Source: Loshchilov and Hutter, arXiv:1711.05101."""
  return Optimizer(name="adamw", peak_lr=peak_lr, **fields)


def muon(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Muon, with orthogonal momentum, for the kernels of the layers, and Adam for all else.
  Updates have the size of Adam's, so its learning rates carry over.

  The matrix products of the update are the same for any batch: small batches pay most for them.
  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scale: Liu
  et al., arXiv:2502.16982, section 2.2.
  """
  return Optimizer(name="muon", peak_lr=peak_lr, **fields)


def adafactor(
  peak_lr: float = 1e-2, *, b1: float = 0.0, eps: float = 1e-30, **fields: Any
) -> Optimizer:
  """Returns Adafactor: factored second moments, steps in units of each tensor's own size.

  `b1 = 0` keeps no first moment, which halves the optimizer's memory again; PaLM and AudioPaLM use
  0.9. AudioPaLM fine-tunes at a constant 5e-5: `adafactor(5e-5, decay="constant", b1=0.9)`.
  Source: Shazeer and Stern, arXiv:1804.04235; AudioPaLM, arXiv:2306.12925, section 3.6.
  """
  return Optimizer(name="adafactor", peak_lr=peak_lr, b1=b1, eps=eps, **fields)
