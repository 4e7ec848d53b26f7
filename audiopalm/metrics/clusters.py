"""Bit rates of the ids of a speech tokenizer, and their agreement with labels of the same
frames."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class BitRates:
  """Bits per second of speech: `nominal`, for equally likely ids; `ids`, by the entropy of the ids;
  and with each run of equal ids written once, `runs`, without durations, and `timed_runs`, with
  durations. Entropies are those of independent symbols, measured on the same recordings.
  """

  nominal: float
  ids: float
  runs: float
  timed_runs: float


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Agreement of ids with labels: `pnmi`, the fraction of the entropy of labels that the id
  removes; `purity`, the fraction of frames with the most frequent label of their id;
  `cluster_purity`, the fraction of frames with the most frequent id of their label. Source: HuBERT,
  arXiv:2106.07447.
  """

  pnmi: float
  purity: float
  cluster_purity: float


def entropy_bits(counts: np.ndarray) -> float:
  """Returns the entropy of a distribution with these counts; 0 for none."""
  shares = counts[counts > 0] / max(counts.sum(), 1)
  return float(-(shares * np.log2(shares)).sum())


def bit_rates(recordings: Sequence[np.ndarray], size: int, rate_hz: float) -> BitRates:
  """Returns the bit rates of the ids_T of recordings, at `rate_hz` ids per second."""
  seconds = sum(map(len, recordings)) / rate_hz
  starts = [np.flatnonzero(np.diff(ids_T, prepend=-1)) for ids_T in recordings]
  ids = np.concatenate([ids_T[at] for ids_T, at in zip(recordings, starts, strict=True)])
  lengths = np.concatenate(
    [np.diff(at, append=len(ids_T)) for ids_T, at in zip(recordings, starts, strict=True)]
  )
  runs_hz = len(ids) / seconds
  of_runs, of_lengths = entropy_bits(np.bincount(ids)), entropy_bits(np.bincount(lengths))
  return BitRates(
    nominal=rate_hz * float(np.log2(size)),
    ids=rate_hz * entropy_bits(np.bincount(np.concatenate(recordings))),
    runs=runs_hz * of_runs,
    timed_runs=runs_hz * (of_runs + of_lengths),
  )


def agreement(labels_T: np.ndarray, ids_T: np.ndarray) -> Agreement:
  """Returns the agreement of ids with the labels of the same frames, two or more labels, both
  counted from 0."""
  counts_LV = np.zeros((labels_T.max() + 1, ids_T.max() + 1), np.int64)
  np.add.at(counts_LV, (labels_T, ids_T), 1)
  of_labels = entropy_bits(counts_LV.sum(axis=1))
  shared = of_labels + entropy_bits(counts_LV.sum(axis=0)) - entropy_bits(counts_LV.ravel())
  return Agreement(
    pnmi=shared / of_labels,
    purity=float(counts_LV.max(axis=0).sum() / len(ids_T)),
    cluster_purity=float(counts_LV.max(axis=1).sum() / len(ids_T)),
  )
