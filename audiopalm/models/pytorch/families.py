"""The text models that both `transformers` and `Decoder` compute: one table for reading their
config.json and for writing it (stock.py).

Both dialects of config.json are read: that of transformers 4 (rope_theta, rope_scaling) and that of
transformers 5 (rope_parameters). A field that changes the results and has no setting in `Decoder`
is a ConfigError, and so is a missing size, except for those that published files leave to the
defaults of the class.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from audiopalm.errors import ConfigError
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch.fields import Config, JsonFields
from audiopalm.nn import rotary

Scaling = rotary.LinearScaling | rotary.Llama3Scaling | None
ACTIVATIONS = {"silu": "silu", "gelu_tanh": "gelu_pytorch_tanh"}
FULL, SLIDING = "full_attention", "sliding_attention"


@dataclasses.dataclass(frozen=True, eq=False)
class Family:
  """A class of models: its names and its properties. Options not named here are free.

  `windows`: no layer has one, all have the same, only the "last" from max_window_layers on, or all
  "but" each sliding_window_pattern-th; in the last two cases `layer_types` may list the layers.
  `defaults` are the class's values for fields missing in config.json.
  """

  name: str
  architecture: str
  model_type: str
  qkv_bias: bool = False
  qk_norm: bool = False
  gemma: bool = False  # norms store their scale minus one, embeddings are scaled in the model
  post_norms: bool = False  # and query_pre_attn_scalar and final_logit_softcapping
  softcap: bool = False  # of attention
  windows: Literal["none", "all", "last", "but"] = "none"
  two_ropes: bool = False  # layers with a window have a separate rotary base
  defaults: Config = dataclasses.field(default_factory=dict)


_GEMMA = {"tie_word_embeddings": True}
_GEMMA_2 = {
  "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 256,
  "sliding_window": 4096, "sliding_window_pattern": 2,
}  # fmt: skip
_GEMMA_3 = {
  "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
  "query_pre_attn_scalar": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
  "rope_theta": 1e6, "rope_local_base_freq": 1e4,
}  # fmt: skip

FAMILIES = (
  Family(
    "llama", "LlamaForCausalLM", "llama", defaults={"num_key_value_heads": None, "head_dim": None}
  ),
  Family("mistral", "MistralForCausalLM", "mistral", windows="all", defaults={"head_dim": None}),
  Family(
    "qwen2", "Qwen2ForCausalLM", "qwen2",
    qkv_bias=True, windows="last", defaults={"head_dim": None, "use_sliding_window": False},
  ),
  Family(
    "qwen3", "Qwen3ForCausalLM", "qwen3",
    qk_norm=True, windows="last", defaults={"use_sliding_window": False},
  ),
  Family("gemma", "GemmaForCausalLM", "gemma", gemma=True, defaults=_GEMMA),
  Family(
    "gemma2", "Gemma2ForCausalLM", "gemma2",
    gemma=True, post_norms=True, softcap=True, windows="but",
    defaults=_GEMMA | _GEMMA_2,
  ),
  Family(
    "gemma3", "Gemma3ForCausalLM", "gemma3_text",
    gemma=True, post_norms=True, qk_norm=True, windows="but", two_ropes=True,
    defaults=_GEMMA | _GEMMA_3,
  ),
)  # fmt: skip

# Features that `Decoder` lacks: {field: the value it must have, if present}.
ABSENT = {
  "attention_bias": False,
  "mlp_bias": False,
  "partial_rotary_factor": 1.0,
  "use_bidirectional_attention": False,
  "quantization_config": None,
  "auto_map": None,
}
# Defaults of missing fields for all classes.
COMMON = {
  "rms_norm_eps": 1e-6,
  "rope_theta": 1e4,
  "tie_word_embeddings": False,
  "attn_logit_softcapping": None,
  "final_logit_softcapping": None,
}
MULTIMODAL = "gemma3"  # the text model of Gemma3ForConditionalGeneration is its text_config


def settings(config: Config, where: Path | str) -> Decoder:
  """Returns the decoder that a config.json describes; `where` is its path in errors.

  ConfigError, naming the field, for what a `Decoder` cannot express.
  """
  fields = _Fields(config, where)
  family = fields.family
  for name, value in ABSENT.items():
    fields.must_be(name, value)
  if not family.softcap:
    fields.must_be("attn_logit_softcapping", None)
  if not family.post_norms:
    fields.must_be("final_logit_softcapping", None)
  width, heads = fields.whole("hidden_size"), fields.whole("num_attention_heads")
  windows = _windows(fields)
  base, scaling = _rope(fields, windows)
  return Decoder(
    layers=len(windows),
    width=width,
    heads=heads,
    kv_heads=fields.whole("num_key_value_heads", null=heads),
    head_width=fields.whole("head_dim", null=width // heads),
    hidden=fields.whole("intermediate_size"),
    qkv_bias=family.qkv_bias,
    qk_norm=family.qk_norm,
    attention_softcap=fields.number("attn_logit_softcapping", null=None),
    final_softcap=fields.number("final_logit_softcapping", null=None),
    query_scale=fields.number("query_pre_attn_scalar") ** -0.5 if family.post_norms else None,
    embed_scale=family.gemma,
    norm_offset=family.gemma,
    norm_eps=fields.number("rms_norm_eps"),
    post_norms=family.post_norms,
    activation=_activation(fields),
    rope_base=base,
    rope_scaling=scaling,
    windows=_shortest(windows) if any(windows) else (),
    tied=fields.boolean("tie_word_embeddings"),
  )


def rows(config: Config, where: Path | str) -> int:
  """Returns the number of rows of the tables of a text model: its `vocab_size`."""
  return _Fields(config, where).whole("vocab_size")


class _Fields(JsonFields):
  """The fields of a config.json, with the defaults of its class."""

  def __init__(self, config: Config, where: Path | str):
    kind = config.get("model_type")
    if kind == MULTIMODAL and isinstance(config.get("text_config"), Mapping):
      outer = {name: config[name] for name in (*ABSENT, "tie_word_embeddings") if name in config}
      config = {**config["text_config"], **outer}
      kind = config.get("model_type", "gemma3_text")
    known = {family.model_type: family for family in FAMILIES}
    if kind not in known:
      raise ConfigError(
        f"{where}: model_type is {kind!r}, but text models are read of the types "
        f"{', '.join(known)} and {MULTIMODAL}. Start from one of these."
      )
    self.family = known[kind]
    super().__init__({**COMMON, **self.family.defaults, **config}, kind, where)


def _activation(fields: _Fields) -> str:
  family = fields.family
  known = {name: activation for activation, name in ACTIVATIONS.items()}
  if family.gemma and not family.post_norms:
    # Old files of Gemma 1 say "gelu", but its class uses the approximation by tanh.
    known["gelu"] = "gelu_tanh"
  field = "hidden_activation" if family.post_norms else "hidden_act"
  name = fields.get(field) or ACTIVATIONS["gelu_tanh" if family.gemma else "silu"]
  if name not in known:
    raise fields.wrong(field, name, " or ".join(known))
  return known[name]


def _windows(fields: _Fields) -> tuple[int, ...]:
  """Returns the window of each layer, 0 for none."""
  layers, rule = fields.whole("num_hidden_layers"), fields.family.windows
  on = rule != "none" and (rule != "last" or fields.boolean("use_sliding_window"))
  window = fields.whole("sliding_window", null=0) if on else 0
  layer_types = fields.get("layer_types")
  match rule:
    case "last" if window and not layer_types:
      slides = [number >= fields.whole("max_window_layers") for number in range(layers)]
    case "but":
      pattern = fields.whole("sliding_window_pattern")
      slides = [(number + 1) % pattern > 0 for number in range(layers)]
    case _:
      slides = [bool(window)] * layers
  kinds = [SLIDING if slide else FULL for slide in slides]
  if layer_types and (len(layer_types) != layers or set(layer_types) - {FULL, SLIDING}):
    raise fields.wrong("layer_types", layer_types, f"{layers} of {FULL} and {SLIDING}")
  if layer_types and rule in ("none", "all") and layer_types != kinds:
    raise fields.wrong("layer_types", layer_types, f"{kinds[0]} in all layers")
  kinds = layer_types or kinds
  if SLIDING in kinds and not window:
    raise fields.wrong("sliding_window", fields.get("sliding_window"), "a number of rows")
  return tuple(window if kind == SLIDING else 0 for kind in kinds)


def _rope(fields: _Fields, windows: tuple[int, ...]) -> tuple[float | tuple[float, ...], Scaling]:
  """Returns `rope_base` and `rope_scaling` of a decoder with these windows."""
  name = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
  ropes, two = fields.get(name) or {}, fields.family.two_ropes
  by_kind = two and (FULL in ropes or SLIDING in ropes)
  if two and name == "rope_parameters" and ropes and not by_kind:
    raise fields.wrong(name, ropes, f"one for {FULL} and one for {SLIDING}")
  full, sliding = (ropes.get(FULL) or {}, ropes.get(SLIDING) or {}) if by_kind else (ropes, {})
  base = _base(fields, "rope_theta", full)
  scaling = _scaling(fields, name, full)
  if not two:
    if scaling and any(windows):
      raise fields.wrong(name, ropes, "rope_type default, as layers have a window")
    return base, scaling
  if _scaling(fields, name, sliding):
    raise fields.wrong(f"{name}.{SLIDING}", sliding, "rope_type default")
  local = _base(fields, "rope_local_base_freq", sliding)
  bases = _shortest(tuple(local if window else base for window in windows))
  return bases[0] if len(bases) == 1 else bases, None if all(windows) else scaling


def _base(fields: _Fields, name: str, rope: Config) -> float:
  return fields.checked(name, rope.get("rope_theta", fields.get(name)))


def _scaling(fields: _Fields, name: str, rope: Config) -> Scaling:
  part = rope.get("partial_rotary_factor")
  if part not in (None, 1.0):
    raise fields.wrong(f"{name}.partial_rotary_factor", part, "1.0")
  kind = rope.get("rope_type", rope.get("type", "default"))

  def number(key: str, kind: type = float) -> float:
    return fields.checked(f"{name}.{key}", rope.get(key), kind=kind)

  match kind:
    case "default":
      return None
    case "linear":
      return rotary.LinearScaling(number("factor"))
    case "llama3":
      rows = number("original_max_position_embeddings", int)
      ramp = number("low_freq_factor"), number("high_freq_factor")
      return rotary.Llama3Scaling(number("factor"), *ramp, rows)
  raise fields.wrong(f"{name}.rope_type", kind, "default, linear or llama3")


def _shortest(pattern: tuple) -> tuple:
  """Returns the shortest prefix whose repetition is the whole sequence."""
  lengths = range(1, len(pattern) + 1)
  return next(
    pattern[:n] for n in lengths if all(v == pattern[i % n] for i, v in enumerate(pattern))
  )
