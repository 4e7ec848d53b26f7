import json

from audiopalm.data.corpora import Synthetic
from audiopalm.experiment import with_values
from audiopalm.parts import mixtures
from audiopalm.report import settings


def differences(*experiments):
  return settings.differences([json.loads(made.to_json()) for made in experiments])


def test_equal_configs_differ_in_nothing(made_run):
  assert differences(made_run.experiment(), made_run.experiment()) == []


def test_a_setting_goes_by_its_path_as_on_the_command_line(made_run):
  made = made_run.experiment()
  other = with_values(made, {"optimizer.peak_lr": 2e-3, "mixture.tasks.asr": 2.0})
  assert differences(made, other, made) == [
    ("mixture.tasks.asr", (1.0, 2.0, 1.0)),
    ("optimizer.peak_lr", (1e-3, 2e-3, 1e-3)),
  ]
  units = with_values(made, {"tokenizers.units.size": 64})
  assert differences(made, units) == [("tokenizers.units.size", (32, 64))]


def test_what_differs_alike_in_several_tasks_is_one_line(made_run):
  made = made_run.experiment(mixtures.asr, mixtures.tts)
  corpus = Synthetic(languages=("en", "fr"), test_records=9, voices=2, held_out_voices=1)
  other = made_run.experiment(lambda _: mixtures.asr(corpus), lambda _: mixtures.tts(corpus))
  assert differences(made, other) == [("mixture.tasks.{asr, tts}.corpus.test_records", (4, 9))]


def test_of_a_task_that_not_all_have_the_rate_is_said(made_run):
  made = made_run.experiment(mixtures.asr, mixtures.mt)
  other = made_run.experiment(mixtures.asr)
  assert differences(made, other) == [("mixture.tasks.mt", (1.0, settings.ABSENT))]
