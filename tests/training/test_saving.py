import json

from audiopalm.training import saving


def losses(values, metric="loss"):
  return [(step, {"asr": {metric: value}}) for step, value in values.items()]


def test_only_a_better_finite_value_takes_the_place_of_the_best():
  values = {10: 2.0, 20: None, 30: 1.0, 40: 1.5, 50: float("nan"), 60: 1.0}
  assert saving.best("asr/loss", losses(values)) == (30, 1.0)
  assert saving.best("asr/loss", losses({**values, 70: 0.25})) == (70, 0.25)
  assert saving.best("asr/accuracy_text", losses(values, "accuracy_text")) == (10, 2.0)
  assert saving.best("asr/nll_text", losses(values)) is None
  assert saving.best("mt/loss", losses(values)) is None


def test_what_was_measured_is_known_again_of_checkpoints_that_are_still_there(tmp_path):
  for step in (10, 30):
    (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
  measured = [{"step": s, "held_out": h} for s, h in losses({10: 2.0, 25: 0.5, 30: 1.0})]
  lines = [{"step": 10, "loss": 1.0}, *measured]
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  assert saving._measured(tmp_path) == losses({10: 2.0, 30: 1.0})
