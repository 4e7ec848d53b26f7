import importlib.util
import json
import re
import subprocess
import sys

import pytest

from audiopalm.cli import main
from audiopalm.data.executors import Local
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.evaluation import likelihoods, runner
from audiopalm.metrics.likelihood import Sums
from audiopalm.parts import mixtures


@pytest.fixture
def command(opened, tmp_path, monkeypatch, capsys):
  """Runs `audiopalm evaluate` on a made-up run; gives the exit code, stdout and stderr."""
  sums = {"text": Sums(1.0, 1.0, 1.0)}
  monkeypatch.setattr(likelihoods, "of_examples", lambda trained, grids: [sums] * len(grids))
  monkeypatch.setattr(runner.executors, "Local", lambda workers: Local(0))
  monkeypatch.setenv("COLUMNS", "200")
  opened()

  def run(*arguments):
    code = main.main(["evaluate", "--workdir", str(tmp_path), *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err

  return run


def test_the_table_ends_with_where_everything_lies(command, tmp_path):
  code, out, err = command("--json", str(tmp_path / "scores/all.json"))
  assert code == EXIT_DONE
  assert "nearest copied" in out
  assert "should say" in out
  last = out.strip().splitlines()[-1]
  assert last == (
    f"Scores: {tmp_path}/evaluation/results.json, {tmp_path}/scores/all.json. "
    f"Every output: {tmp_path}/evaluation"
  )
  assert "asr on test: 8 examples" in err
  scores = json.loads((tmp_path / "scores/all.json").read_text())
  assert list(scores) == ["asr", "tts", "mt", "held_out_voices", "baselines", "suites"]
  assert scores == json.loads((tmp_path / "evaluation/results.json").read_text())


def test_only_the_tasks_named_are_scored(command, tmp_path):
  command("--tasks", "mt, asr")
  scores = json.loads((tmp_path / "evaluation/results.json").read_text())
  assert list(scores) == ["asr", "mt", "held_out_voices", "baselines", "suites"]


def test_an_unknown_task_lists_the_known_ones(command):
  code, _, err = command("--tasks", "asr,asl")
  assert code == EXIT_USER
  assert "Unknown task 'asl'. This run was trained on: asr, tts, mt" in err


def test_suites_choose_tasks_and_stand_together_below_the_tables(command, tmp_path):
  code, out, _ = command("--suite", "translation,retention", "--no-baselines")
  assert code == EXIT_DONE
  scores = json.loads((tmp_path / "evaluation/results.json").read_text())
  assert list(scores) == ["mt", "held_out_voices", "baselines", "suites"]
  assert re.search(r"translation +BLEU +chrF +n *\nmt +0.0 ±0.0 +100.0", out)
  assert re.search(r"retention +BLEU +nats +n *\nmt +0.0 ±0.0 +1.00 ±0.00", out)


def test_a_suite_that_the_run_has_nothing_for_tells_what_its_tasks_do(command):
  code, _, err = command("--suite", "zero_resource")
  assert code == EXIT_USER
  assert "'zero_resource' has no task in this run: it needs one with no input" in err
  assert "tts from target.text to target.units (speech_out)" in err


def test_generated_speech_is_transcribed_by_the_command_named(command, tmp_path):
  line = f"{sys.executable} -c 'print(\"one two\")' {{wav}}"
  assert command("--tasks", "tts", "--no-baselines", "--asr-command", line)[0] == EXIT_DONE
  scores = json.loads((tmp_path / "evaluation/results.json").read_text())["tts"]
  rule = f"the command {line!r}, from the written WAV"
  assert scores["rules"]["independent_transcripts"] == rule
  assert scores["independent_wer"] > 0


def test_both_ears_and_every_voice_are_in_the_tables_and_again_after_rescoring(command, tmp_path):
  line = f"{sys.executable} -c 'print(\"one two\")' {{wav}}"
  asked = ("--tasks", "tts", "--no-baselines", "--asr-command", line, "--recordings", "1")
  code, out, _ = command(*asked, "--json", str(tmp_path / "all.json"))
  assert code == EXIT_DONE
  assert re.search(
    r"tts, both recognizers .*WER % +indep. WER % +raw % .*CER % +indep. CER % +n", out
  )
  assert re.search(r"indep. WER % +recordings +n +through units +n +model's speech +n", out)
  assert re.search(r"\n  en-anna +\d+\.\d +1 +\d+\.\d", out)
  written = json.loads((tmp_path / "all.json").read_text())
  assert "en-anna" in written["recordings"]["test"]["en"]["voices"]
  _, again, _ = command("--rescore")
  assert (
    out[out.index("tts, both recognizers") : out.index("Listen:")].split("\nScored")[0]
    == again[again.index("tts, both recognizers") : again.index("Listen:")].split("\nScored")[0]
  )


@pytest.mark.parametrize(
  ("options", "text"),
  [
    (("--asr", "whisper"), "--asr whisper needs --asr-model FOLDER: a Whisper model in CTranslate"),
    (("--asr-model", "a"), "--asr-model names the model of --asr whisper: add that, or leave"),
    (
      ("--recordings", "3"),
      "--recordings are transcribed by the recognizer of --asr or",
    ),
  ],
)
def test_options_of_recognizers_that_mean_nothing_are_refused(command, options, text):
  code, _, err = command(*options)
  assert code == EXIT_USER
  assert text in err


def test_a_number_of_recordings_is_one_or_all(command, capsys):
  with pytest.raises(SystemExit) as ended:
    command("--asr-command", "a {wav}", "--recordings", "some")
  assert ended.value.code == EXIT_USER
  assert "expected a number of recordings, or all, not 'some'" in capsys.readouterr().err


def test_a_model_that_is_none_ends_before_the_run_is_opened(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
  (tmp_path / "model").mkdir()
  asked = ["--asr", "whisper", "--asr-model", str(tmp_path / "model")]
  assert main.main(["evaluate", "--workdir", str(tmp_path / "no run"), *asked]) == EXIT_USER
  assert "is not a Whisper model of CTranslate2: it lacks model.bin" in capsys.readouterr().err


def test_pocketsphinx_is_refused_for_what_is_not_english(command, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
  code, _, err = command("--asr", "pocketsphinx")
  assert code == EXIT_USER
  assert "supports only English, but tasks to be scored output speech in fr." in err


def apart(*arguments):
  """Runs a command line in a process of its own; gives its result, and whether jax was loaded."""
  code = f"""
import sys
from audiopalm.cli import main
code = main.main({list(arguments)})
print("jax" in sys.modules, file=sys.stderr)
sys.exit(code)
"""
  return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_what_was_said_is_scored_again_without_the_model_and_without_jax(command, tmp_path):
  _, table, _ = command()
  results = tmp_path / "evaluation/results.json"
  whole = results.read_text()
  results.unlink()
  found = apart("evaluate", "--workdir", str(tmp_path), "--rescore")
  assert (found.returncode, found.stderr) == (EXIT_DONE, "False\n")
  assert results.read_text() == whole
  first, again = (
    [text for text in said.splitlines() if not text.startswith("Scored ")]
    for said in (table, found.stdout)
  )
  assert again == first


def test_nothing_to_score_again_is_one_text(tmp_path, capsys):
  assert main.main(["evaluate", "--workdir", str(tmp_path), "--rescore"]) == EXIT_USER
  assert "There are no outputs in" in capsys.readouterr().err


@pytest.mark.parametrize(
  "option", [("--tasks", "asr"), ("--num-beams", "2"), ("--machine", "cpu"), ("--mesh", "fsdp=2")]
)
def test_options_that_ask_the_model_are_refused_beside_rescore(tmp_path, capsys, option):
  assert main.main(["evaluate", "--workdir", str(tmp_path), "--rescore", *option]) == EXIT_USER
  text = f"--rescore scores all saved outputs as they are: leave out {option[0]}."
  assert text in capsys.readouterr().err


def test_beams_are_those_asked_for(command, tmp_path):
  command("--tasks", "mt", "--num-beams", "3", "--length-penalty", "1.5")
  scores = json.loads((tmp_path / "evaluation/results.json").read_text())
  assert scores["mt"]["rules"]["decoding"] == "beam search, 3 beams, length penalty 1.5"


@pytest.fixture
def pairs_file(opened, command, tmp_path):
  opened(mixtures.mt, mixtures.text)
  path = tmp_path / "blimp.jsonl"
  lines = ({"language": "en", "positive": "one", "negative": word} for word in ("nine", "ten"))
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  return str(path)


def test_pairs_are_judged_shown_and_scored_again_with_the_rest(command, pairs_file, tmp_path):
  code, out, _ = command(
    "--pairs", pairs_file, "--task", "text", "--json", str(tmp_path / "p.json")
  )
  assert code == EXIT_DONE
  assert re.search(r"blimp +pairs % +per token % +n *\nall +50.0 ±0.0 +50.0 ±0.0 +2\n", out)
  assert f"Scores: {tmp_path}/evaluation/pairs.json, {tmp_path}/p.json." in out
  whole = (tmp_path / "evaluation/pairs.json").read_text()
  assert json.loads((tmp_path / "p.json").read_text()) == json.loads(whole)
  (tmp_path / "evaluation/pairs.json").unlink()
  assert command("--rescore")[0] == EXIT_DONE
  assert (tmp_path / "evaluation/pairs.json").read_text() == whole
  results = tmp_path / "evaluation/results.json"
  assert list(json.loads(results.read_text())["suites"]) == ["zero_resource"]
  command()
  found = apart("evaluate", "--workdir", str(tmp_path), "--rescore")
  assert (found.returncode, found.stderr) == (EXIT_DONE, "False\n")
  assert "results.json" in found.stdout and "pairs.json" in found.stdout
  assert "nearest copied" in found.stdout and "blimp" in found.stdout


def test_all_suites_are_scored_with_pairs_by_one_command(command, pairs_file, tmp_path):
  code, out, _ = command("--suite", "all", "--pairs", pairs_file, "--no-baselines")
  assert code == EXIT_DONE
  assert re.search(r"zero_resource +pairs % +per token % +n *\nblimp +50.0 ±0.0", out)
  results = tmp_path / "evaluation/results.json"
  whole = results.read_text()
  assert list(json.loads(whole)["suites"]) == ["translation", "retention", "zero_resource"]
  found = apart("evaluate", "--workdir", str(tmp_path), "--rescore")
  assert (found.returncode, found.stderr) == (EXIT_DONE, "False\n")
  assert results.read_text() == whole
  tables = out[out.index("translation ") : out.index("Scored ")]
  assert tables in found.stdout


def test_the_report_is_written_beside_the_scores(made_run, tmp_path, capsys):
  run = made_run.write(tmp_path / "run")
  assert main.main(["evaluate", "--workdir", str(run), "--rescore", "--report"]) == EXIT_DONE
  assert f"results.json, {run}/report.html. Every output" in capsys.readouterr().out
  assert "Suite translation" in (run / "report.html").read_text()


@pytest.mark.parametrize(
  ("options", "text"),
  [
    (("--task", "text"), "--task NAME is the task that scores --pairs FILE, which is missing."),
    (("--suite", "all", "--tasks", "mt"), "already selects the tasks: leave out --tasks."),
    (("--suite", "all", "--task", "text"), "already selects the tasks: leave out --task."),
    (("--suite", "all", "--rescore"), "as they are: leave out --suite."),
    (
      ("--asr-command", "a {wav}", "--asr", "pocketsphinx"),
      "already transcribes speech: leave out --asr.",
    ),
    (
      ("--pairs", "a.jsonl", "--asr-command", "a {wav}"),
      "scored without decoding: leave out --asr-command.",
    ),
    (
      ("--pairs", "a.jsonl", "--task", "text", "--num-beams", "2"),
      "scored without decoding: leave out --num-beams.",
    ),
    (("--pairs", "a.jsonl", "--task", "text", "--rescore"), "as they are: leave out --pairs."),
  ],
)
def test_options_of_pairs_that_mean_nothing_are_refused(command, options, text):
  code, _, err = command(*options)
  assert code == EXIT_USER
  assert text in err
