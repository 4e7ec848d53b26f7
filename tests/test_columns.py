"""Several columns from end to end: speech of four codes a frame, trained, resumed, scored, spoken.

Without a task that transcribes, so there are no transcripts to score. The model learns nothing in
four steps; what is tested is that every part hands on what the next one needs.
"""

import contextlib
import importlib
import io
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

import audiopalm
from audiopalm.audio import waveform
from audiopalm.cli import main
from audiopalm.types import Utterance

CONFIG = """
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.layouts import Chain
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.settings import Evaluation

def experiment(delays: tuple[int, ...] = (0, 1, 2, 3), deep: bool = False):
  corpus = Synthetic(languages=("en",), topics=("weather",), train_records=32,
                     validation_records=4, test_records=4, voices=1, held_out_voices=0)
  return Experiment(
    name="columns",
    tokenizers=(tokenizers.text(size=400), tokenizers.mel_rvq(codebooks=4, size=16, rate_hz=25)),
    layout=Chain(delays=(("codes", delays),)),
    mixture=mixtures.blend((mixtures.tts(corpus, speech="codes"), 1.0)),
    model=models.tiny(width=64, layers=1, depth_head=models.depth_head(64, 1) if deep else None),
    optimizer=optim.adamw(peak_lr=1e-3, warmup_steps=2),
    evaluation=Evaluation(
      every_steps=2, held_out_batch_rows=2, examples=2,
      decode_batch_rows=2, max_output_rows=32,
    ),  # fmt: skip
    data=Packed(row_length=256, batch_rows=2),
    steps=4,
    checkpoint_every_steps=2,
  )
"""


class Run:
  """A workdir and commands given to it in this process."""

  def __init__(self, folder):
    self.workdir = folder / "run"
    self.config = folder / "columns.py"
    self.config.write_text(CONFIG)

  def command(self, name, *arguments):
    config = [str(self.config)] if name == "train" else []
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = main.main([name, *config, "--workdir", str(self.workdir), *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  run = Run(tmp_path_factory.mktemp("columns"))
  code, _, err = run.command("train", "--set", "steps=2")
  assert code == 0, err
  code, run.second, err = run.command("train")
  assert code == 0, err
  return run


def test_every_column_has_its_ids_and_its_stop(trained):
  manifest = json.loads((trained.workdir / "manifest.json").read_text())
  assert manifest["columns"] == 4
  assert [r["level"] for r in manifest["ranges"] if r["stream"] == "codes"] == [0, 1, 2, 3]
  assert [s["column"] for s in manifest["specials"] if s["name"] == "stop"] == [0, 1, 2, 3]


def test_training_was_resumed_and_every_step_has_a_finite_loss(trained):
  assert "resuming after step 2" in trained.second
  lines = [json.loads(line) for line in open(trained.workdir / "metrics.jsonl")]
  losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
  assert set(losses) == {1, 2, 3, 4}
  assert np.isfinite(list(losses.values())).all()


def test_delays_that_are_too_few_say_which_tokenizer(trained, capfd):
  code, _, _ = trained.command("train", "--set", "delays=0,1")
  assert code == 2
  said = capfd.readouterr().err  # of the process that prepares
  assert 'Delay("target.codes") has 2 delays but tokenizer "codes" gives 4 codebooks' in said


def test_text_becomes_a_wav_that_has_codes_again(trained, tmp_path):
  wave = tmp_path / "o.wav"
  line = ("--task", "tts", "--language", "en", "--text", "it is sunny", "--out", wave)
  code, out, err = trained.command("generate", *line)
  assert code == 0, err
  assert out == f"text 1\t{wave}\n"
  wave_S, rate_hz = soundfile.read(wave, dtype="float32")
  assert rate_hz == waveform.RATE_HZ and len(wave_S) > 0
  codec = audiopalm.load(trained.workdir).prepared.tokenizers["codes"]
  codes_TQ = codec.encode(Utterance(wave_S, rate_hz, "", "en", ""))
  assert codes_TQ.shape == (-(-len(wave_S) // 640), 4)


@pytest.fixture(scope="module")
def deep(trained, tmp_path_factory):
  """A run with a depth head and no delays, on the streams of the other."""
  run = Run(tmp_path_factory.mktemp("depth"))
  for folder in ("tokenizers", "streams"):
    shutil.copytree(trained.workdir / folder, run.workdir / folder)
  settings = ("--set", "delays=0,0,0,0", "--set", "deep=true", "--set", "steps=2")
  code, _, err = run.command("train", *settings)
  assert code == 0, err
  return run


@pytest.mark.long
def test_a_depth_head_trains_on_streams_that_are_there(deep):
  lines = [json.loads(line) for line in open(deep.workdir / "metrics.jsonl")]
  losses = [line["loss"] for line in lines if "loss" in line]
  assert len(losses) == 2 and np.isfinite(losses).all()
  assert audiopalm.load(deep.workdir).params["depth"]["into"].shape == (64, 4, 64)


@pytest.mark.torch
@pytest.mark.parametrize("which", ["trained", "deep"])
def test_the_exported_run_says_the_same_in_plain_torch(which, request, tmp_path, monkeypatch):
  import transformers

  # PyTorch multiplies in float32, wherever the run was trained.
  run = audiopalm.load(request.getfixturevalue(which).workdir, products="float32")
  assert run.export(tmp_path / "out") == "torch_decoder.py"
  monkeypatch.syspath_prepend(str(tmp_path / "out"))
  for name in ("speech_tokenizer", "torch_decoder"):  # of a folder that was exported before
    monkeypatch.delitem(sys.modules, name, raising=False)
  speech_tokenizer = importlib.import_module("speech_tokenizer")
  torch_decoder = importlib.import_module("torch_decoder")

  model = torch_decoder.load(tmp_path / "out")
  task = model.generation["tasks"]["tts"]
  prompt = task["prompt"].replace("{tag}", "[TTS English]").replace("{target.text}", "it is sunny")
  tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
  prompt_LK = np.full((len(ids := tokenizer(prompt).input_ids), 4), -1)
  prompt_LK[:, 0] = ids
  tokens_LK = model.generate(prompt_LK, "tts")
  codes_TQ = model.streams(tokens_LK[len(ids) :])["codes"]
  wave_S = speech_tokenizer.load(tmp_path / "out").decode(codes_TQ.numpy())

  (ours,) = run.generate("tts", text="it is sunny", language="en")
  assert len(wave_S) == len(ours.wave_S)
  np.testing.assert_allclose(wave_S, ours.wave_S, atol=1e-5)


def test_speech_is_scored_without_a_task_that_transcribes(trained):
  run = audiopalm.load(trained.workdir)
  scores = run.evaluate(workers=0)
  assert {"mcd", "nll", "modalities"} <= set(scores["tts"])
  assert "wer" not in scores["tts"]
  chance = np.mean(np.log(run.prepared.space.sizes))  # column 0 has the text too
  assert scores["tts"]["modalities"]["speech"]["nll"] == pytest.approx(chance, rel=0.2)
  assert "mcd" in scores["baselines"]["units_ceiling"]["tts"]
  assert scores["baselines"]["units_ceiling"]["tts"]["mcd"] < scores["tts"]["mcd"]
