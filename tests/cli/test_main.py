"""The command line as a whole: help, exit codes, and one text for each fault."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from audiopalm import version
from audiopalm.cli import main, train
from audiopalm.errors import BadSteps, ConfigError, Requeue

COMMANDS = ("inspect", "prepare", "train", "evaluate", "generate", "export", "import", "launch")


def fails_with(monkeypatch, error):
  def run(args):
    raise error

  monkeypatch.setattr(train, "run", run)
  return main.main(["train", "quickstart", "--workdir", "runs/none"])


def test_help_names_every_command_and_exit_code(capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(["--help"])
  text = capsys.readouterr().out
  assert stop.value.code == 0
  for word in (
    *COMMANDS,
    "0 success",
    "1 a plan",
    "2 a command",
    "70 a",
    "71 too",
    "75 stopped",
    "130",
  ):
    assert word in text


def test_the_version_is_that_of_the_package(capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(["--version"])
  assert (stop.value.code, capsys.readouterr().out) == (0, f"audiopalm {version.VERSION}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_option_with_an_example(command, capsys):
  with pytest.raises(SystemExit):
    main.main([command, "--help"])
  text = capsys.readouterr().out
  assert f"audiopalm {command} " in text.split("options:")[0].split("\n\n", 1)[1]
  sub = next(a for a in main.parser(command)._actions if a.dest == "COMMAND" or a.choices)
  for action in sub.choices[command]._actions:
    assert action.help, action.dest


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["train", "quickstart", "--wrkdir"]])
def test_a_command_line_that_cannot_be_read_exits_with_2(arguments, capsys):
  with pytest.raises(SystemExit) as stop:
    main.main(arguments)
  assert stop.value.code == 2
  assert "usage: audiopalm" in capsys.readouterr().err


@pytest.mark.parametrize(
  ("given", "text"),
  [
    (
      ["--lr", "1e-3"],
      "--lr 1e-3. To change a setting of the config use --set optimizer.peak_lr=1e-3",
    ),
    (["--batch-size=8", "--max-steps", "7"], "use --set data.batch_rows=8 --set steps=7"),
    (["--batch-rows", "8"], "use --set data.batch_rows=8"),
    (["--peak-lr"], "use --set optimizer.peak_lr=..."),
    (["--wrkdir", "w"], "unrecognized arguments: --wrkdir w"),
    (
      ["--lr=1", "--wrkdir", "w"],
      "--wrkdir w. To change a setting of the config use --set optimizer.peak_lr=1",
    ),
  ],
)
def test_a_setting_given_as_an_option_says_how_it_is_set(capsys, given, text):
  with pytest.raises(SystemExit) as stop:
    main.main(["train", "quickstart", "--workdir", "w", *given])
  assert stop.value.code == 2
  assert capsys.readouterr().err.endswith(f"{text}\n")


def test_a_command_without_set_names_what_it_does_not_know_alone(capsys):
  with pytest.raises(SystemExit):
    main.main(["report", "--workdir", "w", "--lr", "1e-3"])
  assert capsys.readouterr().err.endswith("unrecognized arguments: --lr 1e-3\n")


@pytest.mark.parametrize(
  ("error", "code"),
  [(ConfigError("Give more."), 2), (BadSteps("Twenty."), 71), (Requeue("Saved."), 75)],
)
def test_an_error_for_the_user_is_its_text_alone_and_its_exit_code(
  monkeypatch, capsys, error, code
):
  assert fails_with(monkeypatch, error) == code
  assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"


def test_a_full_device_is_one_text_and_exit_code_2(monkeypatch, capsys):
  assert fails_with(monkeypatch, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == 2
  text = capsys.readouterr().err
  assert text.startswith("No space left on the device. What was written before is kept: free some")
  assert text.count("\n") == 1


def test_a_workdir_that_may_not_be_written_is_one_text(monkeypatch, capsys):
  error = PermissionError(errno.EACCES, "Permission denied", "/x/y")
  assert fails_with(monkeypatch, error) == 2
  assert capsys.readouterr().err == (
    "PermissionError: Permission denied: /x/y. Expected a place that this user may read and write: "
    "choose another, or change its permissions.\n"
  )


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
  assert fails_with(monkeypatch, KeyboardInterrupt()) == 130
  assert capsys.readouterr().err == "Interrupted. What was written is kept.\n"


@pytest.mark.parametrize(
  ("number", "text"),
  [
    (
      errno.EROFS,
      "OSError: Read-only file system: /x/y. This is on a device that can only be read:",
    ),
    (errno.ENOENT, "FileNotFoundError: No such file or directory: /x/y. There is no such file"),
    (errno.ENOTDIR, "NotADirectoryError: Not a directory: /x/y. A part of this path is a file,"),
    (errno.EIO, "OSError: Input/output error: /x/y. What was written is kept: have the machine"),
  ],
)
def test_every_fault_of_the_system_is_one_text(monkeypatch, capsys, number, text):
  assert fails_with(monkeypatch, OSError(number, os.strerror(number), "/x/y")) == 2
  said = capsys.readouterr().err
  assert said.startswith(text) and said.count("\n") == 1


def test_a_package_that_is_missing_is_one_text(monkeypatch, capsys):
  error = ModuleNotFoundError("No module named 'seqio'", name="seqio")
  assert fails_with(monkeypatch, error) == 2
  said = capsys.readouterr().err
  assert said.startswith(
    "ModuleNotFoundError: No module named 'seqio'. A package that this command"
  )
  assert said.count("\n") == 1


def test_a_folder_whose_name_is_not_utf_8_is_refused(capsys):
  with pytest.raises(SystemExit):
    main.main(["report", "--workdir", os.fsdecode(b"caf\xe9")])
  assert "'caf\\udce9' is not UTF-8" in capsys.readouterr().err


COMMAND = """
import argparse, sys
from audiopalm.cli import main

def parser(command):
  found = argparse.ArgumentParser()
  found.set_defaults(run=run)
  return found

def run(args):
  {does}
  return 0

main.parser = parser
sys.exit(main.main([]))
"""


def done(does, **how):
  """Returns how a process ended whose command does some Python."""
  line = [sys.executable, "-c", COMMAND.format(does=does)]
  return subprocess.run(line, stderr=subprocess.PIPE, encoding="utf-8", **how)


@pytest.mark.parametrize("letters", [1, 100_000], ids=["at-the-end", "at-once"])
def test_a_closed_pipe_ends_a_command_quietly(letters):
  reader, writer = os.pipe()
  os.close(reader)
  ended = done(f"print({letters} * 'a')", stdout=writer)
  os.close(writer)
  assert (ended.returncode, ended.stderr) == (main.EXIT_PIPE, "")


def test_a_pipe_of_ours_that_breaks_is_one_text():
  ended = done("raise BrokenPipeError(32, 'Broken pipe')", stdout=subprocess.PIPE)
  assert ended.returncode == 2
  assert ended.stderr.startswith("BrokenPipeError: Broken pipe. What was written is kept")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_one_text():
  with open("/dev/full", "w", encoding="utf-8") as full:
    ended = done("print('a')", stdout=full)
  assert ended.returncode == 2
  assert ended.stderr.startswith("No space left on the device.") and ended.stderr.count("\n") == 1


def test_letters_that_the_output_cannot_take_are_written_as_numbers():
  ended = done(
    r"print('caf\udce9 \u4e09')",
    stdout=subprocess.PIPE,
    env=os.environ | {"PYTHONIOENCODING": "ascii"},
  )
  assert (ended.returncode, ended.stdout, ended.stderr) == (0, "caf\\udce9 \\u4e09\n", "")


@pytest.mark.parametrize("platform", ["cuda", "nothing"])
def test_a_device_that_is_not_there_is_one_text(platform):
  if platform == "cuda" and os.path.exists("/dev/nvidia0"):
    pytest.skip("this machine has a GPU")
  ended = done("import jax; jax.devices()", env=os.environ | {"JAX_PLATFORMS": platform})
  assert ended.returncode == 2
  assert ended.stderr.startswith(f"JAX found no device for JAX_PLATFORMS={platform}: ")
  assert "Set JAX_PLATFORMS=cpu, unset it to use any device" in ended.stderr
  assert ended.stderr.count("\n") == 1


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
  with pytest.raises(ZeroDivisionError):
    fails_with(monkeypatch, ZeroDivisionError())


def test_sigterm_ends_any_command_with_the_requeue_code(monkeypatch, capsys):
  def run(args):
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

  monkeypatch.setattr(train, "run", run)
  before = signal.getsignal(signal.SIGTERM)
  assert main.main(["train", "quickstart", "--workdir", "runs/none"]) == 75
  assert "Stopped by SIGTERM. What was written is kept" in capsys.readouterr().err
  assert signal.getsignal(signal.SIGTERM) is before


def test_a_wrong_config_ends_in_one_text_and_exit_code_2(tmp_path, capsys):
  code = main.main(["train", str(tmp_path / "no.py"), "--workdir", str(tmp_path / "w")])
  text = capsys.readouterr().err
  assert code == 2
  assert text.startswith("ConfigError: There is no config ")
  assert not (tmp_path / "w").exists()


def test_an_unknown_machine_lists_the_known_ones(tmp_path, capsys):
  for command in ("prepare", "train"):
    code = main.main([command, "quickstart", "--workdir", str(tmp_path), "--machine", "cpus"])
    assert code == 2
    assert "Unknown machine 'cpus'. Did you mean 'cpu'?" in capsys.readouterr().err


def test_prepare_refuses_a_machine_the_rows_cannot_be_divided_on(tmp_path, capsys):
  arguments = ["--machine", "cpu8", "--set", "data.batch_rows=6"]
  code = main.main(["prepare", "quickstart", "--workdir", str(tmp_path), *arguments])
  assert code == 2
  assert "batch_rows=6 cannot be split over" in capsys.readouterr().err


def loaded(code):
  """The modules there are after some code, in a process of its own."""
  code = f"import sys\nfrom audiopalm.cli import main\n{code}\nprint(*sys.modules, file=sys.stderr)"
  found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  return set(found.stderr.split())


def test_help_waits_for_no_library():
  found = loaded("main.parser('--help').format_help()")
  assert not {"jax", "numpy", "grain", "tensorboardX", "soundfile", "rich"} & found


def test_no_command_line_loads_tensorflow_or_beam():
  found = loaded("for command in main.COMMANDS: main.parser(command)")
  assert "audiopalm.data.beam" in found
  assert not {"tensorflow", "seqio", "apache_beam"} & found


def test_every_command_has_a_module_and_a_line_in_the_help():
  for command in main.COMMANDS:
    (sub,) = (action for action in main.parser(command)._actions if action.choices)
    assert list(sub.choices) == list(main.COMMANDS)
    assert sub.choices[command].description
