"""The options of the machine: what they change, and that every command reads the same ones."""

import argparse
import dataclasses
import json

import pytest

from audiopalm.cli import hardware, main
from audiopalm.errors import EXIT_USER, ConfigError
from audiopalm.parts import machines
from audiopalm.settings import Machine

CPU8 = machines.TABLE["cpu8"]  # data=1, fsdp=4, tensor=2


def asked(*line):
  """Returns the options of a command line."""
  parser = argparse.ArgumentParser()
  hardware.add_arguments(parser)
  return parser.parse_args(line)


def machine(*line, default=lambda: CPU8):
  return hardware.machine(asked(*line), default)


def test_every_command_that_takes_a_machine_takes_all_that_changes_one():
  taking = set()
  for command in main.COMMANDS:
    (commands,) = (action for action in main.parser(command)._actions if action.choices)
    names = {action.dest for action in commands.choices[command]._actions}
    if "machine" in names:
      taking.add(command)
      assert names >= set(hardware.OPTIONS), command
  assert taking == {"prepare", "train", "align", "evaluate", "generate", "plan", "preflight"}


def test_without_an_option_there_is_no_machine_and_nobody_is_asked_for_one():
  assert machine(default=lambda: pytest.fail("the default was asked for")) is None


def test_a_machine_goes_by_its_name_and_then_the_default_is_not_asked_for():
  assert machine("--machine", "v5e", default=None) == machines.TABLE["v5e"]


@pytest.mark.parametrize(
  ("mesh", "sizes"),
  [
    ("data=8,fsdp=4", {"data": 8, "fsdp": 4, "context": 1, "tensor": 1}),
    ("tensor=4", {"data": 1, "fsdp": -1, "context": 1, "tensor": 4}),
    ("data=-1", {"data": -1, "fsdp": 1, "context": 1, "tensor": 1}),
    ("context=2, fsdp=-1", {"data": 1, "fsdp": -1, "context": 2, "tensor": 1}),
  ],
)
def test_a_mesh_says_all_axes_and_fsdp_takes_what_is_left(mesh, sizes):
  assert machine("--mesh", mesh) == dataclasses.replace(CPU8, **sizes)


def test_each_option_changes_its_field_and_leaves_the_others():
  given = ("--remat", "full", "--attention", "splash", "--micro-batch-tokens", "4096")
  changed = {"remat": "full", "attention": "splash", "micro_batch_tokens": 4096}
  assert machine(*given) == dataclasses.replace(CPU8, **changed)
  assert machine("--micro-batch-tokens", "none").micro_batch_tokens is None
  named = machine("--machine", "v5e", "--mesh", "fsdp=64,tensor=4", default=None)
  assert named == dataclasses.replace(machines.TABLE["v5e"], fsdp=64, tensor=4)


@pytest.mark.parametrize(
  ("given", "text"),
  [
    (("--mesh", "fdsp=2"), "--mesh takes sizes of data, fsdp, context, tensor, each once, as in"),
    (("--mesh", "fsdp=2,fsdp=4"), "not 'fsdp=4' in 'fsdp=2,fsdp=4'."),
    (("--mesh", "fsdp"), "not 'fsdp' in 'fsdp'."),
    (("--mesh", "fsdp=0"), "not 'fsdp=0' in 'fsdp=0'."),
    (("--mesh", "data=-1,fsdp=-1"), "leaves more than one mesh axis open (data=-1, fsdp=-1"),
    (("--micro-batch-tokens", "1k"), "--micro-batch-tokens takes an integer or none, not '1k'"),
    (("--micro-batch-tokens", "0"), "micro_batch_tokens=0 must be at least 1"),
    (("--machine", "v5", "--mesh", "fsdp=2"), "Unknown machine 'v5'. Did you mean 'v5"),
    (("--machine", "mine.json"), "There is no file mine.json with a machine."),
  ],
)
def test_what_is_no_machine_says_what_was_expected(given, text):
  with pytest.raises(ConfigError) as error:
    machine(*given)
  assert text in str(error.value)


@pytest.mark.parametrize("option", ["--remat", "--attention"])
def test_an_unknown_policy_lists_the_known_ones(capsys, option):
  with pytest.raises(SystemExit):
    asked(option, "all")
  assert f"argument {option}: invalid choice: 'all' (choose from" in capsys.readouterr().err


def test_options_are_handed_on_as_they_were_given():
  line = ["--machine", "v5e", "--mesh", "fsdp=8", "--remat", "none", "--micro-batch-tokens", "64"]
  assert hardware.repeat_options(asked(*line)) == line
  assert hardware.repeat_options(asked()) == []


def test_what_a_command_reads_is_the_file_of_a_machine_and_no_name(tmp_path):
  assert hardware.files(asked("--machine", "cpu")) == hardware.files(asked()) == []
  assert hardware.files(asked("--machine", str(tmp_path / "a.json"))) == [tmp_path / "a.json"]


def test_a_machine_of_a_file_is_never_overwritten(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "mine.json").write_text(machines.to_json(Machine(name="mine")))
  line = ["plan", "quickstart", "--topology", "cpu:8", "--machine", "mine.json"]
  assert main.main([*line, "--json", "mine.json"]) == EXIT_USER
  assert "--json mine.json would overwrite mine.json, which this" in capsys.readouterr().err
  assert json.loads((tmp_path / "mine.json").read_text())["machine"]["name"] == "mine"
