"""Settings to optax: the schedule, AdamW, Muon and Adafactor, and which parameters decay.

The learning rate is a function of the run's step, not of a counter inside the optimizer: a skipped
step does not shift it, and the host can print it without asking the device.
"""

import typing
from collections.abc import Callable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax

from audiopalm.errors import ConfigError
from audiopalm.models.base import Params
from audiopalm.settings import Optimizer
from audiopalm.training import muon

NAMES = typing.get_args(Optimizer.__annotations__["name"])
DECAYS = typing.get_args(Optimizer.__annotations__["decay"])
LARGEST_UPDATE_RMS = 1.0  # Adafactor's clipping threshold, arXiv:1804.04235, section 6
SMALLEST_PARAMETER_RMS = 1e-3  # so that parameters near zero still move; section 8 there


def check(settings: Optimizer) -> None:
  """Raises ConfigError for settings no optimizer can be made of."""
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
  """Returns the learning rate of step 0, 1, ... `steps` - 1, by numpy or (`xp=jnp`) on the device.

  Rises in a line over `warmup_steps` so that step `warmup_steps` - 1 is the first at `peak_lr`,
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
    core = [muon.scale_by_muon(settings.b1, settings.b2, settings.eps)]
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
  return jax.tree_util.tree_map_with_path(muon.is_kernel, params)


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
      first = int(muon.LAYERS in muon.names_of(path))
      return change(update, param, tuple(range(first, update.ndim)))

    return jax.tree_util.tree_map_with_path(changed, updates, params), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _rms(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return jnp.sqrt(jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def _clip_rms(update: jax.Array, param: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return update / jnp.maximum(1.0, _rms(update, axes) / LARGEST_UPDATE_RMS)


def _times_parameter_rms(update: jax.Array, param: jax.Array, axes: tuple[int, ...]) -> jax.Array:
  return update * jnp.maximum(_rms(param, axes), SMALLEST_PARAMETER_RMS)
