import jax
import pytest

from audiopalm.planning import calibrate, topology


def test_rates_are_measured_written_and_read_again(tmp_path, monkeypatch):
  monkeypatch.setattr(calibrate, "REPEATS", 1)
  measured = calibrate.measure(tmp_path / "cpu.json")
  count = jax.device_count()
  assert measured.name == f"cpu:{count}" and measured.serial and not measured.rings
  for rate in (measured.flops, measured.memory, measured.memory_bandwidth, measured.link):
    assert rate > 0
  assert topology.named(f"cpu:{count}", rates=tmp_path / "cpu.json").chip == measured


def test_rates_follow_from_seconds(tmp_path, monkeypatch):
  """The seconds are those of products, copies, a small and a large all-reduce, in this order."""
  seconds = iter((0.5, 1.6, 0.25, 1.25))
  monkeypatch.setattr(calibrate, "_seconds", lambda *arguments: next(seconds))
  chip = calibrate.measure(tmp_path / "cpu.json")
  devices = jax.device_count()
  assert chip.flops == pytest.approx(2 * 512**3 / 0.5)
  assert chip.memory_bandwidth == pytest.approx(2 * 4 * 2**20 / 0.1)
  assert chip.link == pytest.approx(2 * (devices - 1) / devices * 4 * (2**20 - 2**8))
  assert chip.latency_s == 0.25
