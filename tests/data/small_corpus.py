"""A corpus of tones and tokenizers of a few lines, importable by name so that workers find them."""

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from audiopalm.errors import RecordError
from audiopalm.types import Record, StreamSpec, Utterance, Word

WORDS = ("one", "two", "three", "four", "five", "six", "seven")
RATE_HZ = 16_000


@dataclasses.dataclass(frozen=True)
class SmallCorpus:
  """`faults` are (record number, kind) of the train split.

  `device` is a folder: the first process that reads several records at a time from it cannot, until
  there is a file `repaired` in it. Each try is a line of its file `tries`.
  """

  train_records: int = 40
  faults: tuple[tuple[int, str], ...] = ()
  spoken: bool = True
  variants: int = 1
  languages: tuple[str, ...] = ("en", "fr")
  device: str = ""

  name: ClassVar[str] = "small"
  served_by: ClassVar[str] = "small_corpus"
  optional_roles: ClassVar[tuple[str, ...]] = ()
  roles: ClassVar[tuple[str, ...]] = ("source", "target")
  splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

  @property
  def fingerprint(self):
    values = {k: v for k, v in dataclasses.asdict(self).items() if k != "variants"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

  def pairs(self, roles):
    if len(roles) == 1:
      return tuple({roles[0]: language} for language in self.languages)
    return tuple(
      dict(zip(roles, two, strict=True)) for two in itertools.permutations(self.languages, 2)
    )


@dataclasses.dataclass(frozen=True)
class SmallDialogue(SmallCorpus):
  """The same tones as questions and answers."""

  name: ClassVar[str] = "small_dialogue"
  roles: ClassVar[tuple[str, ...]] = ("question", "answer")

  def pairs(self, roles):
    return tuple(dict.fromkeys(roles, language) for language in self.languages)


def count(settings, split):
  return {"train": settings.train_records, "validation": 6, "test": 4}[split]


def records(settings, split, start, stop):
  if settings.device and stop > start + 1:
    _check_device(Path(settings.device))
  for number in range(start, stop):
    kind = dict(settings.faults).get(number) if split == "train" else None
    if kind == "unreadable":
      raise RecordError(f"small/{split}/{number:06} cannot be read. Leave it out.")
    yield _record(settings, split, number, kind)


def _check_device(folder):
  if (folder / "repaired").exists():
    return
  with contextlib.suppress(FileExistsError), open(folder / "broken", "x") as file:
    file.write(str(os.getpid()))
  if (folder / "broken").read_text() == str(os.getpid()):
    with open(folder / "tries", "a") as file:
      file.write("tried\n")
    raise OSError(errno.EIO, os.strerror(errno.EIO), "/mnt/recordings")


def _record(settings, split, number, kind):
  languages = settings.languages if number % 2 else settings.languages[::-1]
  utterances = {}
  for role, language in zip(settings.roles, languages, strict=True):
    words = [WORDS[(number + i) % 7] for i in range(1 + number % 4)]
    wave_S = _wave(number, len(words)) if settings.spoken else None
    said = Utterance(
      wave_S, RATE_HZ, " ".join(words), language, f"{language}-a",
      tuple(Word(word, i * 0.1, i * 0.1 + 0.1, word[:2]) for i, word in enumerate(words)),
    )  # fmt: skip
    faulty = role == "source" or kind == "no words at all"
    utterances[role] = _faulty(said, kind) if faulty else said
  return Record(f"small/{split}/{number:06}", utterances)


def _wave(number, words):
  time_S = np.arange(words * RATE_HZ // 10) / RATE_HZ
  return (0.5 * np.sin(2 * np.pi * (200 + 10 * number) * time_S)).astype(np.float32)


def _faulty(said, kind):
  match kind:
    case None:
      return said
    case "silent":
      return dataclasses.replace(said, wave_S=said.wave_S * 0)
    case "nan":
      return dataclasses.replace(said, wave_S=said.wave_S * np.nan)
    case "no text":
      return dataclasses.replace(said, text=" ", wave_S=None)
    case "no words" | "no words at all":
      return dataclasses.replace(said, text="")
    case "unknown language":
      return dataclasses.replace(said, language="xx")


@dataclasses.dataclass(frozen=True)
class Letters:
  """Text as letters: 32 ids."""

  stream: str = "text"
  extra: int = 0

  def check(self):
    pass

  def fit(self, utterances, seed):
    return FittedLetters(self, sum(len(u.text) for u in utterances))

  def load(self, folder):
    return FittedLetters(self, int((Path(folder) / "seen.txt").read_text()))


class FittedLetters:
  def __init__(self, settings, seen):
    self.seen = seen
    print_ = hashlib.sha256(f"{settings} {seen}".encode()).hexdigest()
    self.spec = StreamSpec(settings.stream, "text", (96 + settings.extra,), None, print_)

  def encode(self, utterance):
    return np.array(self.encode_text(utterance.text), np.int32)

  def encode_text(self, text):
    return [ord(letter) - 32 for letter in text]

  def decode(self, ids, *, voice=None):
    return "".join(chr(id + 32) for id in ids)

  def save(self, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seen.txt").write_text(str(self.seen))


@dataclasses.dataclass(frozen=True)
class Crossings:
  """Speech as zero crossings in 20 ms: 64 ids."""

  stream: str = "units"

  def check(self):
    pass

  def fit(self, utterances, seed):
    return FittedCrossings(self)

  def load(self, folder):
    assert (Path(folder) / "units.txt").is_file()
    return FittedCrossings(self)


class FittedCrossings:
  def __init__(self, settings):
    self.spec = StreamSpec(settings.stream, "speech", (64,), 50.0, "crossings")

  def encode(self, utterance):
    frames = len(utterance.wave_S) // 320
    positive_TS = utterance.wave_S[: frames * 320].reshape(frames, 320) > 0
    return (positive_TS[:, 1:] != positive_TS[:, :-1]).sum(axis=1).clip(0, 63).astype(np.int32)

  def decode(self, ids, *, voice=None):
    """Tones that cross zero as often."""
    turns_S = np.cumsum(np.repeat(np.asarray(ids, float), 320) / 640)
    return 0.5 * np.sin(2 * np.pi * turns_S).astype(np.float32)

  def save(self, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "units.txt").write_text("crossings")
