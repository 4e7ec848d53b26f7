import dataclasses
import json

import pytest

from audiopalm.errors import ConfigError
from audiopalm.parts import machines
from audiopalm.settings import Machine


@pytest.mark.parametrize(
  "kind, platform, name, peak",
  [
    ("cpu", "cpu", "cpu", None),
    ("NVIDIA H100 80GB HBM3", "gpu", "h100", 989e12),
    ("NVIDIA H100 PCIe", "gpu", "h100", 756e12),
    ("NVIDIA A100-SXM4-40GB", "gpu", "a100", 312e12),
    ("NVIDIA H200", "gpu", "h200", 989e12),
    ("NVIDIA B200", "gpu", "b200", 2250e12),
    ("NVIDIA GB200", "gpu", "b200", 2500e12),
    ("NVIDIA GeForce RTX 4090", "gpu", "gpu", None),
    ("TPU v4", "tpu", "v4", 275e12),
    ("TPU v5 lite", "tpu", "v5e", 197e12),
    ("TPU v5", "tpu", "v5p", 459e12),
    ("TPU v5p", "tpu", "v5p", 459e12),
    ("TPU v6 lite", "tpu", "v6e", 918e12),
    ("TPU7x", "tpu", "tpu", None),
  ],
)
def test_device_kind_names_the_machine_and_its_peak(kind, platform, name, peak):
  assert machines.default(kind, platform).name == name
  share = machines.utilization(peak or 1e12, 2.0, kind, 4)
  assert share == (pytest.approx(1 / 8) if peak else "unknown")


def test_default_is_one_cpu_device_here_however_many_are_forced():
  machine = machines.default()
  assert (machine.name, machine.data, machine.fsdp, machine.tensor) == ("cpu", 1, 1, 1)


def test_every_machine_answers_to_its_own_name():
  assert all(machines.named(name).name == name for name in machines.TABLE)


def test_unknown_machine_lists_the_names_and_the_nearest():
  with pytest.raises(ConfigError) as error:
    machines.named("h1000")
  text = str(error.value)
  assert "Unknown machine 'h1000'" in text and "Did you mean 'h100'?" in text
  assert "cpu8" in text and "v6e" in text
  assert "or the path of a JSON file with a machine, as audiopalm plan --json writes it." in text


def test_unknown_platform_says_to_choose():
  with pytest.raises(
    ConfigError, match="No machine is known for the device 'M3' of platform 'METAL'"
  ):
    machines.default("M3", "METAL")


CPU = machines.TABLE["cpu"]
WITHOUT = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\nbugs\t\t: amx_bf16\n"
WITH = WITHOUT.replace("avx2", "avx2 avx512_bf16")


@pytest.mark.parametrize(
  "cpuinfo, products, why",
  [
    (WITHOUT, "float32", "this CPU has none of the flags amx_bf16, avx512_bf16"),
    (WITH, "bfloat16", "this CPU has avx512_bf16"),
    (WITH.replace("avx512f", "amx_bf16"), "bfloat16", "this CPU has amx_bf16"),
    ("", "float32", "this CPU has none of the flags amx_bf16, avx512_bf16"),
  ],
)
def test_the_flags_of_a_cpu_choose_the_products_of_a_first_start(cpuinfo, products, why):
  machine, said = machines.choose_products(CPU, platform="cpu", cpuinfo=cpuinfo)
  assert (machine.products, machine.compute_dtype, said) == (products, "float32", why)


def test_an_accelerator_multiplies_in_what_it_computes_in_whatever_its_host_has():
  for cpuinfo in (WITH, WITHOUT):
    machine, said = machines.choose_products(
      machines.named("h100"), platform="gpu", cpuinfo=cpuinfo
    )
    assert (machine.products, machine.compute_dtype) == ("bfloat16", "bfloat16")
    assert said == "the compute_dtype of machine 'h100'"


def test_a_machine_of_accelerators_tried_on_a_cpu_goes_on_in_bfloat16():
  for kept in (None, "bfloat16"):
    machine, _ = machines.choose_products(
      machines.named("gpu"), saved=kept, platform="cpu", cpuinfo=WITHOUT
    )
    assert machine.products == "bfloat16"


def test_what_is_asked_for_comes_before_the_machine_and_both_before_the_run():
  half = dataclasses.replace(CPU, product_dtype="bfloat16")
  for machine, asked, kept, products, said in (
    (half, "float32", "bfloat16", "float32", "set by --products"),
    (half, None, "float32", "bfloat16", "set by the machine"),
    (CPU, None, "float32", "float32", "set by this run"),
  ):
    found = machines.choose_products(machine, asked, kept, platform="cpu", cpuinfo=WITH)
    assert (found[0].products, found[1]) == (products, said)


def test_a_cpu_without_bfloat16_products_says_how_to_choose_others():
  half = dataclasses.replace(CPU, product_dtype="bfloat16")
  for machine, asked, kept, source in (
    (CPU, "bfloat16", None, "--products"),
    (half, None, None, "the machine"),
    (CPU, None, "bfloat16", "this run"),
  ):
    with pytest.raises(ConfigError) as error:
      machines.choose_products(machine, asked, kept, platform="cpu", cpuinfo=WITHOUT)
    text = str(error.value)
    assert text.startswith(
      f"Matrix products in bfloat16 are set by {source}, but this CPU has none of the flags "
      "amx_bf16, avx512_bf16. Choose another dtype with --products float32"
    )


def test_a_run_in_float32_does_not_become_one_in_bfloat16_on_an_accelerator_unasked():
  with pytest.raises(ConfigError, match="machine 'h100' computes in bfloat16.*--products bfloat16"):
    machines.choose_products(machines.named("h100"), saved="float32", platform="gpu")
  machine, _ = machines.choose_products(
    machines.named("h100"), "bfloat16", "float32", platform="gpu"
  )
  assert machine.products == "bfloat16"


def test_products_in_float32_of_a_machine_that_computes_in_bfloat16_are_refused():
  with pytest.raises(ConfigError, match="multiplies in float32 what its layers hold in bfloat16"):
    dataclasses.replace(machines.named("h100"), product_dtype="float32")


def written(folder, value):
  """Returns the path of a file of JSON, or of a text."""
  path = folder / "mine.json"
  path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
  return str(path)


@pytest.mark.parametrize("machine", [*machines.TABLE.values(), CPU, Machine(micro_batch_tokens=7)])
def test_a_file_gives_back_the_machine_that_was_written(tmp_path, machine):
  assert machines.named(written(tmp_path, machines.to_json(machine))) == machine


def test_what_a_file_leaves_out_is_as_in_a_machine_of_no_words_and_named_as_the_file(tmp_path):
  path = written(tmp_path, {"machine": {"data": 8, "remat": "dots", "micro_batch_tokens": None}})
  assert machines.named(path) == Machine(name="mine", data=8, remat="dots")
  assert machines.named(written(tmp_path, machines.EXAMPLE)).fsdp == 64


def test_what_a_plan_says_beside_its_machine_is_left_alone(tmp_path):
  plan = {"fits": True, "mesh": {"fsdp": 8}, "machine": {"fsdp": -1}, "ranking": []}
  assert machines.named(written(tmp_path, plan)) == Machine(name="mine")


@pytest.mark.parametrize(
  ("value", "text"),
  [
    ("{", "mine.json: expected JSON with a machine, but Expecting property name"),
    ([], 'mine.json: expected a machine under "machine", as in {"machine": {"data": 8'),
    ({"fsdp": 8}, 'mine.json: expected a machine under "machine", as in'),
    ({"machine": "v5e"}, 'mine.json: expected a machine under "machine", as in'),
    ({"machine": {"fdsp": 8}}, "mine.json: There is no setting 'fdsp'. Near: fsdp"),
    ({"machine": {"fsdp": 1.5}}, "mine.json: fsdp takes an integer, not '1.5'."),
    ({"machine": {"remat": "all"}}, "remat takes one of none, full, dots, offload, not 'all'."),
    ({"machine": {"fsdp": -1, "data": -1}}, "Machine 'mine' leaves more than one mesh axis open"),
    (
      {"machine": {"name": "../a"}},
      "the name of a machine consists of letters, digits, '.', '_' and '-', because",
    ),
    (
      {"machine": {"product_dtype": "bfloat16"}},
      "mine.json: product_dtype belongs to a run, not to a machine. Leave it out, "
      "and choose it by --products bfloat16.",
    ),
    (
      {"fits": False, "machine": {}},
      "mine.json is a plan that does not fit its devices. Use a plan with another --mesh, --remat "
      "or batch size: audiopalm plan --search tries them.",
    ),
  ],
)
def test_a_file_that_holds_no_machine_says_what_was_expected(tmp_path, value, text):
  with pytest.raises(ConfigError) as error:
    machines.named(written(tmp_path, value))
  assert text in str(error.value)


def test_a_file_that_is_not_there_says_what_to_write_into_it(tmp_path):
  with pytest.raises(
    ConfigError, match="There is no file .*mine.json with a machine. Write it, as"
  ):
    machines.named(str(tmp_path / "mine.json"))
