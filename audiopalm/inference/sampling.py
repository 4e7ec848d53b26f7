"""Sampling of one id from logits."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from audiopalm.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Sampling:
  """Temperature 0 is greedy. Above 0, ids are drawn from the `top_k` most likely ones and, among
  those, from the smallest set with a probability of at least `top_p` (arXiv:1904.09751)."""

  temperature: float = 0.0
  top_k: int | None = None
  top_p: float | None = None

  def __post_init__(self):
    if not 0 <= self.temperature < math.inf:
      raise ConfigError(f"temperature must be 0 (the best id) or more, got {self.temperature}.")
    if self.top_k is not None and self.top_k < 1:
      raise ConfigError(f"top_k must be at least 1, or None for all ids, got {self.top_k}.")
    if self.top_p is not None and not 0 < self.top_p <= 1:
      raise ConfigError(f"top_p must be above 0 and at most 1, or None for 1, got {self.top_p}.")

  def __str__(self) -> str:
    if self.temperature == 0:
      return "greedy"
    kept = {"top_k": self.top_k, "top_p": self.top_p}
    limits = "".join(f", {name} {value:g}" for name, value in kept.items() if value is not None)
    return f"drawn at temperature {self.temperature:g}{limits}"


@dataclasses.dataclass(frozen=True)
class Beams:
  """Beam search: returns the finished answer with the highest score.

  The score of an answer y of n predicted cells is log P(y) / ((5 + n) / 6) ** length_penalty: 0
  scores by likelihood alone, which favors short answers; higher values favor longer ones. Source:
  Wu et al. 2016, arXiv:1609.08144, section 7, without the coverage penalty. One beam is greedy
  decoding.
  """

  beams: int = 4
  length_penalty: float = 0.6

  def __post_init__(self):
    if type(self.beams) is not int or self.beams < 1:
      raise ConfigError(f"beams must be an integer of at least 1, got {self.beams!r}.")
    if not 0 <= self.length_penalty < math.inf:
      raise ConfigError(f"length_penalty must be 0 or more, got {self.length_penalty}.")

  def __str__(self) -> str:
    return f"beam search, {self.beams} beams, length penalty {self.length_penalty:g}"

  def score(self, log_likelihood: jax.Array, cells: jax.Array) -> jax.Array:
    """Returns the scores of answers from their log-likelihoods and numbers of cells."""
    return log_likelihood / ((5 + cells) / 6) ** self.length_penalty


def choose(beams: int, length_penalty: float, drawn: Sampling = Sampling()) -> Sampling | Beams:
  """Returns `drawn` for one beam, else `Beams`; ConfigError for several beams if `drawn` is not
  greedy."""
  if beams == 1:
    return drawn
  if drawn.temperature > 0:
    raise ConfigError(
      f"Several beams look for the likeliest answer and draw nothing: leave out beams={beams}, or "
      f"what makes it {drawn}."
    )
  return Beams(beams, length_penalty)


def sample(
  logits_BV: jax.Array, allowed_BV: jax.Array, sampling: Sampling, keys_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns (ids_B, log-probability of each among the allowed ids at temperature 1).

  Every sequence has its own key, so a draw does not depend on the rest of the batch.
  """
  logits_BV = jnp.where(allowed_BV, logits_BV, -jnp.inf)
  if sampling.temperature == 0:
    ids_B = _best(logits_BV)
  else:
    kept_BV = _kept(logits_BV / sampling.temperature, sampling)
    ids_B = jax.vmap(jax.random.categorical)(keys_B, kept_BV).astype(jnp.int32)
  log_probs_BV = jax.nn.log_softmax(logits_BV, axis=-1)
  return ids_B, jnp.take_along_axis(log_probs_BV, ids_B[:, None], axis=-1)[:, 0]


def _best(logits_BV: jax.Array) -> jax.Array:
  """Returns argmax over V, the smallest id with the highest logit, as two reductions, which are
  vectorized on CPUs, unlike argmax."""
  highest_B1 = jnp.max(logits_BV, axis=-1, keepdims=True)
  last = logits_BV.shape[-1] - 1  # the result for NaN, which equals nothing
  ids_V = jnp.arange(logits_BV.shape[-1], dtype=jnp.int32)
  return jnp.min(jnp.where(logits_BV == highest_B1, ids_V, last), axis=-1)


def _kept(logits_BV: jax.Array, sampling: Sampling) -> jax.Array:
  """Returns the logits with -inf for every id excluded by top-k or top-p."""
  if sampling.top_k is not None and sampling.top_k < logits_BV.shape[-1]:
    worst_B1 = jax.lax.top_k(logits_BV, sampling.top_k)[0][:, -1:]
    logits_BV = jnp.where(logits_BV < worst_B1, -jnp.inf, logits_BV)
  if sampling.top_p is not None and sampling.top_p < 1:
    sorted_BV = jnp.sort(logits_BV, axis=-1, descending=True)
    probs_BV = jax.nn.softmax(sorted_BV, axis=-1)
    before_BV = jnp.cumsum(probs_BV, axis=-1) - probs_BV  # the best id is always kept
    worst_B1 = jnp.min(
      jnp.where(before_BV < sampling.top_p, sorted_BV, jnp.inf), axis=-1, keepdims=True
    )
    logits_BV = jnp.where(logits_BV < worst_B1, -jnp.inf, logits_BV)
  return logits_BV
