import io

import numpy as np
import pytest
import rich.console
import soundfile

from audiopalm.data import loader, packed, past
from audiopalm.errors import ConfigError
from audiopalm.types import HOLE


def said(found, out=None):
  console = rich.console.Console(file=io.StringIO(), width=200)
  past.show(found, console, out)
  return console.file.getvalue()


def test_a_batch_is_that_of_the_loader_and_its_words_are_the_records(prepared, experiment_of):
  experiment = experiment_of()
  found = past.batch(prepared, experiment, 6)
  made = loader.Loader(prepared, experiment).batch_at(5)  # the first step is 1, its batch 0
  assert found.tokens == (made.tokens_BLK != HOLE).sum() and found.is_the_one
  assert len(found.examples) == sum(made.segments_BL.max(axis=1))
  for each in found.examples:
    here = made.segments_BL[each.row] == each.number
    assert each.length == here.sum()
    assert each.task == experiment.tasks[made.task_B[each.row]].name
    entries = prepared.entries(prepared.task(each.task), "train")
    entry = next(entry for entry in map(entries.__getitem__, range(len(entries)))
                 if entry.id == each.record)  # fmt: skip
    texts = {f"{role}.text": one.text for role, one in entry.utterances.items()}
    for name, value in each.streams.items():
      assert not isinstance(value, str) or value == texts[name]


def test_the_grids_of_a_batch_are_made_once(prepared, experiment_of, monkeypatch):
  places, grids = [], packed.PackedFeed.grids
  counted = lambda self, place: places.append(place) or grids(self, place)  # noqa: E731
  monkeypatch.setattr(packed.PackedFeed, "grids", counted)
  past.batch(prepared, experiment_of(), 6)
  assert len(places) == experiment_of().data.batch_rows


def test_what_a_run_was_given_is_held_against_it(prepared, experiment_of):
  digest = past.batch(prepared, experiment_of(), 2).digest
  found = past.batch(prepared, experiment_of(), 2, digest)
  assert found.is_the_one and "bitwise equal to the batch of the run" in said(found)
  other = past.batch(prepared, experiment_of(), 2, digest + 1)
  shown = " ".join(said(other).split())
  assert not other.is_the_one
  assert f"but the run used another batch (digest {digest + 1}, not {digest})" in shown
  assert "no line for it" in said(past.batch(prepared, experiment_of(), 3))


def test_brackets_in_words_are_printed_as_they_are():
  each = past.Example(0, 1, "asr", "r/1", 0, 5, "[asr]", {"source.text": "a [red] car"})
  shown = said(past.Past(1, [each], 5, 0, None))
  assert "[asr]" in shown and "a [red] car" in shown


def test_speech_is_written_as_it_was_given(prepared, experiment_of, tmp_path):
  found = past.batch(prepared, experiment_of(), 1)
  spoken = [
    (each, name, value)
    for each in found.examples
    for name, value in each.streams.items()
    if not isinstance(value, str)
  ]
  assert f"{len(spoken)} recordings in" in said(found, tmp_path / "heard") and spoken
  each, name, wave_S = spoken[0]
  written_S, rate_hz = soundfile.read(tmp_path / "heard" / f"{each.row}-{each.number}-{name}.wav")
  assert rate_hz == 16_000
  np.testing.assert_allclose(written_S, wave_S, atol=1e-4)


def test_steps_are_those_of_the_run(prepared, experiment_of):
  last = experiment_of().steps
  for step in (0, last + 1):
    with pytest.raises(ConfigError, match=f"from 1 to the {last} of this run; got {step}"):
      past.batch(prepared, experiment_of(), step)
  past.batch(prepared, experiment_of(), last + 1, written=1)  # of a run that was longer once
