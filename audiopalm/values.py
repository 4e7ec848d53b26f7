"""Frozen dataclasses as text: one field set by its dotted path, the whole written and read as JSON.

Knows nothing of what the values mean: `experiment` and the command line put names to them.
"""

import dataclasses
import difflib
import importlib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from audiopalm.errors import ConfigError

# A resolved config names classes; only frozen dataclasses of these modules are ever built from it.
READABLE = (
  "audiopalm.data.augment",
  "audiopalm.data.clips",
  "audiopalm.data.corpora",
  "audiopalm.data.manifest",
  "audiopalm.data.mixtures",
  "audiopalm.data.packed",
  "audiopalm.data.synthesizers",
  "audiopalm.data.takes",
  "audiopalm.experiment",
  "audiopalm.layouts",
  "audiopalm.models",
  "audiopalm.nn",
  "audiopalm.objectives",
  "audiopalm.settings",
  "audiopalm.tokenizers",
  "audiopalm.types",
)

# What other codebases call settings, by what these are called here: for errors, never to set one.
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
    "evaluation.batch_rows": "eval_batch_size per_device_eval_batch_size",
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


def to_json(value: Any) -> str:
  """Returns a value of numbers, text, tuples and frozen dataclasses as JSON for `from_json`."""
  return json.dumps(_plain(value, type(value).__name__), indent=1)


def from_json(text: str) -> Any:
  """Returns what `to_json` wrote.

  Builds only frozen dataclasses of the modules in READABLE. A field that is not there takes what
  its class says in `before`, else its default, so that a run outlives a new option.
  """
  try:
    plain = json.loads(text)
  except json.JSONDecodeError as error:
    raise ConfigError(f"A resolved config must be JSON: {error}.") from error
  return _built(plain, "config")


def told(value: Any) -> str:
  """Returns `repr` without the fields that have their default, which names the value for good: a
  new option with a default does not change it, nor does one whose class says in `before` what it
  was in values that lack it.

      told(Task("asr", corpus, "[ASR]", (), sides))  ->  "Task(name='asr', corpus=..., tag=...)"
  """
  if isinstance(value, tuple):
    return f"({', '.join(map(told, value))})"
  if not dataclasses.is_dataclass(value):
    return repr(value)
  fields = [
    f"{field.name}={told(child)}"
    for field in dataclasses.fields(value)
    if (child := getattr(value, field.name)) != _before(type(value)).get(field.name, field.default)
  ]
  return f"{type(value).__name__}({', '.join(fields)})"


def replaced(value: Any, path: str, new: Any) -> Any:
  """Returns `value` with the field at a dotted path set to `new`.

  Text is read by the type of the field (`parse`); anything else is taken as it is. Items of a
  tuple go by number, or by the name or stream they carry; a tuple of (key, value) pairs is read as
  a mapping: "tokenizers.units.size", "mixture.tasks.asr" (its rate).
  """
  return _replaced(value, type(value), path.split("."), new, path, value)


def paths(value: Any, prefix: str = "") -> Iterator[str]:
  """Yields the dotted path of every field that `replaced` can set."""
  for name, child in _children(value):
    path = f"{prefix}{name}"
    if _children(child):
      yield from paths(child, f"{path}.")
    else:
      yield path


def unknown_path(path: str, known: Iterable[str]) -> str:
  """Returns the text of the error for a path that is not there: what there is near it."""
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
  """Returns the path of the setting that a name is known by, here or elsewhere, if it has one.

  usual_path("learning_rate") == usual_path("peak_lr") == "optimizer.peak_lr"
  """
  known = list(dict.fromkeys(SYNONYMS.values()))
  same = [path for path in known if name in (path, path.rsplit(".", 1)[-1])]
  return name if name in same else SYNONYMS.get(name, next(iter(same), None))


def a(value: Any) -> str:
  """Returns what an error calls a value: "an Optimizer", "a list"."""
  return _article(type(value).__name__)


def _article(name: str) -> str:
  return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def parse(text: str, kind: Any, path: str) -> Any:
  """Returns `text` read as a `kind`; ConfigError, naming `path`, where it cannot be.

  Kinds: int, float, bool, str, None, Literal, a tuple of these ("1,2,3"), a union of these.
  """
  try:
    return _read(text, kind)
  except ValueError:
    raise ConfigError(f"{path} takes {_kind_name(kind)}, not {text!r}.") from None


def _read(text: str, kind: Any) -> Any:
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin in (typing.Union, types.UnionType):
    return _read_union(text, args)
  if origin is Literal:
    return _one_of(text, {str(choice): choice for choice in args})
  if origin is tuple:
    items = [item.strip() for item in text.strip("()[] ").split(",") if item.strip()]
    kinds = [args[0]] * len(items) if args[-1] is Ellipsis else args
    return tuple(_read(item, kind) for item, kind in zip(items, kinds, strict=True))
  if kind is types.NoneType:
    return _one_of(text.lower(), {"none": None})
  if kind is bool:
    return _one_of(text.lower(), {"true": True, "false": False})
  if kind in (int, float, str):
    return kind(text)
  raise ValueError(kind)


def _one_of(text: str, choices: dict[str, Any]) -> Any:
  if text not in choices:
    raise ValueError(text)
  return choices[text]


def _read_union(text: str, kinds: Sequence[Any]) -> Any:
  # None first: "none" could also be read as a str.
  for kind in sorted(kinds, key=lambda kind: kind is not types.NoneType):
    try:
      return _read(text, kind)
    except ValueError:
      continue
  raise ValueError(text)


def _kind_name(kind: Any) -> str:
  origin, args = typing.get_origin(kind), typing.get_args(kind)
  if origin in (typing.Union, types.UnionType):
    return " or ".join(map(_kind_name, args))
  if origin is Literal:
    return f"one of {', '.join(map(str, args))}"
  if origin is tuple and args[-1] is Ellipsis:
    return f"any count, with commas between, of {_kind_name(args[0])}"
  if origin is tuple:
    return f"{', '.join(map(_kind_name, args))} (with commas between)"
  plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
  plain[types.NoneType] = "none"
  name = getattr(kind, "__name__", str(kind))
  return plain.get(kind, f"{_article(name)}, which only a config file can give")


def _children(value: Any) -> list[tuple[str, Any]]:
  """Returns the (name, value) pairs a path can go to from `value`; none for a leaf."""
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
  """Returns what a path calls `item`: itself if it is text, else its name or stream, else ''."""
  if isinstance(item, str):
    return item
  names = (getattr(item, field, None) for field in ("name", "stream"))
  return next((name for name in names if isinstance(name, str)), "")


def _replaced(value: Any, kind: Any, steps: Sequence[str], new: Any, path: str, root: Any) -> Any:
  """Returns `value` with the field at the end of `steps` set to `new`."""
  children = _children(value)
  if not steps and isinstance(new, str) and children:
    names = ", ".join(name for name, _ in children)
    raise ConfigError(f"{path} is {a(value)}: set one of its fields ({names}).")
  if not steps:
    return parse(new, type(value) if kind is Any else kind, path) if isinstance(new, str) else new
  step, *rest = steps
  names = [name for name, _ in children]
  if step not in names:
    raise ConfigError(unknown_path(path, paths(root)))
  number = names.index(step)
  child = children[number][1]
  if dataclasses.is_dataclass(value):
    kind = typing.get_type_hints(type(value))[step]
    return dataclasses.replace(value, **{step: _replaced(child, kind, rest, new, path, root)})
  child = _replaced(child, type(child), rest, new, path, root)
  item = (value[number][0], child) if all(map(_is_pair, value)) else child
  return (*value[:number], item, *value[number + 1 :])


def _plain(value: Any, path: str) -> Any:
  """Returns `value` as JSON values; a dataclass is an object whose "class" names its class."""
  if value is None or isinstance(value, bool | int | float | str):
    return value
  if isinstance(value, tuple):
    return [_plain(item, f"{path}.{number}") for number, item in enumerate(value)]
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    _readable(name)
    return {"class": name} | {key: _plain(item, f"{path}.{key}") for key, item in _children(value)}
  raise ConfigError(
    f"{path} is {a(value)}. A config holds only numbers, text, tuples and frozen dataclasses."
  )


def _built(plain: Any, path: str) -> Any:
  if isinstance(plain, list):
    return tuple(_built(item, f"{path}.{number}") for number, item in enumerate(plain))
  if not isinstance(plain, dict):
    return plain
  kind = _readable(plain.get("class", ""))
  given = {key: _built(item, f"{path}.{key}") for key, item in plain.items() if key != "class"}
  unknown = sorted(set(given) - {field.name for field in dataclasses.fields(kind)})
  if unknown:
    raise ConfigError(
      f"{path} has fields that {kind.__name__} does not know: {', '.join(unknown)}. It was written "
      "by another version of audiopalm; use that one."
    )
  try:
    return kind(**(_before(kind) | given))
  except TypeError as error:
    raise ConfigError(
      f"{path} cannot be read: {error}. It was written by another version of audiopalm; use that "
      "one."
    ) from error


def _before(kind: type) -> dict[str, Any]:
  """Returns what newer fields of a class are in values written without them, by field."""
  return dict(getattr(kind, "before", {}))


def _readable(name: str) -> type:
  """Returns the frozen dataclass called `name`, if the allow-list has its module."""
  module, _, class_name = name.rpartition(".")
  if not any(module == known or module.startswith(f"{known}.") for known in READABLE):
    raise ConfigError(f"A config may name classes of {', '.join(READABLE)}, not {name!r}.")
  try:
    kind = getattr(importlib.import_module(module), class_name)
  except (ImportError, AttributeError):
    raise ConfigError(f"A config names {name!r}, which is not in this version.") from None
  frozen = getattr(getattr(kind, "__dataclass_params__", None), "frozen", False)
  if not (isinstance(kind, type) and frozen):
    raise ConfigError(f"A config names {name!r}, which is not a frozen dataclass.")
  return kind
