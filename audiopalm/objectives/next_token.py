"""Next-token prediction: row i's hidden state predicts the cells of row i + 1 of its segment."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from audiopalm import sharding
from audiopalm.batch import PackedBatch
from audiopalm.errors import ConfigError
from audiopalm.models.base import LanguageModel, Params
from audiopalm.objectives.base import Loss, OnePlayer
from audiopalm.settings import Machine
from audiopalm.tokens import space as token_space
from audiopalm.types import HOLE


@dataclasses.dataclass(frozen=True)
class NextToken(OnePlayer):
  """Cross-entropy of every predicted cell, averaged by weight.

  `z_loss` adds z_loss * log(Z)^2 (PaLM uses 1e-4; arXiv:2204.02311, section 5); `column_weights`
  multiply the weights of each column (Moshi weighs its text column more), `text_weight` those of
  words: a sentence has several times as many units of speech, so most of the loss is theirs.

  In training the model does not see the share `hidden_speech` of given speech, in spans of
  `hidden_rows` rows (SpecAugment's time masks, arXiv:1904.08779), nor the share `hidden_text` of
  words that it predicts, when it predicts what follows (word dropout, arXiv:1511.06349, section
  3.3): holes stand in their places. What is predicted stays the same.
  """

  z_loss: float = 0.0
  column_weights: tuple[float, ...] | None = None
  text_weight: float = 1.0
  hidden_speech: float = 0.0
  hidden_rows: int = 5
  hidden_text: float = 0.0

  def __post_init__(self):
    for name in ("hidden_speech", "hidden_text"):
      if not 0 <= getattr(self, name) < 1:
        raise ConfigError(
          f"NextToken.{name} is a share of the cells, from 0 to below 1, got {getattr(self, name)}."
        )
    if type(self.hidden_rows) is not int or self.hidden_rows < 1:
      raise ConfigError(
        f"NextToken.hidden_rows must be an integer of at least 1, got {self.hidden_rows!r}."
      )
    if self.z_loss < 0:
      raise ConfigError(f"NextToken.z_loss must not be negative, got {self.z_loss}.")
    if self.text_weight <= 0:
      raise ConfigError(f"NextToken.text_weight must be positive, got {self.text_weight}.")

  def losses(
    self,
    model: LanguageModel,
    params: Params,
    variables: Params,
    batch: PackedBatch,
    *,
    key: jax.Array,
    train: bool,
    step: jax.Array,
    machine: Machine,
  ) -> tuple[dict[str, Loss], Params]:
    """Returns ({"model": Loss}, variables); metrics nll_ and accuracy_ of text and speech cells.

    Metrics count each predicted cell once, whatever its weight; specials are in the loss only.
    """
    columns = len(model.sizes)
    scale = (1.0,) * columns if self.column_weights is None else self.column_weights
    if len(scale) != columns:
      raise ConfigError(
        f"NextToken has {len(scale)} column_weights but the layout has {columns} columns. "
        "Give one weight per column, or None."
      )

    targets, seen = shifted(batch), batch
    if train and (self.hidden_speech or self.hidden_text):
      key, own_key = jax.random.split(key)
      seen = self._with_holes(model, batch, own_key)
    hidden_BLD = model.hidden(params, seen, machine, key if train else None)
    loss, weight = 0.0, 0.0
    metrics = {f"{name}_{kind}": (0.0, 0.0) for name in METRICS for kind in ("text", "speech")}
    for column, cells in enumerate(scored(model, params, hidden_BLD, targets, machine)):
      nll_BL = cells.nll_BL
      if self.z_loss:
        nll_BL += self.z_loss * jnp.square(cells.log_z_BL)
      weight_BL = scale[column] * cells.weight_BL
      if self.text_weight != 1.0:
        weight_BL *= jnp.where(cells.modality_BL == token_space.TEXT, self.text_weight, 1.0)
      loss += jnp.sum(nll_BL * weight_BL)
      weight += jnp.sum(weight_BL)
      for kind in ("text", "speech"):
        count_BL = cells.count_BL(kind)
        for name in METRICS:
          total, count = metrics[f"{name}_{kind}"]
          value = jnp.sum(lax.stop_gradient(METRICS[name](cells)) * count_BL)
          metrics[f"{name}_{kind}"] = total + value, count + jnp.sum(count_BL)
    return {"model": Loss(loss, weight, metrics)}, variables

  def _with_holes(self, model: LanguageModel, batch: PackedBatch, key: jax.Array) -> PackedBatch:
    """Returns the batch as the model sees it in training."""
    speech_key, text_key = jax.random.split(key)
    place = sharding.placed_like(batch.segments_BL)

    def draw(key: jax.Array, probability: float) -> jax.Array:
      bits_BL = jax.random.bits(key, batch.segments_BL.shape, jnp.uint16, out_sharding=place)
      return bits_BL < round(probability * 2**16)

    # A row is hidden unless no span begins at it or at one of the hidden_rows - 1 before.
    begins = 1 - (1 - self.hidden_speech) ** (1 / self.hidden_rows)
    spans_BL = spanned(draw(speech_key, begins), self.hidden_rows)
    words_BL = draw(text_key, self.hidden_text)
    columns = []
    for column, modality in enumerate(model.modality_KV):
      tokens_BL = batch.tokens_BLK[..., column]
      is_given_BL = batch.weights_BLK[..., column] == 0
      modality_BL = modality_of(modality, tokens_BL)
      is_speech_BL = is_given_BL & (modality_BL == token_space.SPEECH)
      is_word_BL = ~is_given_BL & (modality_BL == token_space.TEXT)
      hidden_BL = (spans_BL & is_speech_BL) | (words_BL & is_word_BL)
      columns.append(jnp.where(hidden_BL, HOLE, tokens_BL))
    return dataclasses.replace(batch, tokens_BLK=jnp.stack(columns, axis=-1))

  def score(
    self,
    model: LanguageModel,
    params: Params,
    variables: Params,
    batch: PackedBatch,
    *,
    segments: int,
    machine: Machine,
  ) -> dict[str, dict[str, jax.Array]]:
    """Returns {modality: {"nll", "count", "correct"}}, each [B, segments + 1]: sums per segment.

    Entry s of a row belongs to its segment number s (0, padding, stays empty). Every predicted cell
    counts once. Modalities: text, speech, special. `correct` is greedy under teacher forcing.
    """
    hidden_BLD = model.hidden(params, batch, machine)
    targets = shifted(batch)
    sums = {kind: {"nll": 0.0, "count": 0.0, "correct": 0.0} for kind in token_space.MODALITIES}
    member_BLS = (batch.segments_BL[..., None] == jnp.arange(segments + 1)).astype(jnp.float32)
    for cells in scored(model, params, hidden_BLD, targets, machine):
      values = {"nll": cells.nll_BL, "count": 1.0, "correct": cells.correct_BL}
      for kind, sums_of_kind in sums.items():
        count_BL = cells.count_BL(kind)
        for name, value_BL in values.items():
          sums_of_kind[name] += jnp.einsum("BL,BLS->BS", value_BL * count_BL, member_BLS)
    return sums


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Targets:
  """What each row predicts: the cells of the next row of its segment; weight 0 where none."""

  tokens_BLK: jax.Array
  weights_BLK: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
  """One column's predicted cells: `nll_BL` and `log_z_BL` in nats, `correct_BL` 0 or 1.

  `modality_BL` is that of the target; only cells with a weight mean anything.
  """

  nll_BL: jax.Array
  log_z_BL: jax.Array
  correct_BL: jax.Array
  weight_BL: jax.Array
  modality_BL: jax.Array

  def count_BL(self, kind: str) -> jax.Array:
    """Returns float32 [B, L]: 1 for each predicted cell of a modality."""
    is_kind_BL = self.modality_BL == token_space.MODALITIES[kind]
    return (is_kind_BL & (self.weight_BL > 0)).astype(jnp.float32)


METRICS = {"nll": lambda cells: cells.nll_BL, "accuracy": lambda cells: cells.correct_BL}


def shifted(batch: PackedBatch) -> Targets:
  """Returns the targets of a batch: tokens and weights moved up one row inside each segment.

  segment  1 1 1 2 2 .        tokens   a b c d e .
  weight   0 1 1 0 1 .        targets  b c - e - -
  """

  def up(array: jax.Array) -> jax.Array:
    # The last row that one device holds is followed by the first of the next.
    whole = sharding.constrain(array, ("batch",) + (None,) * (array.ndim - 1))
    moved = jnp.concatenate([whole[:, 1:], jnp.zeros_like(whole[:, :1])], axis=1)
    return sharding.constrain(moved, ("batch", "rows") + (None,) * (array.ndim - 2))

  segments_BL = batch.segments_BL
  inside_BL = (up(segments_BL) == segments_BL) & (segments_BL > 0)
  tokens_BLK, weights_BLK = up(batch.tokens_BLK), up(batch.weights_BLK)
  return Targets(tokens_BLK, jnp.where(inside_BL[..., None] & (tokens_BLK >= 0), weights_BLK, 0.0))


def spanned(starts_BL: jax.Array, rows: int) -> jax.Array:
  """Returns bool [B, L]: whether a span of so many rows that begins at a start covers the row."""
  whole_BL = sharding.constrain(starts_BL.astype(jnp.int32), ("batch", None))
  begun_BL = jnp.cumsum(whole_BL, axis=1)
  before_BL = jnp.pad(begun_BL, ((0, 0), (rows, 0)))[:, : begun_BL.shape[1]]
  return sharding.constrain(begun_BL > before_BL, ("batch", "rows"))


def modality_of(modality_V: np.ndarray, tokens_BL: jax.Array) -> jax.Array:
  """Returns the modality of each cell of a column; that of its first id for a hole."""
  ids_BL = jnp.maximum(tokens_BL, 0)
  of_ids_V = jnp.asarray(modality_V, jnp.int32)
  return of_ids_V.at[ids_BL].get(out_sharding=sharding.placed_like(ids_BL))


def scored(
  model: LanguageModel, params: Params, hidden_BLD: jax.Array, targets: Targets, machine: Machine
) -> Iterator[Cells]:
  """Yields the scored cells of each column."""
  columns = model.head.losses(params, hidden_BLD, targets.tokens_BLK, machine)
  for column, scores in enumerate(columns):
    modality_BL = modality_of(model.modality_KV[column], targets.tokens_BLK[..., column])
    yield Cells(*scores, targets.weights_BLK[..., column], modality_BL)
