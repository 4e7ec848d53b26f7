import json

import jax
import numpy as np
import pytest

import audiopalm
from audiopalm.cli import main
from audiopalm.errors import EXIT_DONE, EXIT_USER


@pytest.fixture(scope="module")
def imported(small_run, tmp_path_factory):
  """(the exported run, the workdir made of its folder)."""
  folder = tmp_path_factory.mktemp("import")
  run, prepared = small_run.run()
  small_run.folder.write(folder / "out", run, prepared)
  line = ["import", "--from", str(folder / "out"), "--workdir", str(folder / "again")]
  assert main.main(line) == EXIT_DONE
  return run, folder / "again"


def test_parameters_manifest_and_tokenizers_are_the_same_bytes(imported, small_run, tmp_path):
  run, workdir = imported
  opened = audiopalm.load(workdir, small_run.ONE)
  found, wanted = jax.device_get(opened.params), run.params
  same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == b.tobytes(), found, wanted)
  assert all(jax.tree.leaves(same))
  assert opened.experiment == run.experiment
  assert opened.step == run.step
  assert json.loads((workdir / "manifest.json").read_text()) == json.loads(json.dumps(run.manifest))
  for name, tokenizer in run.tokenizers.items():
    tokenizer.save(tmp_path / name)
    for path in (tmp_path / name).iterdir():
      assert (workdir / "tokenizers" / name / path.name).read_bytes() == path.read_bytes()


def test_it_answers_without_data(imported, small_run):
  opened = audiopalm.load(imported[1], small_run.ONE)
  said = small_run.said(3)
  (result,) = opened.generate("asr", audio=said.wave_S, language="fr")
  assert result.text
  (spoken,) = opened.generate("tts", text="bonjour", language="fr")
  assert len(spoken.wave_S) > 1_000


def contents(folder):
  files = (path for path in folder.rglob("*") if path.is_file())
  return {path.relative_to(folder): path.read_bytes() for path in files}


def test_what_it_exports_again_is_the_same_to_the_byte(imported, small_run, tmp_path):
  opened = audiopalm.load(imported[1], small_run.ONE)
  opened.export(tmp_path / "again")
  first = imported[1].parent / "out"
  assert contents(first) == contents(tmp_path / "again")


def test_scores_say_what_is_missing(imported, capsys):
  _, workdir = imported
  assert main.main(["evaluate", "--workdir", str(workdir)]) == EXIT_USER
  assert "Run `audiopalm prepare` for this workdir" in capsys.readouterr().err


def test_a_folder_of_another_origin_is_one_error_and_leaves_nothing(tmp_path, capsys):
  (tmp_path / "theirs").mkdir()
  (tmp_path / "theirs" / "config.json").write_text('{"model_type": "mistral"}')
  line = ["import", "--from", str(tmp_path / "theirs"), "--workdir", str(tmp_path / "new")]
  assert main.main(line) == EXIT_USER
  said = capsys.readouterr().err
  assert "ConfigError:" in said and "a config.json of model_type 'mistral'" in said
  assert not (tmp_path / "new").exists()


def test_a_workdir_that_holds_something_is_left_alone(tmp_path, capsys):
  (tmp_path / "new").mkdir()
  (tmp_path / "new" / "config.json").write_text("{}")
  line = ["import", "--from", str(tmp_path / "theirs"), "--workdir", str(tmp_path / "new")]
  assert main.main(line) == EXIT_USER
  assert "new is not empty (it holds config.json)" in capsys.readouterr().err
