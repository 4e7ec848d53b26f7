"""No output of any command takes the place of what it reads, and each refusal says what to do."""

import json
import os

import pytest
import soundfile

from audiopalm.audio import waveform
from audiopalm.cli import config, main, outputs
from audiopalm.errors import EXIT_DONE, EXIT_USER, ConfigError
from audiopalm.parts import mixtures

S2ST = ("--task", "s2st", "--source", "en", "--target", "fr")
TTS = ("--task", "tts", "--language", "en", "--text", "one")


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
  """Runs a command in a folder of its own; gives the exit code, stdout and stderr."""
  monkeypatch.chdir(tmp_path)

  def run(*arguments):
    code = main.main(list(map(str, arguments)))
    said = capsys.readouterr()
    return code, said.out, said.err

  return run


@pytest.fixture
def clips(opened, command, made_up, tmp_path):
  """Returns a recording in a folder, which `generate` may be asked about."""
  opened(mixtures.s2st)
  (tmp_path / "clips").mkdir()
  waveform.write(tmp_path / "clips/a.wav", made_up.wave_of("one"))
  return tmp_path / "clips/a.wav"


def generate(command, *arguments):
  return command("generate", "--workdir", "run", *arguments)


def link(path, to):
  path.parent.mkdir(exist_ok=True)
  path.symlink_to(to)
  return path


@pytest.mark.parametrize(
  ("out", "text"),
  [
    ("clips/", "--out clips is the folder of clips/a.wav, which this command reads"),
    ("clips", "--out clips is the folder of clips/a.wav, which this command reads"),
    ("there", "--out there is the folder of clips/a.wav"),
    ("clips/a.wav", "--out clips/a.wav would overwrite clips/a.wav, which this command reads."),
    ("clips/../clips/a.wav", "--out clips/../clips/a.wav would overwrite clips/a.wav"),
    ("soft.wav", "--out soft.wav would overwrite clips/a.wav"),
    ("hard.wav", "--out hard.wav would overwrite clips/a.wav"),
    ("others", "--out others/a.wav would overwrite clips/a.wav"),
  ],
)
def test_speech_never_overwrites_a_recording_that_was_asked_about(
  command, clips, tmp_path, out, text
):
  link(tmp_path / "soft.wav", clips)
  link(tmp_path / "there", clips.parent)
  link(tmp_path / "others/a.wav", clips)
  os.link(clips, tmp_path / "hard.wav")
  before = clips.read_bytes()
  code, said, err = generate(command, *S2ST, "--audio", "clips/a.wav", "--out", out)
  assert (code, said) == (EXIT_USER, "")
  assert text in err
  assert clips.read_bytes() == before
  assert sorted(path.name for path in clips.parent.iterdir()) == ["a.wav"]


@pytest.mark.parametrize("ending", waveform.ENDINGS)
def test_speech_is_written_as_the_ending_says(opened, command, made_up, ending):
  opened()
  code, said, err = generate(command, *TTS, "--out", f"o{ending}")
  assert (code, said) == (EXIT_DONE, f"text 1\to{ending}\n"), err
  found = soundfile.info(f"o{ending}")
  assert (found.format, found.subtype) == waveform.ENDINGS[ending]
  spoken_S = waveform.read(f"o{ending}")
  assert abs(len(spoken_S) - len(made_up.wave_of("one"))) < 2_500  # MP3 has whole frames


def test_an_ending_that_cannot_be_written_lists_those_that_can(opened, command, tmp_path):
  opened()
  code, _, err = generate(command, *TTS, "--out", "o.aac")
  assert code == EXIT_USER
  assert "speech can be written as .wav, .flac, .ogg, .opus, .mp3, not as .aac." in err
  assert "For a folder of this name, write o.aac/." in err
  assert list(tmp_path.iterdir()) == []
  assert generate(command, *TTS, "--out", "o.aac/")[1] == "text 1\to.aac/text-1.wav\n"
  assert generate(command, *TTS, "--out", "run-2.5")[1] == "text 1\trun-2.5/text-1.wav\n"


@pytest.fixture
def run(tmp_path):
  """Returns a workdir with files as of a run, whose config names a manifest."""
  folder = tmp_path / "run"
  for name in outputs.RUN_FOLDERS:
    (folder / name).mkdir(parents=True)
  for name in outputs.RUN_FILES:
    (folder / name).write_text("{}", encoding="utf-8")
  manifest = tmp_path / "train.jsonl"
  manifest.write_text('{"audio": "a.wav"}', encoding="utf-8")
  (folder / "config.json").write_text(json.dumps({"train": str(manifest)}), encoding="utf-8")
  return folder


EVALUATE = ("evaluate", "--workdir", "run", "--rescore", "--json")
NEEDED = "which the run in run needs. Write elsewhere."
READ = "which this command reads. Give it another name."


@pytest.mark.parametrize(
  ("line", "text"),
  [
    ((*EVALUATE, "run/config.json"), f"would change run/config.json, {NEEDED}"),
    ((*EVALUATE, "run/metrics.jsonl"), NEEDED),
    ((*EVALUATE, "run/checkpoints/5"), f"would change run/checkpoints, {NEEDED}"),
    ((*EVALUATE, "run/evaluation/results.json"), NEEDED),
    ((*EVALUATE, "run/evaluation/transcripts.jsonl"), NEEDED),
    ((*EVALUATE, "run/evaluation/recordings/x.json"), NEEDED),
    ((*EVALUATE, "train.jsonl"), READ),
    ((*EVALUATE, "notes.txt"), "is not JSON; expected no file, or JSON of an earlier"),
    ((*EVALUATE, "run"), "--json takes the file to write, but run is a folder."),
    ((*EVALUATE, "/dev/null"), "/dev/null is a device or a pipe. Give it the name of a file."),
    ((*EVALUATE, "notes.txt/x.json"), "takes a path in a folder, but notes.txt is a file."),
    (("evaluate", "--workdir", "run", "--pairs", "p.jsonl", "--json", "p.jsonl"), READ),
    (
      ("evaluate", "--workdir", "run", "--pairs", "run/evaluation/pairs/p.jsonl"),
      "is in run/evaluation, which every evaluation rewrites. Move it elsewhere.",
    ),
    (("compare", "run", "run2", "--out", "train.jsonl"), READ),
    (("compare", "run", "run2", "--out", "run/config.json"), NEEDED),
    (("compare", "run", "run2", "--out", "notes.txt"), "expected no file, or HTML of an"),
    (("export", "--workdir", "run", "--out", "run/checkpoints/x"), NEEDED),
    (("export", "--workdir", "run", "--out", "notes.txt/x"), "notes.txt is a file."),
    (("import", "--from", "exported", "--workdir", "run"), "run is not empty"),
    (("import", "--from", "exported", "--workdir", "notes.txt/x"), "notes.txt is a file."),
    (("sweep", "plan.toml", "--workdir", "w", "--results", "notes.txt"), "takes a folder, but"),
    (("plan", "mine.py", "--topology", "cpu:1", "--json", "mine.py"), READ),
    (("launch", "--on", "slurm", "--nodes", "1", "--out", "there", "--", "train",
      "there/config.json", "--workdir", "w2", "--set", "steps=3"), READ),
    (("prepare", "mine.py", "--workdir", "w"), "would overwrite w/manifest.json, an input of the"),
    (("train", "mine.py", "--workdir", "w"), "the run's own manifest.json. Name another folder."),
  ],
)  # fmt: skip
def test_an_output_that_is_an_input_is_refused_before_anything_is_written(
  command, run, tmp_path, line, text
):
  (tmp_path / "w").mkdir()
  audio = {"audio": "a.wav", "text": "one", "language": "en"}
  (tmp_path / "w/manifest.json").write_text(json.dumps(audio) + "\n", encoding="utf-8")
  (tmp_path / "mine.py").write_text(CONFIG, encoding="utf-8")
  (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
  (tmp_path / "p.jsonl").write_text("{}\n{}\n", encoding="utf-8")
  (tmp_path / "plan.toml").write_text("[runs.one]\nconfig = 'mine.py'\n", encoding="utf-8")
  (tmp_path / "there").mkdir()
  if "launch" in line:
    resolved = config.load("quickstart").to_json()
    (tmp_path / "there/config.json").write_text(resolved, encoding="utf-8")
  before = contents(tmp_path)
  code, _, err = command(*line)
  assert code == EXIT_USER and err.startswith("ConfigError: ") and err.count("\n") == 1, err
  assert text in err
  assert contents(tmp_path) == before


CONFIG = """
from audiopalm.experiment import Experiment
from audiopalm.parts import corpora, mixtures, models, tokenizers

def experiment():
  corpus = corpora.manifest("w/manifest.json")
  return Experiment(
    name="mine",
    tokenizers=(tokenizers.text(size=320), tokenizers.units(size=32, rate_hz=25)),
    mixture=mixtures.blend((mixtures.asr(corpus), 1.0)),
    model=models.tiny(),
  )
"""


def contents(folder):
  return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_of_an_earlier_call_and_empty_files_are_replaced(tmp_path):
  for name, text in (("a.json", '{"old": 1}'), ("b.json", ""), ("c.html", "<!DOCTYPE html>\n")):
    (tmp_path / name).write_text(text, encoding="utf-8")
    kind = "HTML" if name.endswith("html") else "JSON"
    outputs.check_file("--json", tmp_path / name, outputs.inputs(), kind=kind)


def test_the_config_of_a_run_may_be_given_to_go_on_with_it(run, tmp_path):
  outputs.check_workdir(run, run / "config.json", "{}")
  with pytest.raises(ConfigError, match="would overwrite .*run/metrics.jsonl, an input of"):
    outputs.check_workdir(run, run / "config.json", json.dumps([f"{run}/metrics.jsonl"]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused_before_the_work(tmp_path):
  (tmp_path / "theirs").mkdir(mode=0o500)
  with pytest.raises(ConfigError, match="theirs is read-only or belongs to another"):
    outputs.check_file("--json", tmp_path / "theirs/a.json", outputs.inputs())


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
  monkeypatch.setattr(outputs.os, "access", lambda path, mode: False)
  with pytest.raises(ConfigError, match="is read-only or belongs to another user."):
    outputs.check_file("--json", tmp_path / "deep/a.json", outputs.inputs())


def test_an_output_whose_name_is_not_utf_8_is_refused(tmp_path):
  with pytest.raises(ConfigError, match="the name of an output must be UTF-8"):
    outputs.check_file("--json", tmp_path / os.fsdecode(b"caf\xe9.json"), outputs.inputs())
