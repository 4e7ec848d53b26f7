"""The files of a run as training and evaluation leave them, written without either.

Four sentences a test split, English and French in turn; speech is a tone. Asked to transcribe the
first sentence the model answers with HTML, the second it gets right.
"""

import dataclasses
import json
import math

import numpy as np
from array_record.python import array_record_module

from audiopalm.audio import waveform
from audiopalm.data import cache, files
from audiopalm.data.corpora import Synthetic
from audiopalm.evaluation import saved, scoring
from audiopalm.evaluation.answers import Answer, Output
from audiopalm.experiment import Experiment
from audiopalm.metrics.likelihood import Sums
from audiopalm.parts import mixtures, models, optim, tokenizers
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

SENTENCES = ("one two three", "quatre cinq six", "seven eight", "neuf dix")
HOSTILE = '<script>alert("1 & 2")</script> one two\a'
SPECS = (
  StreamSpec("text", "text", (300,), None, "letters"),
  StreamSpec("units", "speech", (32,), 25.0, "tones"),
)
STEPS, EVERY = 40, 10
SPLITS = (scoring.SEEN, scoring.HELD_OUT)


def experiment(*builders, **changes):
  """Returns a small experiment; `builders` make its tasks."""
  corpus = Synthetic(languages=("en", "fr"), test_records=4, voices=2, held_out_voices=1)
  tasks = builders or (mixtures.asr, mixtures.tts, mixtures.s2st, mixtures.mt)
  made = Experiment(
    name="small",
    tokenizers=(tokenizers.text(size=300), tokenizers.units(size=32)),
    mixture=mixtures.blend(*((task(corpus), 1.0) for task in tasks)),
    model=models.tiny(width=64, layers=1),
    optimizer=optim.adamw(peak_lr=1e-3),
    steps=STEPS,
  )
  return dataclasses.replace(made, **changes)


def write(workdir, made=None, *, steps=STEPS, evaluated=True, sharper=1.0):
  """Returns `workdir` with the files of a run in it, trained for `steps` steps.

  Held-out losses are divided by `sharper`.
  """
  made = made or experiment()
  layouts = {task.name: made.layout.layout_of(task) for task in made.tasks}
  # Every tag gets ids of its own: that is all a tag needs to be.
  space = token_space.build(SPECS, layouts, lambda tag: [ord(letter) for letter in tag])
  files.write_json(workdir / "config.json", json.loads(made.to_json()))
  files.write_json(workdir / "manifest.json", token_space.manifest(space))
  files.write_json(workdir / "prepare.json", _prepared(space, made))
  entries = {split: [_entry(split, n) for n in range(4)] for split in SPLITS}
  specs = {spec.name: spec for spec in SPECS}
  folder = cache.folder_of(workdir / "streams", made.corpora[0], specs)
  files.write_json(folder / "cache.json", {"shards": dict.fromkeys(SPLITS, 1)})
  for split, held in entries.items():
    _write_shard(cache.shard_path(folder, split, 0, 1), held)
  if steps:
    _write_training(workdir, made, steps, sharper)
  if evaluated:
    _write_evaluation(workdir, made, entries, steps)
  return workdir


def wave(hz, seconds=0.4):
  return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(16_000 * seconds)) / 16_000)).astype("f4")


def _prepared(space, made):
  fault = {"records": 2, "first": "small/train/3 (source): silent."}
  split = {"records": 6, "hours": {"source": 1.5, "target": 0.5}, "quarantined": {}}
  return {
    "manifest_hash": token_space.manifest_hash(space),
    "streams_dir": "streams",
    "corpora": {
      "made": {
        "name": made.corpora[0].name,
        "splits": {"train": split | {"quarantined": {"silent": fault}}, "test": split},
      }
    },
  }


def _entry(split, number):
  codes = ("en", "fr") if number % 2 == 0 else ("fr", "en")
  kind = "new" if split == scoring.HELD_OUT else "a"
  said = {
    role: cache.EntryUtterance(
      code, f"{code}-{kind}", SENTENCES[number], 0.4, {"units": np.arange(4)},
      waveform.to_flac(wave(300 + 100 * number)),
    )
    for role, code in zip(("source", "target"), codes, strict=True)
  }  # fmt: skip
  return cache.Entry(f"made/{split}/{number}", said)


def _write_shard(path, entries):
  path.parent.mkdir(parents=True, exist_ok=True)
  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  for entry in entries:
    writer.write(cache.pack(entry))
  writer.close()
  empty = {name: {} for name in ("seconds", "maxima", "lengths", "languages")}
  cache.write_sidecar(path, {"records": len(entries), "quarantined": [], **empty})


def _write_training(workdir, made, steps, sharper):
  names = [task.name for task in made.tasks]
  told = []
  for step in range(1, steps + 1):
    loss = math.exp(-step / 20)
    told.append(
      {"step": step, "loss": loss, "nll_text": loss, "nll_speech": 2 * loss, "lr": 1e-3,
       "accuracy_text": 0.5, "accuracy_speech": 0.25, "grad_norm": 1.0, "tokens": 100,
       "tokens_per_s": 50.0}
    )  # fmt: skip
    if step % EVERY == 0:
      held_out = {name: {"loss": loss, "nll_text": loss / sharper} for name in names}
      seen = {"rows": step, "examples": 2 * step, "tokens": 25 * step, "epochs": step / 10}
      told.append({"step": step, "held_out": held_out, "seen": dict.fromkeys(names, seen)})
  spent = [{"time": 1e9, "step": steps, "total": {"step": 75.0, "compile": 25.0}, "lost_steps": 3}]
  for name, values in (("metrics.jsonl", told), ("goodput.jsonl", spent)):
    (workdir / name).write_text("".join(json.dumps(value) + "\n" for value in values))


def _write_evaluation(workdir, made, entries, step):
  folder = saved.folder_of(workdir)
  members = {"translation": {"mt": "target.text"}, "speech_out": {"s2st": "target.units"}}
  names = [task.name for task in made.tasks]
  checkpoint = {"step": step, "tasks": names, "suites": members, "read_aloud": []}
  files.write_json(folder / saved.CHECKPOINT, checkpoint)
  groups = []
  for task in made.tasks:
    for split in SPLITS:
      heard = task.inputs[0][1] == "units"
      if split == scoring.SEEN or heard:
        groups.append([_line(task, split, entry, folder) for entry in entries[split]])
    copied = [
      dataclasses.replace(line, system="nearest_copy", outputs=line.outputs[:1])
      for line in groups[-1]
    ]
    groups.append([dataclasses.replace(line, split=scoring.SEEN) for line in copied])
  for group in groups:
    saved.keep(folder, group)
  saved.finish(folder, sorted({group[0].task for group in groups if group}))
  saved.score(folder)


def _line(task, split, entry, folder):
  role, stream = task.outputs[0]
  source, target = entry.utterances[task.sides[0][0]], entry.utterances[role]
  right = target.text
  said = HOSTILE if entry.id.endswith("0") else right
  path = None
  if stream == "units":
    path = f"waves/{split}-{task.name}-{entry.id[-1]}.wav"
    (folder / "waves").mkdir(parents=True, exist_ok=True)
    waveform.write(folder / path, wave(500))
  measure = "words" if source.language == target.language else "translation"
  modality = "speech" if stream == "units" else "text"
  output = Output(
    f"{role}.{stream}", modality, measure, right, said, 3.0 if path else None, path,
    language=target.language,
  )  # fmt: skip
  return Answer(
    "model", task.name, split, entry.id,
    "-".join(dict.fromkeys((source.language, target.language))),
    source.speaker if task.inputs[0][1] == "units" else None,
    (output,), likelihood={"text": Sums(1.0, 2.0, 3.0)},
  )  # fmt: skip
