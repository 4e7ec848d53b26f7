"""The numbered meanings of the synthetic corpora, and their splits.

A meaning is a template with a choice of its slot values. Meanings are numbered over all templates
of all topics, so a number has the same meaning whatever topics a corpus uses.
"""

import bisect
import functools
import hashlib
import itertools

import numpy as np

from audiopalm.data import corpora
from audiopalm.data_pipelines.synthetic.template import Template
from audiopalm.data_pipelines.synthetic.topics import (
  daily,
  dialogues,
  directions,
  family,
  food,
  health,
  holidays,
  home,
  numbers,
  prices,
  school,
  shopping,
  times,
  travel,
  weather,
)  # fmt: skip

_MODULES = (
  times, numbers, prices, weather, directions, shopping, travel, holidays, family, food, daily,
  home, school, health,
)  # fmt: skip
_SENTENCES = {
  topic: module.TEMPLATES for topic, module in zip(corpora.TOPICS, _MODULES, strict=True)
}
_TOPICS = _SENTENCES | {topic: dialogues.TEMPLATES[topic] for topic in corpora.QUESTIONS}

TEMPLATES = tuple(itertools.chain.from_iterable(_TOPICS.values()))
_STARTS = tuple(itertools.accumulate((len(template) for template in TEMPLATES), initial=0))

_TEST, _VALIDATION = 2, 1  # of 20 meanings


def templates(topics: tuple[str, ...]) -> tuple[Template, ...]:
  """Returns the templates of some topics, of sentences or questions."""
  return tuple(itertools.chain.from_iterable(_TOPICS[topic] for topic in topics))


def texts(language: str, meaning: int) -> tuple[str, ...]:
  """Returns the sentence with a meaning, or the question and its answer."""
  place = bisect.bisect_right(_STARTS, meaning) - 1
  return TEMPLATES[place].texts(language, meaning - _STARTS[place])


@functools.lru_cache(maxsize=16)
def meanings(topics: tuple[str, ...], split: str, key: str) -> np.ndarray:
  """Returns the numbers of all meanings of a split, in the order in which a corpus uses them.

  The split of a meaning is the same in every corpus: one in ten is test, one in twenty validation.
  The order depends on `key`. At the start of the list a template occurs in proportion to the square
  root of its number of meanings, so that large templates do not dominate.
  """
  numbers, keys = [], []
  for topic in topics:
    for template in _TOPICS[topic]:
      start = _STARTS[TEMPLATES.index(template)]
      own = start + np.flatnonzero(_splits(template) == split)
      order = np.argsort(_hashed(f"order {key} {template.name}", len(own)), kind="stable")
      jitter = _hashed(f"jitter {key} {template.name}", len(own)) / 2**64
      numbers.append(own[order])
      keys.append((np.arange(len(own)) + jitter) / np.sqrt(len(own)))
  order = np.argsort(np.concatenate(keys), kind="stable")
  return np.concatenate(numbers)[order]


def _splits(template: Template) -> np.ndarray:
  """Returns the split of every meaning of a template."""
  part = _hashed(f"split {template.name}", len(template)) % 20
  names = np.array(["test"] * _TEST + ["validation"] * _VALIDATION + ["train"] * 17)
  return names[part.astype(int)]


def _hashed(key: str, count: int) -> np.ndarray:
  """Returns `count` pseudorandom uint64 that depend on the key alone (splitmix64)."""
  start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
  with np.errstate(over="ignore"):
    value = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
      0x9E3779B97F4A7C15
    )
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
