"""Bounds of programs on made-up chips, and on a torus that needs no devices."""

import dataclasses
import types

import numpy as np
import pytest

from audiopalm.planning import collectives, hlo, roofline, topology

CHIP = topology.Chip("made up", 1e12, 2**30, 1e11, 1e9, 1e8, 4, 0.0, "this test")
GATHER = collectives.Collective(
  kind="all-gather", axes=("fsdp",), result_bytes=4096, operand_bytes=1024, group_size=4, times=2,
  in_loop=False, op_name="", shape="",
)  # fmt: skip


def torus(*shape):
  """Returns a stand-in for a mesh (data, fsdp) of torus chips, data along the first axis."""
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
  collective = dataclasses.replace(GATHER, axes=axes)
  assert roofline.bandwidth(collective, torus(*shape), CHIP) == links * CHIP.link


def test_collectives_between_slices_use_the_network_and_devices_without_a_torus_one_link():
  between = dataclasses.replace(GATHER, axes=("data",), between_slices=True)
  assert roofline.bandwidth(between, torus(2, 4), CHIP) == CHIP.network
  flat = dataclasses.replace(CHIP, rings=0)
  assert roofline.bandwidth(GATHER, torus(2, 4), flat) == CHIP.link


PROGRAM = """
%product = f32[8,8]{1,0} dot(%param.0, %param.0), lhs_contracting_dims={1}, rhs_contracting_dims={1}
"""


def test_a_bound_is_the_slowest_part_and_on_a_serial_device_the_sum(programs):
  module = hlo.parse(programs.program(PROGRAM))
  bounds = roofline.bounds(module, [GATHER], torus(2, 4), CHIP)
  assert bounds.flops == 2 * 8 * 8 * 128
  assert bounds.arithmetic_s == pytest.approx(bounds.flops / CHIP.flops)
  assert bounds.memory_s == pytest.approx((2 * 8 * 128 * 2 + 8 * 8 * 4) / CHIP.memory_bandwidth)
  assert bounds.links_s == pytest.approx({"fsdp": 2 * 3072 / (2 * CHIP.link)})
  assert bounds.bound_s == bounds.interconnect_s and bounds.bottleneck == "interconnect"

  core = dataclasses.replace(CHIP, serial=True)
  serial = roofline.bounds(module, [GATHER], torus(2, 4), core)
  assert serial.bound_s == pytest.approx(
    bounds.arithmetic_s + bounds.memory_s + bounds.interconnect_s
  )


def test_each_collective_adds_its_latency_and_undeclared_operations_count(programs):
  module = hlo.parse(programs.program(PROGRAM))
  slow = dataclasses.replace(CHIP, latency_s=1.0)
  bounds = roofline.bounds(module, [GATHER], torus(2, 4), slow, undeclared_flops=1e12)
  assert bounds.links_s["fsdp"] == pytest.approx(2.0, rel=1e-3)
  assert bounds.arithmetic_s == pytest.approx(1.0, rel=1e-3)
