"""Memory traffic of hand-written programs, and of one that XLA compiles."""

import jax
import jax.numpy as jnp
import pytest

from audiopalm.planning import traffic

ARRAY = 8 * 128 * 2  # bytes of bf16[8,128]


def moved(programs, *lines, computations=""):
  return traffic.bytes_moved(programs.program("\n".join(lines), computations))


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
  assert traffic.bytes_moved(compiled.as_text()) == pytest.approx(2 * 4 * 256**2, rel=0.01)
