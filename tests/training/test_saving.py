import json

import pytest

from audiopalm.training import saving


@pytest.fixture
def workdir(tmp_path):
  for step in (10, 20, 30):
    (tmp_path / "checkpoints" / str(step)).mkdir(parents=True)
  values = {10: 2.0, 20: None, 25: 0.5, 30: 1.0}
  lines = [{"step": 5, "loss": 1.0}, {"step": 10, "held_out": {"mt": {"loss": 0.1}}}]
  lines += [{"step": step, "held_out": {"asr": {"loss": loss, "accuracy_text": loss}}}
            for step, loss in values.items()]  # fmt: skip
  (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
  return tmp_path


def test_the_best_is_known_again_from_what_was_measured_and_is_still_there(workdir):
  assert str(saving._Best("asr/loss", workdir)) == "best by asr/loss: step 30 (1.0000)"
  assert saving._Best("asr/accuracy_text", workdir).step == 10  # more is better
  assert saving._Best("asr/nll_text", workdir).step is None
  assert saving._Best(None, workdir).step is None


def test_only_a_better_finite_value_takes_its_place(workdir):
  best = saving._Best("asr/loss", workdir)
  for number, value in ((40, 1.5), (50, float("nan")), (60, 1.0), (70, 0.25)):
    best.measured(number, {"asr": {"loss": value}})
    assert best.step == (70 if number == 70 else 30)
