import collections
import dataclasses

import numpy as np
import pytest

from audiopalm import layouts
from audiopalm.data import cache, examples, packed
from audiopalm.tokens import space as token_space
from audiopalm.types import HOLE, Grid


def grid(tokens, weights):
  tokens_LK = np.array(tokens, np.int32)[:, None]
  weights_LK = np.array(weights, np.float32)[:, None]
  return Grid(tokens_LK, weights_LK, np.zeros(len(tokens), np.int32), prompt_rows=2)


def test_a_piece_is_the_prompt_and_some_predicted_rows():
  whole = grid([9, 8, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 1, 1])
  first, last = examples.piece(whole, 0, 5), examples.piece(whole, 3, 4)
  assert first.tokens_LK.ravel().tolist() == [9, 8, 1, 2, 3]
  assert last.tokens_LK.ravel().tolist() == [9, 8, 4, 5]
  assert last.weights_LK.ravel().tolist() == [0, 0, 1, 1]
  assert examples.piece(whole, examples.WHOLE, 7) is whole


def test_holes_are_no_tokens():
  assert examples.count_tokens(grid([0, HOLE, 3], [0, 0, 1])) == 2


def test_a_key_differs_by_seed_record_and_epoch_only():
  keys = {examples.key_of(s, r, e) for s in (0, 1) for r in ("a", "b") for e in (0, 1)}
  assert len(keys) == 8
  assert examples.key_of(0, "a", 1) == examples.key_of(0, "a", 1)


def test_an_example_is_the_grid_of_its_layout(prepared):
  task = prepared.tasks[0]
  entry = prepared.entries(task, "train")[5]
  made = packed.examples_of(prepared, task, "train").grid(entry)
  language = {"en": "English", "fr": "French"}[entry.languages["source"]]
  tag = prepared.space.tag_ids(f"[ASR {language}]")
  assert made.tokens_LK[: len(tag), 0].tolist() == list(tag)
  text = entry.streams["source.text"]
  assert made.tokens_LK[-1 - len(text) : -1, 0].tolist() == text.tolist()


def test_a_task_is_asked_for_in_ways_drawn_by_record_and_epoch(prepared):
  task = dataclasses.replace(prepared.tasks[0], paraphrases=("[s2st {source}]", "Now:"))
  layout = layouts.Chain().layout_of(task)
  tokenizers = prepared.tokenizers
  space = token_space.build(
    [one.spec for one in tokenizers.values()], {"asr": layout}, tokenizers["text"].encode_text
  )
  entries = prepared.entries(task, "train")
  drawn = collections.Counter()
  source = examples.Examples(task, layout, space, entries)
  lengths_N = source.lengths()
  for epoch in range(15):
    for number, entry in enumerate(entries):
      made = source.grid(entry, epoch=epoch)
      tag = layouts.recover(layout, made.tokens_LK, space).tag
      drawn[tag.split(" ")[0]] += 1
      assert len(made) <= lengths_N[number]
    again = source.grid(entry, epoch=epoch)
    assert again.tokens_LK.tolist() == made.tokens_LK.tolist()
  assert len(drawn) == 3
  assert max(drawn.values()) < 1.2 * min(drawn.values())


@pytest.mark.parametrize(
  ("language", "text", "new"),
  [
    ("zh", "我在看一本书。", True),
    ("zh", "我在看电影。", False),
    ("en", "One book, please.", True),
    ("en", "Two bookshops.", False),
  ],
)
def test_unseen_words_are_found_with_spaces_around_them_and_without(prepared, language, text, new):
  task = dataclasses.replace(prepared.tasks[0], unseen_words=("book", "书"))
  said = cache.EntryUtterance(language, "", text, 0.0, {})
  assert examples.has_unseen_word(task, cache.Entry("a", {"source": said})) == new
