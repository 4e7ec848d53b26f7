"""Tokenizers by themselves, from the command line: fitted, imported, compared, listed."""

import inspect
import json
import shutil

import numpy as np
import pytest
import soundfile

from audiopalm.cli import main, tokenizer
from audiopalm.data import executors, fitting
from audiopalm.errors import EXIT_DONE, EXIT_USER
from audiopalm.parts import corpora, tokenizers
from audiopalm.parts.tokenizers import KeptTokenizer
from audiopalm.tokenizers.base import Tokenizer

WORDS = {"low": (300, 500), "up": (300, 1_500), "down": (1_500, 300)}  # Hz at the start, at the end


def spoken(word, speaker, take):
  random = np.random.default_rng([*WORDS].index(word) * 100 + take)
  start, end = WORDS[word]
  samples = 6_400 + 400 * take
  hz_S = np.linspace(start, end, samples) * {"bob": 1.0, "eve": 1.15}[speaker]
  tone_S = np.sin(2 * np.pi * np.cumsum(hz_S) / 16_000)
  return (0.4 * tone_S + 0.01 * random.normal(size=samples)).astype(np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
  folder = tmp_path_factory.mktemp("words")
  lines = []
  for speaker in ("bob", "eve"):
    for word in WORDS:
      for take in range(5):
        name = f"{word}_{speaker}_{take}.wav"
        soundfile.write(folder / name, spoken(word, speaker, take), 16_000)
        lines.append({"audio": name, "text": word, "language": "en", "speaker": speaker})
  path = folder / "m.jsonl"
  path.write_text("\n".join(map(json.dumps, lines)))
  return path


@pytest.fixture(scope="module")
def fitted(manifest):
  out = manifest.parent / "fitted"
  command = ["tokenizer", "fit", str(manifest), "--out", str(out), "--units", "mel_rvq"]
  changes = ["--set", "size=8", "--set", "codebooks=2", "--set", "rate_hz=50"]
  assert main.main([*command, *changes, "--workers", "1"]) == EXIT_DONE
  return out


def refused(capsys, *words):
  assert main.main(["tokenizer", *map(str, words)]) == EXIT_USER
  return capsys.readouterr().err


def test_all_that_a_config_can_name_is_listed(capsys):
  returned = {
    name: inspect.signature(function).return_annotation
    for name, function in inspect.getmembers(tokenizers, inspect.isfunction)
    if function.__module__ == tokenizers.__name__ and name != "named_units"
  }
  named = {
    name
    for name, kind in returned.items()
    if kind in (Tokenizer, KeptTokenizer) or hasattr(kind, "fit")
  }
  assert main.main(["tokenizer", "list"]) == EXIT_DONE
  lines = capsys.readouterr().out.splitlines()
  assert {line.split()[0] for line in lines} == named == {name for name, _, _ in tokenizer.KINDS}
  assert next(line for line in lines if line.startswith("units")).split()[1:4] == [
    "256", "ids,", "25",
  ]  # fmt: skip


def test_what_is_fitted_is_what_a_run_would_fit(fitted, manifest):
  corpus = corpora.manifest(str(manifest))
  settings = tokenizers.mel_rvq(size=8, codebooks=2, rate_hz=50.0)
  with executors.Local(1) as executor:
    of_run = fitting.fit((settings,), (corpus,), executor)["codes"]
  kept = tokenizers.fitted(str(fitted))
  assert kept.settings == settings and kept.fingerprint == of_run.spec.fingerprint
  record = json.loads((fitted / "fitted.json").read_text())["fitted_on"]
  assert (record["recordings"], record["speakers"]) == (30, 2)
  assert record["corpora"] == [{"name": "manifest", "fingerprint": corpus.fingerprint}]


def test_a_folder_is_listed_with_its_ids_and_fingerprint(fitted, capsys):
  assert main.main(["tokenizer", "list", "--workdir", str(fitted)]) == EXIT_DONE
  print_ = tokenizers.fitted(str(fitted)).fingerprint[:12]
  text = capsys.readouterr().out
  assert text.split() == f"codes 2 x 8 ids, 50 a second MelRVQ, fingerprint {print_}".split()


def test_tokenizers_are_compared_on_the_same_recordings(fitted, manifest, tmp_path, capsys):
  out = tmp_path / "scores.json"
  command = ["tokenizer", "evaluate", str(manifest), "--tokenizer", str(fitted)]
  assert main.main([*command, "--json", str(out)]) == EXIT_DONE
  text = capsys.readouterr().out
  for shown in ("8, level 1 of 2", "ABX within, ids %", "ABX across, features %", "chance 50.0"):
    assert shown in text
  assert "30 recordings" in text and "labeled by recordings" in text
  result = json.loads(out.read_text())
  assert result["notes"] == [] and result["speakers"] == 2
  (scores,) = result["tokenizers"].values()
  assert scores["fingerprint"] == tokenizers.fitted(str(fitted)).fingerprint
  assert scores["bits_per_s"]["nominal"] == 150 and scores["bits_per_s_of_all_codebooks"] == 300
  assert scores["bits_per_s"]["ids"] <= 150 and 0 < scores["used"] <= 1
  assert scores["abx"]["within"]["features"]["error"] < 0.1  # tones that differ clearly
  assert 0 < scores["pnmi"] < 1 and scores["purity"] > 0.4 and scores["real_time_factor"] > 0
  assert main.main([*command, "--json", str(out)]) == EXIT_DONE  # the same, but for its speed
  (again,) = json.loads(out.read_text())["tokenizers"].values()
  assert scores | {"real_time_factor": 0} == again | {"real_time_factor": 0}


def test_what_recordings_lack_is_said_or_is_an_error_where_it_was_asked_for(
  fitted, manifest, tmp_path, capsys
):
  lines = list(map(json.loads, manifest.read_text().splitlines()))

  def written(**changes):
    path = manifest.parent / f"{tmp_path.name}.jsonl"
    path.write_text("\n".join(json.dumps({**line, **changes}) for line in lines))
    return path

  def evaluate(path, *words):
    return "evaluate", path, "--tokenizer", fitted, *words

  nobody = written(speaker=None)
  text = refused(capsys, *evaluate(nobody, "--abx", "across"))
  assert "ABX across speakers expects two or more that are named, the recordings have 0" in text
  assert "Name them in the column speaker of the manifest, or ask for --abx within" in text
  assert main.main(["tokenizer", *map(str, evaluate(nobody, "--most", "12"))]) == EXIT_DONE
  text = capsys.readouterr().out
  assert "Not measured: ABX across speakers expects" in text
  assert (
    "Not measured: The speaker probe expects two or more speakers with 5 recordings each" in text
  )
  assert "ABX within, ids %" in text and "ABX across, ids %" not in text

  text = refused(capsys, *evaluate(manifest, "--split", "test"))
  assert "--split names a split of a config, but" in text and "is read as a manifest" in text
  text = refused(capsys, *evaluate(manifest, "--labels", "phones"))
  assert "--labels phones expects a column phones" in text
  text = refused(capsys, *evaluate(written(text="low")))
  assert "expect two or more labels, the 30 recordings have low" in text
  assert main.main(
    ["tokenizer", *map(str, evaluate(written(text="so low"), "--most", "3"))]
  ) == EXIT_DONE  # fmt: skip
  text = capsys.readouterr().out
  assert "Not measured: ABX, PNMI and purity need labels" in text and "PNMI %" not in text


def test_a_folder_that_is_wrong_or_changed_is_refused(fitted, manifest, tmp_path, capsys):
  text = refused(capsys, "evaluate", manifest, "--tokenizer", tmp_path)
  assert "Expected a folder that `audiopalm tokenizer fit` wrote" in text
  changed = tmp_path / "changed"
  shutil.copytree(fitted, changed)
  arrays = dict(np.load(changed / "mel_rvq.npz"))
  np.savez(changed / "mel_rvq.npz", centroids_QVE=arrays["centroids_QVE"] * 2)
  for words in (("evaluate", manifest, "--tokenizer", changed), ("list", "--workdir", changed)):
    assert "is not the one that was fitted there" in refused(capsys, *words)
  text = refused(capsys, "fit", manifest, "--out", fitted)
  assert "is not empty" in text and "is not overwritten" in text


def test_what_fit_cannot_use_is_refused(manifest, tmp_path, capsys):
  fit = "fit", manifest, "--out", tmp_path / "new"
  text = refused(capsys, *fit, "--units", "hubert")
  assert "Unknown --units 'hubert'. Expected mfcc, mel_rvq, neural:FOLDER." in text
  assert "Expected mfcc, or neural:FOLDER" in refused(capsys, *fit, "--units", "neural:")
  assert "There is no setting 'sizes'. Near: size" in refused(capsys, *fit, "--set", "sizes=3")
  assert "--set takes FIELD=VALUE" in refused(capsys, *fit, "--set", "size")
  text = refused(capsys, *fit, "--data", "held_out_speaker=theo")
  assert "--data changes settings of a config, but" in text and "is read as a manifest" in text
  text = refused(capsys, *fit, "--set", "size=100000", "--workers", "1")
  assert "Expected at least 100000 units of speech" in text
  assert "Use more recordings, or a smaller size, such as size=" in text
  assert "Give one config, or manifests" in refused(
    capsys, "fit", "spoken_digit", manifest, "--out", tmp_path / "new"
  )
  text = refused(
    capsys, "fit", "spoken_digit", "--out", tmp_path / "new", "--language", "en", "--audio-dir", "a"
  )
  assert "--language, --audio-dir is for manifests, but spoken_digit is read as a config" in text
  assert not (tmp_path / "new").exists()


def test_an_encoder_is_imported_and_units_of_it_are_fitted(folders, manifest, tmp_path, capsys):
  folder = folders.write(tmp_path / "hubert", "hubert")
  (folder / "LICENSE").write_text("MIT License\n")
  imported, out = tmp_path / "imported", tmp_path / "units"
  assert main.main(["tokenizer", "import", str(folder), "--out", str(imported)]) == EXIT_DONE
  text = capsys.readouterr().out
  assert "hubert: 2 layers of width 16, 200 states a second\nlicense: MIT License (LICENSE)" in text
  assert f"--units neural:{imported}" in text
  # In this process, as for an accelerator.
  fit = ["fit", manifest, "--units", f"neural:{imported}", "--out", out, "--workers", "0"]
  changes = ["--set", "size=8", "--set", "layer=1"]
  assert main.main(["tokenizer", *map(str, fit), *changes]) == EXIT_DONE
  assert "License of the weights: MIT License (LICENSE)" in capsys.readouterr().out
  assert main.main(["tokenizer", "list", "--workdir", str(out)]) == EXIT_DONE
  assert "NeuralUnits" in (text := capsys.readouterr().out) and "MIT License (LICENSE)" in text
  (out / "encoder" / "model.safetensors").write_bytes(b"{")
  text = refused(capsys, "evaluate", manifest, "--tokenizer", out, "--most", 3)
  assert "copy of the encoder of the stream 'units'" in text and "cannot be read" in text
  text = refused(capsys, "import", tmp_path, "--out", tmp_path / "other")
  assert "has no config.json. Expected the folder of a speech encoder" in text
  arrays = folders.tensors("hubert")
  arrays["encoder.layer_norm.bias"][3] = np.inf
  folders.write(folder, "hubert", arrays)
  text = refused(capsys, "import", folder, "--out", tmp_path / "other")
  assert "1 tensors in" in text and "not finite, the first is encoder.layer_norm.bias" in text
