"""A decoder written again in plain numpy, one sequence at a time, for the tests to compare with.

Written from the papers and model cards, not from the package: no scan, no masks, float64.
"""

import numpy as np


def norm(x, scale, eps):
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale


def softmax(x):
  e = np.exp(x - x.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def silu(x):
  return x / (1 + np.exp(-x))


def gelu_tanh(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def llama3_frequency(frequency, scaling):
  """The piecewise rule of Llama 3.1, one frequency at a time."""
  wavelength = 2 * np.pi / frequency
  if wavelength < scaling.original_rows / scaling.high:
    return frequency
  if wavelength > scaling.original_rows / scaling.low:
    return frequency / scaling.factor
  smooth = (scaling.original_rows / wavelength - scaling.low) / (scaling.high - scaling.low)
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency


def turn(vector, position, base, stretch):
  """One head's vector turned to its position: pairs (i, i + H / 2)."""
  half = len(vector) // 2
  turned = vector.copy()
  for i in range(half):
    angle = position * stretch(base ** (-2 * i / len(vector)))
    a, b = vector[i], vector[i + half]
    turned[i] = a * np.cos(angle) - b * np.sin(angle)
    turned[i + half] = b * np.cos(angle) + a * np.sin(angle)
  return turned


def attention(s, p, x, base, window, stretch):
  """Attention of one sequence [L, D], row by row and head by head."""
  rows = len(x)
  scale_of = (lambda w: 1 + w) if s.norm_offset else (lambda w: w)
  q, k, v = (np.einsum("ld,dnh->lnh", x, p[name]) for name in ("query", "key", "value"))
  if s.qkv_bias:
    q, k, v = q + p["query_bias"], k + p["key_bias"], v + p["value_bias"]
  if s.qk_norm:
    q = norm(q, scale_of(p["query_norm"]["scale"]), s.norm_eps)
    k = norm(k, scale_of(p["key_norm"]["scale"]), s.norm_eps)
  for i in range(rows):
    q[i] = [turn(head, i, base, stretch) for head in q[i]]
    k[i] = [turn(head, i, base, stretch) for head in k[i]]
  q = q * (s.query_scale if s.query_scale is not None else 1 / np.sqrt(s.head_width))
  out = np.zeros_like(q)
  for i in range(rows):
    first = max(0, i - window + 1) if window else 0
    for n in range(s.heads):
      g = n // (s.heads // s.kv_heads)
      scores = k[first : i + 1, g] @ q[i, n]
      if s.attention_softcap is not None:
        scores = s.attention_softcap * np.tanh(scores / s.attention_softcap)
      out[i, n] = softmax(scores) @ v[first : i + 1, g]
  return np.einsum("lnh,nhd->ld", out, p["out"])


def mlp(s, p, x):
  act = {"silu": silu, "gelu_tanh": gelu_tanh}[s.activation]
  return (act(x @ p["gate"]) * (x @ p["up"])) @ p["down"]


def logits(s, params, tokens, windows, bases, stretches):
  """Logits [L, V] of one sequence of ids, with one window, base and stretch per layer."""
  scale_of = (lambda w: 1 + w) if s.norm_offset else (lambda w: w)

  def normed(x, group, name):
    return norm(x, scale_of(group[name]["scale"]), s.norm_eps)

  x = params["embed"]["table"][tokens]
  if s.embed_scale:
    x = x * np.sqrt(s.width)
  for number in range(s.layers):
    p = layer(params["layers"], number)
    rope = (bases[number], windows[number], stretches[number])
    h = normed(x, p, "attention_norm")
    branch = attention(s, p["attention"], h, *rope)
    if s.parallel_block:
      x = x + branch + mlp(s, p["mlp"], h)
      continue
    x = x + (normed(branch, p, "attention_post_norm") if s.post_norms else branch)
    branch = mlp(s, p["mlp"], normed(x, p, "mlp_norm"))
    x = x + (normed(branch, p, "mlp_post_norm") if s.post_norms else branch)
  x = normed(x, params, "norm")
  out = x @ params["embed" if s.tied else "head"]["table"].T
  return s.final_softcap * np.tanh(out / s.final_softcap) if s.final_softcap is not None else out


def layer(tree, number):
  if isinstance(tree, dict):
    return {name: layer(branch, number) for name, branch in tree.items()}
  return np.asarray(tree, np.float64)[number]
