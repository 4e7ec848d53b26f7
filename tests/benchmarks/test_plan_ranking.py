"""The rates of CPU devices follow from the seconds of products, copies and all-reduces."""

import dataclasses

import jax
import plan_ranking
import pytest

from audiopalm.planning import topology


def test_rates_follow_from_seconds(monkeypatch):
  seconds = iter((0.5, 1.6, 0.25, 1.25))  # of products, copies, a small and a large all-reduce
  monkeypatch.setattr(plan_ranking, "_seconds", lambda *arguments: next(seconds))
  chip = plan_ranking.measured_rates(topology.CPU)
  devices = jax.device_count()
  expected = dataclasses.replace(
    topology.CPU,
    name=f"cpu:{devices}",
    flops=pytest.approx(2 * 512**3 / 0.5),
    memory_bandwidth=pytest.approx(2 * 4 * 2**20 / 0.1),
    link=pytest.approx(2 * (devices - 1) / devices * 4 * (2**20 - 2**8)),
    latency_s=0.25,
    source=chip.source,
  )
  assert dataclasses.astuple(chip) == dataclasses.astuple(expected)


def test_every_rate_is_measured(monkeypatch):
  monkeypatch.setattr(plan_ranking, "REPEATS", 1)
  chip = plan_ranking.measured_rates(topology.CPU)
  assert min(chip.flops, chip.memory_bandwidth, chip.link, chip.latency_s) > 0
