"""An Experiment checks itself, names itself and survives JSON."""

import dataclasses
import json

import pytest

from audiopalm import experiment
from audiopalm.data.corpora import Synthetic, SyntheticText
from audiopalm.data.packed import Packed
from audiopalm.errors import ConfigError
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, tokenizers
from audiopalm.tokenizers.kept import KeptTokenizer

CORPUS = Synthetic(languages=("en", "fr"), train_records=8)
TEXT = SyntheticText(languages=("en", "fr"))


def make(**changes):
  values = dict(
    name="try",
    tokenizers=(tokenizers.text(size=300), tokenizers.units(size=32, rate_hz=25)),
    mixture=mixtures.blend(
      (mixtures.asr(CORPUS), 0.5), (mixtures.text(TEXT), 0.25), (mixtures.tts(CORPUS), 0.25)
    ),
    model=models.tiny(),
  )
  return Experiment(**(values | changes))


def test_tasks_and_corpora_come_in_the_order_of_the_mixture_each_once():
  assert [task.name for task in make().tasks] == ["asr", "text", "tts"]
  assert make().corpora == (CORPUS, TEXT)


def test_json_gives_back_an_equal_experiment_of_the_same_digest():
  first = make(seed=3)
  second = experiment.from_json(first.to_json())
  assert (second, second.digest) == (first, first.digest)
  assert make(seed=4).digest != first.digest


def test_a_task_that_is_evaluated_does_not_predict_what_is_neither_words_nor_sound():
  pitch = tokenizers.pitch()
  for settings in (pitch, KeptTokenizer(pitch, "earlier", "fingerprint")):
    with pytest.raises(ConfigError, match="'tts' predicts the stream 'pitch', whose ids are neith"):
      make(
        tokenizers=(tokenizers.text(size=300), settings),
        mixture=mixtures.blend((mixtures.tts(CORPUS, speech="pitch"), 1.0)),
      )


def test_json_of_something_else_is_refused():
  from audiopalm import values

  with pytest.raises(ConfigError, match="must hold an Experiment, not a Synthetic"):
    experiment.from_json(values.to_json(CORPUS))


def test_json_of_before_data_was_a_setting_gives_the_same_experiment(tmp_path):
  made = make(data=Packed(row_length=96, batch_rows=4, too_long="drop"))
  fields = json.loads(made.to_json())
  packed = fields.pop("data")
  fields |= {name: packed[name] for name in ("row_length", "batch_rows", "too_long")}
  assert experiment.from_json(json.dumps(fields)) == made
  (tmp_path / "config.json").write_text(json.dumps(fields))
  assert experiment.of_run(tmp_path) == made


def test_values_are_set_by_dotted_path():
  changed = experiment.with_values(make(), {"optimizer.peak_lr": "3e-4", "steps": 7})
  assert (changed.optimizer.peak_lr, changed.steps) == (3e-4, 7)
  assert dataclasses.replace(changed, optimizer=make().optimizer, steps=1000) == make()


@pytest.mark.parametrize("field", ["steps", "checkpoint_every_steps"])
@pytest.mark.parametrize("number", [0, -1, 1.0, True, "8"])
def test_a_count_that_is_none_says_so(field, number):
  with pytest.raises(ConfigError, match=f"{field} must be an integer of at least 1, not "):
    make(**{field: number})


@pytest.mark.parametrize(
  ("change", "text"),
  [
    ({"keep_every_steps": 0}, "keep_every_steps must be an integer of at least 1, not 0"),
    (
      {"keep_best": "loss"},
      "keep_best names a task and one of its held-out metrics, as in asr/loss",
    ),
    ({"keep_best": "dubbing/loss"}, "not 'dubbing/loss'. Tasks: asr"),
    (
      {"keep_best": "asr/loss", "checkpoint_every_steps": 7, "steps": 20},
      "checkpoint_every_steps=7 and evaluation.every_steps=500 first meet at 3500 of 20 steps",
    ),
  ],
)
def test_checkpoints_to_keep_that_there_will_never_be_say_why(change, text):
  with pytest.raises(ConfigError, match=text):
    make(**change)


TASK = mixtures.asr(CORPUS)
WRONG_TASKS = [
  ({"name": "held_out_voices"}, "Task 'held_out_voices' needs another name: lowercase letters"),
  ({"name": "a b"}, "Task 'a b' needs another name"),
  ({"outputs": ()}, r"Task 'asr' has no outputs. Give at least one \(role, stream\) pair"),
  (
    {"inputs": (("source", "codes"),)},
    "the stream 'codes', but the tokenizers produce text, units",
  ),
  ({"inputs": (("answer", "units"),)}, "role 'answer', but corpus 'synthetic' has source, target"),
  (
    {"unseen_pairs": ("en-de",)},
    "unseen_pairs=.'en-de',.: expected some, not all, of en-en, fr-fr",
  ),
]


@pytest.mark.parametrize(("change", "text"), WRONG_TASKS)
def test_a_task_that_does_not_fit_says_why(change, text):
  task = dataclasses.replace(TASK, **change)
  with pytest.raises(ConfigError, match=text):
    make(mixture=mixtures.blend((task, 1.0)))


def test_records_of_a_task_with_paraphrases_are_not_cut():
  task = dataclasses.replace(TASK, paraphrases=("Write down what is said.",))
  with pytest.raises(ConfigError, match="'asr' has paraphrases, and too_long='split' would cut"):
    make(mixture=mixtures.blend((task, 1.0)), data=Packed(too_long="split"))
  make(mixture=mixtures.blend((task, 1.0)), data=Packed(too_long="drop"))


def test_two_tokenizers_of_one_stream_are_refused():
  with pytest.raises(ConfigError, match="Two tokenizers have the stream 'text'. Give each its own"):
    make(tokenizers=(tokenizers.text(size=300), tokenizers.text(size=400)))


def test_a_negative_seed_and_an_unknown_policy_are_refused():
  with pytest.raises(ConfigError, match=r"seed must be an integer from 0 to 2\^63 - 1, not -1"):
    make(seed=-1)
  with pytest.raises(ConfigError, match="not 9223372036854775808"):
    make(seed=2**63)
  with pytest.raises(ConfigError, match="export must be 'auto' or None, not 'torch'"):
    make(export="torch")
  with pytest.raises(ConfigError, match="too_long must be one of error, split, drop, not 'cut'"):
    Packed(too_long="cut")
