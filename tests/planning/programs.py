# ruff: noqa: E501 - an instruction is a line, however long
"""Short programs in HLO text, written like those that XLA makes for CPUs and TPUs."""


def program(entry: str, computations: str = "", partitions: int = 8) -> str:
  """Returns a program that runs these lines, after the computations they call."""
  lines = "\n".join(f"  {line.strip()}" for line in entry.strip().splitlines())
  return (
    f"HloModule jit_step, is_scheduled=true, num_partitions={partitions}\n\n"
    f"{computations.strip()}\n\n"
    "ENTRY %main.1_spmd (param.0: bf16[8,128]) -> bf16[8,128] {\n"
    "  %param.0 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0), metadata={op_name=\"params[\\'up\\']\"}\n"
    f"{lines}\n}}\n"
  )


ADD = """
%add.clone (x: bf16[], y: bf16[]) -> bf16[] {
  %x = bf16[]{:T(256)} parameter(0)
  %y = bf16[]{:T(256)} parameter(1)
  ROOT %add.1 = bf16[]{:T(256)} add(%x, %y)
}
"""


def loop(body: str, start: str = "0", step: str = "1", limit: str = "4", direction: str = "LT"):
  """Returns the computations of a loop over a counter and an array, and the lines that call it."""
  lines = "\n".join(f"  {line.strip()}" for line in body.strip().splitlines())
  computations = f"""
%body (carried: (s32[], bf16[8,128])) -> (s32[], bf16[8,128]) {{
  %one.sunk = s32[]{{:T(128)}} constant({step})
  %carried = (s32[]{{:T(128)}}, /*index=1*/bf16[8,128]{{1,0}}) parameter(0)
  %counter = s32[]{{:T(128)}} get-tuple-element(%carried), index=0
  %copy.1 = s32[]{{:T(128)S(6)}} copy(%counter)
  %array = bf16[8,128]{{1,0}} get-tuple-element(%carried), index=1
{lines}
  %next = s32[]{{:T(128)}} add(%copy.1, %one.sunk)
  ROOT %made = (s32[]{{:T(128)}}, bf16[8,128]{{1,0}}) tuple(%next, %array)
}}

%condition (carried.1: (s32[], bf16[8,128])) -> pred[] {{
  %limit = s32[]{{:T(128)}} constant({limit})
  %carried.1 = (s32[]{{:T(128)}}, bf16[8,128]{{1,0}}) parameter(0)
  %counter.1 = s32[]{{:T(128)}} get-tuple-element(%carried.1), index=0
  ROOT %lt.1 = pred[]{{:T(512)}} compare(%counter.1, %limit), direction={direction}
}}
"""
  entry = f"""
%start = s32[]{{:T(128)}} constant({start})
%copy.2 = s32[]{{:T(128)}} copy(%start)
%first = (s32[]{{:T(128)}}, bf16[8,128]{{1,0}}) tuple(%copy.2, %param.0)
%while.1 = (s32[]{{:T(128)}}, bf16[8,128]{{1,0}}) while(%first), condition=%condition, body=%body, metadata={{op_name="jit(step)/while"}}
"""
  return computations, entry


# An all-gather that overlaps with a product: one fusion starts it, one continues and one ends it.
CHAIN = """
%fused_computation.1 (param_0.1: bf16[8,128]) -> (bf16[8,128], bf16[8,256], u32[]) {
  %param_0.1 = bf16[8,128]{1,0} parameter(0)
  %all-gather.1 = bf16[8,256]{1,0} all-gather(%param_0.1), channel_id=5, replica_groups=[4,2]<=[4,2]T(1,0), dimensions={1}, use_global_device_ids=true, frontend_attributes={chain_id="0"}, metadata={op_name="jit(step)/while/body/reshard"}
  ROOT %custom-call.1 = (bf16[8,128]{1,0}, bf16[8,256]{1,0}, u32[]{:S(2)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.2 (param_0.2: bf16[8,128], param_1.2: bf16[8,256], param_2.2: u32[]) -> (bf16[8,8], bf16[8,256], u32[]) {
  %param_0.2 = bf16[8,128]{1,0} parameter(0)
  %param_1.2 = bf16[8,256]{1,0} parameter(1)
  %param_2.2 = u32[] parameter(2)
  %convolution.2 = bf16[8,8]{1,0} convolution(%param_0.2, %param_0.2), dim_labels=bf_oi->bf
  %all-gather.2 = bf16[8,256]{1,0} all-gather(%param_0.2), channel_id=5, replica_groups=[4,2]<=[4,2]T(1,0), dimensions={1}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %tuple.2 = (bf16[8,8]{1,0}, bf16[8,256]{1,0}, u32[]) tuple(%convolution.2, %all-gather.2, %param_2.2)
}

%fused_computation.3 (param_0.3: bf16[8,128], param_1.3: bf16[8,256]) -> bf16[8,256] {
  %param_0.3 = bf16[8,128]{1,0} parameter(0)
  %param_1.3 = bf16[8,256]{1,0} parameter(1)
  %all-gather.3 = bf16[8,256]{1,0} all-gather(%param_0.3), channel_id=5, replica_groups=[4,2]<=[4,2]T(1,0), dimensions={1}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %custom-call.3 = bf16[8,256]{1,0} custom-call(%param_0.3, %param_1.3, %all-gather.3), custom_call_target="AsyncCollectiveDone"
}
"""
CHAIN_LINES = """
%async-collective-start = (bf16[8,128]{1,0}, bf16[8,256]{1,0}, u32[]{:S(2)}) fusion(%array), kind=kCustom, output_to_operand_aliasing={{0}: (0, {})}, calls=%fused_computation.1
%begun = bf16[8,256]{1,0} get-tuple-element(%async-collective-start), index=1
%flag = u32[]{:S(2)} get-tuple-element(%async-collective-start), index=2
%fusion.2 = (bf16[8,8]{1,0}, bf16[8,256]{1,0}, u32[]) fusion(%array, %begun, %flag), kind=kOutput, calls=%async_collective_fusion.2
%gone_on = bf16[8,256]{1,0} get-tuple-element(%fusion.2), index=1
%async-collective-done = bf16[8,256]{1,0} fusion(%array, %gone_on), kind=kCustom, calls=%fused_computation.3
"""

# A reduce-scatter whose array is padded so that each device's shard fills whole tiles.
ALL_REDUCE_SCATTER = (
  ADD
  + """
%all-reduce-scatter.1 (input.1: bf16[8,128]) -> bf16[4,128] {
  %input.1 = bf16[8,128]{1,0:T(8,128)(2,1)} parameter(0)
  %zero = bf16[] constant(0)
  %pad.1 = bf16[16,128]{1,0:T(8,128)(2,1)} pad(%input.1, %zero), padding=0_8x0_0
  %all-reduce.1 = bf16[16,128]{1,0:T(8,128)(2,1)} all-reduce(%pad.1), channel_id=7, replica_groups={{0,2,4,6},{1,3,5,7}}, use_global_device_ids=true, to_apply=%add.clone, frontend_attributes={from-cross-replica-sharding="true"}
  %shard_ids = u32[8]{0:T(128)} constant({0, 0, 1, 1, 2, 2, 3, 3})
  %partition-id.1 = u32[] partition-id()
  %mine = u32[1]{0:T(128)} dynamic-slice(%shard_ids, %partition-id.1), dynamic_slice_sizes={1}
  %bitcast.1 = u32[]{:T(128)} bitcast(%mine)
  %zero.1 = u32[] constant(0)
  ROOT %kept = bf16[4,128]{1,0:T(8,128)(2,1)S(1)} dynamic-slice(%all-reduce.1, %bitcast.1, %zero.1), dynamic_slice_sizes={4,128}
}
"""
)

# Two reduce-scatters in one.
TWO_SCATTERED = (
  ADD
  + """
%all-reduce-scatter.2 (input.1: bf16[8,128], input.2: bf16[8,128]) -> (bf16[2,128], bf16[8,32]) {
  %input.1 = bf16[8,128]{1,0} parameter(0)
  %input.2 = bf16[8,128]{1,0} parameter(1)
  %all-reduce.1 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}) all-reduce(%input.1, %input.2), channel_id=1, replica_groups={{0,2,4,6},{1,3,5,7}}, use_global_device_ids=true, to_apply=%add.clone
  %get-tuple-element.1 = bf16[8,128]{1,0} get-tuple-element(%all-reduce.1), index=0
  %zero = u32[] constant(0)
  %kept.1 = bf16[2,128]{1,0} dynamic-slice(%get-tuple-element.1, %zero, %zero), dynamic_slice_sizes={2,128}
  %get-tuple-element.2 = bf16[8,128]{1,0} get-tuple-element(%all-reduce.1), index=1
  %kept.2 = bf16[8,32]{1,0} dynamic-slice(%get-tuple-element.2, %zero, %zero), dynamic_slice_sizes={8,32}
  ROOT %tuple.1 = (bf16[2,128]{1,0}, bf16[8,32]{1,0}) tuple(%kept.1, %kept.2)
}
"""
)

# Work of a SparseCore, and the general wrapper of asynchronous work.
WRAPPED = (
  ADD
  + """
%called_computation (param_0.1: bf16[8,128], param_1.1: token[]) -> bf16[8,256] {
  %param_1.1 = token[] parameter(1)
  %param_0.1 = bf16[8,128]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[8,256]{1,0} all-gather(%param_0.1), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_1'}, dimensions={1}, use_global_device_ids=true
}, execution_thread="sparsecore"

%async_computation (param_0.2: bf16[8,128]) -> bf16[4,128] {
  %param_0.2 = bf16[8,128]{1,0} parameter(0)
  ROOT %reduce-scatter.1 = bf16[4,128]{1,0} reduce-scatter(%param_0.2), channel_id=8, replica_groups=[4,2]<=[8], use_global_device_ids=true, dimensions={0}, to_apply=%add.clone
}
"""
)
WRAPPED_LINES = """
%token = token[] after-all()
%call-start.1 = ((bf16[8,128]{1,0}, token[]), bf16[8,256]{1,0}) call-start(%param.0, %token), async_execution_thread="sparsecore", to_apply=%called_computation, metadata={op_name="jit(step)/reshard"}
%call-done.1 = bf16[8,256]{1,0} call-done(%call-start.1)
%async-start.1 = ((bf16[8,128]{1,0}), bf16[4,128]{1,0}, u32[]) async-start(%param.0), calls=%async_computation
%async-done.1 = bf16[4,128]{1,0} async-done(%async-start.1)
"""

# Pairs of -start and -done; each -start returns its result in another place.
STARTS = """
%all-gather-start.1 = (bf16[8,128]{1,0}, bf16[8,256]{1,0}) all-gather-start(%param.0), channel_id=1, replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={1}, use_global_device_ids=true
%all-gather-done.1 = bf16[8,256]{1,0} all-gather-done(%all-gather-start.1)
%all-reduce-start.1 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}) all-reduce-start(%param.0, %param.0), channel_id=2, replica_groups={{0,4},{1,5},{2,6},{3,7}}, use_global_device_ids=true, to_apply=%add.clone
%all-reduce-done.1 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}) all-reduce-done(%all-reduce-start.1)
%collective-permute-start.1 = (bf16[8,128]{1,0}, bf16[8,128]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%param.0), channel_id=3, source_target_pairs={{0,2},{2,0},{1,3},{3,1},{4,6},{6,4},{5,7},{7,5}}
%collective-permute-done.1 = bf16[8,128]{1,0} collective-permute-done(%collective-permute-start.1)
%reduce-scatter-start.1 = ((bf16[8,128]{1,0}), bf16[4,128]{1,0}, u32[]) reduce-scatter-start(%param.0), channel_id=4, replica_groups=[4,2]<=[8], use_global_device_ids=true, dimensions={0}, to_apply=%add.clone
%reduce-scatter-done.1 = bf16[4,128]{1,0} reduce-scatter-done(%reduce-scatter-start.1)
"""

# Two slices of eight TPUs: groups number the devices of one slice, sums between slices go through
# the host.
BETWEEN_SLICES = """
%all-gather.1 = bf16[8,512]{1,0} all-gather(%param.0), channel_id=9, replica_groups={{0,2,4,6},{1,3,5,7}}, dimensions={1}, use_global_device_ids=true
%after-all.1 = token[] after-all()
%send.1 = (bf16[8,8,128]{2,1,0}, u32[], token[]) send(%param.0, %after-all.1), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.17_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:7}",_xla_megascale_transfer_type="ALL_REDUCE"}
%recv.1 = (bf16[8,8,128]{2,1,0}, u32[], token[]) recv(%after-all.1), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.17_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:7}",_xla_megascale_transfer_type="ALL_REDUCE"}
%send-done.1 = token[] send-done(%send.1), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
%recv-done.1 = (bf16[8,8,128]{2,1,0}, token[]) recv-done(%recv.1), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
"""

BRANCHES = """
%small (param.1: bf16[8,128]) -> bf16[8,128] {
  ROOT %param.1 = bf16[8,128]{1,0} parameter(0)
}

%large (param.2: bf16[8,128]) -> bf16[8,128] {
  %param.2 = bf16[8,128]{1,0} parameter(0)
  ROOT %permute = bf16[8,128]{1,0} collective-permute(%param.2), channel_id=1, source_target_pairs={{0,1},{1,0}}
}
"""

# The text of a Pallas kernel spans several lines; one of them begins like the end of a function.
PALLAS = """
%splash.1 = bf16[8,128]{1,0} custom-call(%param.0), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 128}"
}}, metadata={op_name="jit(step)/pallas_call"}, backend_config={"custom_call_config":{"body":"TUzv","cost_estimate":{"flops":"12345","bytes_accessed":"99"}}}
%all-gather.1 = bf16[8,256]{1,0} all-gather(%splash.1), channel_id=1, replica_groups=[4,2]<=[8], dimensions={1}, use_global_device_ids=true
"""
