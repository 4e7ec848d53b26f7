import argparse
import dataclasses
import json

import pytest

from audiopalm.cli import config, main, plan
from audiopalm.parts import machines
from audiopalm.planning import topology

SMALL = ("--set", "model.layers=1", "--set", "data.row_length=64")


def test_a_plan_is_printed_and_written(tmp_path, capsys):
  arguments = ["--topology", "cpu:8", "--json", str(tmp_path / "plan.json")]
  mesh = ["--mesh", "fsdp=4,data=2", "--remat", "full"]
  assert main.main(["plan", "quickstart", *arguments, *mesh, *SMALL]) == 0
  printed = capsys.readouterr().out
  assert "mesh data=2, fsdp=4, context=1, tensor=1" in printed and "fits in" in printed
  assert "Times are computed from the rates of" in " ".join(printed.split())
  result = json.loads((tmp_path / "plan.json").read_text())
  assert result["fits"] and result["mesh"]["fsdp"] == 4 and result["machine"]["remat"] == "full"
  assert result["collectives"]["data x fsdp"] or result["collectives"]["fsdp"]
  assert result["rates"]["flops"] == topology.CPU.flops


def test_a_plan_is_stored_in_a_workdir_for_preflight(tmp_path, capsys):
  arguments = ["--topology", "cpu:8", "--workdir", str(tmp_path / "run"), *SMALL]
  arguments += ["--set", "model.heads=6", "--set", "model.kv_heads=2"]  # for cpu8: tensor=2
  assert main.main(["plan", "quickstart", *arguments, "--machine", "cpu8",
                    "--mesh", "fsdp=8"]) == 0  # fmt: skip
  capsys.readouterr()
  assert main.main(["preflight", "quickstart", *arguments, "--machine", "cpu8"]) == 0
  printed = capsys.readouterr().out
  assert "cpu-8-cpu8.json is for a machine with another fsdp, tensor: audiopalm" in printed
  assert main.main(["plan", "quickstart", *arguments, "--search"]) == 2
  assert "leave out --search and --generate" in capsys.readouterr().err


def test_a_plan_that_does_not_fit_ends_with_1_and_is_written(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(topology.os, "sysconf", lambda name: 2**10)
  arguments = ["plan", "quickstart", "--topology", "cpu:8", *SMALL]
  arguments += ["--json", str(tmp_path / "plan.json")]
  assert main.main([*arguments, "--mesh", "fsdp=8"]) == 1
  assert "does not fit in" in capsys.readouterr().out
  assert not json.loads((tmp_path / "plan.json").read_text())["fits"]
  assert main.main([*arguments, "--search", "--budget-s", "0"]) == 1
  result = json.loads((tmp_path / "plan.json").read_text())
  assert not result["fits"] and len(result["ranking"]) == 1 and "machine" not in result


def test_the_best_candidate_of_a_search_is_written_as_a_plan_with_the_ranking(tmp_path, capsys):
  arguments = ["plan", "quickstart", "--topology", "cpu:8", *SMALL]
  arguments += ["--search", "--budget-s", "0", "--json", str(tmp_path / "plan.json")]
  assert main.main(arguments) == 0
  result = json.loads((tmp_path / "plan.json").read_text())
  assert result["fits"] and (result["mesh"]["fsdp"], result["batch_rows"]) == (8, 8)
  (best,) = result["ranking"]
  assert {name: result[name] for name in best} == best


def test_a_plan_is_a_machine_for_training(tmp_path, capsys):
  path, workdir = str(tmp_path / "plan.json"), ["--workdir", str(tmp_path / "run")]
  options = ["--mesh", "fsdp=4,data=2", "--remat", "full", "--micro-batch-tokens", "512"]
  arguments = ["quickstart", "--topology", "cpu:8", *SMALL]
  assert main.main(["plan", *arguments, *options, "--json", path]) == 0
  command = ["train", "quickstart", "--workdir", "DIR", "--machine", path, *SMALL]
  assert f"To train on this plan: audiopalm {' '.join(command)}\n" in capsys.readouterr().out
  changed = {"fsdp": 4, "data": 2, "remat": "full", "micro_batch_tokens": 512}
  assert machines.named(path) == dataclasses.replace(machines.TABLE["cpu"], **changed)
  assert main.main(["plan", *arguments, *workdir, "--machine", path]) == 0
  assert main.main(["preflight", *arguments, *workdir, *options]) == 0
  assert "according to the plan of this config" in capsys.readouterr().out


def test_the_train_command_contains_the_batch_size_of_the_best_candidate(tmp_path):
  args = argparse.Namespace(config="a b.py", json=tmp_path / "plan.json", settings=["steps=3"])
  made = config.load("quickstart")
  line = f"audiopalm train 'a b.py' --workdir DIR --machine {tmp_path}/plan.json --set steps=3"
  assert plan._train_command(args, made.data.batch_rows, made) == line
  more = plan._train_command(args, 2 * made.data.batch_rows, made)
  assert more == f"{line} --set data.batch_rows={2 * made.data.batch_rows}"


def test_decoding_is_planned(capsys):
  arguments = ["--topology", "cpu:8", "--generate", "16x64"]
  assert main.main(["plan", "quickstart", *arguments, "--mesh", "fsdp=8", *SMALL]) == 0
  assert "cache" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["quickstart", "--topology", "v5q:4x4"], "Unknown topology 'v5q:4x4'"),
    (["quickstart", "--topology", "cpu:8", "--mesh", "fdsp=2"], "--mesh takes sizes of data, fsdp"),
    (["quickstart", "--topology", "cpu:8", "--mesh", "fsdp=3"], "product is 8: data=1, fsdp=8"),
    (["quickstart", "--topology", "cpu:8", "--mesh", "tensor=8,fsdp=1"], "'heads' of size 3"),
    (["quickstart", "--topology", "cpu:8", "--set", "data.batch_rows=6"], "divisible by 8: 8"),
    (["quickstart", "--topology", "cpu:8", "--attention", "splash"], "'splash' runs on a tpu"),
    (["quickstart", "--topology", "cpu:8", "--generate", "16"], "--generate takes ROWSxSLOTS"),
  ],
)
def test_a_refused_plan_names_the_reason(capsys, arguments, message):
  assert main.main(["plan", *arguments]) == 2
  assert message in capsys.readouterr().err
