"""What a run reads over changes of batch_rows, rates and seed: nothing twice, nothing left out."""

import collections
import json
import random

import numpy as np
import pytest

from audiopalm.data import loader, past
from audiopalm.data import schedule as schedules
from audiopalm.data.packed import Packed
from audiopalm.data.schedule import Stretch
from audiopalm.errors import DataError


def asked(batch_rows=8, a=1.0, b=1.0, seed=0, **others):
  total = a + b + sum(others.values())
  weights = {task: rate / total for task, rate in {"a": a, "b": b, **others}.items()}
  return Stretch(0, 0, batch_rows, seed, weights)


def rows(schedule, first, end):
  """Returns the rows that the steps from `first` to before `end` are given, in their order."""
  return [row for step in range(first, end) for row in schedules.at(schedule, step).rows_at(step)]


def numbers(found):
  """Returns {task: the numbers of its rows in the order they were read}."""
  by_task = collections.defaultdict(list)
  for task, number in found:
    by_task[task].append(number)
  return dict(by_task)


def test_tasks_alternate_and_go_on_as_drawn_in_the_docstring():
  schedule = schedules.resumed((asked(2),), 2, asked(4))
  assert rows(schedule, 0, 3) == [*zip("abab", [0, 0, 1, 1], strict=True),
                                  *zip("abab", [2, 2, 3, 3], strict=True)]  # fmt: skip
  schedule = schedules.resumed(schedule, 3, asked(4, a=1, b=3))
  assert numbers(rows(schedule, 3, 4)) == {"a": [4], "b": [4, 5, 6]}


@pytest.mark.parametrize("batch_rows", [4, 16, 3, 1])
def test_with_other_batch_rows_the_same_rows_come_in_the_same_order(batch_rows):
  schedule = schedules.resumed((asked(8, a=2),), 5, asked(batch_rows, a=2))
  found = rows(schedule, 0, 5 + 24)
  assert found == rows((asked(1, a=2),), 0, len(found)) and len(found) == 40 + 24 * batch_rows


def test_a_resume_without_a_change_leaves_the_schedule_as_it_is():
  schedule = (asked(8, a=2),)
  assert schedules.resumed(schedule, 5, asked(8, a=2)) == schedule
  nearly = asked(8, a=2 * (1 + 1e-13))  # as another machine computes it
  assert schedules.resumed(schedule, 5, nearly) == schedule


def test_over_any_changes_each_task_is_read_from_0_on_without_a_gap():
  chance = random.Random(0)
  for _ in range(30):
    schedule, step = (asked(chance.randint(1, 9)),), 0
    for _ in range(6):
      step += chance.randint(1, 7)
      a, b = chance.choice([(1, 1), (3, 1), (1, 30), (0, 1), (0.2, 0.1)])
      new = asked(chance.randint(1, 9), a, b, seed=chance.randint(0, 1))
      schedule = schedules.resumed(schedule, step, new)
    schedule = schedules.from_json(json.loads(json.dumps(schedules.to_json(schedule))))
    for read in numbers(rows(schedule, 0, step + 5)).values():
      assert read == list(range(len(read)))


def test_a_start_from_an_earlier_checkpoint_forgets_what_came_after_it():
  changed = schedules.resumed((asked(8),), 9, asked(4, a=3))
  again = schedules.resumed(changed, 6, asked(8))
  assert again == (asked(8),)
  assert schedules.resumed(changed, 0, asked(2)) == (asked(2),)


def test_a_task_that_comes_later_begins_at_its_first_row_and_one_that_pauses_goes_on():
  schedule = schedules.resumed((asked(8),), 2, asked(8, b=0, c=1.0))
  schedule = schedules.resumed(schedule, 4, asked(8, c=1.0))
  found = numbers(rows(schedule, 2, 4))
  assert found["c"] == list(range(8)) and "b" not in found
  assert numbers(rows(schedule, 4, 7))["b"] == list(range(8, 16))


def test_a_rare_task_is_counted_however_long_its_next_row_takes():
  rare = asked(100, a=1, b=1e-3)
  counts = rare.counts(150)
  read = numbers(rows((rare,), 0, 150))
  assert counts == {"a": len(read["a"]), "b": len(read["b"])} and sum(counts.values()) == 15_000


STARTS = (  # (last step, batch_rows, rates)
  (3, 4, (1.0, 1.0, 1.0)),
  (7, 8, (1.0, 1.0, 1.0)),
  (60, 2, (1.0, 1.0, 1.0)),
  (64, 2, (1.0, 0.0, 3.0)),
  (90, 6, (1.0, 2.0, 3.0)),
)


def changed_loaders(prepared, experiment_of, mine=lambda rows: None):
  """Yields (loader, experiment, first step, end) of the starts of one run, each set otherwise."""
  schedule, first = None, 0
  for end, batch_rows, rates in STARTS:
    experiment = experiment_of(rates=rates, data=Packed(row_length=96, batch_rows=batch_rows))
    made = loader.Loader(prepared, experiment, mine=mine(batch_rows)).resumed(schedule, first)
    yield made, experiment, first, end
    schedule, first = schedules.from_json(schedules.to_json(made.schedule)), end


def test_rows_of_an_index_are_read_once_an_epoch_over_all_changes(prepared, experiment_of):
  read = collections.defaultdict(list)
  for made, _, first, end in changed_loaders(prepared, experiment_of):
    for step in range(first, end):
      for place in made.places_at(step):
        read[place.task].append((place.epoch, place.row))
  assert set(read) == {0, 1, 2}
  for task, places in read.items():
    count = len(prepared.rows(made.tasks[task], "train"))
    for epoch in range(len(places) // count):
      here = places[epoch * count : (epoch + 1) * count]
      assert sorted(here) == [(epoch, row) for row in range(count)]
    left = places[len(places) // count * count :]
    assert len(set(left)) == len(left) and {epoch for epoch, _ in left} <= {len(places) // count}


def test_two_processes_read_the_rows_of_one_over_all_changes(prepared, experiment_of):
  whole = changed_loaders(prepared, experiment_of)
  halves = [
    changed_loaders(prepared, experiment_of, lambda rows, half=half: slice(*half(rows)))
    for half in (lambda rows: (0, rows // 2), lambda rows: (rows // 2, rows))
  ]
  for (one, _, first, end), (left, *_), (right, *_) in zip(whole, *halves, strict=True):
    for step in (first, end - 1):
      both = [half.batch_at(step).tokens_BLK for half in (left, right)]
      np.testing.assert_array_equal(np.concatenate(both), one.batch_at(step).tokens_BLK)


def test_a_past_step_is_rebuilt_from_the_last_settings_and_the_schedule(prepared, experiment_of):
  digests = {}
  for made, experiment, first, end in changed_loaders(prepared, experiment_of):
    digests |= {step: made.batch_at(step).digest() for step in range(first, end)}
    last, schedule = experiment, made.schedule
  for step in (0, 2, 3, 6, 9, 61, 89):
    assert past.batch(prepared, last, step + 1, digests[step], schedule).is_the_one
    (given,) = past.records(prepared, last, range(step + 1, step + 2), schedule)
    assert given["records"]
  assert not past.batch(prepared, last, 5, digests[4]).is_the_one  # as if it had never changed


def test_a_step_that_was_given_a_task_that_is_gone_says_so(prepared, experiment_of):
  before = loader.Loader(prepared, experiment_of())
  tasks = (prepared.task("asr"),)
  made = loader.Loader(prepared, experiment_of(tasks=tasks)).resumed(before.schedule, 4)
  assert {place.task for place in made.places_at(4)} == {0}
  with pytest.raises(DataError, match="The batch of step 4 has rows of task 's2st', which the run"):
    made.places_at(3)
