"""Bit rates and agreement by hand, and by their definitions."""

import numpy as np
import pytest

from audiopalm.metrics import clusters


def test_bit_rates_are_those_by_hand():
  # 2 s of 4 Hz: ids half and half, and six runs, of lengths 2 1 1 and 2 1 1.
  rates = clusters.bit_rates([np.array([3, 3, 0, 3]), np.array([0, 0, 3, 0])], 16, 4.0)
  assert rates.nominal == 16 and rates.ids == pytest.approx(4)
  runs, lengths = [3, 0, 3, 0, 3, 0], [2, 1, 1, 2, 1, 1]
  of_runs, of_lengths = (clusters.entropy_bits(np.bincount(each)) for each in (runs, lengths))
  assert (of_runs, of_lengths) == (1, pytest.approx(0.9183, abs=1e-4))
  assert rates.runs == pytest.approx(3 * of_runs)
  assert rates.timed_runs == pytest.approx(3 * (of_runs + of_lengths))


def test_a_run_ends_with_its_recording():
  apart = clusters.bit_rates([np.array([1, 1]), np.array([1, 1])], 2, 2.0)
  assert apart.runs == apart.timed_runs == 0  # one id, one length: nothing to tell


def test_entropies_are_those_of_a_coin_and_of_nothing():
  assert clusters.entropy_bits(np.array([5, 5])) == 1
  assert clusters.entropy_bits(np.array([8, 0])) == clusters.entropy_bits(np.array([0])) == 0


def test_agreement_is_that_of_the_definitions():
  random = np.random.default_rng(0)
  labels_T = random.integers(0, 4, 500)
  ids_T = np.where(random.random(500) < 0.5, labels_T * 2, random.integers(0, 9, 500))
  got = clusters.agreement(labels_T, ids_T)
  joint = np.array([[np.mean((labels_T == y) & (ids_T == z)) for z in range(9)] for y in range(4)])
  of_y, of_z = joint.sum(1), joint.sum(0)
  ratio = joint / np.outer(of_y, of_z)
  information = np.sum(joint * np.log(ratio, where=joint > 0, out=np.zeros_like(joint)))
  assert got.pnmi == pytest.approx(information / -np.sum(of_y * np.log(of_y)))
  assert got.purity == pytest.approx(sum(of_z[z] * (joint[:, z] / of_z[z]).max() for z in range(9)))
  assert got.cluster_purity == pytest.approx(
    sum(of_y[y] * (joint[y] / of_y[y]).max() for y in range(4))
  )


def test_ids_that_are_labels_say_all_and_one_id_says_nothing():
  labels_T = np.array([0, 1, 2, 0])
  assert clusters.agreement(labels_T, labels_T) == clusters.Agreement(1, 1, 1)
  assert clusters.agreement(labels_T, np.zeros(4, int)) == clusters.Agreement(0, 0.5, 1)
