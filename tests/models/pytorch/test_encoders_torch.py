"""Speech encoders saved by transformers: equal hidden states of all layers."""

import json

import jax
import numpy as np
import pytest

from audiopalm.models.pytorch import encoders

pytestmark = pytest.mark.torch

CLASSES = {
  "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
  "hubert": ("HubertConfig", "HubertModel"),
  "wavlm": ("WavLMConfig", "WavLMModel"),
  "wav2vec2-bert": ("Wav2Vec2BertConfig", "Wav2Vec2BertModel"),
  "whisper": ("WhisperConfig", "WhisperModel"),
}
NAMES = (
  "wav2vec2", "wav2vec2 large", "hubert", "hubert large", "hubert, no norm of frames", "wavlm",
  "wavlm large", "w2v-bert", "whisper",
)  # fmt: skip
LENGTHS = (24_000, 9_100, 13_333)


def saved(folders, name, folder, **options):
  """Returns a model with random weights, saved in a folder."""
  import torch
  import transformers

  config = {key: value for key, value in folders.CONFIGS[name].items() if key != "model_type"}
  kinds = CLASSES[folders.CONFIGS[name]["model_type"]]
  config_class, model_class = (getattr(transformers, kind) for kind in kinds)
  if model_class is transformers.WhisperModel:
    config |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
    config |= {"vocab_size": 16, "pad_token_id": 0, "max_target_positions": 8}
  torch.manual_seed(0)
  model = model_class(config_class(**config)).eval()
  with torch.no_grad():
    for path, tensor in model.named_parameters():
      center = 1.0 if "norm" in path and path.endswith("weight") else 0.0
      spread = 0.1 if "norm" in path or path.endswith("bias") else 0.3
      array = center + spread * torch.randn_like(tensor)
      tensor.copy_(array.abs() if path.endswith(("original0", "weight_g")) else array)
  model.save_pretrained(folder, **options)
  (folder / "preprocessor_config.json").write_text(json.dumps(folders.processor(name)))
  return model


def ours(encoder, waves):
  """Returns hidden_LBTD of padded waves, with what lies behind a wave set to noise."""
  wave_BS = np.random.default_rng(9).normal(0, 0.1, (len(waves), max(map(len, waves))))
  for row, wave_S in enumerate(waves):
    wave_BS[row, : len(wave_S)] = wave_S
  samples_B = np.array([len(wave_S) for wave_S in waves], np.int32)
  with jax.default_matmul_precision("highest"):
    states = jax.jit(encoder.model.all_states)
    return jax.device_get(states(encoder.params, wave_BS.astype(np.float32), samples_B))


def theirs(folders, name, model, waves):
  """Returns hidden_LBTD of transformers, of its own features, with its attention mask."""
  import torch
  import transformers

  processor = folders.processor(name)
  match folders.CONFIGS[name]["model_type"]:
    case "whisper":
      seconds = model.config.max_source_positions // 50
      extractor = transformers.WhisperFeatureExtractor(chunk_length=seconds, **processor)
      model = model.encoder
    case "wav2vec2-bert":
      extractor = transformers.SeamlessM4TFeatureExtractor(**processor)
    case _:
      extractor = transformers.Wav2Vec2FeatureExtractor(**processor, return_attention_mask=True)
  inputs = extractor(list(waves), sampling_rate=16_000, padding=True, return_tensors="pt")
  if model.main_input_name == "input_features" and "attention_mask" not in inputs:
    inputs = extractor(list(waves), sampling_rate=16_000, return_tensors="pt")
  with torch.no_grad():
    output = model(**inputs, output_hidden_states=True)
  # transformers 4 and 5 differ in whether the last of hidden_states is normed
  return torch.stack([*output.hidden_states[:-1], output.last_hidden_state]).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_all_states_equal_those_of_transformers(name, folders, tmp_path):
  model = saved(folders, name, tmp_path)
  encoder = encoders.open(tmp_path)
  waves = [folders.wave(length, seed) for seed, length in enumerate(LENGTHS)]
  if folders.CONFIGS[name].get("feat_extract_norm") == "group":  # transformers norms padding too
    batches = [[wave_S] for wave_S in waves]
  else:
    batches = [waves]
  for batch in batches:
    hidden_LBTD, valid_BT = ours(encoder, batch)
    wanted_LBTD = theirs(folders, name, model, batch)
    assert hidden_LBTD.shape == wanted_LBTD.shape
    assert valid_BT.sum(axis=1).tolist() == [encoder.frames(len(wave_S)) for wave_S in batch]
    assert 0.3 < wanted_LBTD[:, valid_BT].std() < 30
    np.testing.assert_allclose(
      hidden_LBTD[:, valid_BT], wanted_LBTD[:, valid_BT], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", ("wavlm", "wav2vec2 large"))
def test_files_that_torch_saved_are_read_like_safetensors(name, folders, tmp_path):
  import torch

  model = saved(folders, name, tmp_path)
  wanted = encoders.open(tmp_path)
  (tmp_path / "model.safetensors").rename(tmp_path / "kept")
  torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
  found = encoders.open(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)
  assert found.fingerprint == wanted.fingerprint


def test_old_names_of_weight_norm_are_read(folders, tmp_path):
  import torch

  model = saved(folders, "hubert", tmp_path)
  wanted = encoders.open(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  renamed = {}
  for name, tensor in model.state_dict().items():
    name = name.replace("parametrizations.weight.original0", "weight_g")
    renamed["hubert." + name.replace("parametrizations.weight.original1", "weight_v")] = tensor
  torch.save(renamed | {"lm_head.weight": torch.zeros(3, 4)}, tmp_path / "pytorch_model.bin")
  found = encoders.open(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)


@pytest.mark.parametrize("name", ("hubert", "w2v-bert"))
def test_the_encoder_whose_speed_is_compared_gives_the_same_states(name, folders, tmp_path):
  saved(folders, name, tmp_path / "whole")
  encoder = encoders.open(tmp_path / "whole")
  encoder.save(tmp_path / "copy")
  wave_S = folders.wave(32_000, 3)
  assert encoders.has_torch()
  wanted_TD = encoders.published_states(tmp_path / "copy", encoder.layers)(wave_S)
  np.testing.assert_allclose(encoder.encode(wave_S), wanted_TD[: encoder.frames(32_000)], atol=1e-4)
  first_TD = encoders.published_states(tmp_path / "copy", 1)(wave_S)
  assert first_TD.shape == wanted_TD.shape and np.abs(first_TD - wanted_TD).max() > 0.1
