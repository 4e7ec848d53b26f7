"""Optimizers for configs, as in `optim.adamw(peak_lr=3e-4, warmup_steps=1_000)`.

`fields` are other fields of `settings.Optimizer`: the schedule, b1, weight decay, clipping, ...
"""

from typing import Any

from audiopalm.settings import Optimizer


def adamw(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Adam with decoupled weight decay. Source: Loshchilov and Hutter, arXiv:1711.05101."""
  return Optimizer("adamw", peak_lr, **fields)


def muon(peak_lr: float = 1e-3, **fields: Any) -> Optimizer:
  """Returns Muon, which orthogonalizes the momentum of the layers' kernels, and Adam for all other
  parameters. Updates have the size of Adam's, so Adam's learning rates carry over.

  The cost of an update does not depend on the batch size, so it is a larger share of small batches.
  Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scale: Liu
  et al., arXiv:2502.16982, section 2.2.
  """
  return Optimizer("muon", peak_lr, **fields)


def adafactor(
  peak_lr: float = 1e-2, *, b1: float = 0.0, eps: float = 1e-30, **fields: Any
) -> Optimizer:
  """Returns Adafactor: factored second moments, and steps relative to the scale of each tensor.

  `b1 = 0` keeps no first moment, which halves the optimizer's memory again; PaLM and AudioPaLM use
  0.9. AudioPaLM fine-tunes at a constant 5e-5: `adafactor(5e-5, decay="constant", b1=0.9)`.
  Source: Shazeer and Stern, arXiv:1804.04235; AudioPaLM, arXiv:2306.12925, section 3.6.
  """
  return Optimizer("adafactor", peak_lr, b1=b1, eps=eps, **fields)
