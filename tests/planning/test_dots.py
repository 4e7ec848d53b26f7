"""Operations in matrix products of hand-written programs, and of one that XLA compiles."""

import jax
import jax.numpy as jnp
import pytest

from audiopalm.planning import dots

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
  assert dots.flops(text) == operations


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
  assert dots.flops(programs.program(entry, fused + computations)) == 4 * 2 * 8 * 8 * 128


def test_a_kernel_counts_the_operations_it_declares(programs):
  assert dots.flops(programs.program(programs.PALLAS)) == 12345


@pytest.mark.parametrize("layers", [3, 6])
def test_operations_of_scanned_layers_and_their_gradient_equal_the_formula(layers):
  def loss(kernels_LDD, x_BD):
    def layer(x_BD, kernel_DD):
      return jnp.tanh(x_BD @ kernel_DD), None

    return jax.lax.scan(layer, x_BD, kernels_LDD)[0].sum()

  kernels_LDD, x_BD = jnp.zeros((layers, 32, 32)), jnp.zeros((8, 32))
  compiled = jax.jit(jax.grad(loss)).lower(kernels_LDD, x_BD).compile()
  # Forward, and the gradients of kernel and input.
  assert dots.flops(compiled.as_text()) == 3 * layers * 2 * 8 * 32 * 32
