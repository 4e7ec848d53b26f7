"""Speech encoders of `transformers` as ours: their settings, and the tensors of each array.

config.json and preprocessor_config.json are read. What would change the states and is not computed
here is a ConfigError. Paths are those of models/encoder.py as tuples; names of tensors are those
within the encoder, with "{}" in place of the number of a layer.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from audiopalm.errors import ConfigError
from audiopalm.models.encoder import Encoder
from audiopalm.models.pytorch.fields import Config, JsonFields
from audiopalm.nn import distances, encoding, fronts

Keys = tuple[str, ...]
Shape = tuple[int, ...]

PROCESSOR = "preprocessor_config.json"
WAVE_TYPES = ("wav2vec2", "hubert", "wavlm")
TYPES = (*WAVE_TYPES, "wav2vec2-bert", "whisper")
ACTIVATIONS = {"gelu": "gelu", "swish": "silu", "silu": "silu"}
NORMS = {"group": "group", "layer": "layer"}

# What classes take for fields that a config.json may leave out.
DEFAULTS = {
  "wave": {"conv_bias": False, "do_stable_layer_norm": False, "feat_proj_layer_norm": True},
  "wavlm": {"num_buckets": 320, "max_bucket_distance": 800},
  "wav2vec2-bert": {"position_embeddings_type": "relative_key"},
}
# The prefixes of an encoder's tensors: alone, and in models with a head or a decoder.
PREFIXES = ("", "wav2vec2.", "hubert.", "wavlm.", "wav2vec2_bert.", "model.encoder.", "encoder.")
PROBES = ("feature_projection.projection.weight", "conv1.weight")  # one of them is in every encoder
# Tensors of the models beside the encoder: heads, decoders, quantizers, and what only training or
# layers after the encoder read.
IGNORED = re.compile(
  r"(model\.)?decoder\.|(lm_head|proj_out|quantizer|project_hid|project_q|projector|classifier"
  r"|final_proj|tdnn|objective)\.|layer_weights$|label_embeddings_concat$"
  r"|feature_extractor\.(weight|bias)$"
  r"|((wav2vec2|hubert|wavlm|wav2vec2_bert)\.)?(masked_spec_embed$|adapter\.|intermediate_ffn\.)"
)


def settings(config: Config, processor: Config, where: Path, window_s: float | None) -> Encoder:
  """Returns the encoder that a folder describes: its config.json, which lies at `where`, and its
  preprocessor_config.json.

  `window_s` is that of `fronts.LogMels`. ConfigError, naming the field, for what no `Encoder` is.
  """
  kind = config.get("model_type")
  if kind not in TYPES:
    raise JsonFields(config, "speech encoder", where).wrong("model_type", kind, ", ".join(TYPES))
  shared = DEFAULTS["wave"] if kind in WAVE_TYPES else {}
  fields = JsonFields({**shared, **DEFAULTS.get(kind, {}), **config}, kind, where)
  inputs = JsonFields(processor, kind, where.with_name(PROCESSOR))
  inputs.must_be("sampling_rate", fronts.RATE_HZ)
  if window_s is not None and kind != "whisper":
    raise ConfigError(
      f"window_s is {window_s}, but {where} describes a {kind}, which takes waves of any length: "
      "only Whisper has a window. Leave window_s out."
    )
  if kind == "whisper":
    return _whisper(fields, inputs, window_s)
  return _bert(fields, inputs) if kind == "wav2vec2-bert" else _waves(fields, inputs, kind)


def _waves(fields: JsonFields, inputs: JsonFields, kind: str) -> Encoder:
  fields.must_be("feat_extract_activation", "gelu")
  fields.must_be("conv_pos_batch_norm", False)
  fields.must_be("adapter_attn_dim", None)
  buckets = None
  if kind == "wavlm":
    buckets = _buckets(fields)
  stable = fields.boolean("do_stable_layer_norm")
  front = fronts.Waves(
    channels=fields.wholes("conv_dim"),
    kernels=fields.wholes("conv_kernel"),
    strides=fields.wholes("conv_stride"),
    norm=fields.one_of("feat_extract_norm", NORMS),
    bias=fields.boolean("conv_bias"),
    normalized=inputs.boolean("do_normalize", missing=True),
  )
  for name, values in (("conv_kernel", front.kernels), ("conv_stride", front.strides)):
    if len(values) != len(front.channels):
      raise fields.wrong(name, values, f"{len(front.channels)} numbers, as conv_dim has")
  groups = fields.whole("num_conv_pos_embedding_groups")
  return Encoder(
    front,
    _block(fields, order="pre" if stable else "post", distances=buckets),
    projection_norm=kind != "hubert" or fields.boolean("feat_proj_layer_norm"),
    positions=distances.ConvolutionSettings(fields.whole("num_conv_pos_embeddings"), groups),
  )


def _buckets(fields: JsonFields) -> distances.Buckets:
  count, farthest = fields.whole("num_buckets"), fields.whole("max_bucket_distance")
  if count < 4:
    raise fields.wrong("num_buckets", count, "at least 4, half of them for each direction")
  if farthest <= count // 4:
    expected = f"more than {count // 4}, the distances that have a bucket of their own"
    raise fields.wrong("max_bucket_distance", farthest, expected)
  return distances.Buckets(count, farthest)


def _bert(fields: JsonFields, inputs: JsonFields) -> Encoder:
  fields.must_be("position_embeddings_type", "relative_key")
  front = fronts.Filterbanks(inputs.whole("num_mel_bins"), inputs.whole("stride"))
  if front.width != fields.whole("feature_projection_input_dim"):
    expected = f"{front.width}, as {PROCESSOR} stacks {front.stacked} frames of {front.bins} bins"
    value = fields.get("feature_projection_input_dim")
    raise fields.wrong("feature_projection_input_dim", value, expected)
  clip = distances.Clipped(
    fields.whole("left_max_position_embeddings"), fields.whole("right_max_position_embeddings")
  )
  conv_width = fields.whole("conv_depthwise_kernel_size")
  block = _block(fields, order="conformer", distances=clip, conv_width=conv_width)
  return Encoder(front, block, projection_norm=True, positions=None)


def _whisper(fields: JsonFields, inputs: JsonFields, window_s: float | None) -> Encoder:
  inputs.must_be("hop_length", 160)
  inputs.must_be("n_fft", 400)
  inputs.must_be("dither", 0.0)
  inputs.must_be("do_normalize", False)
  inputs.must_be("feature_size", fields.whole("num_mel_bins"))
  width = fields.whole("d_model")
  block = encoding.EncoderBlockSettings(
    layers=fields.whole("encoder_layers"),
    width=width,
    heads=fields.whole("encoder_attention_heads"),
    hidden=fields.whole("encoder_ffn_dim"),
    order="pre",
    activation=fields.one_of("activation_function", ACTIVATIONS),
    key_bias=False,
    norm_eps=1e-5,
    distances=None,
    conv_width=0,
  )
  positions = fields.whole("max_source_positions")
  front = fronts.LogMels(fields.whole("num_mel_bins"), positions, width, window_s)
  return Encoder(front, block, projection_norm=False, positions=None)


def _block(
  fields: JsonFields, conv_width: int = 0, **options: Any
) -> encoding.EncoderBlockSettings:
  return encoding.EncoderBlockSettings(
    layers=fields.whole("num_hidden_layers"),
    width=fields.whole("hidden_size"),
    heads=fields.whole("num_attention_heads"),
    hidden=fields.whole("intermediate_size"),
    activation=fields.one_of("hidden_act", ACTIVATIONS),
    key_bias=True,
    norm_eps=fields.number("layer_norm_eps"),
    conv_width=conv_width,
    **options,
  )


@dataclasses.dataclass(frozen=True)
class Origin:
  """The tensors, name to shape, that an array of ours is made of, and how."""

  shapes: dict[str, Shape]
  convert: Callable[..., np.ndarray]


def origins(encoder: Encoder, plain_norm: bool = False) -> dict[Keys, Origin]:
  """Returns the tensors of each array; arrays of layers are stacked by whoever reads them.

  `plain_norm`: the weight norm of convolved positions has its old names (weight_g, weight_v).
  """
  match encoder.front:
    case fronts.LogMels():
      pairs = _whisper_origins(encoder)
    case fronts.Filterbanks():
      pairs = _bert_origins(encoder)
    case fronts.Waves():
      pairs = _wave_origins(encoder, plain_norm)
  return dict(pairs)


def _wave_origins(encoder: Encoder, plain_norm: bool) -> Iterator[tuple[Keys, Origin]]:
  front, block, channels = encoder.front, encoder.block, 1
  for number, (width, kernel) in enumerate(zip(front.channels, front.kernels, strict=True)):
    name, path = f"feature_extractor.conv_layers.{number}", ("front", "convolutions", str(number))
    shape = (width, channels, kernel)
    yield (*path, "kernel"), Origin({f"{name}.conv.weight": shape}, np.transpose)
    if front.bias:
      yield (*path, "bias"), Origin({f"{name}.conv.bias": (width,)}, np.asarray)
    if front.norm == "layer" or number == 0:
      yield from _norm(("front", "norms", str(number)), f"{name}.layer_norm", width)
    channels = width
  yield from _projection(encoder)
  width, groups = block.width, encoder.positions.groups
  name, kernel = "encoder.pos_conv_embed.conv", encoder.positions.kernel
  kinds = ("weight_g", "weight_v")
  if not plain_norm:
    kinds = ("parametrizations.weight.original0", "parametrizations.weight.original1")
  shapes = (1, 1, kernel), (width, width // groups, kernel)
  parts = {f"{name}.{kind}": shape for kind, shape in zip(kinds, shapes, strict=True)}
  yield ("positions", "convolution", "kernel"), Origin(parts, _with_weight_norm)
  yield ("positions", "convolution", "bias"), Origin({f"{name}.bias": (width,)}, np.asarray)
  yield from _norm(("norm",), "encoder.layer_norm", width)
  layer = "encoder.layers.{}"
  names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
  yield from _attention(block, f"{layer}.attention", names)
  yield from _norm(("layers", "attention_norm"), f"{layer}.layer_norm", width)
  names = "intermediate_dense", "output_dense"
  yield from _feed_forward(block, "feed_forward", f"{layer}.feed_forward", names)
  yield from _norm(("layers", "feed_forward_norm"), f"{layer}.final_layer_norm", width)
  if isinstance(block.distances, distances.Buckets):
    name = "encoder.layers.0.attention.rel_attn_embed.weight"
    shape = block.distances.count, block.heads  # all layers take that of the first
    yield ("buckets", "table"), Origin({name: shape}, np.asarray)
    path, name = ("layers", "attention", "buckets"), f"{layer}.attention.gru_rel_pos"
    kernel = {f"{name}_linear.weight": (8, block.head_width)}
    yield (*path, "gate", "kernel"), Origin(kernel, lambda w: w.reshape(2, 4, -1).sum(axis=1).T)
    bias = {f"{name}_linear.bias": (8,)}
    yield (*path, "gate", "bias"), Origin(bias, lambda b: b.reshape(2, 4).sum(axis=1))
    constant = {f"{name}_const": (1, block.heads, 1, 1)}
    yield (*path, "constant"), Origin(constant, np.ravel)


def _bert_origins(encoder: Encoder) -> Iterator[tuple[Keys, Origin]]:
  block, width, layer = encoder.block, encoder.block.width, "encoder.layers.{}"
  yield from _projection(encoder)
  for ours, theirs in (("first", "ffn1"), ("second", "ffn2")):
    yield from _norm(("layers", f"{ours}_norm"), f"{layer}.{theirs}_layer_norm", width)
    names = "intermediate_dense", "output_dense"
    yield from _feed_forward(block, ours, f"{layer}.{theirs}", names)
  yield from _norm(("layers", "attention_norm"), f"{layer}.self_attn_layer_norm", width)
  names = {"query": "linear_q", "key": "linear_k", "value": "linear_v", "out": "linear_out"}
  yield from _attention(block, f"{layer}.self_attn", names)
  rows = block.distances.before + 1 + block.distances.after
  keys = {f"{layer}.self_attn.distance_embedding.weight": (rows, block.head_width)}
  yield ("layers", "attention", "distance_keys"), Origin(keys, np.asarray)
  path, name = ("layers", "convolution"), f"{layer}.conv_module"
  yield from _norm((*path, "norm"), f"{name}.layer_norm", width)
  into = {f"{name}.pointwise_conv1.weight": (2 * width, width, 1)}
  halves = Origin(into, lambda weight: _product(weight).reshape(width, 2, width))
  yield (*path, "into", "kernel"), halves
  depthwise = {f"{name}.depthwise_conv.weight": (width, 1, block.conv_width)}
  yield (*path, "depthwise"), Origin(depthwise, lambda w: w[:, 0].T)
  yield from _norm((*path, "depthwise_norm"), f"{name}.depthwise_layer_norm", width)
  out = {f"{name}.pointwise_conv2.weight": (width, width, 1)}
  yield (*path, "out", "kernel"), Origin(out, _product)
  yield from _norm(("layers", "norm"), f"{layer}.final_layer_norm", width)


def _whisper_origins(encoder: Encoder) -> Iterator[tuple[Keys, Origin]]:
  front, block, width = encoder.front, encoder.block, encoder.block.width
  for ours, theirs, channels in (("first", "conv1", front.bins), ("second", "conv2", width)):
    path, shape = ("front", ours), (width, channels, 3)
    yield (*path, "kernel"), Origin({f"{theirs}.weight": shape}, np.transpose)
    yield (*path, "bias"), Origin({f"{theirs}.bias": (width,)}, np.asarray)
  positions = {"embed_positions.weight": (front.positions, width)}
  yield ("front", "positions"), Origin(positions, np.asarray)
  layer = "layers.{}"
  names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
  yield from _attention(block, f"{layer}.self_attn", names)
  yield from _norm(("layers", "attention_norm"), f"{layer}.self_attn_layer_norm", width)
  yield from _feed_forward(block, "feed_forward", layer, ("fc1", "fc2"))
  yield from _norm(("layers", "feed_forward_norm"), f"{layer}.final_layer_norm", width)
  yield from _norm(("norm",), "layer_norm", width)


def _projection(encoder: Encoder) -> Iterator[tuple[Keys, Origin]]:
  into, name = encoder.front.width, "feature_projection"
  if encoder.projection_norm:
    yield from _norm(("projection", "norm"), f"{name}.layer_norm", into)
  width = encoder.block.width
  yield from _dense(("projection", "dense"), f"{name}.projection", (into,), (width,))


def _norm(path: Keys, name: str, width: int) -> Iterator[tuple[Keys, Origin]]:
  yield (*path, "scale"), Origin({f"{name}.weight": (width,)}, np.asarray)
  yield (*path, "bias"), Origin({f"{name}.bias": (width,)}, np.asarray)


def _dense(
  path: Keys, name: str, into: Shape, out: Shape, biased: bool = True
) -> Iterator[tuple[Keys, Origin]]:
  """Yields kernel and bias; PyTorch has [out, in], with heads side by side."""
  shape = int(np.prod(out)), int(np.prod(into))
  kernel = Origin({f"{name}.weight": shape}, lambda weight: weight.T.reshape(*into, *out))
  yield (*path, "kernel"), kernel
  if biased:
    bias = Origin({f"{name}.bias": shape[:1]}, lambda bias: bias.reshape(out))
    yield (*path, "bias"), bias


def _attention(
  block: encoding.EncoderBlockSettings, name: str, names: dict[str, str]
) -> Iterator[tuple[Keys, Origin]]:
  wide, heads = (block.width,), (block.heads, block.head_width)
  for ours, theirs in names.items():
    into, out = (heads, wide) if ours == "out" else (wide, heads)
    biased = ours != "key" or block.key_bias
    yield from _dense(("layers", "attention", ours), f"{name}.{theirs}", into, out, biased)


def _feed_forward(
  block: encoding.EncoderBlockSettings, ours: str, name: str, names: tuple[str, str]
) -> Iterator[tuple[Keys, Origin]]:
  sizes = (block.width,), (block.hidden,)
  for path, theirs, (into, out) in zip(("up", "down"), names, (sizes, sizes[::-1]), strict=True):
    yield from _dense(("layers", ours, path), f"{name}.{theirs}", into, out)


def _product(weight_DC1: np.ndarray) -> np.ndarray:
  """Returns kernel_CD of a convolution of one tap, which is a matrix product."""
  return weight_DC1[..., 0].T


def _with_weight_norm(g_11K: np.ndarray, v_DCK: np.ndarray) -> np.ndarray:
  """Returns kernel_KCD of a convolution with weight norm: each tap of `v` has the norm in `g`."""
  norm_11K = np.sqrt(np.square(v_DCK, dtype=np.float64).sum(axis=(0, 1), keepdims=True))
  return (v_DCK * (g_11K / norm_11K)).astype(np.float32).transpose()
