"""Folders of small speech encoders as transformers saves them, with random weights."""

import json

import numpy as np
from safetensors import numpy as safetensors

from audiopalm.models.pytorch import encoder_names

WAVES = {
  "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
  "hidden_act": "gelu", "layer_norm_eps": 1e-5, "feat_extract_activation": "gelu",
  "conv_dim": [8, 8, 8], "conv_kernel": [10, 3, 2], "conv_stride": [5, 4, 4], "conv_bias": False,
  "num_conv_pos_embeddings": 12, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
BASE = {"do_stable_layer_norm": False, "feat_extract_norm": "group"}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
BUCKETS = {"num_buckets": 32, "max_bucket_distance": 40}
CONFIGS = {
  "wav2vec2": {"model_type": "wav2vec2", **WAVES, **BASE},
  "wav2vec2 large": {"model_type": "wav2vec2", **WAVES, **LARGE},
  "hubert": {"model_type": "hubert", **WAVES, **BASE},
  "hubert large": {"model_type": "hubert", **WAVES, **LARGE, "num_conv_pos_embeddings": 7},
  "hubert, no norm of frames": {
    "model_type": "hubert", **WAVES, **BASE, "feat_proj_layer_norm": False
  },
  "wavlm": {"model_type": "wavlm", **WAVES, **BASE, **BUCKETS},
  "wavlm large": {"model_type": "wavlm", **WAVES, **LARGE, **BUCKETS},
  "w2v-bert": {
    "model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 24, "hidden_act": "swish",
    "layer_norm_eps": 1e-5, "feature_projection_input_dim": 160,
    "position_embeddings_type": "relative_key", "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 3, "conv_depthwise_kernel_size": 5,
  },
  "whisper": {
    "model_type": "whisper", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24, "num_mel_bins": 80, "max_source_positions": 100,
    "activation_function": "gelu",
  },
}  # fmt: skip
WAVE_PROCESSOR = {"do_normalize": True, "sampling_rate": 16_000}
PROCESSORS = {
  "wav2vec2-bert": {"num_mel_bins": 80, "stride": 2, "sampling_rate": 16_000},
  "whisper": {"feature_size": 80, "hop_length": 160, "n_fft": 400, "sampling_rate": 16_000},
}


def processor(name):
  """Returns the preprocessor_config.json of a model."""
  return PROCESSORS.get(CONFIGS[name]["model_type"], WAVE_PROCESSOR)


def tensors(name, seed=0):
  """Returns random tensors of a model, by the names within the encoder."""
  random, found = np.random.default_rng(seed), {}
  encoder = settings(name)
  for path, origin in encoder_names.origins(encoder).items():
    layers = encoder.block.layers if path[0] == "layers" else 1
    for number in range(layers):
      for tensor, shape in origin.shapes.items():
        center = 1.0 if path[-1] == "scale" else 0.0
        spread = 0.1 if path[-1] in ("scale", "bias") else 0.3
        array = random.normal(center, spread, shape).astype(np.float32)
        found[tensor.format(number)] = np.abs(array) if "original0" in tensor else array
  return found


def settings(name):
  from pathlib import Path

  return encoder_names.settings(CONFIGS[name], processor(name), Path("config.json"), None)


def write(folder, name, arrays=None, **changes):
  """Writes a folder, and returns it; `changes` are fields of config.json."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.json").write_text(json.dumps({**CONFIGS[name], **changes}))
  (folder / "preprocessor_config.json").write_text(json.dumps(processor(name)))
  safetensors.save_file(tensors(name) if arrays is None else arrays, folder / "model.safetensors")
  return folder


def wave(samples, seed=0):
  """Returns noise whose level and color change."""
  random = np.random.default_rng(seed)
  noise = random.normal(0, 1, samples + 2)
  level = 0.05 + 0.1 * np.abs(np.sin(np.arange(samples) / 1_700))
  return (level * (noise[2:] + noise[1:-1] + 0.5 * noise[:-2])).astype(np.float32)
