import pytest

from audiopalm.errors import ConfigError
from audiopalm.parts import machines


@pytest.mark.parametrize(
  "kind, platform, name",
  [
    ("cpu", "cpu", "cpu"),
    ("NVIDIA H100 80GB HBM3", "gpu", "h100"),
    ("NVIDIA A100-SXM4-40GB", "gpu", "a100"),
    ("NVIDIA H200", "gpu", "h200"),
    ("NVIDIA B200", "gpu", "b200"),
    ("NVIDIA GeForce RTX 4090", "gpu", "gpu"),
    ("TPU v4", "tpu", "v4"),
    ("TPU v5 lite", "tpu", "v5e"),
    ("TPU v5", "tpu", "v5p"),
    ("TPU v5p", "tpu", "v5p"),
    ("TPU v6 lite", "tpu", "v6e"),
    ("TPU7x", "tpu", "tpu"),
  ],
)
def test_device_kind_names_the_machine(kind, platform, name):
  assert machines.default(kind, platform).name == name


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


def test_unknown_platform_says_to_choose():
  with pytest.raises(
    ConfigError, match="No machine is known for the device 'M3' of platform 'METAL'"
  ):
    machines.default("M3", "METAL")
