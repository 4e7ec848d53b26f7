"""Checkpoints count, and older ones go, only after they were opened again."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiopalm import bits, runs, stored
from audiopalm.errors import CheckpointError, ConfigError, DamagedSave
from audiopalm.settings import Optimizer
from audiopalm.training import checkpoint, optimizers, state, verification, writing
from audiopalm.training.state import Learner

MANIFEST = {"format": 1}


def made(fill=1.0):
  params = {"layers": {"kernel": jax.random.normal(jax.random.key(0), (32, 64)) + fill}}
  return state.create(params, {}, {"model": Learner((), optimizers.build(Optimizer(), 10))})


def meta(step, name="x"):
  return checkpoint.Meta(step, json.dumps({"name": name}), MANIFEST, {"step": step}, {})


def restored(workdir, report=pytest.fail):
  found = checkpoint.restore_state(workdir, made(), MANIFEST, report)
  return None if found is None else found[1].step


@pytest.fixture
def damaging(monkeypatch):
  """Has `damage` done to the checkpoints of some steps between their commit and their opening."""
  fault = verification.fault

  def plant(damage, *steps):
    def opened(folder, meta, shapes, step, *rest):
      if step in steps:
        damage(folder)
      return fault(folder, meta, shapes, step, *rest)

    monkeypatch.setattr(verification, "fault", opened)

  return plant


def values_of(folder):
  """Returns the largest file of an item: the one that holds array values."""
  return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(folder):
  path = values_of(folder / "params")
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def reword(folder):
  path = folder / "meta" / "metadata"
  path.write_text(path.read_text().replace('"step": 2', '"step": 7'))


DAMAGES = {
  "a bit": flip,
  "an item": lambda folder: shutil.rmtree(folder / "rest"),
  "the arrays": lambda folder: (folder / "params" / "manifest.ocdbt").unlink(),
  "a file of arrays": lambda folder: values_of(folder / "rest").unlink(),
  "words": reword,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_is_not_what_was_saved_replaces_none(tmp_path, damaging, damage):
  damaging(DAMAGES[damage], 2)
  with writing.Writer(tmp_path, 1) as writer:
    writer.save(made(), meta(1, "first"))
    writer.save(made(2.0), meta(2))
    with pytest.raises(DamagedSave, match="The checkpoint of step 2 is not what was saved") as met:
      writer.wait()
    assert runs.steps(tmp_path) == [1] and (tmp_path / "damaged_checkpoints" / "2").is_dir()
    assert (
      f"It lies in {tmp_path}/damaged_checkpoints/2. The checkpoint of step 1 is intact"
      in str(met.value)
    )
    assert json.loads(runs.config(tmp_path)) == {"name": "first"}
    assert json.loads((tmp_path / "config.json").read_text()) == {"name": "first"}
    assert restored(tmp_path) == 1
    writer.save(made(3.0), meta(3))
  assert runs.steps(tmp_path) == [3] and restored(tmp_path) == 3


def test_the_third_damaged_one_in_a_row_ends_the_run(tmp_path, damaging):
  damaging(flip, 2, 3, 5, 6, 7)
  with pytest.raises(CheckpointError) as met, writing.Writer(tmp_path, 1) as writer:
    for step in range(1, 9):
      try:
        writer.save(made(), meta(step))
        writer.wait()
      except DamagedSave:
        assert step in (2, 3, 5, 6)
  assert not isinstance(met.value, DamagedSave) and met.value.exit_code == 2
  assert "The checkpoint of step 7 is not what was saved" in str(met.value)
  assert "the last of 3 in a row: what writes to the device of" in str(met.value)
  assert runs.steps(tmp_path) == [4]


def test_older_ones_are_there_until_the_new_one_was_opened(tmp_path, damaging):
  there = []
  damaging(lambda folder: there.append((folder.name, runs.steps(tmp_path))), 1, 2, 3)
  with writing.Writer(tmp_path, 1) as writer:
    for step in (1, 2, 3):
      writer.save(made(), meta(step))
  assert there == [("1.unverified", []), ("2.unverified", [1]), ("3.unverified", [2])]
  assert runs.steps(tmp_path) == [3] and writer.verify_s > 0


def killed(workdir, step, monkeypatch):
  """Leaves what a kill leaves between the commit of a checkpoint and its opening."""

  def kill(*of):
    raise SystemExit

  with monkeypatch.context() as patch, pytest.raises(SystemExit):
    patch.setattr(verification, "fault", kill)
    with writing.Writer(workdir, 1) as writer:
      writer.save(made(), meta(step, "newer"))


def test_one_that_a_kill_kept_from_being_opened_counts_once_it_is_restored(tmp_path, monkeypatch):
  with writing.Writer(tmp_path, 1) as writer:
    writer.save(made(), meta(1))
  killed(tmp_path, 2, monkeypatch)
  assert runs.steps(tmp_path) == [1] and json.loads(runs.config(tmp_path)) == {"name": "x"}
  expected = lambda meta: checkpoint.Expected(made().params, {}, MANIFEST)  # noqa: E731
  assert checkpoint.restore_model(tmp_path, expected, pytest.fail)[2].step == 1  # readers
  assert restored(tmp_path) == 2
  assert runs.steps(tmp_path) == [1, 2]
  assert json.loads((tmp_path / "config.json").read_text()) == {"name": "newer"}
  with writing.Writer(tmp_path, 1) as writer:
    writer.save(made(), meta(3))
  assert runs.steps(tmp_path) == [3]


def test_a_damaged_one_that_was_never_opened_is_moved_and_the_run_begins_anew(
  tmp_path, monkeypatch
):
  killed(tmp_path, 2, monkeypatch)
  flip(tmp_path / "checkpoints" / "2.unverified")
  lines = []
  assert restored(tmp_path, lines.append) is None
  assert "2.unverified: " in lines[0] and "Moved the damaged checkpoint of step 2" in lines[1]
  assert not list((tmp_path / "checkpoints").iterdir())


def test_what_kills_left_half_written_or_half_removed_goes(tmp_path):
  for name in ("4.unverified.orbax-checkpoint-tmp", "1.removed"):
    (tmp_path / "checkpoints" / name / "params").mkdir(parents=True)
  with writing.Writer(tmp_path, 1) as writer:
    writer.save(made(), meta(5))
  assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["5"]


def test_of_a_large_state_a_sample_is_summed_that_covers_it_over_the_steps():
  arrays = [verification._Array("rest", f"{n}", f"{n}", 100) for n in range(10)]
  assert verification.sampled(arrays, 1, 1_000) == arrays
  drawn = [verification.sampled(arrays, step, 350) for step in range(40)]
  assert all(len(each) == 3 for each in drawn)
  assert {array.path for each in drawn for array in each} == {f"{n}" for n in range(10)}
  assert drawn[7] == verification.sampled(arrays, 7, 350)
  assert len(verification.sampled(arrays, 1, 50)) == 1  # never none


def test_several_processes_sum_each_array_once(tmp_path, monkeypatch):
  summed, part_sum = [], bits.part_sum
  with writing.Writer(tmp_path, 1) as writer:
    writer.save(made(), meta(1))
    writer.wait()
  trees = checkpoint.items_of(made())
  folder = tmp_path / "checkpoints" / "1"
  saved = runs.fields(folder), {i: stored.shapes_of(tree) for i, tree in trees.items()}
  monkeypatch.setattr(
    bits, "part_sum", lambda part, *rest: summed.append(part.nbytes) or part_sum(part, *rest)
  )
  whole = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
  for processes in (1, 2, 3):
    summed.clear()
    for process in range(processes):
      assert verification.fault(folder, *saved, 1, process, processes) == ""
    assert sum(summed) == whole


def test_arrays_that_are_sharded_are_read_piece_by_piece(tmp_path):
  mesh = jax.make_mesh((2, 2), ("a", "b"), devices=jax.devices()[:4])
  now = made()
  there = jax.NamedSharding(mesh, jax.P("a", "b"))
  now.params["layers"]["kernel"] = jax.device_put(now.params["layers"]["kernel"], there)
  now.params["layers"]["half"] = jnp.ones((6, 4), jnp.bfloat16)
  with writing.Writer(tmp_path, 1) as writer:
    writer.save_model(now.params, {}, meta(1))
  assert runs.steps(tmp_path) == [1]


ODD = ["[proj]", "a*b", "what?", "{x,y}", "!a", "100%", "a#b", "a b", "a'b\"c", "$HOME", "~", "a@2"]


@pytest.mark.parametrize("name", ODD)
def test_a_workdir_may_have_any_characters_in_its_path(tmp_path, name):
  workdir = tmp_path / name / "run"
  for step in (1, 2):
    with writing.Writer(workdir, 1) as writer:
      writer.save(made(float(step)), meta(step))
  now, found = checkpoint.restore_state(workdir, made(), MANIFEST, pytest.fail)
  assert found.step == 2 and runs.steps(workdir) == [2]
  jax.tree.map(np.testing.assert_array_equal, now, made(2.0))


def test_a_backslash_in_the_path_is_refused(tmp_path):
  with pytest.raises(
    ConfigError, match="reads the backslash in it as a slash. Give a --workdir wi"
  ):
    writing.Writer(tmp_path / "a\\b", 1)
