"""Bounds of programs on chips made up for it, on a torus that needs no devices."""

import dataclasses
import types

import numpy as np
import pytest

from audiopalm.planning import collectives, hlo, roofline, topology

CHIP = topology.Chip("made up", 1e12, 2**30, 1e11, 1e9, 1e8, 4, 0.0, "this test")
GATHER = collectives.Collective(
  kind="all-gather", axes=("fsdp",), result_bytes=4096, operand_bytes=1024, group_size=4, times=2,
  in_loop=False, op_name="", source="", shape="",
)  # fmt: skip


def torus(*shape):
  """Returns a stand-in for a mesh (data, fsdp) of chips of a torus: data along its first axis."""
  chips = np.empty(shape, object)
  for at in np.ndindex(shape):
    chips[at] = types.SimpleNamespace(coords=at)
  devices = chips.reshape(shape[0], -1)
  return types.SimpleNamespace(
    devices=devices,
    axis_names=("data", "fsdp"),
    shape=dict(zip(("data", "fsdp"), devices.shape, strict=True)),
  )


@pytest.mark.parametrize(
  ("shape", "axes", "links"),
  [
    ((2, 4), ("fsdp",), 2),  # a closed ring: both directions
    ((2, 4), ("data",), 1),  # two chips side by side
    ((2, 4), ("data", "fsdp"), 3),
    ((4, 4, 2), ("fsdp",), 3),
    ((4, 4, 4), ("data", "fsdp"), 6),
  ],
)
def test_links_along_every_axis_of_the_torus_that_a_group_spans_send_at_once(shape, axes, links):
  found = roofline.bandwidth(dataclasses.replace(GATHER, axes=axes), torus(*shape), CHIP)
  assert found == links * CHIP.link


def test_between_slices_goes_the_network_and_without_a_torus_one_link():
  between = dataclasses.replace(GATHER, axes=("data",), between_slices=True)
  assert roofline.bandwidth(between, torus(2, 4), CHIP) == CHIP.network
  flat = dataclasses.replace(CHIP, rings=0)
  assert roofline.bandwidth(GATHER, torus(2, 4), flat) == CHIP.link


PROGRAM = """
%product = f32[8,8]{1,0} dot(%param.0, %param.0), lhs_contracting_dims={1}, rhs_contracting_dims={1}
"""


def test_a_bound_is_the_slowest_part_and_for_a_core_the_sum(programs):
  module = hlo.parse(programs.program(PROGRAM))
  found = roofline.of(module, [GATHER], torus(2, 4), CHIP)
  assert found.flops == 2 * 8 * 8 * 128
  assert found.arithmetic_s == pytest.approx(found.flops / CHIP.flops)
  assert found.memory_s == pytest.approx((2 * 8 * 128 * 2 + 8 * 8 * 4) / CHIP.memory_bandwidth)
  assert found.links_s == pytest.approx({"fsdp": 2 * 3072 / (2 * CHIP.link)})
  assert found.bound_s == found.interconnect_s and found.binds == "interconnect"

  core = dataclasses.replace(CHIP, serial=True)
  alone = roofline.of(module, [GATHER], torus(2, 4), core)
  assert alone.bound_s == pytest.approx(found.arithmetic_s + found.memory_s + found.interconnect_s)


def test_each_collective_takes_its_latency_and_hidden_operations_count(programs):
  module = hlo.parse(programs.program(PROGRAM))
  slow = dataclasses.replace(CHIP, latency_s=1.0)
  found = roofline.of(module, [GATHER], torus(2, 4), slow, hidden_flops=1e12)
  assert found.links_s["fsdp"] == pytest.approx(2.0, rel=1e-3)
  assert found.arithmetic_s == pytest.approx(1.0, rel=1e-3)
