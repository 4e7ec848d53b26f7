"""A run made up in memory: letters are tones, French is English in capitals, the model an oracle.

A unit is 40 ms of one tone, so sound survives the way through a WAV; unit 0 is a pause.
"""

import dataclasses
import functools
import types

import numpy as np

from audiopalm import layouts
from audiopalm.audio import waveform
from audiopalm.data import cache, prepared
from audiopalm.data.corpora import Synthetic
from audiopalm.data.packed import Packed
from audiopalm.errors import ConfigError
from audiopalm.inference.prompting import Continuation
from audiopalm.inference.trained import Trained
from audiopalm.parts import mixtures
from audiopalm.settings import Evaluation, Machine
from audiopalm.tokens import space as token_space
from audiopalm.types import StreamSpec

LETTERS = " abcdefghijklmnopqrstuvwxyz"
FRAME = 640
ROW_LENGTH = 64
CORPUS = Synthetic(languages=("en", "fr"), voices=2)
MACHINE = Machine(name="one", data=1, fsdp=1, tensor=1)


class Text:
  spec = StreamSpec("text", "text", (128,), None, "ascii")
  voices = ()

  def encode(self, utterance):
    return np.array([ord(letter) for letter in utterance.text], np.int32)

  def encode_text(self, text):
    return [ord(letter) for letter in text]

  def decode(self, ids, *, voice=None):
    return "".join(chr(int(id)) for id in ids)


class Tones:
  spec = StreamSpec("units", "speech", (32,), 25.0, "tones")
  voices = ("en-anna", "en-ben", "fr-alice", "fr-bruno")

  def encode(self, utterance):
    frames = len(utterance.wave_S) // FRAME
    frames_TS = utterance.wave_S[: frames * FRAME].reshape(frames, FRAME)
    peaks_T = np.abs(np.fft.rfft(frames_TS)).argmax(axis=1)
    loud_T = np.abs(frames_TS).max(axis=1) > 0.1
    return np.where(loud_T, (peaks_T - 10) // 4, 0).clip(0, 31).astype(np.int32)

  def decode(self, ids, *, voice=None):
    if voice is not None and voice not in self.voices:
      raise ConfigError(f"Unknown voice {voice!r}. Known voices: {', '.join(self.voices)}.")
    time_S = np.arange(FRAME) / FRAME
    tones = [np.sin(2 * np.pi * (10 + 4 * int(id) + 1) * time_S) * (0.5 * (id > 0)) for id in ids]
    return np.concatenate([*tones, np.zeros(0)]).astype(np.float32)


def units_of(text):
  return np.array([LETTERS.index(letter) for letter in text.lower()], np.int32)


def text_of(units):
  return "".join(LETTERS[unit] for unit in units)


def wave_of(text):
  return Tones().decode(units_of(text))


WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


class Entries:
  """40 records of a split: English to French and back, in turns; voices take turns too."""

  def __init__(self, split):
    self.split = split
    self._made = [self._entry(number) for number in range(len(self))]
    self.languages = {
      role: np.array([entry.languages[role] for entry in self._made])
      for role in ("source", "target")
    }
    self.lengths = {
      name: np.array([len(entry.streams[name]) for entry in self._made])
      for name in self._made[0].streams
    }

  def __len__(self):
    return 40

  def __getitem__(self, number):
    return self._made[number]

  def _entry(self, number):
    shift = {"train": 0, "test": 3, "held_out_voices": 3}[self.split]
    words = " ".join(WORDS[(number * (i + 1) + shift * i) % 8] for i in range(3))
    first, second = ("en", "fr") if number % 2 == 0 else ("fr", "en")
    voices = {"en": ("en-anna", "en-ben"), "fr": ("fr-alice", "fr-bruno")}[first]
    if self.split == "held_out_voices":
      voices = (f"{first}-new", f"{first}-strange")
    said = {
      "source": self._said(words, first, voices[number // 2 % 2]),
      "target": self._said(words, second, {"en": "en-anna", "fr": "fr-alice"}[second]),
    }
    return cache.Entry(f"made/{self.split}/{number:03d}", said)

  def _said(self, words, language, voice):
    text = words.upper() if language == "fr" else words
    streams = {"text": np.array([ord(c) for c in text], np.int32), "units": units_of(text)}
    flac = None if self.split == "train" else waveform.to_flac(wave_of(text))
    return cache.EntryUtterance(language, voice, text, 1.0, streams, flac)


class Prepared:
  task = prepared.Prepared.task

  def __init__(self, experiment):
    self.tasks = experiment.tasks
    self.tokenizers = {"text": Text(), "units": Tones()}
    self.layouts = {task.name: experiment.layout.layout_of(task) for task in experiment.tasks}
    specs = tuple(tokenizer.spec for tokenizer in self.tokenizers.values())
    self.space = token_space.build(specs, self.layouts, Text().encode_text)
    self.data = experiment.data

  @functools.cache  # noqa: B019
  def entries(self, of, split):
    return Entries(split)

  @functools.cache  # noqa: B019
  def rows(self, task, split):
    return types.SimpleNamespace(records=np.arange(len(self.entries(task.corpus, split))))

  def longest_input(self, task, side):
    return int(self.entries(task.corpus, "train").lengths[".".join(side)].max())


def trained(*builders, corpus=CORPUS, row_length=ROW_LENGTH, **changes):
  """Returns the made-up run with some tasks; its model is to be put in by the test."""
  tasks = tuple(build(corpus) for build in builders or (mixtures.asr, mixtures.tts, mixtures.mt))
  values = {
    "name": "made up", "tasks": tasks, "corpora": (corpus,), "layout": layouts.Chain(),
    "data": Packed(row_length=row_length, batch_rows=4), "seed": 0,
    "evaluation": Evaluation(examples=4, decode_batch_rows=8, max_output_rows=64),
  }  # fmt: skip
  values |= changes
  experiment = dataclasses.make_dataclass("Experiment", values)(**values)
  return Trained(experiment, Prepared(experiment), None, None, {}, MACHINE, 7)


def oracle(trained, task, prompts, **options):
  """Returns the right answer to every prompt, less likely under a tag of another language."""
  answered = []
  for prompt in prompts:
    heard = next(iter((prompt.streams | prompt.begun).items()))
    address, ids = heard
    text = text_of(ids) if address.endswith("units") else Text().decode(ids)
    last = prompt.tag.rstrip("]").split()[-1]
    said = text.upper() if last == "French" else text.lower()
    streams = {
      ".".join(side): units_of(said) if side[1] == "units" else Text().encode_text(said)
      for side in task.outputs
    }
    cells = len(said) + 1
    answered.append(Continuation(streams, -0.1 * cells, cells, True))
  return answered


class Untrained:
  """A model as far as the baselines look at it."""

  def init(self, key, mesh):
    return "fresh"
