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
  assert "1 lines can be read, 1 can be used, 0 problems." in capsys.readouterr().out


def test_a_fault_of_either_kind_is_exit_code_2(manifest, capsys):
  path = manifest({"audio": "a.wav", "text": "one"}, {"audio": "b.wav", "text": "two"})
  assert main.main(["inspect", "data", path, "--language", "en", "--workers", "1"]) == 2
  assert "1 x no such file" in capsys.readouterr().out
  assert main.main(["inspect", "data", path, "--workers", "1"]) == 2
  assert "m.jsonl, lines 1-2: no language" in capsys.readouterr().out


def test_tables_of_a_published_corpus_are_read_by_its_name(tmp_path, capsys):
  tables = []
  for language in ("en_us", "fr_fr"):
    folder = tmp_path / language
    (folder / "audio" / "dev").mkdir(parents=True)
    soundfile.write(folder / "audio" / "dev" / "1.wav", np.sin(np.arange(8_000) / 9), 16_000)
    (folder / "dev.tsv").write_text("7\t1.wav\tRaw.\traw\tr\t8000\tMALE\n")
    tables.append(str(folder / "dev.tsv"))
  assert main.main(["inspect", "data", *tables, "--corpus", "fleurs", "--workers", "1"]) == 0
  text = capsys.readouterr().out
  assert "en to fr: 1 records, spoken\nfr to en: 1 records, spoken" in text
  assert "2 lines can be read, 2 can be used, 0 problems." in text
  assert main.main(["inspect", "data", tables[0], "--corpus", "covost2"]) == 2
  assert "CoVoST2 needs the clips of Common Voice" in capsys.readouterr().err
  path = [str(tmp_path / "clips.tsv"), "--corpus", "covost2", "--audio-dir", str(tmp_path)]
  assert main.main(["inspect", "data", *path, "--workers", "1"]) == 2
  assert "clips.tsv: is not named like a split of CoVoST 2" in capsys.readouterr().out


def test_a_batch_of_no_run_says_what_is_missing(tmp_path, capsys):
  assert main.main(["inspect", "batch", "--workdir", str(tmp_path), "--step", "1"]) == 2
  assert "config.json" in capsys.readouterr().err


def test_no_workers_and_no_such_language_are_refused(manifest, capsys):
  path = manifest({"audio": "a.wav", "text": "one"})
  with pytest.raises(SystemExit) as stop:
    main.main(["inspect", "data", path, "--workers", "0"])
  assert stop.value.code == 2
  text = "argument --workers: expected an integer of at least 1, not 0"
  assert text in capsys.readouterr().err
  assert main.main(["inspect", "data", path, "--language", "english"]) == 2
  assert "language='english' is not a known language. Write 'en'." in capsys.readouterr().err


def test_help_explains_every_option_with_an_example(capsys):
  with pytest.raises(SystemExit):
    main.main(["inspect", "data", "--help"])
  text = capsys.readouterr().out
  assert "  audiopalm inspect data train.jsonl\n" in text
  for word in (
    "MANIFEST",
    "--language",
    "--translation-language",
    "--audio-dir",
    "--corpus",
    "--workers",
  ):
    assert word in text
