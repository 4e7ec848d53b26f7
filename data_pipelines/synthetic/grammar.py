"""All meanings the synthetic corpora can express, by number, and their split.

A meaning is a template and a choice of its slot values. Meanings are numbered through all templates
of all topics, so a number means the same whatever slice of the grammar a corpus uses.
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
  """Returns the templates of some topics (of sentences or of questions)."""
  return tuple(itertools.chain.from_iterable(_TOPICS[topic] for topic in topics))


def texts(language: str, meaning: int) -> tuple[str, ...]:
  """Returns the sentence with this meaning, or the question and its answer."""
  place = bisect.bisect_right(_STARTS, meaning) - 1
  return TEMPLATES[place].texts(language, meaning - _STARTS[place])


@functools.lru_cache(maxsize=16)
def meanings(topics: tuple[str, ...], split: str, key: str) -> np.ndarray:
  """Returns the numbers of all meanings of a split, in the order a corpus uses them.

  The split of a meaning does not depend on the corpus: one meaning in ten is test, one in twenty
  is validation, in every corpus and every slice. Where the list begins, a template occurs in
  proportion to the square root of how many meanings it has, so that large templates do not drown
  small ones. `key` shuffles.
  """
  numbers, keys = [], []
  for topic in topics:
    for template in _TOPICS[topic]:
      start = _STARTS[TEMPLATES.index(template)]
      found = start + np.flatnonzero(_splits(template) == split)
      order = np.argsort(_hashed(f"order {key} {template.name}", len(found)), kind="stable")
      jitter = _hashed(f"jitter {key} {template.name}", len(found)) / 2**64
      numbers.append(found[order])
      keys.append((np.arange(len(found)) + jitter) / np.sqrt(len(found)))
  order = np.argsort(np.concatenate(keys), kind="stable")
  return np.concatenate(numbers)[order]


def _splits(template: Template) -> np.ndarray:
  """Returns the split of every meaning of a template."""
  part = _hashed(f"split {template.name}", len(template)) % 20
  names = np.array(["test"] * _TEST + ["validation"] * _VALIDATION + ["train"] * 17)
  return names[part.astype(int)]


def _hashed(key: str, count: int) -> np.ndarray:
  """Returns `count` random uint64 that depend on the key alone, on every machine (splitmix64)."""
  start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
  with np.errstate(over="ignore"):
    value = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(
      0x9E3779B97F4A7C15
    )
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
