import collections
import dataclasses
import inspect
import subprocess
import sys

import numpy as np
import pytest

from audiopalm.data import packed, prepare, rows
from audiopalm.data.packed import Packed
from audiopalm.parts import mixtures

seqio = pytest.importorskip("seqio", reason="SeqIO comes with audiopalm[data]")

from audiopalm.data import seqio_tasks  # noqa: E402

HELPERS = ("blend", "paraphrased", "speech", "recordings")
TASKS = [
  name for name, _ in inspect.getmembers(mixtures, inspect.isfunction) if name not in HELPERS
]


@pytest.fixture(scope="module")
def registered(prepared, experiment_of):
  """Registers a prepared experiment, and says with which mixture."""

  def register(**changes):
    return seqio_tasks.register(prepared, dataclasses.replace(experiment_of().mixture, **changes))

  return register


@pytest.fixture(scope="module")
def every_task(experiment_of, small, tmp_path_factory):
  """Every task that configs can name, prepared in one experiment and registered: (prepared,
  name)."""
  corpora = {"dialogue": small.SmallDialogue(400)}
  tasks = [getattr(mixtures, task)(corpora.get(task, small.SmallCorpus(400))) for task in TASKS]
  experiment = experiment_of(tasks=tasks, data=Packed(row_length=192))
  done = prepare.prepare(experiment, tmp_path_factory.mktemp("every_task"), workers=0)
  return done, seqio_tasks.register(done, experiment.mixture)


def examples_of(name, **options):
  dataset = seqio.get_mixture_or_task(name).get_dataset(
    sequence_length=None, split="train", shuffle=False, num_epochs=1, **options
  )
  return list(dataset.as_numpy_iterator())


def multiset(grids):
  return collections.Counter(
    (tokens.tobytes(), weights.tobytes(), visible.tobytes()) for tokens, weights, visible in grids
  )


@pytest.mark.parametrize("task", TASKS)
def test_seqio_examples_equal_trainer_segments(every_task, task):
  """Seed s, epoch 0: what SeqIO gives one by one is what the trainer packs into rows."""
  prepared, mixture = every_task
  name = mixture.replace("audiopalm_", f"audiopalm_{task}_")
  found = examples_of(name, seed=3)
  segments = prepared.rows(task, "train").segments
  source = packed.examples_of(prepared, prepared.task(task), "train")
  grids = list(rows.realized(source, segments, seed=3, epoch=0))
  assert len(found) == len(grids) == 400
  assert multiset((e["tokens"], e["weights"], e["visible"]) for e in found) == multiset(
    (grid.tokens_LK, grid.weights_LK, grid.visible_L) for grid in grids
  )


def test_names_carry_the_manifest_and_registering_twice_changes_nothing(registered, prepared):
  name = registered()
  tasks = set(seqio.TaskRegistry.names())
  assert registered() == name
  assert set(seqio.TaskRegistry.names()) == tasks
  assert prepared.manifest_hash in name
  assert registered(temperature=2.0) != name


def test_the_mixture_has_every_task_at_its_rate(registered, prepared):
  mixture = seqio.get_mixture_or_task(registered(unit="examples"))
  assert [task.name.split("_")[1] for task in mixture.tasks] == ["asr", "continuation", "s2st"]
  rates = [mixture.get_rate(task) for task in mixture.tasks]
  np.testing.assert_allclose(rates, [1 / 3] * 3)
  by_tokens = seqio.get_mixture_or_task(registered())
  means = {
    name: index.tokens_per_row / index.examples_per_row
    for name in ("asr", "continuation", "s2st")
    for index in [prepared.rows(name, "train")]
  }
  tokens = [by_tokens.get_rate(t) * means[t.name.split("_")[1]] for t in by_tokens.tasks]
  np.testing.assert_allclose(tokens, [tokens[0]] * 3)


def test_an_example_knows_its_record_and_its_reference(registered, prepared):
  name = registered().replace("audiopalm_", "audiopalm_asr_")
  task = seqio.get_mixture_or_task(name)
  example = examples_of(name)[7]
  entry = prepared.entries(prepared.task("asr"), "train")[7]
  assert example["id"].decode() == entry.id
  said = entry.utterances["source"].text
  assert task.postprocess_fn(example["tokens"], example=example, is_target=True) == said
  assert task.postprocess_fn("what was heard", example=example, is_target=False) == "what was heard"
  scores = [function([said], [said]) for function in task.predict_metric_fns]
  assert scores == [{"wer": 0.0}, {"cer": 0.0}]


def test_metric_functions_follow_from_what_goes_in_and_out(prepared, small):
  corpus = small.SmallCorpus()
  names = {
    task.name: [f.name for f in seqio_tasks.metric_functions(task, prepared.space)]
    for task in (
      mixtures.asr(corpus), mixtures.tts(corpus), mixtures.mt(corpus), mixtures.ast(corpus),
      mixtures.s2st(corpus), mixtures.chain(corpus), mixtures.continuation(corpus),
    )
  }  # fmt: skip
  words, written, spoken = ["wer", "cer"], ["bleu", "chrf"], ["asr_bleu", "asr_chrf"]
  assert names == {
    "asr": words, "tts": words, "mt": written, "ast": written, "s2st": spoken, "chain": spoken,
    "continuation": [],
  }  # fmt: skip


@pytest.mark.parametrize(
  ("codes", "words", "written"),
  [
    (("zh", "zh-TW"), ["cer"], ["bleu", "chrf"]),
    (("en", "fr"), ["wer", "cer"], ["bleu", "chrf"]),
    (("en", "zh"), [], ["chrf"]),
  ],
)
def test_metric_functions_are_those_that_all_languages_share(prepared, codes, words, written):
  class Corpus:
    def pairs(self, roles):
      return tuple(dict.fromkeys(roles, code) for code in codes)

  for build, names in ((mixtures.asr, words), (mixtures.mt, written)):
    task = dataclasses.replace(build(prepared.task("asr").corpus), corpus=Corpus())
    found = seqio_tasks.metric_functions(task, prepared.space)
    assert [one.name for one in found] == names
    said = ["今天天气很好。"]
    assert all(
      one(said, said)[one.name] in (0, pytest.approx(100)) for one in found if "zh" in codes
    )


def test_other_files_of_the_data_side_load_no_tensorflow():
  code = (
    "import sys; from audiopalm.data import loader, prepare; from audiopalm.parts import mixtures;"
    "print([m for m in ('tensorflow', 'seqio', 'audiopalm.data_pipelines') if m in sys.modules])"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"
