"""Collectives of hand-written programs, and of programs that XLA compiles for CPUs and TPUs."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from audiopalm import settings, sharding
from audiopalm.planning import collectives as hlo_collectives
from audiopalm.planning import hlo

ROOT = Path(__file__).parents[2]
SIZES = {"data": 2, "fsdp": 2, "context": 1, "tensor": 2}


def collectives(text: str, sizes=SIZES) -> tuple[hlo_collectives.Collective, ...]:
  return hlo_collectives.collectives(hlo.parse(text), sizes)


def short(sent) -> list[tuple]:
  return [(c.kind, c.axes, c.operand_bytes, c.result_bytes, c.times) for c in sent]


def test_a_collective_has_its_sizes_its_operation_and_its_parameter(programs):
  text = programs.program(
    '%cast = f32[8,128]{1,0} convert(%param.0)\n'
    '%all-gather.1 = f32[8,256]{1,0} all-gather(%cast), channel_id=1, '
    "replica_groups=[4,2]<=[8], dimensions={1}, use_global_device_ids=true, "
    'metadata={op_name="jit(step)/reshard"}'
  )  # fmt: skip
  assert collectives(text) == (
    hlo_collectives.Collective(
      kind="all-gather",
      axes=("tensor",),
      result_bytes=8 * 256 * 4,
      operand_bytes=8 * 128 * 4,
      group_size=2,
      times=1,
      in_loop=False,
      op_name="jit(step)/reshard",
      shape="f32[8,256]",
      parameter="params['up']",
    ),
  )


def test_a_start_and_its_done_are_one_collective(programs):
  sent = collectives(programs.program(programs.STARTS, programs.ADD))
  assert short(sent) == [
    ("all-gather", ("tensor",), 2048, 4096, 1),
    ("all-reduce", ("data",), 4096, 4096, 1),
    ("collective-permute", ("fsdp",), 2048, 2048, 1),
    ("reduce-scatter", ("tensor",), 2048, 1024, 1),
  ]


def test_wrapped_and_asynchronous_collectives_are_listed(programs):
  sent = collectives(programs.program(programs.WRAPPED_LINES, programs.WRAPPED))
  assert short(sent) == [
    ("all-gather", ("tensor",), 2048, 4096, 1),
    ("reduce-scatter", ("tensor",), 2048, 1024, 1),
  ]
  assert sent[0].op_name == "jit(step)/reshard"
  assert sent[0].parameter == sent[1].parameter == "params['up']"


def test_a_gather_over_a_chain_of_fusions_counts_once_per_iteration(programs):
  computations, entry = programs.loop(programs.CHAIN_LINES)
  (sent,) = collectives(programs.program(entry, programs.CHAIN + computations))
  assert short([sent]) == [("all-gather", ("fsdp",), 2048, 4096, 4)]
  assert sent.in_loop and not sent.unknown_trips
  assert sent.op_name == "jit(step)/while/body/reshard"


def test_a_fusion_that_keeps_a_slice_of_an_all_reduce_is_a_reduce_scatter(programs):
  line = (
    "%fusion.1 = bf16[4,128]{1,0} fusion(%param.0), kind=kCustom, calls=%all-reduce-scatter.1, "
    'metadata={op_name="jit(step)/dot_general"}'
  )
  text = programs.program(line, programs.ALL_REDUCE_SCATTER)
  (sent,) = collectives(text, {"fsdp": 4, "tensor": 2})
  assert short([sent]) == [("reduce-scatter", ("fsdp",), 4096, 1024, 1)]
  assert (sent.shape, sent.op_name) == ("bf16[4,128]", "jit(step)/dot_general")
  two = (
    "%fusion.1 = (bf16[2,128], bf16[8,32]) fusion(%param.0, %param.0), kind=kCustom, "
    "calls=%all-reduce-scatter.2"
  )
  text = programs.program(two, programs.TWO_SCATTERED)
  (sent,) = collectives(text, {"fsdp": 4, "tensor": 2})
  assert short([sent]) == [("reduce-scatter", ("fsdp",), 4096, 1024, 1)]


def test_an_all_reduce_that_is_sliced_outside_a_fusion_stays_one(programs):
  text = programs.program(
    "%all-reduce.1 = bf16[8,128] all-reduce(%param.0), channel_id=1, "
    "replica_groups=[2,4]<=[4,2]T(1,0), use_global_device_ids=true, to_apply=%add.clone\n"
    "%zero = u32[] constant(0)\n"
    "%kept = bf16[4,128] dynamic-slice(%all-reduce.1, %zero, %zero), dynamic_slice_sizes={4,128}",
    programs.ADD,
  )
  assert short(collectives(text)) == [("all-reduce", ("data", "fsdp"), 2048, 2048, 1)]


def test_the_branch_that_sends_most_counts(programs):
  text = programs.program(
    "%which = pred[] custom-call()\n"
    "%chosen = bf16[8,128] conditional(%which, %param.0, %param.0), "
    "branch_computations={%small, %large}",
    programs.BRANCHES,
  )
  (sent,) = collectives(text)
  assert short([sent]) == [("collective-permute", ("tensor",), 2048, 2048, 1)]


def test_groups_over_a_mesh_with_an_order_of_devices_are_parsed(programs):
  line = (
    "%all-reduce.1 = bf16[8,128] all-reduce(%param.0), channel_id=1, replica_groups=mesh"
    "['axis_0'=2,'axis_1'=1,'axis_2'=4], device_ids=([4,2]T(1,0)) {'axis_0'}, "
    "use_global_device_ids=true, to_apply=%add.clone"
  )
  (sent,) = collectives(programs.program(line, programs.ADD))
  assert (sent.axes, sent.group_size) == (("tensor",), 2)


def test_a_parameter_is_named_only_where_nothing_else_is_sent(programs):
  line = (
    "%twice = bf16[8,128] add(%param.0, %param.0)\n"
    "%all-gather.1 = (bf16[8,256], bf16[8,256]) all-gather(%param.0, {}), replica_groups=[4,2]<=[8]"
  )
  both, mixed = (
    collectives(programs.program(line.replace("{}", name)))[0] for name in ("%param.0", "%twice")
  )
  assert (both.parameter, mixed.parameter) == ("params['up'], params['up']", "")


def test_groups_of_replicas_that_are_all_partitions_are_all_axes(programs):
  line = (
    "%all-reduce.1 = f32[] all-reduce(%param.0), channel_id=1, replica_groups={{0}}, "
    "to_apply=%add.clone"
  )
  (sent,) = collectives(programs.program(line, programs.ADD))
  assert (sent.axes, sent.group_size) == (("data", "fsdp", "tensor"), 8)


def test_collectives_between_slices_differ_from_those_inside(programs):
  sizes = {"data": 2, "fsdp": 4, "context": 1, "tensor": 2}
  sent = collectives(programs.program(programs.BETWEEN_SLICES), sizes)
  assert short(sent) == [
    ("all-gather", ("fsdp",), 2048, 8192, 1),
    ("all-reduce", ("data",), 16384, 16384, 1),
  ]
  assert [(c.between_slices, c.group_size) for c in sent] == [(False, 4), (True, 2)]
  assert list(hlo_collectives.by_axis(sent)["data"]) == ["all-reduce between slices"]


WIRE = [
  ("all-gather", 4096, 1024, 3072),
  ("reduce-scatter", 1024, 4096, 3072),
  ("all-reduce", 4096, 4096, 6144),
  ("all-to-all", 4096, 4096, 3072),
  ("collective-permute", 4096, 4096, 4096),
]


def collective(kind, result_bytes=4096, operand_bytes=4096, group_size=4, times=1, **changes):
  values = dict(axes=("fsdp",), in_loop=times > 1, op_name="", shape="")
  return hlo_collectives.Collective(
    kind=kind, result_bytes=result_bytes, operand_bytes=operand_bytes, group_size=group_size,
    times=times, **values | changes
  )  # fmt: skip


@pytest.mark.parametrize(("kind", "result", "operand", "sent"), WIRE)
def test_bytes_on_the_wire_are_those_of_a_ring_of_four(kind, result, operand, sent):
  assert collective(kind, result, operand).bytes_on_wire == sent
  assert collective(kind, result, operand).bytes == 4096


def test_totals_by_axis_count_every_iteration():
  sent = [
    collective("all-gather", operand_bytes=1024, times=8),
    collective("all-gather", operand_bytes=1024),
    collective("all-reduce", axes=("tensor",), group_size=2),
  ]
  assert hlo_collectives.by_axis(sent) == {
    "fsdp": {"all-gather": {"count": 9, "bytes": 9 * 4096, "wire_bytes": 9 * 3072}},
    "tensor": {"all-reduce": {"count": 1, "bytes": 4096, "wire_bytes": 4096}},
  }


def test_full_arrays_outside_loops_exclude_small_arrays_other_kinds_and_loops():
  kept = [
    collective("all-gather", operand_bytes=1024, op_name="embedding"),
    collective("all-reduce"),
  ]
  others = [
    collective("all-gather", 512, 128),
    collective("all-gather", times=4),
    collective("all-gather", in_loop=True),
    collective("reduce-scatter"),
  ]
  assert hlo_collectives.full_outside_loops([*others, *kept], min_bytes=1024) == kept


def bytes_by_place(sent) -> tuple[int, int]:
  """Returns the bytes of collectives inside and outside of loops."""
  inside = sum(each.bytes * each.times for each in sent if each.in_loop)
  return inside, sum(each.bytes * each.times for each in sent if not each.in_loop)


def check_step(texts: dict[int, str], sizes: dict[str, int], item_bytes: int) -> None:
  """Checks the collectives of `scanned` with n and with 2n layers; `item_bytes` is the size of a
  gathered element."""
  few, many = (collectives(text, sizes) for text in texts.values())
  layers = min(texts)
  inside, outside = bytes_by_place(few)
  assert inside > 0 and outside > 0
  assert bytes_by_place(many) == (2 * inside, outside)
  assert not any(each.unknown_trips or each.axes == ("?",) for each in few)
  gathers = [each for each in few if each.kind == "all-gather" and each.in_loop]
  assert {(each.axes, each.times, each.result_bytes) for each in gathers} == {
    (("fsdp",), layers, 128 * 256 // sizes["tensor"] * item_bytes)
  }
  whole = hlo_collectives.full_outside_loops(few, min_bytes=2**14)
  gathered = [each.parameter for each in whole if each.kind == "all-gather"]
  assert gathered == ["params['head']"]
  assert ("tensor",) in {each.axes for each in few if each.kind == "all-reduce"}


def test_twice_the_layers_send_twice_the_bytes_inside_the_loop_and_no_more_outside(scanned):
  mesh = sharding.mesh(settings.Machine(data=2, fsdp=2, tensor=2))
  check_step({layers: scanned.step_text(mesh, layers) for layers in (3, 6)}, SIZES, item_bytes=4)


def test_partitions_are_numbered_in_the_order_of_the_mesh(scanned):
  devices = np.array(jax.devices())[[0, 1, 2, 7, 3, 6, 5, 4]].reshape(2, 2, 2)
  mesh = jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"), axis_types=(AxisType.Explicit,) * 3)
  plain = sharding.mesh(settings.Machine(data=2, fsdp=2, tensor=2))
  expected = collectives(scanned.step_text(plain, 2))
  assert short(collectives(scanned.step_text(mesh, 2))) == short(expected)


def test_every_kind_over_every_axis_is_listed_for_a_compiled_program():
  mesh = sharding.mesh(settings.Machine(data=2, fsdp=2, tensor=2))
  spec = PartitionSpec(("data", "fsdp", "tensor"))

  def each_kind(x):
    return (
      jax.lax.all_to_all(x, "tensor", 0, 1, tiled=True),
      jax.lax.psum_scatter(x, "fsdp", scatter_dimension=0, tiled=True),
      jax.lax.ppermute(x, "data", [(0, 1), (1, 0)]),
      jax.lax.all_gather(x, ("data", "fsdp"), tiled=True),
      jax.lax.psum(x, ("data", "tensor")),
    )

  x = jax.ShapeDtypeStruct((64, 16), jnp.float32, sharding=NamedSharding(mesh, spec))
  with jax.set_mesh(mesh):
    mapped = jax.shard_map(each_kind, in_specs=spec, out_specs=(spec,) * 5, check_vma=False)
    sent = collectives(jax.jit(mapped).lower(x).compile().as_text())
  whole = 8 * 16 * 4
  assert sorted(short(sent)) == [
    ("all-gather", ("data", "fsdp"), whole, 4 * whole, 1),
    ("all-reduce", ("data", "tensor"), whole, whole, 1),
    ("all-to-all", ("tensor",), whole, whole, 1),
    ("collective-permute", ("data",), whole, whole, 1),
    ("reduce-scatter", ("fsdp",), whole, whole // 2, 1),
  ]


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="compiling for TPUs needs libtpu"
)
def test_a_program_for_tpus_is_parsed_like_one_for_cpus(scanned, tmp_path):
  # In a process of its own: libtpu keeps locks and handles signals of the process that loads it.
  flags = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "XLA_FLAGS": ""}
  flags["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
  subprocess.run(
    [sys.executable, scanned.__file__, tmp_path], env=os.environ | flags, check=True, timeout=300
  )
  texts = {layers: (tmp_path / f"{layers}.txt").read_text() for layers in (3, 6)}
  # The TPU compiler casts kernels to what its products take, bfloat16, before it gathers them.
  check_step(texts, {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}, item_bytes=2)
