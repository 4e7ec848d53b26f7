"""The first parameters of a run from an earlier model: layers are copied, rows of tables by their
ids.

    earlier  [ text t | sep stop ]                      E' rows 0 .. t + 1
    now      [ text t | sep stop | units a ]            the same rows, then `new_rows` for a ids

The table stays one tensor, as in AudioPaLM (arXiv:2306.12925, section 3.1).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from audiopalm import experiment as experiments
from audiopalm import pretrained, runs, sharding
from audiopalm.errors import ConfigError
from audiopalm.models.base import Model, ModelSettings, Params
from audiopalm.nn import lora
from audiopalm.settings import WarmStart
from audiopalm.tokens import space as token_space
from audiopalm.training import checkpoint, state

NONE = -1  # instead of an earlier row: this id is new
MAY_DIFFER = ("dropout",)  # settings of a model that do not affect its parameters


@dataclasses.dataclass(frozen=True, eq=False)
class _Earlier:
  """An earlier model: its name, and `params(mesh)`, which reads its parameters."""

  name: str
  settings: ModelSettings
  space: token_space.TokenSpace
  params: Callable[[jax.sharding.Mesh], Params]


def params(
  settings: WarmStart,
  model: Model,
  space: token_space.TokenSpace,
  key: jax.Array,
  mesh: jax.sharding.Mesh,
  say: Callable[[str], None],
  trust: Sequence[str] = (),
) -> Params:
  """Returns the first parameters of a run, placed on the mesh. `key` draws random rows, `trust`
  names packages whose classes the earlier run may name.

  ConfigError if the earlier model has other settings or other text ids, CheckpointError if it
  cannot be read.
  """
  earlier = _opened(settings, space, say, trust)
  _check_model(earlier, model.settings, settings.folder)
  if model.tables:
    _check_text(earlier, space, settings.folder)
  old = earlier.params(mesh)
  if not _adapters(old) and _adapters(model.shapes(mesh)):
    old = state.merged(old, _adapters(model.init(key, mesh)))
  if not model.tables:
    say(f"warm start: {earlier.name}, all of it")
    return old
  rows_V = earlier_rows(earlier.space, space)
  is_id_V = np.concatenate(space.modality_KV) != token_space.PADDING
  say(
    f"warm start: {earlier.name}, its rows for {int((rows_V != NONE).sum()):,} ids; "
    f"{int((rows_V[is_id_V] == NONE).sum()):,} new ones, {settings.new_rows}"
  )
  return _extended(old, rows_V, space, settings.new_rows, key, model, mesh)


def _opened(
  settings: WarmStart,
  space: token_space.TokenSpace,
  say: Callable[[str], None],
  trust: Sequence[str],
) -> _Earlier:
  folder = Path(settings.folder)
  if not (folder / runs.CHECKPOINTS).is_dir():
    if settings.step is not None:
      raise ConfigError(
        f"warm_start.step={settings.step} names a checkpoint of a run, but {folder} holds none. "
        "Leave it out, or give the workdir of a run."
      )
    source = pretrained.open(folder)
    text = token_space.text_stream(space.streams)
    ids = source.space(text.name if text is not None else "text")
    return _Earlier(str(folder), source.settings, ids, source.params)
  meta = checkpoint.latest(folder, say, settings.step)
  model_settings = experiments.from_json(meta.experiment, trust).model
  earlier_space = token_space.from_manifest(meta.manifest)

  def read(mesh: jax.sharding.Mesh) -> Params:
    shapes = model_settings.build(earlier_space).shapes(mesh)
    expected = checkpoint.Expected(shapes, None, meta.manifest)
    return checkpoint.restore_model(folder, lambda meta: expected, say, meta.step)[0]

  return _Earlier(f"step {meta.step} of {folder}", model_settings, earlier_space, read)


def earlier_rows(earlier: token_space.TokenSpace, space: token_space.TokenSpace) -> np.ndarray:
  """Returns int [V] for the tables of `space`: the row of the same id in those of `earlier`, NONE
  for ids that only `space` knows and for padding.

  Ids are the same if they belong to a stream with an equal fingerprint, in the same codebook and
  column, or to the same special of the same column.
  """
  rows_V = np.full(sum(space.padded), NONE, np.int64)
  starts, old_starts = (np.cumsum((0, *s.padded[:-1])).tolist() for s in (space, earlier))
  known = {(r.column, r.level, earlier.streams[r.stream].fingerprint): r for r in earlier.ranges}
  for r in space.ranges:
    old = known.get((r.column, r.level, space.streams[r.stream].fingerprint))
    if old is not None:
      first, old_first = starts[r.column] + r.start, old_starts[old.column] + old.start
      rows_V[first : first + r.size] = np.arange(old_first, old_first + old.size)
  ids = {(s.column, s.name): s.id for s in earlier.specials}
  for s in space.specials:
    if (s.column, s.name) in ids:
      rows_V[starts[s.column] + s.id] = old_starts[s.column] + ids[s.column, s.name]
  return rows_V


def _extended(
  old: Params,
  rows_V: np.ndarray,
  space: token_space.TokenSpace,
  new_rows: str,
  key: jax.Array,
  model: Model,
  mesh: jax.sharding.Mesh,
) -> Params:
  """Returns parameters whose tables have the rows of `space`, taken from an earlier table."""
  start, size = space.range_of(0, token_space.text_stream(space.streams).name)
  text_T = rows_V[start : start + size]
  tables = model.tables
  placed = sharding.shardings(model.axes, model.shapes(mesh), mesh)

  def table(table_VD, key):
    # Rows move between devices: each device keeps its columns and holds all rows.
    table_VD = sharding.constrain(table_VD, (None, "embed"))
    kept_VD = table_VD[np.maximum(rows_V, 0)]
    text_TD = table_VD[text_T]
    if new_rows == "zero":
      fresh_VD = jnp.zeros_like(kept_VD)
    elif new_rows == "mean":
      fresh_VD = jnp.broadcast_to(jnp.mean(text_TD, axis=0), kept_VD.shape)
    else:
      fresh_VD = _deviation(text_TD) * jax.random.normal(key, kept_VD.shape)
    return jnp.where((rows_V == NONE)[:, None], fresh_VD, kept_VD)

  @functools.partial(jax.jit, out_shardings={name: placed[name] for name in tables})
  def extend(old, key):
    keys = zip(tables, jax.random.split(key, len(tables)), strict=True)
    return {name: {"table": table(old[name]["table"], own_key)} for name, own_key in keys}

  return {**old, **extend({name: old[name] for name in tables}, key)}


def _deviation(rows_TD: jax.Array) -> jax.Array:
  """Returns the standard deviation of all values, the same on every mesh: first over each column,
  which is on one device, then over all columns on every device."""
  middle = jnp.mean(sharding.constrain(jnp.mean(rows_TD, axis=0), (None,)))
  squares_D = sharding.constrain(jnp.mean(jnp.square(rows_TD - middle), axis=0), (None,))
  return jnp.sqrt(jnp.mean(squares_D))


def _check_model(earlier: _Earlier, now: ModelSettings, folder: str) -> None:
  old = earlier.settings
  lines = [f"  {type(old).__name__} there, {type(now).__name__} here"]
  if type(old) is type(now):
    # New adapters start without effect; those of an earlier run are copied.
    skipped = (*MAY_DIFFER, *(() if getattr(old, lora.NAME, None) else (lora.NAME,)))
    names = [field.name for field in dataclasses.fields(now) if field.name not in skipped]
    lines = [
      f"  {name}: {getattr(old, name)!r} there, {getattr(now, name)!r} here"
      for name in names
      if getattr(old, name) != getattr(now, name)
    ]
  if lines:
    raise ConfigError(
      f"{earlier.name} is another model, so this one cannot begin with its parameters:\n"
      + "\n".join(lines)
      + f"\nTake its model: models.pretrained({folder!r})."
    )


def _adapters(params: Mapping) -> Params:
  """Returns the low-rank adapters in a tree of parameters, {} for none."""
  return state.named(params, (lora.NAME,))


def _check_text(earlier: _Earlier, space: token_space.TokenSpace, folder: str) -> None:
  text = token_space.text_stream(space.streams)
  old = token_space.text_stream(earlier.space.streams)
  if text is None or old is None or text.fingerprint != old.fingerprint:
    raise ConfigError(
      f"{earlier.name} has other text ids, so its rows would mean something else. Take its text "
      f"tokenizer: tokenizers.pretrained({folder!r})."
    )
