import dataclasses
import errno
import json
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import runs
from audiopalm.errors import CheckpointError, FullDevice, TokenSpaceError
from audiopalm.settings import Optimizer
from audiopalm.training import checkpoint, optimizers, state, writing
from audiopalm.training.state import Learner

MANIFEST = {"format": 1, "streams": [{"name": "text", "sizes": (4,), "fingerprint": "aa"}]}


def made(width=3, fill=1.0, names=("kernel", "scale")):
  params = {"layers": {name: jnp.full((2, width), fill) for name in names}}
  chain = optimizers.build(Optimizer(), 10)
  return state.create(params, {}, {"model": Learner((), chain)})


def expecting(shapes, manifest=MANIFEST):
  return lambda meta: checkpoint.Expected(shapes, {}, manifest)


def meta(step):
  return checkpoint.Meta(step, '{"name": "x"}', MANIFEST, {"step": step}, {"jax": jax.__version__})


def saved(workdir, *step_numbers, keep=5, now=None):
  with writing.Writer(workdir, keep) as writer:
    for step in step_numbers:
      writer.save(now or made(fill=float(step)), meta(step))
  return workdir


def break_one(path):
  """Cuts the largest array file of a checkpoint in half, as a power cut would."""
  largest = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def test_a_saved_state_comes_back_equal(tmp_path):
  saved(tmp_path, 3)
  restored, found = checkpoint.restore_state(tmp_path, made(), MANIFEST)
  expected = made(fill=3.0)
  assert jax.tree.structure(restored) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, restored, expected)
  assert (found.step, found.experiment, found.position) == (3, '{"name": "x"}', {"step": 3})


def test_the_state_of_parameters_by_two_rules_comes_back_equal(tmp_path):
  chain = optimizers.build(Optimizer(name="muon"), 10)
  params = {"embed": jnp.ones((4, 3)), "layers": {"kernel": jnp.ones((2, 3, 4))}}
  first = state.create(params, {}, {"model": Learner((), chain)})
  gradients = jax.tree.map(lambda x: x + 0.5, params)
  _, moved = chain.update(gradients, first.optimizer["model"], params, step=jnp.int32(0))
  after = dataclasses.replace(first, optimizer={"model": moved})
  saved(tmp_path, 3, now=after)
  restored, _ = checkpoint.restore_state(tmp_path, first, MANIFEST)
  assert jax.tree.structure(restored) == jax.tree.structure(after)
  jax.tree.map(np.testing.assert_array_equal, restored, after)


def test_a_state_of_before_variables_were_an_item_comes_back_equal(tmp_path):
  now = made(fill=3.0)
  items = checkpoint.items_of(now)
  items["rest"] = {**items["rest"], "variables": {}}
  with writing.Writer(tmp_path, 5) as writer:
    writer._save(meta(3), **items)
  restored, found = checkpoint.restore_state(tmp_path, made(), MANIFEST)
  assert found.step == 3
  assert jax.tree.structure(restored) == jax.tree.structure(now)
  jax.tree.map(np.testing.assert_array_equal, restored, now)


def test_variables_come_back_and_an_objective_without_them_is_told(tmp_path):
  codes = {"codebook": jnp.arange(6.0).reshape(2, 3)}
  now = dataclasses.replace(made(fill=3.0), variables=codes)
  saved(tmp_path, 3, now=now)
  restored, _ = checkpoint.restore_state(tmp_path, now, MANIFEST)
  np.testing.assert_array_equal(restored.variables["codebook"], codes["codebook"])
  expected = checkpoint.Expected(now.params, codes, MANIFEST)
  _, variables, _ = checkpoint.restore_model(tmp_path, lambda meta: expected)
  np.testing.assert_array_equal(variables["codebook"], codes["codebook"])
  with pytest.raises(CheckpointError, match="holds some of the variables .* experiment's has none"):
    checkpoint.restore_state(tmp_path, made(), MANIFEST)
  other = saved(tmp_path / "other", 1)
  with pytest.raises(CheckpointError, match="holds none of the variables .* experiment's has some"):
    checkpoint.restore_state(other, now, MANIFEST)


def test_only_the_newest_are_kept(tmp_path):
  assert runs.steps(saved(tmp_path, 1, 2, 3, 4, keep=2)) == [3, 4]


def test_parameters_alone_come_back_on_another_placement(tmp_path):
  saved(tmp_path, 3)
  mesh = jax.make_mesh((2,), ("fsdp",), devices=jax.devices()[:2])
  there = jax.NamedSharding(mesh, jax.P("fsdp"))
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), made().params
  )
  params, _, found = checkpoint.restore_model(tmp_path, expecting(shapes))
  assert found.step == 3
  assert params["layers"]["kernel"].sharding == there
  np.testing.assert_array_equal(params["layers"]["kernel"], np.full((2, 3), 3.0))


def test_the_parameters_of_any_step_can_be_asked_for(tmp_path):
  saved(tmp_path, 1, 2)
  params, _, found = checkpoint.restore_model(tmp_path, expecting(made().params), step=1)
  assert found.step == checkpoint.latest(tmp_path, step=1).step == 1
  np.testing.assert_array_equal(params["layers"]["scale"], 1.0)
  with pytest.raises(
    CheckpointError, match="No checkpoint of step 3 in .*: there are those of 1, 2"
  ):
    checkpoint.restore_model(tmp_path, expecting(made().params), step=3)


def test_a_run_that_has_not_saved_starts_anew_but_has_nothing_to_evaluate(tmp_path):
  assert checkpoint.restore_state(tmp_path, made(), MANIFEST) is None
  with pytest.raises(CheckpointError, match="No checkpoint in .*Train first: audiopalm train"):
    checkpoint.restore_model(tmp_path, expecting(made().params))
  with pytest.raises(CheckpointError, match="No checkpoint in"):
    checkpoint.latest(tmp_path)


def test_half_written_newest_is_named_and_the_one_before_is_used(tmp_path):
  saved(tmp_path, 1, 2)
  break_one(tmp_path / "checkpoints" / "2")
  lines = []
  restored, found = checkpoint.restore_state(tmp_path, made(), MANIFEST, lines.append)
  assert found.step == 1
  np.testing.assert_array_equal(restored.params["layers"]["kernel"], np.full((2, 3), 1.0))
  assert "checkpoints/2" in lines[0] and "half written: skipped" in lines[0]
  assert (tmp_path / "damaged_checkpoints" / "2").is_dir()  # moved, not deleted
  saved(tmp_path, 2)
  assert checkpoint.restore_state(tmp_path, made(), MANIFEST)[1].step == 2


def test_a_file_missing_from_the_newest_is_half_written_too(tmp_path):
  saved(tmp_path, 1, 2)
  shutil.rmtree(tmp_path / "checkpoints" / "2" / "meta")
  lines = []
  assert checkpoint.latest(tmp_path, lines.append).step == 1
  assert len(lines) == 1 and "checkpoints/2" in lines[0]
  assert runs.steps(tmp_path) == [1, 2]  # reading moves nothing


def test_a_save_that_was_cut_short_is_named_and_replaced(tmp_path):
  saved(tmp_path, 1, 2)
  folder = tmp_path / "checkpoints"
  (folder / "2").rename(folder / "2.orbax-checkpoint-tmp")
  lines = []
  assert checkpoint.restore_state(tmp_path, made(), MANIFEST, lines.append)[1].step == 1
  assert "2.orbax-checkpoint-tmp is half written" in lines[0]
  saved(tmp_path, 2)
  assert checkpoint.restore_state(tmp_path, made(), MANIFEST, lines.append)[1].step == 2


def test_when_none_can_be_read_nothing_is_deleted(tmp_path):
  saved(tmp_path, 1, 2)
  for step in (1, 2):
    break_one(tmp_path / "checkpoints" / str(step))
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(CheckpointError) as error:
    checkpoint.restore_state(tmp_path, made(), MANIFEST, lambda line: None)
  assert "None of the 2 checkpoints" in str(error.value)
  assert "Nothing was deleted" in str(error.value)
  assert sorted(tmp_path.rglob("*")) == before


def test_other_shapes_are_listed_by_path(tmp_path):
  saved(tmp_path, 1)
  with pytest.raises(CheckpointError) as error:
    checkpoint.restore_state(tmp_path, made(width=4, names=("kernel", "bias")), MANIFEST)
  text = str(error.value)
  assert "layers/kernel: saved float32 (2, 3), expected float32 (2, 4)" in text
  assert "layers/bias: saved nothing, expected float32 (2, 4)" in text
  assert "layers/scale: saved float32 (2, 3), expected nothing" in text
  assert "another --workdir" in text


def test_another_optimizer_is_another_shape(tmp_path):
  saved(tmp_path, 1)
  other = state.create(
    made().params,
    {},
    {"model": Learner((), optimizers.build(Optimizer(name="adafactor", b1=0), 10))},
  )
  with pytest.raises(CheckpointError, match=r"optimizer/model/\d/mu/layers/kernel: saved float32"):
    checkpoint.restore_state(tmp_path, other, MANIFEST)


def test_parameters_alone_are_enough_to_answer_but_not_to_train(tmp_path):
  with writing.Writer(tmp_path, 1) as writer:
    writer.save_model(made().params, {}, meta(3))
  params, _, found = checkpoint.restore_model(tmp_path, expecting(made().params))
  assert found.step == 3
  for saved_array, array in zip(
    jax.tree.leaves(params), jax.tree.leaves(made().params), strict=True
  ):
    assert np.asarray(saved_array).tobytes() == np.asarray(array).tobytes()
  with pytest.raises(CheckpointError, match="checkpoints/3 holds parameters alone, as imported"):
    checkpoint.restore_state(tmp_path, made(), MANIFEST)


def test_another_manifest_prints_the_difference(tmp_path):
  saved(tmp_path, 1)
  other = {"format": 1, "streams": [{"name": "text", "sizes": (4,), "fingerprint": "bb"}]}
  with pytest.raises(TokenSpaceError) as error:
    checkpoint.restore_model(tmp_path, expecting(made().params, other))
  assert "checkpoints/1 has another token space" in str(error.value)
  assert '"bb" became "aa"' in str(error.value)


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
  saved(tmp_path, 1)
  usage = shutil.disk_usage(tmp_path)._replace(free=10)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
  with (
    pytest.raises(CheckpointError) as error,
    writing.Writer(tmp_path, 5) as writer,
  ):
    writer.save(made(), meta(2))
  assert error.value.exit_code == 2
  assert "No space left on the device" in str(error.value)
  assert "The checkpoint of step 1 is intact" in str(error.value)
  assert runs.steps(tmp_path) == [1]


@pytest.mark.parametrize(
  "fault",
  [
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("RESOURCE_EXHAUSTED: Failed to write 8 bytes: No space left on device"),
  ],
)
def test_a_device_that_fills_while_saving_leaves_the_earlier_checkpoint(
  tmp_path, monkeypatch, fault
):
  saved(tmp_path, 1)
  with (
    pytest.raises(CheckpointError) as error,
    writing.Writer(tmp_path, 1) as writer,
  ):

    def fail():
      raise fault

    monkeypatch.setattr(writer._checkpointer, "wait_until_finished", fail)
    writer.save(made(), meta(2))
  assert "No space left on the device" in str(error.value) and "resumes" in str(error.value)
  assert checkpoint.restore_state(tmp_path, made(), MANIFEST)[1].step == 1


def test_a_really_full_device_leaves_the_earlier_checkpoint_and_takes_one_when_there_is_room(
  small_device, monkeypatch
):
  saved(small_device.path, 1)
  usage = shutil.disk_usage(small_device.path)._replace(free=2**40)
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)  # it fills while it is written
  params = {"layers": {"noise": jax.random.normal(jax.random.key(0), (1024, 1024))}}
  huge = state.create(params, {}, {"model": Learner((), optimizers.build(Optimizer(), 10))})
  with writing.Writer(small_device.path, 2) as writer:
    with pytest.raises(FullDevice, match="The checkpoint of step 1 is intact"):
      writer.save(huge, meta(2))
      writer.wait()
    found = checkpoint.restore_state(small_device.path, made(), MANIFEST, pytest.fail)
    assert found[1].step == 1  # and nothing half written is left
    small_device.resize("64m")
    writer.save(huge, meta(3))
  assert runs.steps(small_device.path) == [1, 3]
  assert checkpoint.restore_state(small_device.path, huge, MANIFEST)[1].step == 3


def test_round_steps_and_the_best_stay(tmp_path):
  with writing.Writer(tmp_path, 1, keep_every_steps=4) as writer:
    for step in range(1, 10):
      writer.best = 3 if step > 3 else None
      writer.save(made(), meta(step))
  assert runs.steps(tmp_path) == [3, 4, 8, 9]


def noise():
  """A state that is hardly compressed, so that most bytes of its files are values."""
  params = {"noise": jax.random.normal(jax.random.key(0), (64, 64))}
  now = state.create(params, {}, {"model": Learner((), optimizers.build(Optimizer(), 10))})
  moment = jax.tree.map(lambda x: params["noise"] if x.ndim else x, now.optimizer)
  return dataclasses.replace(now, optimizer=moment)


def flipped(path, at=0.5):
  data = bytearray(path.read_bytes())
  data[int(at * len(data))] ^= 1
  path.write_bytes(data)


def arrays_of(checkpoint_path):
  """Returns the files that hold array values, those of parameters and of the rest."""
  found = (checkpoint_path / item / "ocdbt.process_0" / "d" for item in ("params", "rest"))
  return [max(folder.iterdir(), key=lambda p: p.stat().st_size) for folder in found]


@pytest.mark.parametrize(
  "damage",
  [
    lambda path: break_one(path),
    lambda path: arrays_of(path)[1].unlink(),
    lambda path: flipped(arrays_of(path)[0]),
    lambda path: flipped(path / "meta" / "metadata"),
    lambda path: (path / "params" / "manifest.ocdbt").write_bytes(b""),
    lambda path: shutil.rmtree(path / "rest"),
  ],
  ids=["truncated", "missing", "flipped", "flipped words", "emptied", "no optimizer"],
)
def test_a_damaged_newest_checkpoint_is_one_line_and_the_one_before_is_used(
  tmp_path, capfd, damage
):
  now = noise()
  saved(tmp_path, 1, 2, now=now)
  damage(tmp_path / "checkpoints" / "2")
  lines = []
  restored, found = checkpoint.restore_state(tmp_path, now, MANIFEST, lines.append)
  assert found.step == 1
  jax.tree.map(np.testing.assert_array_equal, restored, now)
  assert len(lines) == 2, lines
  assert lines[0].startswith(f"Checkpoint {tmp_path}/checkpoints/2: ")
  assert lines[0].endswith("It is damaged or half written: skipped.") and "\n" not in lines[0]
  assert lines[1].startswith("Moved the damaged checkpoint of step 2 to ")
  time.sleep(0.5)  # what the readers still had begun
  assert capfd.readouterr() == ("", "")


def test_a_checkpoint_of_before_there_were_sums_says_so(tmp_path):
  path = saved(tmp_path, 1) / "checkpoints" / "1" / "meta" / "metadata"
  fields = json.loads(path.read_text())
  del fields["digest"]
  path.write_text(json.dumps(fields))
  with pytest.raises(CheckpointError, match="meta has no digest: audiopalm wrote none before"):
    checkpoint.restore_state(tmp_path, made(), MANIFEST, lambda line: None)


def test_no_flipped_bit_of_an_array_goes_unseen(tmp_path):
  params = noise().params
  saved(tmp_path, 1, now=noise())
  path = arrays_of(tmp_path / "checkpoints" / "1")[0]
  whole, seen = path.read_bytes(), 0
  for at in np.linspace(0.1, 0.9, 5):
    flipped(path, at)
    try:
      found, _, _ = checkpoint.restore_model(tmp_path, expecting(params), lambda line: None)
      np.testing.assert_array_equal(found["noise"], params["noise"])  # it was no value
    except CheckpointError as error:
      assert "Nothing was deleted" in str(error)
      seen += "1 arrays are not what was saved: params/noise" in str(error)
    path.write_bytes(whole)
  assert seen  # no error of the file's own format found these
