"""The plan of a small config for the CPU devices of this process, compared with known values."""

import dataclasses
import json
import math

import jax
import pytest

from audiopalm import sharding
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.models import decoder
from audiopalm.parts import mixtures, tokenizers
from audiopalm.planning import collectives, plan, program, search, topology
from audiopalm.settings import Machine

CHIP = topology.Chip("made up", 1e12, 2**30, 1e11, 1e10, 0.0, 0, 1e-6, "this test")
FSDP = Machine(name="test", data=1, fsdp=4, tensor=2, remat="full", loss_chunk_cells=16)


@pytest.fixture(scope="module")
def cpus():
  return topology.Topology("cpu:8", tuple(jax.devices()), CHIP)


def experiment(layers=2, **changes):
  corpus = Synthetic(languages=("en", "fr"))
  made = Experiment(
    name="small",
    tokenizers=(tokenizers.text(size=600), tokenizers.units(size=100)),
    mixture=mixtures.blend((mixtures.asr(corpus), 1.0)),
    model=decoder.Decoder(layers=layers, width=64, heads=4, kv_heads=2, head_width=16, hidden=96),
    data=Packed(row_length=32, batch_rows=8),
  )
  return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def planned(cpus):
  return plan.training(experiment(), FSDP, cpus)


def test_parameters_and_optimizer_are_counted_by_device(planned):
  mesh = sharding.mesh(FSDP, tuple(jax.devices()))
  model = experiment().model.build(program.space_of(experiment()))
  shards = [leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(model.shapes(mesh))]
  wanted = sum(4 * math.prod(shape) for shape in shards)
  assert planned.compiled.memory["parameters"] == wanted
  assert 2 * wanted <= planned.compiled.memory["optimizer"] <= 2 * wanted + 64
  assert planned.compiled.memory["peak"] > planned.compiled.memory["arguments"] >= 3 * wanted


def test_only_embedding_and_head_are_gathered_outside_the_layers(planned):
  rows = sum(program.space_of(experiment()).padded)
  whole = collectives.full_outside_loops(planned.sent, 4 * rows * 64 // 2)  # tensor=2
  assert whole and all("head" in each.op_name for each in whole)
  assert len(whole) <= 2  # once a direction
  assert all(each.in_loop for each in planned.sent if "mlp" in each.op_name)


def test_twice_the_layers_send_twice_as_much_inside_the_loop(cpus, planned):
  deeper = plan.training(experiment(layers=4), FSDP, cpus)

  def sent(plan_, in_loop):
    chosen = [each for each in plan_.sent if each.in_loop == in_loop]
    return sum(each.times * each.bytes for each in chosen if each.bytes >= 4 * 64 * 16)

  head = 4 * sum(program.space_of(experiment()).padded) * 64
  assert sent(deeper, True) == 2 * sent(planned, True) > 0
  assert abs(sent(deeper, False) - sent(planned, False)) < head / 2


def test_the_operations_are_those_of_the_formula(cpus):
  """One layer, not scanned: XLA's own count, and the formula's with attention in full."""
  one = Machine(name="one", fsdp=1, unroll_layers=True)
  single = topology.Topology("cpu:1", tuple(jax.devices()[:1]), CHIP)
  settings = dataclasses.replace(experiment().model, layers=1, width=256, hidden=512)
  plan_ = plan.training(experiment(model=settings), one, single)
  space, s = program.space_of(experiment()), settings
  attention = 12 * s.heads * s.head_width * 32 - 6 * s.heads * s.head_width * 33
  wanted = (s.flops_per_token(space, 32) + attention) * 8 * 32
  # Attention's weights are computed again in the backward pass.
  again = 2 * s.heads * s.head_width * 32 * 8 * 32
  assert plan_.bounds.flops == pytest.approx(wanted + again, rel=0.01)


def test_a_decoding_step_counts_its_cache(cpus):
  decoding = plan.generation(experiment(), FSDP, cpus, rows=16, slots=64)
  layers, ways = 2, 4 * 2  # rows over fsdp, key heads over tensor
  assert decoding.compiled.memory["cache"] >= 2 * layers * 16 * 64 * 2 * 16 * 4 / ways
  assert decoding.tokens == 16 and decoding.bounds.bound_s > 0


def test_a_plan_is_json(planned):
  fields = json.loads(json.dumps(plan.to_json(planned)))
  assert fields["fits"] and fields["spare"] == 2**30 - planned.compiled.memory["peak"]
  assert fields["mesh"] == {"data": 1, "fsdp": 4, "context": 1, "tensor": 2}
  assert 0 < fields["mfu_at_most"] < 1


def test_a_collective_without_a_name_is_named_after_the_only_parameter_of_its_shape(planned):
  each = planned.sent[0]
  rows = sum(program.space_of(experiment()).padded)
  nameless = dataclasses.replace(each, parameter="", op_name="", shape=f"f32[{rows},64]")
  assert planned.name_of(nameless) == "like params['embed']['table']"
  assert planned.name_of(dataclasses.replace(nameless, shape="f32[3,5]")) == "unnamed"
  assert planned.name_of(dataclasses.replace(nameless, op_name="jit(step)/head")).endswith("head")


def test_a_program_larger_than_memory_does_not_fit(cpus):
  small = dataclasses.replace(cpus, chip=dataclasses.replace(CHIP, memory=2**16))
  large = plan.training(experiment(), FSDP, small)
  assert not large.fits and large.excess_bytes == large.compiled.memory["peak"] - 2**16


def test_a_search_ranks_candidates_and_keeps_the_error_of_those_that_are_refused(cpus, monkeypatch):
  meshes = [{"data": 8, "fsdp": 1, "tensor": 1}, {"data": 1, "fsdp": 1, "tensor": 8}]
  monkeypatch.setattr(search, "meshes", lambda devices: iter(meshes))
  monkeypatch.setattr(search, "REMAT", ("full",))
  monkeypatch.setattr(search, "BATCH_FACTORS", (1,))  # no candidate beside the two meshes
  reported = []
  ranked = search.search(experiment(), FSDP, cpus, 100.0, reported.append)
  assert len(ranked) == len(reported) == 2
  assert ranked[0].plan.fits and ranked[0].machine.data == 8
  assert "'heads' of size 4" in ranked[1].refused


def test_the_first_mesh_of_a_search_is_fsdp_alone():
  tried = list(search.meshes(256))
  assert tried[0] == {"data": 1, "fsdp": 256, "context": 1, "tensor": 1}
  assert all(m["data"] * m["fsdp"] * m["context"] * m["tensor"] == 256 for m in tried)


def test_an_error_about_a_topology_names_valid_ones():
  with pytest.raises(ConfigError, match=r"Unknown topology 'v5x:4x4'. Did you mean 'v5"):
    topology.named("v5x:4x4")
  with pytest.raises(ConfigError, match="a slice of v5p has 3 axes, as in v5p:4x4x4"):
    topology.named("v5p:4x4")
  with pytest.raises(ConfigError, match="this process has 8 CPU devices. Set XLA_FLAGS"):
    topology.named("cpu:16")


def test_cpu_devices_share_the_memory_of_the_machine(monkeypatch):
  monkeypatch.setattr(topology.os, "sysconf", lambda name: 2**14)
  found = topology.named("cpu:8")
  assert len(found.devices) == 8 and found.chip.memory == 2**25 and found.chip.serial


MESSAGES = (
  "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries "
  "(16.51G) exceeds available HBM (15.75G).",
  "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
  "Used 16.51G of 15.75G hbm. Exceeded hbm capacity by 778.24M.",
)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_compiler_that_runs_out_of_memory_is_a_plan_that_does_not_fit(cpus, monkeypatch, message):
  def compile_(self, *arguments, **options):
    raise jax.errors.JaxRuntimeError(message)

  monkeypatch.setattr(jax.stages.Lowered, "compile", compile_)
  large = plan.training(experiment(), FSDP, cpus)
  assert not large.fits and large.excess_bytes == int(16.51 * 2**30) - int(15.75 * 2**30)
  assert plan.to_json(large)["over"] == large.excess_bytes


def test_other_errors_of_a_compiler_stay_errors(cpus, monkeypatch):
  def compile_(self, *arguments, **options):
    raise jax.errors.JaxRuntimeError("INTERNAL: something else")

  monkeypatch.setattr(jax.stages.Lowered, "compile", compile_)
  with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
    plan.training(experiment(), FSDP, cpus)


def test_an_error_about_a_missing_compiler_says_how_to_install_it(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(ConfigError, match=r"needs libtpu.*pip install 'audiopalm\[aot\]'"):
    topology.named("v5e:2x4")
