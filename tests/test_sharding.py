"""The mesh, the rules from logical axes to it, and the texts of what does not fit."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from audiopalm import settings, sharding
from audiopalm.errors import ConfigError

MESH = settings.Machine(data=2, fsdp=2, tensor=2)


def test_the_open_axis_takes_the_devices_that_are_left():
  mesh = sharding.mesh(settings.Machine(data=2, fsdp=-1, tensor=2))
  assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "context": 1, "tensor": 2}


def test_every_mesh_axis_is_explicit():
  assert set(sharding.mesh(MESH).axis_types) == {jax.sharding.AxisType.Explicit}


def test_a_mesh_of_more_devices_than_there_are_says_how_many():
  with pytest.raises(ConfigError) as error:
    sharding.mesh(settings.Machine(data=1, fsdp=5, tensor=2))
  text = str(error.value)
  assert "data=1, fsdp=5, context=1, tensor=2, but there are 8 devices" in text
  assert "product is 8: data=1, fsdp=4, context=1, tensor=2; or" in text


def test_logical_axes_become_mesh_axes_and_one_device_sees_none():
  axes, shape = ("batch", None, "heads", "head_width"), (8, 3, 4, 8)
  assert sharding.spec(axes, shape, sharding.mesh(MESH)) == P(
    ("data", "fsdp"), None, "tensor", None
  )
  one = sharding.mesh(settings.Machine(fsdp=1))
  assert sharding.spec(axes, shape, one) == P(None, None, None, None)


def test_a_size_that_does_not_divide_says_by_what():
  with pytest.raises(ConfigError, match="'hidden' of size 5 .* split 2 ways.*divisible by 2"):
    sharding.spec(("embed", "hidden"), (4, 5), sharding.mesh(MESH))


def test_two_axes_on_one_mesh_axis_are_refused():
  with pytest.raises(ConfigError, match="'heads' and 'hidden' .* both ask for mesh axis 'tensor'"):
    sharding.spec(("heads", "hidden"), (4, 4), sharding.mesh(MESH))


def test_a_giant_that_every_device_would_hold_is_refused_by_name():
  tree = {"layers": {"norm": jax.ShapeDtypeStruct((300, 4), np.float32)}}
  axes = {"layers": {"norm": ("layers", "norm")}}
  with pytest.raises(ConfigError, match="layers/norm .* more than 1,000 elements.*8 devices"):
    sharding.shardings(axes, tree, sharding.mesh(MESH), giant=1000)
  one = sharding.mesh(settings.Machine(fsdp=1))
  assert sharding.shardings(axes, tree, one, giant=1000)["layers"]["norm"].spec == P(None, None)


def test_rows_of_a_batch_are_split_over_data_and_fsdp():
  batch = {"tokens_BL": np.arange(24).reshape(8, 3), "task_B": np.arange(8)}
  placed = sharding.place(batch, sharding.mesh(MESH), ("batch",))
  assert placed["tokens_BL"].sharding.spec == P(("data", "fsdp"), None)
  assert placed["tokens_BL"].addressable_shards[0].data.shape == (2, 3)
  np.testing.assert_array_equal(placed["tokens_BL"], batch["tokens_BL"])


def test_rows_that_cannot_be_split_say_what_to_choose():
  with pytest.raises(ConfigError, match="batch_rows=6 .* divisible by 4: 4 or 8"):
    sharding.place(np.zeros((6, 3)), sharding.mesh(MESH), ("batch",))


def test_gathering_leaves_tensor_parallelism_alone():
  mesh = sharding.mesh(MESH)
  kernel = jax.device_put(np.ones((4, 6)), jax.sharding.NamedSharding(mesh, P("fsdp", "tensor")))
  with jax.set_mesh(mesh):
    assert sharding.layout_of(sharding.gathered(kernel)) == (None, "tensor")
    assert sharding.batch_ways() == 4
