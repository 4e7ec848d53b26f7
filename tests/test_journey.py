"""The main job from end to end through the command line, on a corpus of a few sentences.

The model learns nothing in ten steps; what is tested is that every part hands on what the next one
needs, and that what cannot be used is one text and exit code 2.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import soundfile

import audiopalm
from audiopalm import experiment
from audiopalm.cli import main

CONFIG = """
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

def experiment():
  corpus = Synthetic(languages=("en", "fr"), topics=("weather",), train_records=64,
                     validation_records=8, test_records=8, voices=2, held_out_voices=1)
  tasks = (mixtures.asr, mixtures.tts, mixtures.mt, mixtures.s2st, mixtures.continuation)
  return Experiment(
    name="tiny",
    tokenizers=(tokenizers.text(size=400), tokenizers.units(size=32, rate_hz=25)),
    mixture=mixtures.blend(*((task(corpus), 0.2) for task in tasks)),
    model=models.tiny(width=64, layers=1),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=2),
    evaluation=Evaluation(
      every_steps=5, held_out_batch_rows=2, examples=2,
      decode_batch_rows=8, max_output_rows=16,
    ),  # fmt: skip
    data=Packed(row_length=384, batch_rows=2),
    steps=10,
    checkpoint_every_steps=3,
  )
"""

# Runs a command in its process and says afterwards whether TensorFlow was loaded there.
WATCHED = """
import sys
from audiopalm.cli import main
code = main.main(sys.argv[1:])
print("tensorflow loaded:", "tensorflow" in sys.modules)
sys.exit(code)
"""


class Told(NamedTuple):
  """What a command said and how it ended."""

  returncode: int
  stdout: str
  stderr: str


class Run:
  """A workdir and the commands given to it."""

  def __init__(self, folder):
    self.folder = folder
    self.workdir = folder / "run"
    (folder / "tiny.py").write_text(CONFIG)

  def apart(self, command, *arguments, watched=False):
    """Runs a command as a user does: in a process of its own."""
    start = ["-c", WATCHED] if watched else ["-m", "audiopalm"]
    return subprocess.run(
      [sys.executable, *start, *self._line(command, arguments)],
      cwd=self.folder,
      env=os.environ | {"COLUMNS": "200"},
      capture_output=True,
      text=True,
    )

  def here(self, command, *arguments):
    """Runs a command in this process, where what JAX compiled before is still known."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      with contextlib.chdir(self.folder):
        code = main.main(self._line(command, arguments))
    return Told(code, out.getvalue(), err.getvalue())

  def _line(self, command, arguments):
    config = ["tiny.py"] if command in ("prepare", "train") else []
    return [command, *config, "--workdir", "run", *map(str, arguments)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  """A run that was stopped after four of its ten steps."""
  run = Run(tmp_path_factory.mktemp("journey"))
  run.first = run.apart("train", "--set", "steps=4", watched=True)
  assert run.first.returncode == 0, run.first.stderr
  return run


@pytest.fixture(scope="module")
def trained(run):
  """The run, resumed to its last step."""
  run.second = run.here("train")
  assert run.second.returncode == 0, run.second.stderr
  return run


@pytest.fixture(scope="module")
def spoken(trained):
  """The run with what it said of itself: a sentence, spoken."""
  line = ("--task", "tts", "--language", "en", "--text", "it is sunny", "--out", "o.wav")
  found = trained.here("generate", *line)
  assert found.returncode == 0, found.stderr
  return trained


def test_train_prepares_first_and_never_loads_tensorflow(run):
  assert "tensorflow loaded: False" in run.first.stdout
  summary = json.loads((run.workdir / "prepare.json").read_text())
  for task in ("asr", "tts", "mt", "s2st", "continuation"):
    assert task in json.dumps(summary)


def test_every_step_left_its_metrics_and_the_run_its_config_and_checkpoint(trained):
  steps = [json.loads(line) for line in open(trained.workdir / "metrics.jsonl")]
  assert {line["step"] for line in steps} >= set(range(1, 11))
  resolved = experiment.from_json((trained.workdir / "config.json").read_text())
  assert (resolved.name, resolved.steps) == ("tiny", 10)
  assert (trained.workdir / "checkpoints" / "10").is_dir()


def test_a_second_start_resumes_and_says_what_changed(trained):
  assert "resuming after step 4" in trained.second.stdout
  assert "steps" in trained.second.stdout


def test_prepare_again_finds_everything_there(trained):
  found = trained.here("prepare")
  assert found.returncode == 0, found.stderr
  assert "exist already" in found.stdout


@pytest.mark.parametrize(
  ("setting", "texts"),
  [
    pytest.param(
      "tokenizers.units.size=40", ("TokenSpaceError: ", "units"), marks=pytest.mark.long
    ),
    ("model.width=128", ("CheckpointError: ", "other arrays than this experiment")),
    ("data.row_length=16", ("row_length", "16")),
    (
      "evaluation.batch_row=2",
      ("ConfigError: There is no setting 'evaluation.batch_row'", "evaluation.decode_batch_rows"),
    ),
  ],
)
def test_what_does_not_fit_the_workdir_is_refused(trained, capfd, setting, texts):
  config = (trained.workdir / "config.json").read_text()
  found = trained.here("train", "--set", setting)
  said = found.stderr + capfd.readouterr().err  # prepare's process writes past sys.stderr
  assert found.returncode == 2
  for text in texts:
    assert text in said
  assert "Traceback" not in said
  assert (trained.workdir / "config.json").read_text() == config


def test_after_all_that_was_refused_the_run_still_answers(trained):
  line = ("--task", "mt", "--source", "en", "--target", "fr", "--text", "hello")
  found = trained.here("generate", *line)
  assert found.returncode == 0, found.stderr
  assert found.stdout.startswith("text 1\t")


def test_a_byte_that_flipped_is_one_text_and_exit_code_2(trained, tmp_path):
  copy = Run(shutil.copytree(trained.folder, tmp_path / "copy"))
  (shard,) = copy.workdir.glob("streams/*/train-*.arrayrecord")
  data = bytearray(shard.read_bytes())
  for at in range(4_000, 16_000, 100):
    data[at] ^= 1
  shard.write_bytes(data)
  found = copy.here("train", "--set", "steps=20")
  assert found.returncode == 2
  assert found.stderr.startswith("DataError: ")
  assert f"{shard.relative_to(copy.folder)}: record " in found.stderr
  assert "Delete that file and run `audiopalm prepare` again" in found.stderr


def test_evaluate_scores_every_task_and_the_baselines(trained):
  found = trained.here("evaluate", "--json", "scores.json")
  assert found.returncode == 0, found.stderr
  scores = json.loads((trained.folder / "scores.json").read_text())
  assert set(scores) == {
    *("asr", "tts", "mt", "s2st", "continuation"), "held_out_voices", "baselines", "suites"
  }  # fmt: skip
  assert {"wer", "cer", "nll", "token_accuracy", "languages", "voices"} <= set(scores["asr"])
  assert set(scores["asr"]["languages"]) == {"en", "fr"}
  assert {"bleu", "chrf"} <= set(scores["mt"])
  assert {"wer", "mcd"} <= set(scores["tts"])
  assert {"asr_bleu", "mcd"} <= set(scores["s2st"])
  assert "asr" in scores["held_out_voices"]
  assert set(scores["baselines"]) == {"untrained", "nearest_copy", "units_ceiling"}
  assert "asr" in found.stdout


def test_a_report_of_the_run_has_its_scores_and_its_speech(trained):
  found = trained.here("report")
  assert found.returncode == 0, found.stderr
  page = (trained.workdir / "report.html").read_text()
  scores = json.loads((trained.workdir / "evaluation" / "results.json").read_text())
  assert f'value="{scores["asr"]["wer"]!r}"' in page
  assert "data:audio/flac;base64," in page


def test_speech_out_is_a_file_that_can_be_heard(spoken):
  wave, rate_hz = soundfile.read(spoken.folder / "o.wav")
  assert rate_hz == 16_000
  assert len(wave) > 0
  assert np.isfinite(wave).all()


def test_a_recording_that_cannot_be_read_does_not_stop_the_others(spoken):
  (spoken.folder / "words.wav").write_text("these are words")
  line = ("--task", "asr", "--language", "en", "--audio", "words.wav", "o.wav")
  found = spoken.here("generate", *line)
  assert found.returncode == 2
  assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ["o.wav"]
  assert found.stderr.count("AudioError: words.wav") == 1


def test_without_a_language_the_likeliest_is_named(spoken):
  found = spoken.here("generate", "--task", "asr", "--audio", "o.wav")
  assert found.returncode == 0, found.stderr
  assert "o.wav: language " in found.stderr


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (
      ["--task", "sing", "--audio", "o.wav"],
      "Unknown task 'sing'. This run was trained on: asr",
    ),
    (["--task", "asr", "--language", "xx", "--audio", "o.wav"], "'xx'"),
  ],
)
def test_an_unknown_task_or_language_is_one_text(spoken, arguments, text):
  found = spoken.here("generate", *arguments)
  assert found.returncode == 2
  assert text in found.stderr
  assert "Traceback" not in found.stderr


def test_python_gives_what_the_command_line_gives(spoken):
  wave = spoken.folder / "o.wav"
  found = audiopalm.load(spoken.workdir).generate("asr", audio=[wave], language="en")
  told = spoken.here("generate", "--task", "asr", "--language", "en", "--audio", "o.wav")
  assert told.stdout == f"o.wav\t{' '.join(found[0].text.split())}\n"
