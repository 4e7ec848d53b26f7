"""Small folders as transformers saves them, and their models in numpy.

Written from the model cards with the tensor names of PyTorch, independent of audiopalm.
"""

import json

import ml_dtypes
import numpy as np
from safetensors import numpy as safetensors

ROWS, WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD = 131, 32, 48, 3, 4, 2, 16
SIZES = {
  "vocab_size": ROWS, "hidden_size": WIDTH, "intermediate_size": HIDDEN,
  "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
  "head_dim": HEAD, "rms_norm_eps": 1e-5,
}  # fmt: skip
SLIDING, FULL = "sliding_attention", "full_attention"
LLAMA_3 = {
  "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
  "original_max_position_embeddings": 16,
}  # fmt: skip
GEMMA_2 = {
  "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24, "sliding_window": 5,
  "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0,
}  # fmt: skip
GEMMA_3 = {
  **GEMMA_2, "attn_logit_softcapping": None, "final_logit_softcapping": None,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 8.0}

# {model: (config.json as transformers 4 writes it, as transformers 5 does)}, sizes aside
CONFIGS = {
  "llama": (
    {"model_type": "llama", "hidden_act": "silu", "rope_theta": 5e5, "rope_scaling": LLAMA_3,
     "tie_word_embeddings": False},
    {"model_type": "llama", "hidden_act": "silu", "rope_parameters": LLAMA_3 | {"rope_theta": 5e5},
     "tie_word_embeddings": False},
  ),
  "mistral": (
    {"model_type": "mistral", "hidden_act": "silu", "rope_theta": 1e6, "sliding_window": 5},
    {"model_type": "mistral", "hidden_act": "silu", "sliding_window": 5,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}},
  ),
  "qwen2": (
    {"model_type": "qwen2", "hidden_act": "silu", "rope_theta": 1e6, "tie_word_embeddings": True,
     "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
    {"model_type": "qwen2", "hidden_act": "silu", "tie_word_embeddings": True,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
     "use_sliding_window": True, "sliding_window": 5, "layer_types": [FULL, FULL, SLIDING]},
  ),
  "qwen3": (
    {"model_type": "qwen3", "hidden_act": "silu", "rope_theta": 1e6, "rope_scaling": None,
     "use_sliding_window": False, "sliding_window": None, "max_window_layers": 28},
    {"model_type": "qwen3", "hidden_act": "silu", "use_sliding_window": False,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "layer_types": [FULL] * 3},
  ),
  "gemma": (
    {"model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh", "rope_theta": 1e4},
    {"model_type": "gemma", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
  ),
  "gemma2": (
    {"model_type": "gemma2", "rope_theta": 1e4, **GEMMA_2},
    {"model_type": "gemma2", **GEMMA_2, "tie_word_embeddings": True,
     "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
     "layer_types": [SLIDING, FULL, SLIDING]},
  ),
  "gemma3": (
    {"model_type": "gemma3_text", **GEMMA_3, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
     "rope_scaling": LINEAR, "sliding_window_pattern": 3},
    {"model_type": "gemma3_text", **GEMMA_3, "tie_word_embeddings": True,
     "rope_parameters": {FULL: LINEAR | {"rope_theta": 1e6},
                         SLIDING: {"rope_type": "default", "rope_theta": 1e4}},
     "layer_types": [SLIDING, SLIDING, FULL]},
  ),
}  # fmt: skip
# (window, base of the rotary embedding, its scaling) of each layer.
LAYER = {
  "llama": [(0, 5e5, "llama3")] * 3,
  "mistral": [(5, 1e6, None)] * 3,
  "qwen2": [(0, 1e6, None), (0, 1e6, None), (5, 1e6, None)],
  "qwen3": [(0, 1e6, None)] * 3,
  "gemma": [(0, 1e4, None)] * 3,
  "gemma2": [(5, 1e4, None), (0, 1e4, None), (5, 1e4, None)],
  "gemma3": [(5, 1e4, None), (5, 1e4, None), (0, 1e6, "linear")],
}
TIED = ("qwen2", "gemma", "gemma2", "gemma3")
FOUR_NORMS = ("gemma2", "gemma3")
DIALECTS = {"transformers 4": 0, "transformers 5": 1}


def config(name, dialect="transformers 5"):
  return SIZES | CONFIGS[name][DIALECTS[dialect]]


def tensors(name, seed=0, rows=ROWS):
  """Returns random tensors by name: float32 values that are exact in bfloat16."""
  gemma = name.startswith("gemma")
  wide, narrow = HEADS * HEAD, KV_HEADS * HEAD
  layer = {
    "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,),
    "self_attn.q_proj": (wide, WIDTH), "self_attn.k_proj": (narrow, WIDTH),
    "self_attn.v_proj": (narrow, WIDTH), "self_attn.o_proj": (WIDTH, wide),
    "mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH),
    "mlp.down_proj": (WIDTH, HIDDEN),
  }  # fmt: skip
  if name in FOUR_NORMS:
    layer |= {"pre_feedforward_layernorm": (WIDTH,), "post_feedforward_layernorm": (WIDTH,)}
  if name in ("qwen3", "gemma3"):
    layer |= {"self_attn.q_norm": (HEAD,), "self_attn.k_norm": (HEAD,)}
  shapes = {"model.embed_tokens.weight": (rows, WIDTH), "model.norm.weight": (WIDTH,)}
  for number in range(LAYERS):
    shapes |= {f"model.layers.{number}.{key}.weight": shape for key, shape in layer.items()}
    if name == "qwen2":
      sizes = {"q": wide, "k": narrow, "v": narrow}
      biases = {f"model.layers.{number}.self_attn.{k}_proj.bias": (n,) for k, n in sizes.items()}
      shapes |= biases
  if name not in TIED:
    shapes["lm_head.weight"] = (rows, WIDTH)
  random = np.random.default_rng(seed)
  arrays = {}
  for key, shape in shapes.items():
    values = random.normal(0, 0.3, shape) + ("norm" in key and not gemma)
    arrays[key] = values.astype(ml_dtypes.bfloat16).astype(np.float32)
  return arrays


def write(folder, config, tensors, files=1):
  """Writes a folder with its tensors in a number of files."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps(config, indent=2))
  if files == 1:
    safetensors.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder
  names = [f"model-{number + 1:05}-of-{files:05}.safetensors" for number in range(files)]
  file_of = {tensor: names[number % files] for number, tensor in enumerate(tensors)}
  for name in names:
    part = {tensor: array for tensor, array in tensors.items() if file_of[tensor] == name}
    safetensors.save_file(part, folder / name, {"format": "pt"})
  index = {"metadata": {}, "weight_map": file_of}
  (folder / "model.safetensors.index.json").write_text(json.dumps(index))
  return folder


def logits(name, tensors, tokens_L):
  """Returns logits [L, V] in float64."""
  gemma, four = name.startswith("gemma"), name in FOUR_NORMS
  w = {key: array.astype(np.float64) for key, array in tensors.items()}

  def norm(x, key):
    scale = w[f"{key}.weight"] + gemma
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + SIZES["rms_norm_eps"]) * scale

  def product(x, key):
    return x @ w[f"{key}.weight"].T + w.get(f"{key}.bias", 0)

  x = w["model.embed_tokens.weight"][tokens_L] * (WIDTH**0.5 if gemma else 1)
  for number, (window, base, scaling) in enumerate(LAYER[name]):
    prefix = f"model.layers.{number}"
    mixed = attention(
      name, norm(x, f"{prefix}.input_layernorm"), f"{prefix}.self_attn", norm, product, window,
      frequencies(base, scaling),
    )  # fmt: skip
    x = x + (norm(mixed, f"{prefix}.post_attention_layernorm") if four else mixed)
    before = "pre_feedforward_layernorm" if four else "post_attention_layernorm"
    h = norm(x, f"{prefix}.{before}")
    gated = activation(product(h, f"{prefix}.mlp.gate_proj"), gemma)
    out = product(gated * product(h, f"{prefix}.mlp.up_proj"), f"{prefix}.mlp.down_proj")
    x = x + (norm(out, f"{prefix}.post_feedforward_layernorm") if four else out)
  head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
  logits_LV = norm(x, "model.norm") @ head.T
  return 3.0 * np.tanh(logits_LV / 3.0) if name == "gemma2" else logits_LV


def attention(name, x, prefix, norm, product, window, frequency_h):
  rows = len(x)
  q = product(x, f"{prefix}.q_proj").reshape(rows, HEADS, HEAD)
  k = product(x, f"{prefix}.k_proj").reshape(rows, KV_HEADS, HEAD)
  v = product(x, f"{prefix}.v_proj").reshape(rows, KV_HEADS, HEAD)
  if name in ("qwen3", "gemma3"):
    q, k = norm(q, f"{prefix}.q_norm"), norm(k, f"{prefix}.k_norm")
  angle = np.tile(np.arange(rows)[:, None] * frequency_h, 2)[:, None]
  q, k = (a * np.cos(angle) + rotated(a) * np.sin(angle) for a in (q, k))
  k, v = (np.repeat(a, HEADS // KV_HEADS, axis=1) for a in (k, v))
  scale = (24 if name in FOUR_NORMS else HEAD) ** -0.5
  scores = np.einsum("inh,jnh->nij", q, k) * scale
  if name == "gemma2":
    scores = 5.0 * np.tanh(scores / 5.0)
  i, j = np.indices((rows, rows))
  seen = (j <= i) & ((i - j < window) if window else True)
  scores = np.where(seen, scores, -np.inf)
  share = np.exp(scores - scores.max(-1, keepdims=True))
  share /= share.sum(-1, keepdims=True)
  return product(np.einsum("nij,jnh->inh", share, v).reshape(rows, -1), f"{prefix}.o_proj")


def rotated(a):
  first, second = np.split(a, 2, axis=-1)
  return np.concatenate([-second, first], axis=-1)


def frequencies(base, scaling):
  frequency_h = base ** -(np.arange(0, HEAD, 2) / HEAD)
  if scaling == "linear":
    return frequency_h / 8.0
  if scaling == "llama3":
    periods = 16 * frequency_h / (2 * np.pi)
    smooth = (periods - 1.0) / (4.0 - 1.0)
    ramp = (1 - smooth) * frequency_h / 8.0 + smooth * frequency_h
    slow = np.where(periods < 1.0, frequency_h / 8.0, ramp)
    return np.where(periods > 4.0, frequency_h, slow)
  return frequency_h


def activation(x, gemma):
  if gemma:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
  return x / (1 + np.exp(-x))
