"""Optimizers in optax from settings: the schedule, AdamW, Muon, Adafactor, and weight decay.

The learning rate is a function of the run's step, not of a counter inside the optimizer: a skipped
step does not shift it, and the host can print it without asking the device.
"""

import math
import typing
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from audiopalm import sharding
from audiopalm.errors import ConfigError
from audiopalm.models.base import Params
from audiopalm.nn import lora
from audiopalm.settings import Optimizer

NAMES = typing.get_args(Optimizer.__annotations__["name"])
DECAYS = typing.get_args(Optimizer.__annotations__["decay"])
LAYERS = "layers"  # parameters under this name have a leading layer axis
NOT_KERNELS = ("scale", "bias")  # endings of the names of gains and offsets
MOMENTUM = 0.95
UPDATE_RMS = 0.2  # as Adam's updates, for one learning rate; arXiv:2502.16982, section 2.2
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic that brings singular values near 1
LARGEST_UPDATE_RMS = 1.0  # Adafactor's clipping threshold, arXiv:1804.04235, section 6
SMALLEST_PARAMETER_RMS = 1e-3  # so that parameters near zero still move; section 8 there


def check(settings: Optimizer) -> None:
  """Raises ConfigError for settings from which no optimizer can be built."""
  for field, known in (("name", NAMES), ("decay", DECAYS)):
    if (value := getattr(settings, field)) not in known:
      raise ConfigError(f"optimizer.{field} must be one of {', '.join(known)}, not {value!r}.")
  for field, least, below in (
    ("peak_lr", 0, None), ("end_lr", 0, None), ("warmup_steps", 0, None), ("b1", 0, 1),
    ("b2", 0, 1), ("eps", 0, None), ("weight_decay", 0, None),
  ):  # fmt: skip
    value = getattr(settings, field)
    if not np.isfinite(value) or value < least or (below is not None and value >= below):
      limit = f"at least {least}" + ("" if below is None else f" and below {below}")
      raise ConfigError(f"optimizer.{field} must be {limit}, not {value!r}.")
  if settings.clip_norm is not None and not settings.clip_norm > 0:
    raise ConfigError(
      f"optimizer.clip_norm must be above 0, or None for no clipping, not {settings.clip_norm!r}."
    )
  if settings.spike is not None and not settings.spike > 1:
    raise ConfigError(
      f"optimizer.spike must be above 1, or None to skip no finite step, not {settings.spike!r}."
    )
  if settings.decay == "exponential" and not (settings.end_lr > 0 and settings.peak_lr > 0):
    raise ConfigError(
      "optimizer.decay='exponential' never reaches 0: it needs optimizer.peak_lr and "
      f"optimizer.end_lr above 0, not {settings.peak_lr!r} and {settings.end_lr!r}. "
      "Set end_lr, or choose decay='cosine' or 'linear'."
    )


def learning_rate(
  settings: Optimizer, steps: int, step: int | np.ndarray | jax.Array, xp: ModuleType = np
) -> np.ndarray | jax.Array:
  """Returns the learning rates of steps 0, 1, ... `steps` - 1, by numpy or (`xp=jnp`) on the
  device.

  It rises linearly over `warmup_steps`, so that step `warmup_steps` - 1 is the first at `peak_lr`,
  then decays so that the last step is at `end_lr`.
  """
  step = xp.asarray(step, xp.float32)
  rise = xp.minimum((step + 1) / max(settings.warmup_steps, 1), 1)
  first = max(settings.warmup_steps - 1, 0)
  progress = xp.clip((step - first) / max(steps - 1 - first, 1), 0, 1)
  peak, end = settings.peak_lr, settings.end_lr
  if settings.decay == "constant":
    return peak * rise
  if settings.decay == "linear":
    return rise * (peak * (1 - progress) + end * progress)
  if settings.decay == "cosine":
    return rise * (end + (peak - end) * 0.5 * (1 + xp.cos(xp.pi * progress)))
  return rise * peak * (end / peak) ** progress


def build(settings: Optimizer, steps: int) -> optax.GradientTransformationExtraArgs:
  """Returns the whole chain: clip, optimizer, weight decay, schedule. `update` takes `step=`."""
  check(settings)
  clip = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
  if settings.name == "adamw":
    core = [optax.scale_by_adam(b1=settings.b1, b2=settings.b2, eps=settings.eps)]
  elif settings.name == "muon":
    core = [scale_by_muon(settings.b1, settings.b2, settings.eps)]
  else:
    core = [
      optax.scale_by_factored_rms(epsilon=settings.eps),
      _stateless(_clip_rms),
      _stateless(_times_parameter_rms),
    ]
    if settings.b1:
      core.append(optax.ema(settings.b1, debias=False))
  if settings.weight_decay:
    core.append(optax.add_decayed_weights(settings.weight_decay, mask=decayed))
  return optax.chain(*clip, *core, _scheduled(settings, steps))


def decayed(params: Params) -> dict[str, bool | dict]:
  """Returns for every parameter whether weight decay applies: not to norms, biases and vectors."""
  return jax.tree_util.tree_map_with_path(is_kernel, params)


def _scheduled(settings: Optimizer, steps: int) -> optax.GradientTransformationExtraArgs:
  def update(updates, state, params=None, *, step, **_):
    lr = learning_rate(settings, steps, step, jnp)
    return jax.tree.map(lambda update: -lr * update, updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _stateless(change: Callable[..., jax.Array]) -> optax.GradientTransformation:
  """Returns a transformation of each update by change(update, parameter, axes), where `axes` are
  all but the layer axis of a stack."""

  def update(updates, state, params):
    def changed(path, update, param):
      first = int(LAYERS in names_of(path))
      return change(update, param, tuple(range(first, update.ndim)))

    return jax.tree_util.tree_map_with_path(changed, updates, params), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _rms(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return jnp.sqrt(jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def _clip_rms(update: jax.Array, param: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return update / jnp.maximum(1.0, _rms(update, axes) / LARGEST_UPDATE_RMS)


def _times_parameter_rms(update: jax.Array, param: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return update * jnp.maximum(_rms(param, axes), SMALLEST_PARAMETER_RMS)


def scale_by_muon(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
  """Returns Muon: orthogonalized updates for the kernels of the layers, Adam for all other
  parameters.

  The momentum of a kernel is replaced by the nearest matrix whose singular values are all about 1,
  so that no direction is learned faster only because its gradients are larger. Source: Jordan et
  al., "Muon: an optimizer for hidden layers in neural networks", 2024. The RMS of updates is about
  UPDATE_RMS, as for Adam. `b1`, `b2` and `eps` are Adam's, for tables, norms, biases and adapters.
  Momentum is sharded like its parameter; for the iterations each device gathers the momentum of its
  own layers.
  """
  rules = {"muon": _orthogonal_momentum(), "adam": optax.scale_by_adam(b1=b1, b2=b2, eps=eps)}
  return optax.partition(rules, _rules_of)


def orthogonalized(kernels_LMN: jax.Array) -> jax.Array:
  """Returns for each of L matrices U S V^T the matrix U S' V^T, S' about 1 (0.7 to 1.2), by
  Newton-Schulz iterations; zeros stay zeros."""
  wide = kernels_LMN.shape[1] <= kernels_LMN.shape[2]
  x_LMN = kernels_LMN if wide else kernels_LMN.mT
  x_LMN /= jnp.linalg.norm(x_LMN, axis=(1, 2), keepdims=True) + 1e-8
  a, b, c = COEFFICIENTS
  for _ in range(ITERATIONS):
    square_LMM = x_LMN @ x_LMN.mT
    x_LMN = a * x_LMN + (b * square_LMM + c * square_LMM @ square_LMM) @ x_LMN
  return x_LMN if wide else x_LMN.mT


def names_of(path: tuple) -> list[str]:
  """Returns ["layers", "mlp", "down"] of a path of `jax.tree_util`."""
  return sharding.name_of(path).split("/")


def is_kernel(path: tuple, leaf: jax.Array | jax.ShapeDtypeStruct) -> bool:
  """Returns whether a parameter is a matrix or a stack of matrices, not a norm, bias or vector."""
  names = names_of(path)
  return leaf.ndim - (LAYERS in names) >= 2 and not names[-1].endswith(NOT_KERNELS)


def _rules_of(params: Params) -> dict[str, str | dict]:
  """Returns "muon" for every kernel of a layer, "adam" for all other parameters."""

  def rule(path, leaf):
    names = names_of(path)
    kernel = LAYERS in names and lora.NAME not in names and is_kernel(path, leaf)
    return "muon" if kernel else "adam"

  return jax.tree_util.tree_map_with_path(rule, params)


def _orthogonal_momentum() -> optax.GradientTransformation:
  def moved(momentum, gradients):
    return jax.tree.map(lambda m, g: MOMENTUM * m + (1 - MOMENTUM) * g, momentum, gradients)

  def update(updates, momentum, params=None):
    momentum = moved(momentum, updates)
    return jax.tree_util.tree_map_with_path(_step, moved(momentum, updates)), momentum

  return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _step(path: tuple, momentum: jax.Array) -> jax.Array:
  """Returns the update of a stack of kernels, each as one matrix from its inputs to its outputs."""
  layers, *shape = momentum.shape
  # The output projection of attention has two input axes, heads and their width; others have one.
  inputs = math.prod(shape[:-1] if names_of(path)[-1] == "out" else shape[:1])
  kernels_LMN = _gathered(momentum).reshape(layers, inputs, -1)
  update_LMN = UPDATE_RMS * max(kernels_LMN.shape[1:]) ** 0.5 * orthogonalized(kernels_LMN)
  update = update_LMN.reshape(momentum.shape)
  if jax.sharding.get_abstract_mesh().size <= 1:
    return update
  return jax.sharding.reshard(update, jax.typeof(momentum).sharding.spec)


def _gathered(x: jax.Array) -> jax.Array:
  """Returns x with unsplit kernels on each device: those of some of the layers, or of all layers if
  their number is not divisible."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.size <= 1:
    return x
  return jax.sharding.reshard(x, PartitionSpec(None if len(x) % mesh.shape["fsdp"] else "fsdp"))
