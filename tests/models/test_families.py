"""config.json of published models, in both dialects, as decoders; and what is refused of them."""

import pytest

from audiopalm.errors import ConfigError
from audiopalm.models.decoder import Decoder
from audiopalm.models.pytorch import families
from audiopalm.nn import rotary

LLAMA = {
  "model_type": "llama", "vocab_size": 131, "hidden_size": 32, "intermediate_size": 48,
  "num_hidden_layers": 3, "num_attention_heads": 4,
}  # fmt: skip
QWEN_2 = LLAMA | {"model_type": "qwen2", "num_key_value_heads": 2}
MISTRAL = LLAMA | {"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 5}
GEMMA_2 = LLAMA | {"model_type": "gemma2", "num_key_value_heads": 2, "head_dim": 16}
GEMMA_3 = LLAMA | {"model_type": "gemma3_text"}

# The fields of published files that say something of the numbers.
LLAMA_2_7B = {
  "model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 11008,
  "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32,
  "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False,
  "torch_dtype": "float16", "vocab_size": 32000,
}  # fmt: skip
LLAMA_32_1B = {
  "model_type": "llama", "attention_bias": False, "head_dim": 64, "hidden_act": "silu",
  "hidden_size": 2048, "intermediate_size": 8192, "mlp_bias": False, "num_attention_heads": 32,
  "num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": {
    "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192, "rope_type": "llama3",
  },
  "rope_theta": 500000.0, "tie_word_embeddings": True, "vocab_size": 128256,
}  # fmt: skip
MISTRAL_7B = {
  "model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
  "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096,
  "tie_word_embeddings": False, "vocab_size": 32000,
}  # fmt: skip
QWEN_25_05B = {
  "model_type": "qwen2", "attention_dropout": 0.0, "hidden_act": "silu", "hidden_size": 896,
  "intermediate_size": 4864, "max_window_layers": 24, "num_attention_heads": 14,
  "num_hidden_layers": 24, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0, "sliding_window": 32768, "tie_word_embeddings": True,
  "use_mrope": False, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
QWEN_3_06B = {
  "model_type": "qwen3", "attention_bias": False, "head_dim": 128, "hidden_act": "silu",
  "hidden_size": 1024, "intermediate_size": 3072, "max_window_layers": 28,
  "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
  "rms_norm_eps": 1e-06, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
  "tie_word_embeddings": True, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
GEMMA_2B = {
  "model_type": "gemma", "attention_bias": False, "head_dim": 256, "hidden_act": "gelu",
  "hidden_size": 2048, "intermediate_size": 16384, "num_attention_heads": 8,
  "num_hidden_layers": 18, "num_key_value_heads": 1, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
  "vocab_size": 256000,
}  # fmt: skip
GEMMA_2_2B = {
  "model_type": "gemma2", "attention_bias": False, "attn_logit_softcapping": 50.0,
  "cache_implementation": "hybrid", "final_logit_softcapping": 30.0, "head_dim": 256,
  "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
  "hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8,
  "num_hidden_layers": 26, "num_key_value_heads": 4, "query_pre_attn_scalar": 256,
  "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 256000,
}  # fmt: skip
GEMMA_3_4B = {
  "model_type": "gemma3", "image_token_index": 262144,
  "text_config": {
    "hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
    "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
  },
  "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"},
}  # fmt: skip

PUBLISHED = {
  "Llama 2 7B": (LLAMA_2_7B, 32_000, Decoder(
    layers=32, width=4096, heads=32, kv_heads=32, head_width=128, hidden=11_008, norm_eps=1e-5,
    tied=False)),
  "Llama 3.2 1B": (LLAMA_32_1B, 128_256, Decoder(
    layers=16, width=2048, heads=32, kv_heads=8, head_width=64, hidden=8192, norm_eps=1e-5,
    rope_base=5e5, rope_scaling=rotary.Llama3Scaling(32.0, 1.0, 4.0, 8192))),
  "Mistral 7B v0.1": (MISTRAL_7B, 32_000, Decoder(
    layers=32, width=4096, heads=32, kv_heads=8, head_width=128, hidden=14_336, norm_eps=1e-5,
    windows=(4096,), tied=False)),
  "Qwen 2.5 0.5B": (QWEN_25_05B, 151_936, Decoder(
    layers=24, width=896, heads=14, kv_heads=2, head_width=64, hidden=4864, qkv_bias=True,
    rope_base=1e6)),
  "Qwen 3 0.6B": (QWEN_3_06B, 151_936, Decoder(
    layers=28, width=1024, heads=16, kv_heads=8, head_width=128, hidden=3072, qk_norm=True,
    rope_base=1e6)),
  "Gemma 2B": (GEMMA_2B, 256_000, Decoder(
    layers=18, width=2048, heads=8, kv_heads=1, head_width=256, hidden=16_384, embed_scale=True,
    norm_offset=True, activation="gelu_tanh")),
  "Gemma 2 2B": (GEMMA_2_2B, 256_000, Decoder(
    layers=26, width=2304, heads=8, kv_heads=4, head_width=256, hidden=9216, embed_scale=True,
    norm_offset=True, activation="gelu_tanh", post_norms=True, attention_softcap=50.0,
    final_softcap=30.0, query_scale=1 / 16, windows=(4096, 0))),
  "Gemma 3 4B": (GEMMA_3_4B, 262_208, Decoder(
    layers=34, width=2560, heads=8, kv_heads=4, head_width=256, hidden=10_240, embed_scale=True,
    norm_offset=True, activation="gelu_tanh", post_norms=True, qk_norm=True, query_scale=1 / 16,
    windows=(1024,) * 5 + (0,), rope_base=(1e4,) * 5 + (1e6,),
    rope_scaling=rotary.LinearScaling(8.0))),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_the_decoder_of_its_model_card(name):
  config, rows, wanted = PUBLISHED[name]
  assert families.settings(config, "config.json") == wanted
  assert families.rows(config, "config.json") == rows


def test_scaling_counts_where_a_layer_has_no_window_alone():
  linear = {"rope_type": "linear", "factor": 8.0}
  short = families.settings(GEMMA_3 | {"rope_scaling": linear}, "config.json")
  assert (short.windows, short.rope_base, short.rope_scaling) == ((4096,), 1e4, None)


def test_an_old_name_of_a_scaling_is_known():
  old = {"type": "linear", "factor": 2.0}
  found = families.settings(LLAMA | {"rope_scaling": old}, "config.json")
  assert found.rope_scaling == rotary.LinearScaling(2.0)


def test_layer_types_come_before_the_pattern():
  kinds = ["full_attention", "sliding_attention", "full_attention"]
  found = families.settings(GEMMA_2 | {"layer_types": kinds, "sliding_window": 7}, "config.json")
  assert found.layer_windows == (0, 7, 0)


YARN = {"rope_type": "yarn", "factor": 4.0}
LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LINEAR = {"rope_type": "linear", "factor": 2.0}
FP8 = {"quant_method": "fp8"}
MIXED = ["sliding_attention", "full_attention", "full_attention"]
CHUNKED = ["chunked_attention"] * 3
REFUSED = [
  (LLAMA | {"model_type": "mixtral"}, "model_type is 'mixtral', but text models are read of the "
   "types llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3_text and gemma3. Start from one"),
  (LLAMA | {"model_type": None}, "model_type is None"),
  (LLAMA | {"attention_bias": True}, "attention_bias is true, expected false; nothing else is comp"
   "uted here for a llama. Start from another model."),
  (LLAMA | {"mlp_bias": True}, "mlp_bias is true, expected false"),
  (LLAMA | {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5, expected 1.0"),
  (LLAMA | {"quantization_config": FP8}, 'quantization_config is {"quant_method": "fp8"}, expect'),
  (LLAMA | {"auto_map": {"AutoModel": "mine.Model"}}, "auto_map is .*, expected null"),
  (LLAMA | {"hidden_act": "relu"}, 'hidden_act is "relu", expected silu or gelu_pytorch_tanh'),
  (LLAMA | {"hidden_act": "gelu"}, 'hidden_act is "gelu", expected silu or gelu_pytorch_tanh'),
  (GEMMA_2 | {"hidden_activation": "gelu"}, 'hidden_activation is "gelu", expected silu or gelu_'),
  (GEMMA_2 | {"use_bidirectional_attention": True}, "use_bidirectional_attention is true"),
  (GEMMA_3 | {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0, expected null"),
  (LLAMA | {"final_logit_softcapping": 30.0}, "final_logit_softcapping is 30.0, expected null"),
  (LLAMA | {"rope_scaling": YARN}, 'rope_scaling.rope_type is "yarn", expected default, linear or'),
  (LLAMA | {"rope_parameters": YARN}, 'rope_parameters.rope_type is "yarn"'),
  (LLAMA | {"rope_parameters": {"partial_rotary_factor": 0.25}},
   "rope_parameters.partial_rotary_factor is 0.25, expected 1.0"),
  (LLAMA | {"rope_scaling": LLAMA_3}, "rope_scaling.original_max_position_embeddings is null, exp"
   "ected a number above 0"),
  (LLAMA | {"rope_theta": "1e4"}, 'rope_theta is "1e4", expected a number above 0'),
  (MISTRAL | {"rope_scaling": LINEAR}, "rope_scaling is .*, expected rope_type default, as layers"),
  (GEMMA_2 | {"rope_parameters": LINEAR}, "rope_parameters is .*, expected rope_type default, as"),
  (GEMMA_3 | {"rope_parameters": LINEAR}, "rope_parameters is .*, expected one for full_attention"),
  (GEMMA_3 | {"rope_parameters": {"sliding_attention": LINEAR}},
   "rope_parameters.sliding_attention is .*, expected rope_type default"),
  (GEMMA_2 | {"sliding_window": None}, "sliding_window is null, expected a number of rows"),
  (MISTRAL | {"sliding_window": 0}, "sliding_window is 0, expected an integer above 0"),
  (MISTRAL | {"layer_types": MIXED}, "layer_types is .*, expected sliding_attention in all layers"),
  (LLAMA | {"layer_types": MIXED}, "layer_types is .*, expected full_attention in all layers"),
  (GEMMA_2 | {"layer_types": CHUNKED}, "layer_types is .*, expected 3 of full_attention and slid"),
  (GEMMA_2 | {"layer_types": MIXED[:2]}, "layer_types is .*, expected 3 of full_attention and sli"),
  (QWEN_2 | {"use_sliding_window": True, "sliding_window": 5}, "has no max_window_layers, without "
   "which a qwen2 cannot be read. Copy the folder again, or save the model again with"),
  (QWEN_2 | {"layer_types": MIXED}, "sliding_window is null, expected a number of rows"),
  (LLAMA | {"hidden_size": "32"}, 'hidden_size is "32", expected an integer above 0'),
  (LLAMA | {"num_hidden_layers": True}, "num_hidden_layers is true, expected an integer above"),
  (LLAMA | {"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes", expected true or false'),
]  # fmt: skip


@pytest.mark.parametrize("config, said", REFUSED)
def test_what_a_decoder_does_not_compute_is_named(config, said):
  with pytest.raises(ConfigError, match=f"^there/config.json:? {said}"):
    families.settings(config, "there/config.json")


@pytest.mark.parametrize("name", ("hidden_size", "intermediate_size", "num_attention_heads"))
def test_a_size_that_is_missing_is_named(name):
  config = {key: value for key, value in LLAMA.items() if key != name}
  with pytest.raises(ConfigError, match=f"there/config.json has no {name}, without which a llama"):
    families.settings(config, "there/config.json")


def test_a_quantized_multimodal_model_is_refused_by_its_outer_config():
  with pytest.raises(ConfigError, match="quantization_config is"):
    families.settings(GEMMA_3_4B | {"quantization_config": FP8}, "config.json")
