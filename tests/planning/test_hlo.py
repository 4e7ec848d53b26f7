"""HLO text: how a line is parsed, and how often a run executes it."""

import collections

import pytest

from audiopalm.planning import hlo

SHAPES = [
  ("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}", "bf16[8,128]", 2048),
  ("f32[]{:T(128)}", "f32[]", 4),
  ("(s32[], (f8e4m3fn[2,3]{1,0}, token[]))", "(s32[], (f8e4m3fn[2,3], token[]))", 10),
  ("pred[5]{0}", "pred[5]", 5),
  ("s4[7]{0:E(4)}", "s4[7]", 4),
  ("c64[2]", "c64[2]", 16),
  ("f32[<=4,2]", "f32[4,2]", 32),
  ("()", "()", 0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "short", "size"), SHAPES)
def test_bytes_of_a_shape_are_those_of_its_elements(text, short, size):
  assert str(hlo.shape(text)) == short
  assert hlo.shape(text).bytes == size


def test_an_instruction_is_parsed_with_the_text_around_it(programs):
  text = programs.program(
    "%all-gather.1 = bf16[8,256]{1,0:T(8,128)} all-gather(bf16[8,128]{1,0:T(8,128)} %param.0), "
    "replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}, dimensions={1}, "
    'frontend_attributes={chain_id="0"}, metadata={op_name="jit(f)/a, b={c}" stack_frame_id=2}, '
    'backend_config={"dimensions":"none"}'
  )  # fmt: skip
  instruction = hlo.parse(text).computations["main.1_spmd"].instructions["all-gather.1"]
  assert (instruction.opcode, instruction.operands) == ("all-gather", ("param.0",))
  assert instruction.attribute("replica_groups") == "mesh['a'=2,'b'=4]"
  assert instruction.attribute("device_ids") == "([4,2]T(1,0)) {'a'}"
  assert instruction.attribute("frontend_attributes") == '{chain_id="0"}'
  assert instruction.attribute("channel_id") == ""


def test_names_may_be_written_without_a_percent_sign(programs):
  computations, entry = programs.loop("%twice = bf16[8,128] add(%array, %array)")
  text = programs.program(entry, computations)
  assert times(text.replace("%", "")) == times(text)
  body = hlo.parse(text.replace("%", "")).computations["body"]
  assert body.instructions["twice"].operands == ("array", "array")


def test_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match="Expected HLO text, but no computation begins"):
    hlo.parse("func.func public @main(%arg0: tensor<8xf32>)")


def times(text: str) -> dict[str, tuple[int, bool, bool]]:
  """Returns (times, in_loop, unknown_trips) by name, for instructions that run at one place."""
  executions = collections.defaultdict(list)
  for each in hlo.parse(text).executions:
    executions[each.instruction.name].append((each.times, each.in_loop, each.unknown_trips))
  return {name: places[0] for name, places in executions.items() if len(places) == 1}


LOOPS = [
  (dict(), 4),
  (dict(start="1"), 3),  # a loop whose first iteration the compiler moved out
  (dict(limit="5", step="2"), 3),
  (dict(limit="4", direction="LE"), 5),
  (dict(start="4", step="-1", limit="0", direction="GT"), 4),
  (dict(start="4", step="-2", limit="0", direction="GE"), 3),
  (dict(start="0", step="3", limit="9", direction="NE"), 3),
  (dict(start="9", limit="4"), 0),
  (dict(start="3", step="2", limit="3", direction="EQ"), 1),
]


@pytest.mark.parametrize(("changes", "trips"), LOOPS)
def test_a_loop_runs_until_its_counter_reaches_the_limit(programs, changes, trips):
  computations, entry = programs.loop("%twice = bf16[8,128] add(%array, %array)", **changes)
  executions = times(programs.program(entry, computations))
  assert executions["twice"] == (trips, True, False)
  assert executions["param.0"] == (1, False, False)


def test_a_known_trip_count_is_taken_from_the_loop_itself(programs):
  computations, entry = programs.loop("%twice = bf16[8,128] add(%array, %array)")
  known = entry.rstrip() + ', backend_config={"known_trip_count":{"n":"32"},"dynamic_variables":[]}'
  assert times(programs.program(known, computations))["twice"] == (32, True, False)


def test_a_loop_of_unknown_length_counts_once_and_is_marked(programs):
  computations, entry = programs.loop("%twice = bf16[8,128] add(%array, %array)")
  unknown = computations.replace("constant(4)", "custom-call()")
  assert times(programs.program(entry, unknown))["twice"] == (1, True, True)
  start = entry.replace("constant(0)", "custom-call()")
  assert times(programs.program(start, computations))["twice"] == (1, True, True)
  endless, entry = programs.loop(
    "%twice = bf16[8,128] add(%array, %array)", step="3", direction="NE"
  )
  assert times(programs.program(entry, endless))["twice"] == (1, True, True)


def test_a_comparison_inside_a_fusion_is_computed(programs):
  computations, entry = programs.loop("%twice = bf16[8,128] add(%array, %array)")
  fused = """
%wrapped_compare (param_0: s32[], param_1: s32[]) -> pred[] {
  %param_0 = s32[] parameter(0)
  %param_1 = s32[] parameter(1)
  ROOT %compared = pred[] compare(%param_0, %param_1), direction=LT
}
""" + computations.replace(
    "compare(%counter.1, %limit), direction=LT",
    "fusion(%counter.1, %limit), kind=kLoop, calls=%wrapped_compare",
  )
  assert times(programs.program(entry, fused))["twice"] == (4, True, False)


NESTED_LINES = """
%zero = s32[] constant(0)
%six = s32[] constant(6)
%first = (s32[], s32[]) tuple(%zero, %six)
%while.1 = (s32[], s32[]) while(%first), condition=%outer_condition, body=%outer
"""
NESTED = """
%inner_condition (inner.1: (s32[], s32[])) -> pred[] {
  %inner.1 = (s32[], s32[]) parameter(0)
  %at.1 = s32[] get-tuple-element(%inner.1), index=0
  %until.1 = s32[] get-tuple-element(%inner.1), index=1
  ROOT %lt.1 = pred[] compare(%at.1, %until.1), direction=LT
}

%inner (inner.2: (s32[], s32[])) -> (s32[], s32[]) {
  %inner.2 = (s32[], s32[]) parameter(0)
  %at.2 = s32[] get-tuple-element(%inner.2), index=0
  %until.2 = s32[] get-tuple-element(%inner.2), index=1
  %one.2 = s32[] constant(1)
  %innermost = s32[] add(%at.2, %one.2)
  ROOT %tuple.2 = (s32[], s32[]) tuple(%innermost, %until.2)
}

%outer_condition (outer.1: (s32[], s32[])) -> pred[] {
  %outer.1 = (s32[], s32[]) parameter(0)
  %at.3 = s32[] get-tuple-element(%outer.1), index=0
  %three = s32[] constant(3)
  ROOT %lt.3 = pred[] compare(%at.3, %three), direction=LT
}

%outer (outer.2: (s32[], s32[])) -> (s32[], s32[]) {
  %outer.2 = (s32[], s32[]) parameter(0)
  %at.4 = s32[] get-tuple-element(%outer.2), index=0
  %until.4 = s32[] get-tuple-element(%outer.2), index=1
  %zero.4 = s32[] constant(0)
  %first.4 = (s32[], s32[]) tuple(%zero.4, %until.4)
  %while.4 = (s32[], s32[]) while(%first.4), condition=%inner_condition, body=%inner
  %one.4 = s32[] constant(1)
  %next.4 = s32[] add(%one.4, %at.4)
  ROOT %tuple.4 = (s32[], s32[]) tuple(%next.4, %until.4)
}
"""


def test_trip_counts_of_nested_loops_multiply_and_may_come_from_the_outer_loop(programs):
  executions = times(programs.program(NESTED_LINES, NESTED))
  assert executions["next.4"] == (3, True, False)
  assert executions["innermost"] == (18, True, False)


def test_a_loop_whose_limit_the_outer_loop_changes_has_unknown_length(programs):
  changed = NESTED.replace("tuple(%next.4, %until.4)", "tuple(%next.4, %next.4)")
  executions = times(programs.program(NESTED_LINES, changed))
  assert executions["next.4"] == (3, True, False)
  assert executions["innermost"] == (3, True, True)


def test_a_loop_of_known_length_inside_one_of_unknown_length_is_marked(programs):
  unknown = NESTED_LINES.replace("constant(0)", "custom-call()")
  executions = times(programs.program(unknown, NESTED))
  assert executions["next.4"] == (1, True, True)
  assert executions["innermost"] == (6, True, True)


def test_a_kernel_whose_text_spans_several_lines_does_not_end_its_function(programs):
  module = hlo.parse(programs.program(programs.PALLAS))
  lines = module.computations["main.1_spmd"].instructions
  assert list(lines) == ["param.0", "splash.1", "all-gather.1"]
  assert "jit(step)/pallas_call" in lines["splash.1"].metadata
