"""A published corpus, prepared from the folder it was unpacked into."""

import json

import numpy as np
import soundfile

from audiopalm.cli import config, main
from audiopalm.data import prepare
from audiopalm.data_pipelines import manifest
from audiopalm.parts import corpora

WORDS = {
  "en_us": ("one", "two", "three", "four", "five", "six", "seven", "eight"),
  "fr_fr": ("un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit"),
}
SENTENCES = 8

CONFIG = """
from audiopalm.data.packed import Packed
from audiopalm.experiment import Experiment
from audiopalm.parts import corpora, mixtures, models, optim, tokenizers

def experiment():
  corpus = corpora.fleurs("fleurs", languages=("en_us", "fr_fr"))
  tasks = (mixtures.asr(corpus), mixtures.ast(corpus), mixtures.s2st(corpus))
  return Experiment(
    name="mine",
    tokenizers=(tokenizers.text(size=320), tokenizers.units(size=32, rate_hz=25, warps=1)),
    mixture=mixtures.blend(*((task, 1.0) for task in tasks)),
    model=models.tiny(),
    optimizer=optim.adamw(peak_lr=1e-3),
    data=Packed(row_length=256),
  )
"""


def write_fleurs(folder):
  """Writes each sentence once in English and twice in French, and two that only English has."""
  random = np.random.default_rng(0)
  for language, words in WORDS.items():
    for theirs in ("train", "dev", "test"):
      audio = folder / "data" / language / "audio" / theirs
      audio.mkdir(parents=True)
      rows = []
      copies = 1 if language == "en_us" else 2
      for sentence in range(SENTENCES + (2 if copies == 1 else 0)):
        for copy in range(copies):
          time_S = np.arange(6_400 + 800 * (sentence % 5)) / 16_000
          wave_S = 0.3 * np.sin(2 * np.pi * (200 + 40 * sentence + 300 * copy) * time_S)
          name = f"{sentence}{copy}.wav"
          soundfile.write(audio / name, wave_S + random.normal(0, 0.01, len(time_S)), 16_000)
          text = " ".join(words[(sentence + place) % 8] for place in range(3))
          gender = ("FEMALE", "MALE")[copy]
          rows.append((str(sentence), name, text.title(), text, "", str(len(time_S)), gender))
      table = "".join("\t".join(row) + "\n" for row in rows)
      (folder / "data" / language / f"{theirs}.tsv").write_text(table)


def test_a_folder_of_fleurs_becomes_records_to_hear_translate_and_speak(tmp_path, monkeypatch):
  write_fleurs(tmp_path / "fleurs")
  (tmp_path / "fleurs" / "data" / "fr_fr" / "audio" / "train" / "31.wav").unlink()
  (tmp_path / "mine.py").write_text(CONFIG)
  monkeypatch.chdir(tmp_path)
  assert main.main(["prepare", "mine.py", "--workdir", "run", "--workers", "1"]) == 0
  told = json.loads((tmp_path / "run" / "prepare.json").read_text())
  (corpus,) = told["corpora"].values()
  train, test = (corpus["splits"][split] for split in ("train", "test"))
  # Ten recordings in English and sixteen in French, one of which is missing.
  assert (train["records"], test["records"]) == (25, 26)
  assert train["quarantined"]["no such file"]["records"] == 1
  experiment = config.load(str(tmp_path / "mine.py"))
  prepared = prepare.open_prepared(experiment, tmp_path / "run")
  entries = prepared.entries(experiment.corpora[0], "train")
  assert (entries[0].id, entries[24].id) == (
    "fleurs/train/000000-en_us-00-fr", "fleurs/train/000025-fr_fr-71-en",
  )  # fmt: skip
  (fault,) = entries.quarantined
  assert fault["reason"].startswith(
    f"fleurs/data/fr_fr/train.tsv:8 ({tmp_path}/fleurs/data/fr_fr/audio/train/31.wav): no such file"
  )
  counts = {task: len(set(prepared.rows(task, "train").records)) for task in ("asr", "ast", "s2st")}
  assert counts == {"asr": 25, "ast": 23, "s2st": 23}


def test_both_sides_of_cvss_records_have_waves(tmp_path):
  clips, spoken = tmp_path / "cv" / "fr" / "clips", tmp_path / "cvss"
  clips.mkdir(parents=True)
  said = ["client_id\tpath\tsentence"]
  for number, theirs in enumerate(("train", "dev", "test")):
    clip = f"common_voice_fr_{number}.mp3"
    said.append(f"anna\t{clip}\tUn mot.")
    (spoken / theirs).mkdir(parents=True)
    (spoken / f"{theirs}.tsv").write_text(f"{clip}\tone word\n")
    time_S = np.arange(24_000) / 48_000
    soundfile.write(clips / clip, 0.3 * np.sin(2 * np.pi * 300 * time_S), 48_000)
    soundfile.write(spoken / theirs / f"{clip}.wav", 0.3 * np.sin(900 * time_S[:9_600]), 24_000)
  (tmp_path / "cv" / "fr" / "validated.tsv").write_text("\n".join(said))
  settings = corpora.cvss(str(spoken), pair="fr_en", common_voice=str(tmp_path / "cv"))
  (record,) = manifest.records(settings, "test", 0, manifest.count(settings, "test"))
  assert record.id == "cvss/test/000000-common_voice_fr_2.mp3"
  source, target = record.utterances["source"], record.utterances["target"]
  assert (source.text, source.language, source.speaker) == ("Un mot.", "fr", "anna")
  assert (target.text, target.language, target.speaker) == ("one word", "en", "cvss")
  assert [len(one.wave_S) for one in (source, target)] == [8_000, 6_400]
