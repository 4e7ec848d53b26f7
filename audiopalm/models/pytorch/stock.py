"""The `transformers` class that computes the same as a decoder, and its config.json.

A decoder that no class expresses exactly is exported with `torch_decoder.py` instead; the table is
in docs/export.md. Keys of config.json are those of transformers 4, which version 5 reads too.
"""

import dataclasses
import math
from typing import Any

from audiopalm.errors import ConfigError
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import families
from audiopalm.models.pytorch.families import Family
from audiopalm.nn import rotary

# Options that `torch_decoder.py` reads unchanged; blocks of a depth head have some of them.
SAME = (
  "layers", "width", "heads", "kv_heads", "head_width", "hidden", "qkv_bias", "qk_norm",
  "attention_softcap", "final_softcap", "embed_scale", "norm_offset", "norm_eps", "post_norms",
  "activation", "parallel_block", "tied",
)  # fmt: skip


def find(settings: Decoder, columns: int, both_ways: bool) -> Family | None:
  """Returns the class that expresses the decoder on a grid of `columns` columns; None if there is
  none."""
  if columns > 1 or both_ways or settings.parallel_block or settings.depth_head is not None:
    return None
  if settings.width % settings.heads:
    return None
  return next((stock for stock in families.FAMILIES if _expresses(stock, settings)), None)


def _expresses(stock: Family, s: Decoder) -> bool:
  """Returns whether a decoder read from the class's config.json computes the same, apart from the
  scale of embeddings, which can be folded into the exported table (`folds`)."""
  if stock.gemma and not s.embed_scale:
    return False
  if stock.two_ropes and isinstance(s.rope_scaling, rotary.Llama3Scaling):
    return False
  try:
    again = families.settings(config(stock, s, rows=1, stop=0, longest=1), stock.architecture)
  except ConfigError:
    return False
  same_scale = math.isclose(_query_scale(again), _query_scale(s), rel_tol=1e-7)
  again = dataclasses.replace(
    again, query_scale=s.query_scale, embed_scale=s.embed_scale, tied=s.tied
  )
  return same_scale and plain_config(again, ()) == plain_config(s, ())


def folds(stock: Family | None, settings: Decoder) -> bool:
  """Returns whether sqrt(width) is multiplied into the exported embeddings, because Llama and Qwen
  do not scale them. A lookup gives the same float32 values; a tied head is exported as a separate
  table."""
  return stock is not None and settings.embed_scale and not stock.gemma


def tied(stock: Family | None, settings: Decoder) -> bool:
  """Returns whether the exported embedding is also the output head."""
  return settings.tied and not folds(stock, settings)


def config(stock: Family, settings: Decoder, rows: int, stop: int, longest: int) -> dict[str, Any]:
  """Returns config.json, given `rows` of the vocabulary, the id of `stop`, and the rows of the
  training grid."""
  s = settings
  fields = {
    "architectures": [stock.architecture],
    "model_type": stock.model_type,
    "torch_dtype": "float32",
    "vocab_size": rows,
    "hidden_size": s.width,
    "intermediate_size": s.hidden,
    "num_hidden_layers": s.layers,
    "num_attention_heads": s.heads,
    "num_key_value_heads": s.kv_heads,
    "head_dim": s.head_width,
    "rms_norm_eps": s.norm_eps,
    "hidden_act": families.ACTIVATIONS[s.activation],
    "tie_word_embeddings": tied(stock, s),
    "max_position_embeddings": longest,
    "rope_theta": _bases(s)[0],
    "rope_scaling": _scaling(s.rope_scaling),
    "attention_bias": False,
    "attention_dropout": 0.0,
    "use_cache": True,
    "bos_token_id": None,
    "eos_token_id": stop,
    "pad_token_id": stop,
  }
  if stock.gemma:
    fields["hidden_activation"] = fields["hidden_act"]
  if stock.windows == "all":
    fields["sliding_window"] = max(s.layer_windows)
  if stock.windows in ("last", "but"):
    kinds = [families.SLIDING if window else families.FULL for window in s.layer_windows]
    fields["layer_types"] = kinds
    fields["sliding_window"] = max(s.layer_windows) or longest
  if stock.windows == "last":
    fields["use_sliding_window"] = any(s.layer_windows)
  if stock.post_norms:
    fields["query_pre_attn_scalar"] = _query_scalar(s)
    fields["final_logit_softcapping"] = s.final_softcap
  if stock.softcap:
    fields["attn_logit_softcapping"] = s.attention_softcap
  if stock.two_ropes:
    fields["rope_local_base_freq"] = _bases(s)[1]
  return fields


def plain_config(settings: Decoder, sizes: tuple[int, ...]) -> dict[str, Any]:
  """Returns the config.json that `torch_decoder.py` reads: `sizes` ids in each column."""
  s = settings
  fields = {
    "model_type": "audiopalm",
    **{name: getattr(s, name) for name in SAME},
    "query_scale": _query_scale(s),
    "windows": s.layer_windows,
    "rope_bases": s.layer_rope_bases,
    "rope_scalings": [None if window else _scaling(s.rope_scaling) for window in s.layer_windows],
    "sizes": sizes,
  }
  if s.depth_head is not None:
    block = s.depth_head.block
    fields["depth_head"] = {name: getattr(block, name) for name in SAME if hasattr(block, name)}
    fields["depth_head"] |= {"attention_softcap": None, "query_scale": block.head_width**-0.5}
  return fields


def _query_scale(s: Decoder) -> float:
  return s.head_width**-0.5 if s.query_scale is None else s.query_scale


def _query_scalar(s: Decoder) -> int | None:
  """Returns the integer whose root divides the queries, as Gemma 2 and 3 name their scale."""
  number = round(_query_scale(s) ** -2)
  return number if abs(number**-0.5 / _query_scale(s) - 1) < 1e-7 else None


def _bases(s: Decoder) -> tuple[float | None, float | None]:
  """Returns the rotary bases of layers without and with a window; None if such layers differ."""
  bases = s.layer_rope_bases
  kinds = [
    {base for base, window in zip(bases, s.layer_windows, strict=True) if bool(window) == sliding}
    for sliding in (False, True)
  ]
  full, local = (next(iter(kind)) if len(kind) == 1 else None for kind in kinds)
  return full if kinds[0] else local, local if kinds[1] else full


def _scaling(scaling: families.Scaling) -> dict[str, Any] | None:
  match scaling:
    case rotary.LinearScaling(factor):
      return {"rope_type": "linear", "factor": factor}
    case rotary.Llama3Scaling(factor, low, high, original_rows):
      return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original_rows,
      }
  return None
