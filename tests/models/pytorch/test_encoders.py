"""Speech encoders in folders: what padding, windows and file types change (nothing), and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm.errors import CheckpointError, ConfigError
from audiopalm.models import encoder_windows
from audiopalm.models.encoder import cut
from audiopalm.models.pytorch import encoders

KINDS = ("hubert", "wavlm large", "w2v-bert", "whisper")


@pytest.fixture(scope="module")
def opened(folders, tmp_path_factory):
  """opened(name): a small encoder, opened once for states after the first of two layers."""
  found = {}

  def of(name):
    if name not in found:
      found[name] = encoders.open(folders.write(tmp_path_factory.mktemp("encoder"), name), layer=1)
    return found[name]

  return of


@pytest.mark.parametrize("name", KINDS)
def test_a_padded_clip_equals_the_clip_alone(name, folders, opened):
  encoder, lengths = opened(name), (8_000, 5_111)
  noise = np.random.default_rng(5).normal(0, 1, (2, 8_000)).astype(np.float32)
  for row, length in enumerate(lengths):
    noise[row, :length] = folders.wave(length, row)
  encode = jax.jit(encoder.model.encode, static_argnums=3)
  hidden_BTD, valid_BT = encode(encoder.params, noise, jnp.array(lengths), 1)
  assert valid_BT.sum(axis=1).tolist() == [encoder.frames(length) for length in lengths]
  first, second = (folders.wave(length, row) for row, length in enumerate(lengths))
  # `encode` of the encoder pads too, so the second clip is computed without any padding.
  exact_BTD, _ = encode(encoder.params, second[None], jnp.array([len(second)]), 1)
  for row, alone_TD in enumerate((encoder.encode(first), np.asarray(exact_BTD)[0])):
    length = lengths[row]
    alone_TD = alone_TD[: encoder.frames(length)]  # Whisper's window has more
    assert alone_TD.shape == (encoder.frames(length), 16) and alone_TD.std() > 0.1
    np.testing.assert_allclose(hidden_BTD[row, valid_BT[row]], alone_TD, atol=2e-5)
    assert not np.asarray(hidden_BTD)[row, ~np.asarray(valid_BT[row])].any()


def smaller_windows(monkeypatch, window, context, chunk):
  monkeypatch.setattr(encoder_windows, "WINDOW", window)
  monkeypatch.setattr(encoder_windows, "CONTEXT", context)
  monkeypatch.setattr(encoder_windows, "CHUNK", chunk)


@pytest.mark.parametrize("name", ("hubert", "w2v-bert"))
def test_frames_of_chunks_equal_those_of_the_whole_wave(name, folders, opened, monkeypatch):
  smaller_windows(monkeypatch, 1_250, 125, 40)
  encoder, wave_S = opened(name), folders.wave(17_777) + 0.02
  model, samples_B = encoder.model, np.array([17_777], np.int32)
  whole_BTC = jax.jit(
    lambda params: model.frames(params, model.features(wave_S[None], samples_B), samples_B)
  )(encoder.params)
  chunks = list(encoder_windows.frames(model, encoder.params, wave_S))
  assert len(chunks) > 1 and max(map(len, chunks)) == 40
  assert whole_BTC.std() > 0.1
  np.testing.assert_allclose(np.concatenate(chunks), whole_BTC[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ("hubert", "w2v-bert"))
def test_states_away_from_seams_are_close_to_those_of_the_whole_wave(
  name, folders, opened, monkeypatch
):
  encoder, wave_S = opened(name), folders.wave(46_000)
  whole_TD = encoder.encode(wave_S)
  smaller_windows(monkeypatch, 120, 30, 50)
  pieces = list(encoder.pieces(wave_S))
  assert len(pieces) > 1
  windowed_TD = np.concatenate(pieces)
  assert windowed_TD.shape == whole_TD.shape
  # Random attention over 120 frames of noise differs a little from that over all.
  error_T = np.abs(windowed_TD - whole_TD).mean(axis=1) / whole_TD.std()
  assert error_T.mean() < 0.15 and error_T.max() < 1
  # The last window is padded, which changes nothing.
  frames_TC = np.concatenate(list(encoder_windows.frames(encoder.model, encoder.params, wave_S)))
  last_TC = frames_TC[60 * (len(pieces) - 1) :]
  assert len(last_TC) < 120
  states = jax.jit(encoder.model.states, static_argnums=3)
  alone_BTD = states(encoder.params, last_TC[None], np.ones((1, len(last_TC)), bool), 1)
  np.testing.assert_allclose(pieces[-1], alone_BTD[0, 30:], atol=2e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_batch_has_the_states_of_each_wave_alone_from_few_programs(
  name, folders, opened, monkeypatch
):
  smaller_windows(monkeypatch, 120, 30, 50)
  monkeypatch.setattr(encoder_windows, "CPU_BATCH", 300)
  encoder = opened(name)
  lengths = [0, 30, 46_000, *range(900, 9_000, 450)]
  waves = [folders.wave(length, length) for length in lengths]
  alone = list(map(encoder.encode, waves))
  shapes = set()
  encode = encoder_windows._encode
  monkeypatch.setattr(
    encoder_windows, "_encode", lambda *args, **kw: shapes.add(args[2].shape) or encode(*args, **kw)
  )
  batch = encoder.encode_batch(waves)
  assert max(rows for rows, _ in shapes) > 2 and len(shapes) <= 2 * len({n for _, n in shapes}) <= 8
  for batch_TD, alone_TD in zip(batch, alone, strict=True):
    assert batch_TD.shape == alone_TD.shape
    np.testing.assert_allclose(batch_TD, alone_TD, atol=1e-4)


def test_waves_are_padded_to_one_of_twelve_lengths_and_longer_ones_to_no_shorter_one(opened):
  front = opened("hubert").settings.front
  counts = np.arange(1, encoder_windows.WINDOW + 1)
  rounded = np.array([encoder_windows._rounded(front, count) for count in counts.tolist()])
  assert len(set(rounded.tolist())) == 12 and rounded.max() == encoder_windows.WINDOW
  assert (rounded >= counts).all() and (np.diff(rounded) >= 0).all()


def test_whisper_encodes_windows_of_its_own_length(folders, opened):
  encoder, wave_S = opened("whisper"), folders.wave(70_000)  # windows of 2 s, seams of 160 ms
  assert (encoder.rate_hz, encoder.frames(70_000)) == (50.0, 219)
  first_TD, second_TD, third_TD = encoder.pieces(wave_S)
  assert [len(first_TD), len(second_TD), len(third_TD)] == [92, 84, 43]
  alone_TD = encoder.encode(wave_S[84 * 320 : 84 * 320 + 32_000])
  np.testing.assert_array_equal(second_TD, alone_TD[8:92])


def test_a_shorter_window_takes_the_first_positions(folders, opened):
  folder = opened("whisper").folder
  encoder = encoders.open(folder, window_s=0.5)
  hidden_TD = encoder.encode(folders.wave(6_000))
  assert hidden_TD.shape == (19, 16)
  with pytest.raises(ConfigError, match="A wave has 8001 samples, but .* window of 8000 .0.5 s."):
    encoder.model.features(jnp.zeros((1, 8_001)), jnp.array([8_001]))
  for wrong in (0.0, 2.5, 0.03):
    with pytest.raises(ConfigError, match=f"window_s is {wrong}, expected a multiple of 0.02 s up"):
      encoders.open(folder, window_s=wrong)
  with pytest.raises(ConfigError, match="describes a hubert, .* Leave window_s out"):
    encoders.open(opened("hubert").folder, window_s=1.0)


def test_later_layers_are_neither_read_nor_computed(folders, opened, tmp_path):
  first = opened("hubert")
  encoder = encoders.open(first.folder)
  assert (len(first.params["layers"]), len(encoder.params["layers"])) == (1, 2)
  wave_S = folders.wave(6_000)
  states_LBTD, _ = jax.jit(encoder.model.all_states)(
    encoder.params, wave_S[None], np.array([6_000])
  )
  assert len(states_LBTD) == 3
  layers = jax.tree.map(lambda *arrays: jnp.stack(arrays), *encoder.params["layers"])
  stacked = cut({**encoder.params, "layers": layers}, 1)
  encode = jax.jit(encoder.model.encode, static_argnums=3)
  hidden_BTD, _ = encode(stacked, wave_S[None], np.array([6_000]), 1)
  np.testing.assert_allclose(hidden_BTD, states_LBTD[1], atol=1e-5)
  np.testing.assert_allclose(first.encode(wave_S), states_LBTD[1, 0], atol=1e-5)
  arrays = folders.tensors("hubert")
  arrays["encoder.layers.1.feed_forward.output_dense.weight"] += 1
  other = folders.write(tmp_path, "hubert", arrays)
  assert encoders.open(other, layer=1).fingerprint == first.fingerprint
  assert encoders.open(other).fingerprint != encoder.fingerprint
  with pytest.raises(ConfigError, match="layer 0, its input, to layer 2, but layer 3 is asked for"):
    encoders.open(encoder.folder, layer=3)


def test_products_in_bfloat16_give_about_the_same_states(folders, opened):
  encoder, wave_S = opened("wavlm large"), folders.wave(3_000)
  rounded_TD, exact_TD = encoder.encode(wave_S, products="bfloat16"), encoder.encode(wave_S)
  assert 1e-5 < np.abs(rounded_TD - exact_TD).max() < 0.05 * exact_TD.std()


def test_waves_that_are_too_short_have_no_state(opened):
  assert opened("hubert").encode(np.zeros(30, np.float32)).shape == (0, 16)
  assert opened("whisper").encode(np.zeros(0, np.float32)).shape == (0, 16)


def test_the_same_values_in_another_file_have_the_same_fingerprint(folders, opened, tmp_path):
  half = {name: array.astype(np.float16) for name, array in folders.tensors("hubert").items()}
  exact = {f"hubert.{name}": array.astype(np.float32) for name, array in half.items()}
  exact |= {"lm_head.weight": np.zeros((2, 3)), "hubert.masked_spec_embed": np.zeros(3)}
  small = encoders.open(folders.write(tmp_path / "half", "hubert", half), layer=1)
  large = encoders.open(folders.write(tmp_path / "exact", "hubert", exact), layer=1)
  assert small.fingerprint == large.fingerprint != opened("hubert").fingerprint
  jax.tree.map(np.testing.assert_array_equal, small.params, large.params)


def test_wrong_tensors_are_listed_with_the_expected_ones(folders, tmp_path):
  arrays = folders.tensors("wavlm")
  arrays["encoder.layers.1.attention.q_proj.weight"] = np.zeros((3, 4), np.float32)
  arrays["encoder.layers.7.strange"] = arrays.pop("encoder.layer_norm.bias")
  with pytest.raises(CheckpointError) as caught:
    encoders.open(folders.write(tmp_path, "wavlm", arrays))
  message = str(caught.value)
  assert f"The tensors in {tmp_path} do not match its config.json:" in message
  assert "1.attention.q_proj.weight: found float32 (3, 4), expected float32 (16, 16)" in message
  assert "encoder.layer_norm.bias: found nothing, expected float32 (16,)" in message
  assert "encoder.layers.7.strange: found float32 (16,), expected nothing" in message


REFUSED = [
  ("hubert", {"conv_pos_batch_norm": True}, "conv_pos_batch_norm is true, expected false; nothing"),
  ("wav2vec2", {"adapter_attn_dim": 16}, "adapter_attn_dim is 16, expected null"),
  ("wav2vec2", {"hidden_act": "relu"}, 'hidden_act is "relu", expected gelu or swish or silu'),
  ("wavlm", {"feat_extract_norm": "batch"}, 'feat_extract_norm is "batch", expected group or'),
  (
    "wavlm",
    {"conv_stride": [5, 2]},
    r"conv_stride is \[5, 2\], expected 3 numbers, as conv_dim has",
  ),
  ("w2v-bert", {"position_embeddings_type": "rotary"}, 'is "rotary", expected "relative_key"'),
  ("w2v-bert", {"feature_projection_input_dim": 80}, "is 80, expected 160, as preprocessor_config"),
  ("wavlm", {"max_bucket_distance": 8}, "max_bucket_distance is 8, expected more than 8, the dist"),
  ("wavlm", {"num_buckets": 3}, "num_buckets is 3, expected at least 4, half of them for each"),
  ("hubert", {"layer_norm_eps": float("nan")}, "layer_norm_eps is NaN, expected a number above 0"),
  ("hubert", {"layer_norm_eps": float("inf")}, "layer_norm_eps is Infinity, expected a number"),
  ("whisper", {"num_mel_bins": 128}, "feature_size is 80, expected 128"),
  ("whisper", {"activation_function": "relu"}, 'activation_function is "relu", expected gelu'),
  ("hubert", {"model_type": "data2vec-audio"}, 'model_type is "data2vec-audio", expected wav2vec2'),
]


@pytest.mark.parametrize(("name", "changes", "message"), REFUSED)
def test_what_is_not_computed_is_refused_by_field_and_value(
  name, changes, message, folders, tmp_path
):
  with pytest.raises(ConfigError, match=message):
    encoders.open(folders.write(tmp_path, name, **changes))


def test_a_folder_without_settings_of_its_inputs_is_refused(folders, tmp_path):
  folder = folders.write(tmp_path, "hubert")
  (folder / "preprocessor_config.json").write_text('{"do_normalize": null}')
  with pytest.raises(ConfigError, match="do_normalize is null, expected true or false"):
    encoders.open(folder)
  (folder / "preprocessor_config.json").unlink()
  with pytest.raises(ConfigError, match="has no preprocessor_config.json. Expected the folder"):
    encoders.open(folder)


def test_a_wave_is_normalized_where_a_folder_does_not_say_as_the_published_classes_do(
  folders, tmp_path
):
  folder = folders.write(tmp_path, "hubert")
  (folder / "preprocessor_config.json").write_text("{}")
  assert encoders.open(folder).settings.front.normalized
  folder = folders.write(tmp_path / "whisper", "whisper")
  path = folder / "preprocessor_config.json"
  path.write_text(path.read_text().replace("{", '{"do_normalize": true, ', 1))
  with pytest.raises(ConfigError, match="do_normalize is true, expected false"):
    encoders.open(folder)


def test_an_index_names_its_files_as_text(folders, tmp_path):
  folder = folders.write(tmp_path, "hubert")
  (folder / "model.safetensors").unlink()
  (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 3}}')
  with pytest.raises(CheckpointError, match="index.json is missing or damaged .*the file 3"):
    encoders.open(folder)


def test_the_license_is_that_of_the_model_card_or_the_license_file(folders, tmp_path):
  encoder = encoders.open(folders.write(tmp_path, "hubert"))
  assert encoder.license_note is None
  (tmp_path / "LICENSE").write_text("\nMIT License\n\nCopyright")
  assert encoder.license_note == "MIT License (LICENSE)"
  (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# HuBERT\n")
  assert encoder.license_note == "apache-2.0 (README.md)"
