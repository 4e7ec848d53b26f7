"""The settings of a corpus that manifests list, with all a finished run needs to know of it."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from audiopalm.data import corpora
from audiopalm.data.manifest import faults, lines
from audiopalm.data.manifest.faults import Fault, Place
from audiopalm.data.manifest.lines import Files, Line, Lines, Reading
from audiopalm.errors import ConfigError, DataError

MOST_VOICES = 64  # of a language that settings name: as many as a unit tokenizer learns

Pair = tuple[Line, Line | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest(corpora.Corpus):
  """Recordings that files list, a file (or LibriSpeech-style folder) or several of them a split.

  `read` makes it. What follows `variants` was found in the files: `digests` of each split,
  `sources` (languages), `translations` (source and target languages) and `voices` by language, the
  one with most speech first. So a trained run needs neither the files nor the recordings.
  """

  name: str = "manifest"
  train: Files
  validation: Files | None = None
  test: Files | None = None
  held_out_voices: Files | None = None
  reading: Reading = Reading()
  variants: int = 1
  digests: tuple[tuple[str, str], ...]
  sources: tuple[str, ...]
  translations: tuple[tuple[str, str], ...]
  voices: tuple[tuple[str, tuple[str, ...]], ...]

  version: ClassVar[str] = "manifest 2"
  served_by: ClassVar[str] = "audiopalm.data_pipelines.manifest"
  optional_roles: ClassVar[tuple[str, ...]] = ("target",)
  # Where the files lie is no part of what they say.
  unprinted: ClassVar[tuple[str, ...]] = ("name", "variants", "reading", *corpora.SPLITS)

  def __hash__(self) -> int:
    return hash((self.name, self.digests))  # of few and short fields: asked for with every example

  @property
  def roles(self) -> tuple[str, ...]:
    return lines.ROLES if self.translations else lines.ROLES[:1]

  @property
  def languages(self) -> tuple[str, ...]:
    return tuple(sorted({*self.sources, *(code for pair in self.translations for code in pair)}))

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    self._check_roles(roles)
    if tuple(roles) == ("source",):
      return tuple({"source": code} for code in self.sources)
    found = ({role: pair[lines.ROLES.index(role)] for role in roles} for pair in self.translations)
    return tuple({tuple(languages.items()): languages for languages in found}.values())

  def train_voices(self, language: str) -> tuple[str, ...]:
    """Returns its speakers; those of the other languages where training hears nobody speak it."""
    self._check_language(language)
    voices = dict(self.voices)
    return voices.get(language) or tuple(itertools.chain.from_iterable(voices.values()))

  def __post_init__(self):
    corpora.check_name(self.name)
    corpora.check_count(self.name, "variants", self.variants, 1)


def read(
  files: Mapping[str, Files | None], reading: Reading, name: str = "manifest", variants: int = 1
) -> Manifest:
  """Returns the settings of a corpus whose splits the `files` list; None for an empty one.

  DataError, naming every fault with its line, where one of them cannot be used. Opens no audio.
  """
  found = {split: lines.read(path, reading) for split, path in files.items() if path is not None}
  wrong = [fault for read in found.values() for fault in read.faults]
  check(wrong or list(_shared(found)))
  records = [pair for read in found.values() for pair in lines.joined(read.lines)]
  translations = {(source.language, target.language) for source, target in records if target}
  return Manifest(
    name=name,
    **files,
    reading=reading,
    variants=variants,
    digests=tuple((split, read.digest) for split, read in found.items()),
    sources=tuple(sorted({source.language for source, _ in records})),
    translations=tuple(sorted(translations)),
    voices=_voices(found["train"].lines),
  )


def check(wrong: Sequence[Fault]) -> None:
  """Raises DataError that lists the faults, if there are any."""
  if wrong:
    some = "a fault" if len(wrong) == 1 else f"{len(wrong):,} faults"
    listed = "\n  ".join(faults.listed(wrong))
    raise DataError(
      f"The manifest has {some}, and no recording was opened:\n  {listed}\nCorrect it. "
      "`audiopalm inspect data FILE` finds these, and faults of recordings too."
    )


@functools.lru_cache(maxsize=4)
def records(settings: Manifest, split: str) -> tuple[Pair, ...]:
  """Returns (source, target) of every record of a split, in order.

  ConfigError where the files are no longer those that were read into the settings.
  """
  if split not in settings.splits:
    raise ConfigError(
      f"Corpus {settings.name!r} has no split {split!r}: it has {', '.join(settings.splits)}."
    )
  files = getattr(settings, split)
  if files is None:
    return ()
  found = lines.read(files, settings.reading)
  if found.faults or found.digest != dict(settings.digests)[split]:
    why = f": it {found.faults[0].text}" if found.faults else "."
    raise ConfigError(
      f"{', '.join(lines.paths(files))} has changed since the config was read{why} What was made "
      "of it is kept: run the same command again."
    )
  return tuple(lines.joined(found.lines))


def _shared(found: Mapping[str, Lines]) -> Iterator[Fault]:
  """Yields what splits share with train or one another: recordings, and held-out speakers."""
  heard: dict[tuple, Place] = {}
  speakers: dict[str, Place] = {}
  for split, read in found.items():
    here: dict[tuple, Place] = {}
    for line in read.lines:
      for one in _spoken(line):
        recording = (one.audio, one.span_s)
        here.setdefault(recording, line.place)
        if recording in heard:
          yield Fault(
            line.place,
            f"its recording is that of {heard[recording]} too. A recording belongs to one split.",
          )
      if split == "train":
        speakers.setdefault(line.speaker, line.place)
      elif split == "held_out_voices" and line.speaker in speakers:
        yield Fault(
          line.place,
          f"the speaker {line.speaker!r} is that of {speakers[line.speaker]} too. Held-out voices "
          "are never heard in training: name the speakers, and move their lines.",
        )
    heard.update(here)


def _spoken(line: Line) -> list[Line]:
  """Returns a line, and its translation if that is a recording too."""
  target = line.translation
  return [line] if target is None or target.audio is None else [line, target]


def _voices(train: Sequence[Line]) -> tuple[tuple[str, tuple[str, ...]], ...]:
  """Returns the speakers of each language, the one with most speech first.

  Speech counts in seconds, and in letters of text where a line of that language has no duration.
  """
  train = [one for line in train for one in _spoken(line)]
  timed = {line.language: True for line in train}
  for line in train:
    timed[line.language] &= line.seconds is not None
  spoken: dict[str, dict[str, float]] = collections.defaultdict(
    lambda: collections.defaultdict(float)
  )
  for line in train:
    spoken[line.language][line.speaker] += line.seconds if timed[line.language] else len(line.text)
  return tuple(
    (code, tuple(sorted(who, key=lambda name: (-who[name], name))[:MOST_VOICES]))
    for code, who in sorted(spoken.items())
  )
