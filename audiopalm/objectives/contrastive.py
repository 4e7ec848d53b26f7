"""wav2vec 2.0: masked states tell the code of what they do not hear from codes of other masked
states of the clip; w2v-BERT predicts the code's id as well. Sources: Baevski et al. 2020,
arXiv:2006.11477, section 3.2; Chung et al. 2021, arXiv:2108.06209, section 3.1."""

import dataclasses

import jax
import jax.numpy as jnp

from audiopalm.errors import ConfigError
from audiopalm.models.base import ClipQuantizer, Params
from audiopalm.nn import layers
from audiopalm.objectives import clip_losses, spans
from audiopalm.objectives.base import Loss
from audiopalm.objectives.clip_losses import Heard, WithoutVariables

EPS = 1e-7  # added to a probability whose logarithm is taken


@dataclasses.dataclass(frozen=True)
class Contrastive(WithoutVariables):
  """Cross-entropy of a state's own code among `distractors` codes, by cosine over `temperature`,
  and `diversity` times the share of the codebooks that is not used.

  Codes are those of the model's head `quantizer`, drawn by Gumbel's trick in training, at a
  temperature that falls by `gumbel_decay` a step from `gumbel_start` to `gumbel_end`. States are
  those after `layer` layers. With `ids_head`, a head of as many classes as codes predicts from the
  last states the id of the code that is likeliest, `ids_weight` times (w2v-BERT).
  """

  distractors: int = 100
  temperature: float = 0.1
  diversity: float = 0.1
  gumbel_start: float = 2.0
  gumbel_end: float = 0.5
  gumbel_decay: float = 0.999995
  layer: int | None = None
  ids_head: str | None = None
  ids_weight: float = 1.0
  quantizer: str = "quantizer"
  weight: float = 1.0

  name = "contrastive"

  def __post_init__(self):
    if self.distractors < 1 or self.temperature <= 0 or self.diversity < 0:
      raise ConfigError(
        "Contrastive needs at least 1 of distractors, a temperature above 0 and a diversity of at "
        f"least 0, got {self.distractors}, {self.temperature} and {self.diversity}."
      )
    if not 0 < self.gumbel_end <= self.gumbel_start or not 0 < self.gumbel_decay <= 1:
      raise ConfigError(
        "Contrastive needs 0 < gumbel_end <= gumbel_start and a gumbel_decay up to 1, got "
        f"{self.gumbel_end}, {self.gumbel_start} and {self.gumbel_decay}."
      )

  @property
  def layers(self) -> tuple[int | None, ...]:
    return (self.layer,) if self.ids_head is None else (self.layer, None)

  def loss(self, heard: Heard, variables: Params) -> Loss:
    """Returns the loss; metrics are nll_ and accuracy_contrastive, `perplexity` of the codes in
    use, and with `ids_head` nll_ and accuracy_speech."""
    head = heard.model.quantizer(self.quantizer, "Contrastive")
    params, masked_BT = heard.head_params(self.quantizer), heard.masked_BT
    logits_BTQV = head.logits(params, heard.frames_BTC)
    chosen_BTQV = self._chosen(logits_BTQV, heard)
    ids_BTQ = jax.lax.stop_gradient(jnp.argmax(chosen_BTQV, axis=-1))
    code_BTE = layers.direction(head.codes(params, chosen_BTQV))
    state_BTE = head.states(params, heard.hidden(self.layer), heard.machine.products)
    nll_BT, correct_BT = spans.by_clip(
      self._told_apart,
      layers.direction(state_BTE),
      code_BTE,
      ids_BTQ,
      counts(heard.batch.draw_B, masked_BT, self.distractors),
    )
    weight_BT = masked_BT.astype(jnp.float32)
    weight = jnp.sum(weight_BT)
    used_QV = jax.nn.softmax(logits_BTQV, axis=-1) if heard.train else chosen_BTQV
    perplexity = perplexity_of(used_QV, weight_BT)
    codes = head.groups * head.entries
    total = jnp.sum(nll_BT * weight_BT) + self.diversity * weight * (codes - perplexity) / codes
    metrics = clip_losses.scored("contrastive", nll_BT, correct_BT, weight_BT)
    metrics["perplexity"] = jax.lax.stop_gradient(perplexity) * weight, weight
    if self.ids_head is not None:
      ids_BT = jnp.argmax(logits_BTQV[:, :, 0], axis=-1)  # without noise, which nobody predicts
      ids_total, ids_metrics = self._ids(head, heard, ids_BT, weight_BT)
      total, metrics = total + self.ids_weight * ids_total, metrics | ids_metrics
    return Loss(total, weight, metrics)

  def _chosen(self, logits_BTQV: jax.Array, heard: Heard) -> jax.Array:
    """Returns 1 for the code of each group and state, else 0; in training with noise, and with the
    gradient of the softmax."""
    classes = logits_BTQV.shape[-1]
    if not heard.train:
      return jax.nn.one_hot(jnp.argmax(logits_BTQV, axis=-1), classes)
    shape = logits_BTQV.shape[1:]
    noise_BTQV = spans.drawn(
      lambda key: jax.random.gumbel(key, shape), heard.batch.draw_B, spans.GUMBEL
    )
    temperature = jnp.maximum(self.gumbel_start * self.gumbel_decay**heard.step, self.gumbel_end)
    soft_BTQV = jax.nn.softmax((logits_BTQV + noise_BTQV) / temperature, axis=-1)
    hard_BTQV = jax.nn.one_hot(jnp.argmax(soft_BTQV, axis=-1), classes)
    return soft_BTQV + jax.lax.stop_gradient(hard_BTQV - soft_BTQV)

  def _told_apart(
    self, state_BTE: jax.Array, code_BTE: jax.Array, ids_BTQ: jax.Array, counts_BTT: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Returns (nll_BT, correct_BT) of the clips of one device.

    Every state is compared with every code: a distractor that was drawn twice counts twice, and one
    that is the state's own code not at all.
    """
    logits_BTT = jnp.einsum("BTE,BUE->BTU", state_BTE, code_BTE) / self.temperature
    is_other_BTT = (ids_BTQ[:, :, None] != ids_BTQ[:, None]).any(axis=-1)
    counts_BTT = jnp.where(is_other_BTT, counts_BTT, 0)
    own_BT = jnp.diagonal(logits_BTT, axis1=1, axis2=2)
    others_BTT = jnp.where(
      counts_BTT > 0, logits_BTT + jnp.log(jnp.maximum(counts_BTT, 1)), -jnp.inf
    )
    all_BTU = jnp.concatenate([own_BT[..., None], others_BTT], axis=-1)
    best_BT = jnp.max(jnp.where(counts_BTT > 0, logits_BTT, -jnp.inf), axis=-1)
    return jax.nn.logsumexp(all_BTU, axis=-1) - own_BT, (own_BT > best_BT).astype(jnp.float32)

  def _ids(
    self, quantizer: ClipQuantizer, heard: Heard, ids_BT: jax.Array, weight_BT: jax.Array
  ) -> tuple[jax.Array, dict[str, tuple[jax.Array, jax.Array]]]:
    """Returns (the sum of the masked prediction of ids, its metrics)."""
    head = heard.model.class_head(self.ids_head, "Contrastive(ids_head=...)")
    if quantizer.groups != 1 or head.size != quantizer.entries:
      raise ConfigError(
        f"Contrastive predicts the ids of {quantizer.groups} x {quantizer.entries} codes by a head "
        f"of {head.size} classes. Give the Quantizer groups=1 and as many entries as the head has "
        "classes."
      )
    params = heard.head_params(self.ids_head)
    scores = head.scored(params, heard.hidden(None), ids_BT, heard.machine)
    metrics = clip_losses.scored("speech", scores.nll_BL, scores.correct_BL, weight_BT)
    return jnp.sum(scores.nll_BL * weight_BT), metrics


def counts(draw_B: jax.Array, masked_BT: jax.Array, distractors: int) -> jax.Array:
  """Returns counts_BTU, int32: how often the code of state U is a distractor of masked state T.

  All are drawn evenly, with replacement, among the other masked states of the clip; 0 for states
  that are not masked, and where there is no other.
  """

  def of_clip(key, masked_T):
    states = len(masked_T)
    count = jnp.sum(masked_T)
    order_T = jnp.argsort(~masked_T, stable=True)  # masked states first
    rank_T = jnp.cumsum(masked_T) - 1
    drawn_TK = jax.random.randint(key, (states, distractors), 0, jnp.maximum(count - 1, 1))
    drawn_TK += drawn_TK >= rank_T[:, None]
    is_drawn_T = masked_T & (count > 1)
    places_TK = jnp.where(is_drawn_T[:, None], order_T[drawn_TK], states)  # beyond: dropped
    counts_TU = jnp.zeros((states, states), jnp.int32)
    return counts_TU.at[jnp.arange(states)[:, None], places_TK].add(1, mode="drop")

  return spans.drawn(of_clip, draw_B, spans.DISTRACTORS, masked_BT)


def perplexity_of(used_BTQV: jax.Array, weight_BT: jax.Array) -> jax.Array:
  """Returns the sum over groups of the perplexity of the mean use of codes."""
  total_QV = jnp.sum(used_BTQV * weight_BT[..., None, None], axis=(0, 1))
  mean_QV = total_QV / jnp.maximum(jnp.sum(weight_BT), 1)
  return jnp.sum(jnp.exp(-jnp.sum(mean_QV * jnp.log(mean_QV + EPS), axis=-1)))
