"""The settings of a corpus listed by manifests, with all that a finished run needs of it."""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from audiopalm.data import corpora
from audiopalm.data.manifest import faults, lines
from audiopalm.data.manifest.faults import Fault, Location
from audiopalm.data.manifest.lines import Files, Lines, ManifestLine, Reading
from audiopalm.errors import ConfigError, DataError

MOST_VOICES = 64  # per language in the settings: as many as a unit tokenizer learns

Pair = tuple[ManifestLine, ManifestLine | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest(corpora.Corpus):
  """Recordings listed by manifests (or LibriSpeech-style folders), one or several per split.

  Built by `read`, which fills in the fields after `variants` from the files: `digests` of the
  splits, `sources` (languages), `translations` (source and target languages) and `voices` by
  language, those with most speech first. A trained run needs neither the files nor the recordings.
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
  # The paths of the files are not part of the identity, their content is.
  unprinted: ClassVar[tuple[str, ...]] = ("name", "variants", "reading", *corpora.SPLITS)

  def __hash__(self) -> int:
    return hash((self.name, self.digests))  # computed for every example, so of few, short fields

  @property
  def roles(self) -> tuple[str, ...]:
    return self.reading.roles if self.translations else self.reading.roles[:1]

  @property
  def languages(self) -> tuple[str, ...]:
    return tuple(sorted({*self.sources, *(code for pair in self.translations for code in pair)}))

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    self._check_roles(roles)
    first, _ = self.reading.roles
    if tuple(roles) == (first,):
      return tuple({first: code} for code in self.sources)
    places = [self.reading.roles.index(role) for role in roles]
    pairs = (
      {role: pair[place] for role, place in zip(roles, places, strict=True)}
      for pair in self.translations
    )
    return tuple({tuple(languages.items()): languages for languages in pairs}.values())

  def train_voices(self, language: str) -> tuple[str, ...]:
    """Returns the training speakers of a language, all training speakers if it has none."""
    self._check_language(language)
    voices = dict(self.voices)
    return voices.get(language) or tuple(itertools.chain.from_iterable(voices.values()))

  def __post_init__(self):
    corpora.check_name(self.name)
    corpora.check_count(self.name, "variants", self.variants, 1)


def read(
  files: Mapping[str, Files | None], reading: Reading, name: str = "manifest", variants: int = 1
) -> Manifest:
  """Returns the settings of the corpus whose splits `files` list; None is an empty split.

  Raises DataError, naming every fault with its line, if a manifest has any. Opens no audio.
  """
  splits = {split: lines.read(path, reading) for split, path in files.items() if path is not None}
  problems = [fault for read in splits.values() for fault in read.faults] or list(_shared(splits))
  if problems:
    count = "a fault" if len(problems) == 1 else f"{len(problems):,} faults"
    listed = "\n  ".join(faults.summary(problems))
    raise DataError(
      f"The manifest has {count}, and no recording was opened:\n  {listed}\nCorrect it. "
      "`audiopalm inspect data FILE` finds these, and faults of recordings too."
    )
  records = [pair for read in splits.values() for pair in lines.joined(read.lines)]
  translations = {(source.language, target.language) for source, target in records if target}
  return Manifest(
    name=name,
    **files,
    reading=reading,
    variants=variants,
    digests=tuple((split, read.digest) for split, read in splits.items()),
    sources=tuple(sorted({source.language for source, _ in records})),
    translations=tuple(sorted(translations)),
    voices=_voices(splits["train"].lines),
  )


@functools.lru_cache(maxsize=4)
def records(settings: Manifest, split: str) -> tuple[Pair, ...]:
  """Returns (source, target) of every record of a split, in order.

  Raises ConfigError if the files have changed since the settings were read.
  """
  files = getattr(settings, split)
  if files is None:
    return ()
  read = lines.read(files, settings.reading)
  if read.faults or read.digest != dict(settings.digests)[split]:
    reason = f": it {read.faults[0].text}" if read.faults else "."
    raise ConfigError(
      f"{', '.join(lines.paths(files))} has changed since the config was read{reason} "
      "Prepared data is kept: run the same command again."
    )
  return tuple(lines.joined(read.lines))


def _shared(splits: Mapping[str, Lines]) -> Iterator[Fault]:
  """Yields a fault for each recording in two splits, and for each held-out speaker in train."""
  first: dict[tuple, tuple[str, Location]] = {}
  speakers = {line.speaker: line.location for line in reversed(splits["train"].lines)}
  for split, read in splits.items():
    for line in read.lines:
      for recording in _recordings(line):
        key = (recording.audio, recording.span_s)
        other, location = first.setdefault(key, (split, line.location))
        if other != split:
          text = f"its recording is that of {location} too. A recording belongs to one split."
          yield Fault(line.location, text)
      if split == "held_out_voices" and line.speaker in speakers:
        yield Fault(
          line.location,
          f"the speaker {line.speaker!r} is that of {speakers[line.speaker]} too. Held-out voices "
          "must not occur in training: name the speakers, and move their lines.",
        )


def _recordings(line: ManifestLine) -> list[ManifestLine]:
  """Returns a line, and its translation if that is a recording too."""
  target = line.translation
  return [line] if target is None or target.audio is None else [line, target]


def _voices(train: Sequence[ManifestLine]) -> tuple[tuple[str, tuple[str, ...]], ...]:
  """Returns the speakers of each language, those with most speech first.

  Speech is measured in seconds, or in characters if any line of the language has no duration.
  """
  by_language = collections.defaultdict(list)
  for line in itertools.chain.from_iterable(map(_recordings, train)):
    by_language[line.language].append(line)
  voices = []
  for code, recordings in sorted(by_language.items()):
    timed = all(line.seconds is not None for line in recordings)
    amounts: dict[str, float] = collections.defaultdict(float)
    for line in recordings:
      amounts[line.speaker] += line.seconds if timed else len(line.text)
    most_first = sorted(amounts, key=lambda name: (-amounts[name], name))
    voices.append((code, tuple(most_first[:MOST_VOICES])))
  return tuple(voices)
