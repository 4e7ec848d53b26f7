"""Frozen dataclasses as text: setting fields by dotted paths, and reading and writing JSON."""

import contextlib
import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from audiopalm import trust
from audiopalm.errors import ConfigError

# Names of settings in other codebases, by path: used in error messages, not to set fields.
SYNONYMS = {
  name: path
  for path, names in {
    "optimizer.name": "optim opt optimizer_type",
    "optimizer.peak_lr": "lr learning_rate max_lr base_lr peak_learning_rate",
    "optimizer.end_lr": "min_lr final_lr end_learning_rate min_learning_rate",
    "optimizer.warmup_steps": "warmup num_warmup_steps lr_warmup_steps warmup_iters",
    "optimizer.decay": "lr_scheduler lr_scheduler_type lr_schedule lr_decay_style schedule",
    "optimizer.b1": "beta1 adam_beta1",
    "optimizer.b2": "beta2 adam_beta2",
    "optimizer.eps": "epsilon adam_epsilon adam_eps",
    "optimizer.weight_decay": "wd",
    "optimizer.clip_norm": "max_grad_norm grad_clip clip_grad gradient_clipping gradient_clip_val",
    "data.batch_rows": "batch_size global_batch_size train_batch_size per_device_train_batch_size",
    "data.row_length": "seq_len seq_length sequence_length max_seq_len max_seq_length max_length "
    "context_length block_size max_target_length",
    "steps": "max_steps num_steps total_steps train_steps num_train_steps max_train_steps "
    "training_steps max_iters",
    "seed": "random_seed init_seed",
    "checkpoint_every_steps": "save_steps save_every save_interval checkpoint_interval "
    "checkpoint_period",
    "keep_checkpoints": "save_total_limit max_to_keep",
    "evaluation.every_steps": "eval_steps eval_every eval_interval eval_freq",
    "evaluation.decode_batch_rows": "eval_batch_size per_device_eval_batch_size",
    "evaluation.max_output_rows": "max_new_tokens max_decode_len",
    "evaluation.beams": "num_beams beam_size",
    "model.layers": "num_layers n_layers n_layer num_hidden_layers depth",
    "model.width": "d_model hidden_size dim emb_dim embed_dim n_embd",
    "model.heads": "num_heads n_heads n_head num_attention_heads",
    "model.kv_heads": "num_kv_heads n_kv_heads num_key_value_heads",
    "model.head_width": "head_dim d_head d_kv",
    "model.hidden": "d_ff mlp_dim ffn_dim intermediate_size",
    "model.dropout": "dropout_rate hidden_dropout",
    "tokenizers.text.size": "vocab_size",
  }.items()
  for name in names.split()
}

UNIONS = (typing.Union, types.UnionType)
WORDS = {types.NoneType: {"none": None}, bool: {"true": True, "false": False}}
KIND_NAMES = {
  int: "an integer", float: "a number", bool: "true or false", str: "text",
  types.NoneType: "none",
}  # fmt: skip


def to_json(value: Any, trusted: Sequence[str] = ()) -> str:
  """Returns a value of numbers, text, tuples and frozen dataclasses as JSON for `from_json`.

  ConfigError for a class that is neither audiopalm's nor of a `trusted` package.
  """
  return json.dumps(_plain(value, type(value).__name__, trusted), indent=1)


def from_json(text: str, trusted: Sequence[str] = ()) -> Any:
  """Returns the value that `to_json` wrote.

  Builds only frozen dataclasses of audiopalm and of `trusted` packages, and imports no others. A
  missing field has the value in `before` of its class, else its default, so that old runs can be
  read after a new option is added.
  """
  try:
    plain = json.loads(text)
  except json.JSONDecodeError as error:
    raise ConfigError(f"A resolved config must be JSON: {error}.") from error
  return _built(plain, "config", trusted)


def stable_repr(value: Any) -> str:
  """Returns `repr` without fields that have their default, or their value in `before` of the class:
  a stable name, which does not change when an option is added.

      stable_repr(Task("asr", corpus, "[ASR]", (), sides))  ->  "Task(name='asr', corpus=..., ...)"
  """
  if isinstance(value, tuple):
    return f"({', '.join(map(stable_repr, value))})"
  if not dataclasses.is_dataclass(value):
    return repr(value)
  fields = [
    f"{field.name}={stable_repr(child)}"
    for field in dataclasses.fields(value)
    if (child := getattr(value, field.name)) != _before(type(value)).get(field.name, field.default)
  ]
  return f"{type(value).__name__}({', '.join(fields)})"


def replaced(value: Any, changes: Mapping[str, Any]) -> Any:
  """Returns `value` with the fields at dotted paths set, all at once, as some are only valid
  together.

  Items of a tuple are addressed by number, or by their name or stream; a tuple of (key, value)
  pairs is a mapping: "tokenizers.units.size", "mixture.tasks.asr" (its rate).
  """
  below = [(path.split("."), path, new) for path, new in changes.items()]
  return _replaced(value, type(value), below, value)


def paths(value: Any, prefix: str = "") -> Iterator[str]:
  """Yields the dotted path of every field that `replaced` can set."""
  for name, child in _children(value):
    path = f"{prefix}{name}"
    if _children(child):
      yield from paths(child, f"{path}.")
    else:
      yield path


def unknown_path(path: str, known: Iterable[str]) -> str:
  """Returns the error text for a path that does not exist, with similar ones."""
  known = list(known)
  last = path.rsplit(".", 1)[-1]
  near = [name for name in known if name.rsplit(".", 1)[-1] == last]
  if not near and SYNONYMS.get(last.lower()) in known:
    near = [SYNONYMS[last.lower()]]
  else:
    near += [n for n in difflib.get_close_matches(path, known, n=5, cutoff=0.5) if n not in near]
  if not near:
    near = list(dict.fromkeys(name.split(".", 1)[0] for name in known))
  return f"There is no setting {path!r}. Near: {', '.join(near)}."


def usual_path(name: str) -> str | None:
  """Returns the path of the setting with this name, here or in other codebases; None if unknown.

  usual_path("learning_rate") == usual_path("peak_lr") == "optimizer.peak_lr"
  """
  known = list(dict.fromkeys(SYNONYMS.values()))
  same = [path for path in known if name in (path, path.rsplit(".", 1)[-1])]
  return name if name in same else SYNONYMS.get(name, next(iter(same), None))


def lacking(value: Any, protocol: type) -> list[str]:
  """Returns the attributes of a protocol that a value does not have, sorted."""
  required = {
    name
    for kind in protocol.__mro__
    if kind not in (object, typing.Protocol, typing.Generic)
    for name in (*kind.__dict__, *kind.__dict__.get("__annotations__", ()))
    if not name.startswith("_")
  }
  # Do not use `hasattr`, as a property may read files.
  has = {*dir(type(value)), *getattr(value, "__dict__", ())}
  return sorted(required - has)


def a(value: Any) -> str:
  """Returns the name of a value in errors: "an Optimizer", "a list"."""
  return _article(type(value).__name__)


def _article(name: str) -> str:
  return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def parse(text: str, kind: Any, path: str) -> Any:
  """Returns `text` as a `kind`: int, float, bool, str, None, Literal, a tuple or union of these;
  ConfigError, with `path`, if that is impossible."""
  try:
    return _read(text, kind)
  except ValueError:
    raise ConfigError(f"{path} takes {_kind_name(kind)}, not {text!r}.") from None


def _read(text: str, kind: Any) -> Any:
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin in UNIONS:
    # None first: "none" could also be read as a str.
    for member in sorted(args, key=lambda member: member is not types.NoneType):
      with contextlib.suppress(ValueError):
        return _read(text, member)
  if origin is tuple:
    items = [item.strip() for item in text.strip("()[] ").split(",") if item.strip()]
    kinds = [args[0]] * len(items) if args[-1] is Ellipsis else args
    return tuple(_read(item, kind) for item, kind in zip(items, kinds, strict=True))
  if kind in (int, float, str):
    return kind(text)
  choices = {str(choice): choice for choice in args} if origin is Literal else WORDS.get(kind, {})
  word = text if origin is Literal else text.lower()
  if word not in choices:
    raise ValueError(text)
  return choices[word]


def _kind_name(kind: Any) -> str:
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin in UNIONS:
    return " or ".join(map(_kind_name, args))
  if origin is Literal:
    return f"one of {', '.join(map(str, args))}"
  if origin is tuple and args[-1] is Ellipsis:
    return f"any count, with commas between, of {_kind_name(args[0])}"
  if origin is tuple:
    return f"{', '.join(map(_kind_name, args))} (with commas between)"
  name = _article(getattr(kind, "__name__", str(kind)))
  return KIND_NAMES.get(kind, f"{name}, which only a config file can give")


def _children(value: Any) -> list[tuple[str, Any]]:
  """Returns (name, value) of the children of a value, [] for a leaf."""
  if dataclasses.is_dataclass(value):
    return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
  if isinstance(value, tuple) and value and all(map(_is_pair, value)):
    return [(_name(key), child) for key, child in value]
  if isinstance(value, tuple) and any(map(_children, value)):
    return [(_name(item) or str(number), item) for number, item in enumerate(value)]
  return []


def _is_pair(item: Any) -> bool:
  return isinstance(item, tuple) and len(item) == 2 and bool(_name(item[0]))


def _name(item: Any) -> str:
  """Returns the name of an item in a path: itself if it is text, its name or stream, or ''."""
  if isinstance(item, str):
    return item
  names = (getattr(item, field, None) for field in ("name", "stream"))
  return next((name for name in names if isinstance(name, str)), "")


def _replaced(
  value: Any, kind: Any, changes: Sequence[tuple[Sequence[str], str, Any]], root: Any
) -> Any:
  """Returns `value` with (steps below it, whole path, new value) applied."""
  below: dict[str, list[tuple[Sequence[str], str, Any]]] = {}
  for steps, path, new in changes:
    if steps:
      below.setdefault(steps[0], []).append((steps[1:], path, new))
    else:
      value = _set(value, kind, path, new)
  if not below:
    return value
  children = _children(value)
  names = [name for name, _ in children]
  for step, deeper in below.items():
    if step not in names:
      raise ConfigError(unknown_path(deeper[0][1], paths(root)))
  if dataclasses.is_dataclass(value):
    kinds, fields = typing.get_type_hints(type(value)), dict(children)
    new = {name: _replaced(fields[name], kinds[name], below[name], root) for name in below}
    return dataclasses.replace(value, **new)
  numbers = {names.index(step): deeper for step, deeper in below.items()}
  items = [
    _replaced(child, type(child), numbers[number], root) if number in numbers else child
    for number, (_, child) in enumerate(children)
  ]
  if all(map(_is_pair, value)):
    items = [(key, item) for (key, _), item in zip(value, items, strict=True)]
  return tuple(items)


def _set(value: Any, kind: Any, path: str, new: Any) -> Any:
  """Returns `new`, parsed by the kind of the field if it is text."""
  children = _children(value)
  if isinstance(new, str) and children:
    names = ", ".join(name for name, _ in children)
    raise ConfigError(f"{path} is {a(value)}: set one of its fields ({names}).")
  return parse(new, type(value) if kind is Any else kind, path) if isinstance(new, str) else new


def _plain(value: Any, path: str, trusted: Sequence[str]) -> Any:
  """Returns `value` for JSON; a dataclass is an object whose "class" names its class."""
  if value is None or isinstance(value, bool | int | float | str):
    return value
  if isinstance(value, tuple):
    return [_plain(item, f"{path}.{number}", trusted) for number, item in enumerate(value)]
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if "." in kind.__qualname__:
      raise ConfigError(
        f"{path} is of the class {name}, which is defined inside of another or of a function. "
        "Define it at the top of its module, so that it can be imported."
      )
    trust.readable(name, trusted)
    fields = {key: _plain(item, f"{path}.{key}", trusted) for key, item in _children(value)}
    return {"class": name} | fields
  raise ConfigError(
    f"{path} is {a(value)}. A config holds only numbers, text, tuples and frozen dataclasses."
  )


def _built(plain: Any, path: str, trusted: Sequence[str]) -> Any:
  if isinstance(plain, list):
    return tuple(_built(item, f"{path}.{number}", trusted) for number, item in enumerate(plain))
  if not isinstance(plain, dict):
    return plain
  kind = trust.readable(str(plain.get("class", "")), trusted)
  renamed = getattr(kind, "renamed", {})  # fields in JSON of earlier versions
  fields = {
    renamed.get(key, key): _built(item, f"{path}.{key}", trusted)
    for key, item in plain.items()
    if key != "class"
  }
  package = kind.__module__.partition(".")[0]
  advice = f"It was written by another version of {package}; use that one."
  unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(kind)})
  if unknown:
    raise ConfigError(
      f"{path} has fields that {kind.__name__} does not know: {', '.join(unknown)}. {advice}"
    )
  try:
    return kind(**(_before(kind) | fields))
  except TypeError as error:
    raise ConfigError(f"{path} cannot be read: {error}. {advice}") from error


def _before(kind: type) -> dict[str, Any]:
  """Returns the values of newer fields of a class in JSON written without them."""
  return dict(getattr(kind, "before", {}))
