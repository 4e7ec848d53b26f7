import json

import numpy as np
import pytest
import soundfile

from audiopalm.cli import main


@pytest.fixture
def manifest(tmp_path):
  def write(*rows):
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(8_000) / 9), 16_000)
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)

  return write


def test_a_sound_manifest_is_exit_code_0(manifest, capsys):
  path = manifest({"audio": "a.wav", "text": "one"})
  assert main.main(["inspect", "data", path, "--language", "en", "--workers", "1"]) == 0
  assert "1 lines can be read, 0 problems." in capsys.readouterr().out


def test_a_fault_of_either_kind_is_exit_code_2(manifest, capsys):
  path = manifest({"audio": "a.wav", "text": "one"}, {"audio": "b.wav", "text": "two"})
  assert main.main(["inspect", "data", path, "--language", "en", "--workers", "1"]) == 2
  assert "1 x no such file" in capsys.readouterr().out
  assert main.main(["inspect", "data", path, "--workers", "1"]) == 2
  assert "m.jsonl, lines 1-2: no language" in capsys.readouterr().out


def test_a_batch_of_no_run_says_what_is_missing(tmp_path, capsys):
  assert main.main(["inspect", "batch", "--workdir", str(tmp_path), "--step", "1"]) == 2
  assert "config.json" in capsys.readouterr().err


def test_no_workers_and_no_such_language_are_refused(manifest, capsys):
  path = manifest({"audio": "a.wav", "text": "one"})
  assert main.main(["inspect", "data", path, "--workers", "0"]) == 2
  assert "--workers takes a whole number of at least 1, not 0." in capsys.readouterr().err
  assert main.main(["inspect", "data", path, "--language", "english"]) == 2
  assert "language='english' is no known language. Write 'en'." in capsys.readouterr().err


def test_help_explains_every_option_with_an_example(capsys):
  with pytest.raises(SystemExit):
    main.main(["inspect", "data", "--help"])
  text = capsys.readouterr().out
  assert "  audiopalm inspect data train.jsonl\n" in text
  for word in ("MANIFEST", "--language", "--translation-language", "--audio-dir", "--workers"):
    assert word in text
