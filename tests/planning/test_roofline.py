"""Operations, traffic and bounds of hand-written programs, and of some that XLA compiles."""

import dataclasses
import types

import jax
import jax.numpy as jnp
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
  assert bounds.bound_s == bounds.parts_s["interconnect"] and bounds.bottleneck == "interconnect"

  core = dataclasses.replace(CHIP, serial=True)
  serial = roofline.bounds(module, [GATHER], torus(2, 4), core)
  assert serial.bound_s == pytest.approx(sum(bounds.parts_s.values()))


def test_each_collective_adds_its_latency_and_undeclared_operations_count(programs):
  module = hlo.parse(programs.program(PROGRAM))
  slow = dataclasses.replace(CHIP, latency_s=1.0)
  bounds = roofline.bounds(module, [GATHER], torus(2, 4), slow, undeclared_flops=1e12)
  assert bounds.links_s["fsdp"] == pytest.approx(2.0, rel=1e-3)
  assert bounds.arithmetic_s == pytest.approx(1.0, rel=1e-3)


DOTS = [
  (
    *("bf16[4,16]", "bf16[16,8]", "bf16[4,8] dot"),
    "lhs_contracting_dims={1}, rhs_contracting_dims={0}",
    2 * 4 * 16 * 8,
  ),
  (
    *("f32[3,4,16]", "f32[3,16,8]", "f32[3,4,8] dot"),
    "lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}, rhs_contracting_dims={1}",
    2 * 3 * 4 * 16 * 8,
  ),
  (  # the gradient of a kernel, summed over two axes, of which the first is the window
    *("bf16[4,64,512]", "bf16[4,64,256]", "bf16[512,256,1] convolution"),
    "window={size=4}, dim_labels=0fb_0io->bf0",
    2 * 4 * 64 * 512 * 256,
  ),
  (
    *("bf16[4,64,512]", "bf16[512,256,1]", "bf16[4,64,256] convolution"),
    "window={size=1}, dim_labels=0bf_io0->0bf",
    2 * 4 * 64 * 512 * 256,
  ),
  (  # a window that overlaps the single input position once per output
    *("bf16[64,32,1]", "bf16[4,128,32]", "bf16[64,4,128] convolution"),
    "window={size=4 pad=3_3 rhs_reversal=1}, dim_labels=bf0_0oi->b0f",
    2 * 64 * 4 * 32 * 128,
  ),
  (  # five products, each with a kernel of its own
    *("bf16[5,7,3]", "bf16[5,3,2]", "bf16[5,7,2] convolution"),
    "window={size=5 stride=4 pad=0_0 lhs_dilate=5}, dim_labels=0bf_0io->0bf",
    2 * 5 * 7 * 3 * 2,
  ),
  (  # three taps two steps apart over five steps
    *("f32[1,5,2]", "f32[3,2,4]", "f32[1,1,4] convolution"),
    "window={size=3 rhs_dilate=2}, dim_labels=b0f_0io->b0f",
    2 * 3 * 2 * 4,
  ),
  (  # the same with padding of two: the first two outputs miss a tap
    *("f32[1,5,2]", "f32[3,2,4]", "f32[1,3,4] convolution"),
    "window={size=3 pad=2_0 rhs_dilate=2}, dim_labels=b0f_0io->b0f",
    2 * (2 + 2 + 3) * 2 * 4,
  ),
  (  # three taps over time, of which the first and the last output miss one
    *("f32[1,10,2]", "f32[3,2,4]", "f32[1,10,4] convolution"),
    "window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f",
    2 * (3 * 10 - 2) * 2 * 4,
  ),
]


def flops(text):
  return roofline.flops(hlo.parse(text))


@pytest.mark.parametrize(("left", "right", "made", "attributes", "operations"), DOTS)
def test_products_are_counted_from_their_shapes(
  programs, left, right, made, attributes, operations
):
  text = programs.program(
    f"""
    %left = {left} custom-call()
    %right = {right} custom-call()
    %product = {made}(%left, %right), {attributes}
    """
  )
  assert flops(text) == operations


def test_products_in_fusions_in_loops_count_every_iteration(programs):
  computations, entry = programs.loop(
    "%fusion.1 = bf16[8,8] fusion(%array, %array), kind=kOutput, calls=%fused_computation"
  )
  fused = """
%fused_computation (param_0: bf16[8,128], param_1: bf16[8,128]) -> bf16[8,8] {
  %param_0 = bf16[8,128]{1,0} parameter(0)
  %param_1 = bf16[8,128]{1,0} parameter(1)
  ROOT %convolution.1 = bf16[8,8]{1,0} convolution(%param_0, %param_1), dim_labels=bf_oi->bf
}
"""
  assert flops(programs.program(entry, fused + computations)) == 4 * 2 * 8 * 8 * 128


def test_a_kernel_counts_the_operations_it_declares(programs):
  assert flops(programs.program(programs.PALLAS)) == 12345


@pytest.mark.parametrize("layers", [3, 6])
def test_operations_of_scanned_layers_and_their_gradient_equal_the_formula(layers):
  def loss(kernels_LDD, x_BD):
    def layer(x_BD, kernel_DD):
      return jnp.tanh(x_BD @ kernel_DD), None

    return jax.lax.scan(layer, x_BD, kernels_LDD)[0].sum()

  kernels_LDD, x_BD = jnp.zeros((layers, 32, 32)), jnp.zeros((8, 32))
  compiled = jax.jit(jax.grad(loss)).lower(kernels_LDD, x_BD).compile()
  # Forward, and the gradients of kernel and input.
  assert flops(compiled.as_text()) == 3 * layers * 2 * 8 * 32 * 32


ARRAY = 8 * 128 * 2  # bytes of bf16[8,128]


def moved(programs, *lines, computations=""):
  text = programs.program("\n".join(lines), computations)
  return roofline.bytes_moved(hlo.parse(text))


def test_an_operation_reads_its_operands_and_writes_its_result(programs):
  line = "ROOT %add = bf16[8,128]{1,0} add(%param.0, %param.0)"
  assert moved(programs, line) == 3 * ARRAY


def test_views_and_tuples_move_nothing(programs):
  lines = (
    "%seen = bf16[1024]{0} bitcast(%param.0)",
    "%pair = (bf16[8,128]{1,0}, bf16[1024]{0}) tuple(%param.0, %seen)",
    "ROOT %again = bf16[8,128]{1,0} get-tuple-element(%pair), index=0",
  )
  assert moved(programs, *lines) == 0


def test_a_slice_or_an_update_counts_the_part_it_touches(programs):
  cut = "ROOT %cut = bf16[2,128]{1,0} slice(%param.0), slice={[0:2], [0:128]}"
  assert moved(programs, cut) == 2 * ARRAY / 4
  lines = (
    "%at = s32[] constant(0)",
    "%row = bf16[2,128]{1,0} slice(%param.0), slice={[0:2], [0:128]}",
    "ROOT %in = bf16[8,128]{1,0} dynamic-update-slice(%param.0, %row, %at, %at)",
  )
  assert moved(programs, *lines) == 2 * (2 * ARRAY / 4)


def test_arrays_in_the_scratchpad_do_not_count(programs):
  line = "ROOT %add = bf16[8,128]{1,0:T(8,128)S(1)} add(%param.0, %param.0)"
  assert moved(programs, line) == 2 * ARRAY


def test_a_fusion_moves_nothing_inside_and_every_iteration_of_a_loop_counts(programs):
  fused = """
%fused (one: bf16[8,128], two: bf16[8,128]) -> bf16[8,128] {
  %one = bf16[8,128]{1,0} parameter(0)
  %two = bf16[8,128]{1,0} parameter(1)
  %sum = bf16[8,128]{1,0} add(%one, %two)
  %twice = bf16[8,128]{1,0} multiply(%sum, %sum)
  ROOT %thrice = bf16[8,128]{1,0} add(%twice, %sum)
}
"""
  line = "%f = bf16[8,128]{1,0} fusion(%array, %array), kind=kLoop, calls=%fused"
  computations, entry = programs.loop(line, limit="5")
  counters = 5 * (2 + 3) * 4 + 2 * 4  # copies and sums of the counter, and its first copy
  conditions = 6 * (4 + 4 + 1)  # one more than the number of iterations
  total = moved(programs, entry, computations=fused + computations)
  assert 5 * 3 * ARRAY <= total <= 5 * 3 * ARRAY + counters + conditions


def test_a_fusion_that_updates_one_row_moves_that_row(programs):
  fused = """
%fused (whole: bf16[8,128], row: bf16[1,128], at: s32[]) -> bf16[8,128] {
  %whole = bf16[8,128]{1,0} parameter(0)
  %row = bf16[1,128]{1,0} parameter(1)
  %at = s32[] parameter(2)
  ROOT %in = bf16[8,128]{1,0} dynamic-update-slice(%whole, %row, %at, %at)
}
"""
  lines = (
    "%at.1 = s32[] constant(0)",
    "%row.1 = bf16[1,128]{1,0} slice(%param.0), slice={[0:1], [0:128]}",
    "ROOT %f = bf16[8,128]{1,0} fusion(%param.0, %row.1, %at.1), kind=kLoop, calls=%fused",
  )
  row = ARRAY / 8
  assert moved(programs, *lines, computations=fused) == 2 * row + 2 * row + 4


def test_a_compiled_sum_moves_its_operand_and_its_result():
  def step(x):
    return x * 2 + 1

  compiled = jax.jit(step).lower(jax.ShapeDtypeStruct((256, 256), jnp.float32)).compile()
  assert roofline.bytes_moved(hlo.parse(compiled.as_text())) == pytest.approx(
    2 * 4 * 256**2, rel=0.01
  )
