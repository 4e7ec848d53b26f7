"""The command line as a whole: help, exit codes, and one text for each fault."""

import errno
import os
import signal
import subprocess
import sys

import pytest

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
  for word in (*COMMANDS, "0 done", "2 a command", "70 a", "71 too", "75 stopped", "130"):
    assert word in text


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
  ("error", "code"),
  [(ConfigError("Give more."), 2), (BadSteps("Twenty."), 71), (Requeue("Saved."), 75)],
)
def test_an_error_for_the_user_is_its_text_alone_and_its_exit_code(
  monkeypatch, capsys, error, code
):
  assert fails_with(monkeypatch, error) == code
  assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"


def wrapped(error):
  try:
    raise ValueError("write failed") from error
  except ValueError as outer:
    return outer


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    wrapped(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    RuntimeError("RESOURCE_EXHAUSTED: pwrite: No space left on device"),
  ],
)
def test_a_full_device_is_one_text_and_exit_code_2(monkeypatch, capsys, error):
  assert fails_with(monkeypatch, error) == 2
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
  assert "Asked to stop (SIGTERM). What was written is kept" in capsys.readouterr().err
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
  arguments = ["--machine", "cpu8", "--set", "batch_rows=6"]
  code = main.main(["prepare", "quickstart", "--workdir", str(tmp_path), *arguments])
  assert code == 2
  assert "batch_rows=6 cannot be split over" in capsys.readouterr().err


def test_prepare_refuses_no_workers(tmp_path, capsys):
  arguments = ["--workdir", str(tmp_path), "--workers", "0"]
  assert main.main(["prepare", "quickstart", *arguments]) == 2
  assert "--workers takes a whole number of at least 1, not 0." in capsys.readouterr().err


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
