"""What the experiment tells of two kinds of units, and how many steps fit into its time."""

import argparse
import json

import numpy as np
import pytest
import self_supervised


def test_the_gain_is_paired_over_recordings_and_the_mean_over_seeds():
  names = [f"{number:03d}" for number in range(200)]
  rights = np.random.default_rng(0).random((2, 3, 200)) < np.array([0.7, 0.5])[:, None, None]
  ours, theirs = ([dict(zip(names, of.tolist(), strict=True)) for of in kind] for kind in rights)
  found = self_supervised.compared(ours, theirs[::-1])
  percent = 100 * rights.mean(axis=2)
  assert found["exact"]["ours"] == pytest.approx(percent[0], abs=0.05)
  assert found["exact"]["mfcc"] == pytest.approx(percent[1][::-1], abs=0.05)
  gain_N = 100 * (rights[0].mean(axis=0) - rights[1].mean(axis=0))
  assert found["recordings"] == 200 and found["gain"] == pytest.approx(gain_N.mean(), abs=0.01)
  drawn = np.random.default_rng(1).choice(gain_N, (4_000, 200)).mean(axis=1)
  expected = np.quantile(drawn, [0.025, 0.975])
  np.testing.assert_allclose(found["gain_interval"], expected, atol=0.6)
  with pytest.raises(SystemExit, match="were asked different recordings. Give each the same"):
    self_supervised.compared(ours, [{"other": True}])


def test_the_steps_are_those_that_fit_into_the_time_and_stay_so(tmp_path, monkeypatch):
  asked = []

  def train(config, workdir, settings, shared):
    asked.append(settings)
    lines = [{"step": step, "tokens": 600, "tokens_per_s": 300 if step > 10 else 1}
             for step in range(1, 51)]  # fmt: skip
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

  monkeypatch.setattr(self_supervised, "train", train)
  arguments = argparse.Namespace(steps=None, minutes=60.0, config="hubert.py")
  steps = self_supervised.steps_of(arguments, tmp_path / "run", ["a=1"])
  assert steps == round(0.95 * 3_600 / 2) and asked == [["a=1", "steps=50"]]
  arguments.minutes = 5.0
  assert self_supervised.steps_of(arguments, tmp_path / "run", ["a=1"]) == steps
  arguments.steps = 7
  assert self_supervised.steps_of(arguments, tmp_path / "run", []) == 7
  assert len(asked) == 1
