import dataclasses
import json
import types

import pytest

from audiopalm import values
from audiopalm.errors import ConfigError
from audiopalm.nn import lora, rotary
from audiopalm.parts import models


def test_tiny_has_three_million_parameters():
  space = types.SimpleNamespace(padded=(0,))
  assert 3.0e6 < models.tiny().parameters(space) < 3.3e6


def test_tiny_takes_width_layers_and_dropout():
  tiny = models.tiny(width=128, layers=2, dropout=0.1)
  assert (tiny.width, tiny.heads, tiny.layers, tiny.dropout) == (128, 2, 2, 0.1)


def test_tiny_takes_a_depth_head_which_is_kept_in_a_config():
  head = models.depth_head(width=64, layers=1)
  tiny = models.tiny(depth_head=head)
  assert (tiny.depth_head.width, tiny.depth_head.heads, tiny.depth_head.layers) == (64, 1, 1)
  assert values.from_json(values.to_json(tiny)) == tiny
  block = models.depth_head().block
  assert 0.39e6 < block.layers * block.kernel_parameters < 0.41e6


LLAMA_3 = {
  "model_type": "llama", "vocab_size": 131, "hidden_size": 64, "intermediate_size": 96,
  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rope_theta": 5e5,
  "rope_scaling": {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
  },
}  # fmt: skip


def test_a_pretrained_decoder_is_that_of_its_folder_and_is_kept_in_a_config(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(LLAMA_3))
  found = models.pretrained(str(tmp_path), dropout=0.1)
  assert (found.width, found.kv_heads, found.rope_base) == (64, 2, 5e5)
  assert found.rope_scaling == rotary.Llama3Scaling(8.0, 1.0, 4.0, 8192)
  assert dataclasses.replace(found, dropout=0.0) == models.pretrained(str(tmp_path))
  assert values.from_json(values.to_json(found)) == found
  adapted = dataclasses.replace(found, lora=lora.Lora())
  assert values.from_json(values.to_json(adapted)) == adapted


def test_a_folder_without_a_config_is_one_error(tmp_path):
  with pytest.raises(
    ConfigError, match="There is no model in .*config.json is missing. Give the folder"
  ):
    models.pretrained(str(tmp_path))
