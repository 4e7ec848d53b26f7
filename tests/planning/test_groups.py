"""Replica groups and the axes they run over, written by hand."""

import pytest

from audiopalm.planning import groups

SIZES = {"data": 2, "fsdp": 2, "context": 1, "tensor": 2}
TEXTS = [
  ("{{0,1},{2,3},{4,5},{6,7}}", ("tensor",)),
  ("{{3,2},{1,0},{4,5},{7,6}}", ("tensor",)),
  ("[4,2]<=[8]", ("tensor",)),
  ("[4,2]<=[4,2]T(1,0)", ("fsdp",)),
  ("[4,2]<=[2,4]T(1,0)", ("data",)),
  ("[2,4]<=[4,2]T(1,0)", ("data", "fsdp")),
  ("[2,4]<=[2,2,2]T(1,0,2)", ("data", "tensor")),
  ("[2,4]<=[8]", ("fsdp", "tensor")),
  ("{}", ("data", "fsdp", "tensor")),
  ("", ("data", "fsdp", "tensor")),
  ("{{0},{1},{2},{3},{4},{5},{6},{7}}", ()),
  ("{{0,3},{1,2},{4,7},{5,6}}", ("?",)),
  ("mesh['axis_0'=4,'axis_1'=2] {'axis_1'}", ("tensor",)),
  ("mesh['axis_0'=4,'axis_1'=1,'axis_2'=2] {'axis_0','axis_1'}", ("data", "fsdp")),
  ("mesh['axis_0'=4,'axis_1'=2] {'axis_0','axis_1'}", ("data", "fsdp", "tensor")),
  ("mesh['axis_0'=2,'axis_1'=1,'axis_2'=4], device_ids=([4,2]T(1,0)) {'axis_0'}", ("tensor",)),
  ("mesh['axis_0'=2,'axis_1'=4], device_ids=(0,2,4,6,1,3,5,7) {'axis_1'}", ("data", "fsdp")),
  ("mesh['axis_0'=8] {'axis_0':(1)2}", ("data",)),
  ("mesh['axis_0'=8] {'axis_0':(2)2}", ("fsdp",)),
  ("mesh['axis_0'=8] {'axis_0':(4)2}", ("tensor",)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "axes"), TEXTS)
def test_axes_do_not_depend_on_how_groups_are_written(text, axes):
  members = groups.replica_groups(text, 8)
  assert sorted(device for group in members for device in group) == list(range(8))
  assert groups.axes_of_groups(SIZES, members) == axes


def test_a_transposed_iota_is_written_out():
  assert groups.replica_groups("[4,2]<=[2,4]T(1,0)", 8) == ((0, 4), (1, 5), (2, 6), (3, 7))
  assert groups.replica_groups("mesh['a'=8] {'a':(2)4}", 8) == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_groups_of_one_of_several_slices_are_the_part_of_the_mesh_inside_it():
  two_slices, data_inside_too = ({"data": data, "fsdp": 8 // data, "tensor": 2} for data in (2, 4))
  along_fsdp = groups.replica_groups("[2,4]<=[4,2]T(1,0)", 8)
  assert groups.axes_of_groups(two_slices, along_fsdp) == ("fsdp",)
  along_data = groups.replica_groups("[4,2]<=[2,4]T(1,0)", 8)
  assert groups.axes_of_groups(data_inside_too, along_data) == ("data",)


PAIRS = [
  ("{{0,1},{1,0},{2,3},{3,2}}", ("tensor",)),
  ("{{0,2},{1,3},{4,6},{5,7}}", ("fsdp",)),
  ("{{0,2},{2,4},{4,6},{1,3},{3,5},{5,7}}", ("data", "fsdp")),
  ("{{0,0},{1,1}}", ()),
  ("{{7,8}}", ("?",)),
]


@pytest.mark.parametrize(("text", "axes"), PAIRS)
def test_a_permutation_runs_over_the_axes_it_moves_along(text, axes):
  assert groups.axes_of_pairs(SIZES, text) == axes
