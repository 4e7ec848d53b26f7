import dataclasses
import json
import shutil
import types

import jax
import numpy as np
import pytest

from audiopalm.errors import CheckpointError, ConfigError, TokenSpaceError
from audiopalm.exports import folder
from audiopalm.models import decoder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
  out = tmp_path_factory.mktemp("folder") / "out"
  assert folder.write(out, *run) == "LlamaForCausalLM"
  return out


@pytest.fixture
def copy(exported, tmp_path):
  return shutil.copytree(exported, tmp_path / "copy")


def same(a, b):
  def kept(x, y):
    return (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())

  return all(jax.tree.leaves(jax.tree.map(kept, a, b)))


def assert_equal_runs(found, wanted):
  assert found.experiment == wanted.experiment
  assert found.manifest == json.loads(json.dumps(wanted.manifest))
  assert (found.step, found.longest) == (wanted.step, wanted.longest)
  assert found.tokenizers["text"].content == wanted.tokenizers["text"].content
  for name, tokenizer in wanted.tokenizers.items():
    assert found.tokenizers[name].spec == tokenizer.spec
  assert same(found.params, wanted.params)


def test_the_run_comes_back_to_the_bit(exported, run):
  assert_equal_runs(folder.read(exported), run[0])


def test_a_run_whose_text_tokenizer_came_from_another_run_comes_back(run, tmp_path):
  text, units = run[0].experiment.tokenizers
  moved = dataclasses.replace(text, fitted_in="another/run/tokenizers/text")
  experiment = dataclasses.replace(run[0].experiment, tokenizers=(moved, units))
  taken = dataclasses.replace(run[0], experiment=experiment)
  folder.write(tmp_path / "out", taken, run[1])
  assert_equal_runs(folder.read(tmp_path / "out"), taken)


def test_variables_of_the_objective_come_back_to_the_bit(run, tmp_path):
  codebook = {"counts": np.arange(3, dtype=np.float32), "table": np.full((3, 2), 0.1)}
  variables = {"codebook": codebook, "step": np.int32(7)}
  folder.write(tmp_path / "out", dataclasses.replace(run[0], variables=variables), run[1])
  found = folder.read(tmp_path / "out")
  assert_equal_runs(found, run[0])
  assert same(found.variables, variables)
  (tmp_path / "out" / "variables.safetensors").unlink()
  with pytest.raises(CheckpointError, match="variables.safetensors is missing or damaged"):
    folder.read(tmp_path / "out")


@pytest.mark.parametrize(
  "variables",
  ({"codebook": {"counts": np.arange(3), "older": {}}, "seen": {}}, {"seen": {"a": {}}}),
)
def test_variables_without_arrays_come_back_too(run, tmp_path, variables):
  folder.write(tmp_path / "out", dataclasses.replace(run[0], variables=variables), run[1])
  found = folder.read(tmp_path / "out").variables
  assert jax.tree.structure(found) == jax.tree.structure(variables)
  assert same(found, variables)


def contents(folder):
  return {
    path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def test_what_is_read_is_written_again_byte_by_byte(exported, run, tmp_path):
  folder.write(tmp_path / "again", folder.read(exported), run[1])
  again = contents(tmp_path / "again")
  assert again.keys() == contents(exported).keys()
  for name, content in contents(exported).items():
    assert again[name] == content, name


def test_a_model_that_no_class_computes_goes_out_with_its_file_and_comes_back(small, tmp_path):
  model = decoder.Decoder(
    layers=2, width=32, heads=4, kv_heads=2, head_width=8, hidden=48, parallel_block=True
  )
  run, prepared = small.run(model)
  assert folder.write(tmp_path / "out", run, prepared) == "torch_decoder.py"
  names = {path.name for path in (tmp_path / "out").iterdir()}
  assert {"torch_decoder.py", "config.json", "model.safetensors", "speech_tokenizer.py"} <= names
  assert_equal_runs(folder.read(tmp_path / "out"), run)


def test_a_stock_class_needs_no_file_of_ours(exported):
  assert sorted(path.name for path in exported.iterdir()) == [
    "audiopalm.json", "audiopalm.safetensors", "audiopalm_speech", "config.json",
    "generation_config.json", "manifest.json", "model.safetensors", "silence.py",
    "speech_tokenizer.py", "speech_tokenizer.safetensors", "text.model", "tokenizer.json",
    "tokenizer_config.json",
  ]  # fmt: skip


def test_a_folder_that_is_not_empty_is_left_alone(exported, run):
  with pytest.raises(ConfigError, match="is not empty .it holds audiopalm.json, .* Give a folder"):
    folder.write(exported, *run)


def test_a_file_in_the_place_of_the_folder_is_left_alone(run, tmp_path):
  (tmp_path / "out").write_text("mine")
  with pytest.raises(ConfigError, match="is not empty .it holds a file"):
    folder.write(tmp_path / "out", *run)
  assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_of_another_origin_says_what_it_is(tmp_path):
  with pytest.raises(ConfigError, match="no such folder. Give one that `audiopalm export` wrote"):
    folder.read(tmp_path / "none")
  with pytest.raises(ConfigError, match="was not written by `audiopalm export`.*no config.json"):
    folder.read(tmp_path)
  (tmp_path / "config.json").write_text('{"model_type": "llama"}')
  with pytest.raises(ConfigError, match="a config.json of model_type 'llama'"):
    folder.read(tmp_path)


def test_another_format_names_the_version_that_reads_it(copy):
  about = json.loads((copy / "audiopalm.json").read_text())
  (copy / "audiopalm.json").write_text(json.dumps(about | {"format": 9, "audiopalm": "7.1"}))
  with pytest.raises(
    ConfigError, match="format 9, .* reads format 1. Import it with audiopalm 7.1"
  ):
    folder.read(copy)


def test_tensors_of_another_shape_are_listed(copy):
  tensors, _ = folder.load_arrays(copy / "model.safetensors")
  tensors["model.norm.weight"] = np.zeros(3, np.float32)
  folder.save_arrays(copy / "model.safetensors", tensors, {})
  with pytest.raises(CheckpointError, match=r"norm.weight: found float32 \(3,\), expected"):
    folder.read(copy)


@pytest.mark.parametrize("name", ("model.safetensors", "speech_tokenizer.safetensors"))
def test_a_file_that_is_cut_or_missing_is_named(copy, name):
  whole = (copy / name).read_bytes()
  (copy / name).write_bytes(whole[: len(whole) // 2])
  with pytest.raises(CheckpointError, match=f"{name} is missing or damaged"):
    folder.read(copy)
  (copy / name).unlink()
  with pytest.raises(CheckpointError, match=f"{name} is missing or damaged"):
    folder.read(copy)


def test_a_text_model_that_is_missing_is_named(copy):
  (copy / "text.model").unlink()
  with pytest.raises(CheckpointError, match="text.model is missing"):
    folder.read(copy)


def test_a_tokenizer_of_another_run_is_refused(copy):
  arrays, texts = folder.load_arrays(copy / "speech_tokenizer.safetensors")
  arrays["centroids_VE"] = arrays["centroids_VE"] + 1
  folder.save_arrays(copy / "speech_tokenizer.safetensors", arrays, texts)
  with pytest.raises(
    TokenSpaceError, match="The tokenizer 'units' .* is not the one the model was"
  ):
    folder.read(copy)


def test_what_could_not_be_exported_is_refused_before_training(run):
  experiment = run[0].experiment
  folder.check(experiment)
  with pytest.raises(ConfigError, match="a model of class str; .* export=None to train without"):
    folder.check(types.SimpleNamespace(model="model", tokenizers=()))
  with pytest.raises(ConfigError, match="tokenizer 'codes' .SimpleNamespace.* export=None"):
    codec = types.SimpleNamespace(stream="codes")
    folder.check(types.SimpleNamespace(model=experiment.model, tokenizers=(codec,)))
