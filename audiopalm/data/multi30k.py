"""The settings of Multi30k: captions of photographs in English, French and German.

    FOLDER/train.en.gz, train.fr.gz, ...     29,000 captions, line n of every file the same one
    FOLDER/val.*, test_2016_flickr.*         1,014 and 1,000; plain text or .gz

Without the test files the last captions of train are kept for testing. Source: Elliott et al. 2016,
arXiv:1605.00459 (French: Elliott et al. 2017).
"""

import dataclasses
import functools
import gzip
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from audiopalm import orthography
from audiopalm.data import corpora, json_lines
from audiopalm.errors import ConfigError, DataError

FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
KEPT_FOR_TEST = 1_000  # captions at the end of train, where there is no test file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multi30k(corpora.Voiced):
  """Captions and their translations, spoken by a synthesizer as those of CVSS were.

  A record is one caption: `source` in one language by one of its training voices, `target` in
  another by that language's canonical voice (CVSS-C, arXiv:2201.03713). Captions come round after
  round, each time in the next pair of languages; so do the voices. `most_words` leaves out captions
  that are longer in one of the languages. `held_out_voices` is the test split again, its sources
  spoken by voices that training never hears. `parts.corpora.multi30k` fills in `digest`.
  """

  folder: str
  digest: str
  most_words: int | None = None
  train_records: int = 29_000
  validation_records: int = 300
  test_records: int = 900

  name: ClassVar[str] = "multi30k"
  version: ClassVar[str] = "multi30k 2"
  served_by: ClassVar[str] = "audiopalm.data_pipelines.multi30k"
  roles: ClassVar[tuple[str, ...]] = ("source", "target")
  unprinted: ClassVar[tuple[str, ...]] = ("variants", "folder")

  def __post_init__(self):
    super().__post_init__()
    if len(self.languages) < 2:
      raise ConfigError(
        f"Corpus {self.name!r}: languages={self.languages!r} must be two or three of "
        f"{', '.join(corpora.SPOKEN_LANGUAGES)}: its records are translations."
      )
    corpora.check_count(self.name, "train_records", self.train_records, 1)
    for field in ("validation_records", "test_records"):
      corpora.check_count(self.name, field, getattr(self, field), 0)
    if self.most_words is not None:
      corpora.check_count(self.name, "most_words", self.most_words, 1)

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    return self._translated(roles)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multi30kText(Multi30k):
  """The captions of `Multi30k` as text alone, no wave: each in every pair of languages in turn."""

  train_records: int = 6 * 29_000
  unprinted: ClassVar[tuple[str, ...]] = (*Multi30k.unprinted, "synthesizer", "takes")
  before: ClassVar[Mapping[str, Any]] = {}
  name: ClassVar[str] = "multi30k_text"
  splits: ClassVar[tuple[str, ...]] = corpora.SPLITS[:3]

  def __post_init__(self):
    super().__post_init__()
    corpora.check_unspoken(self)


def digest(folder: str | Path, languages: Sequence[str]) -> str:
  """Returns 16 hex digits of all captions; ConfigError where files are missing or do not match."""
  found = {language: _files(Path(folder), language) for language in languages}
  missing = sorted(
    {f"{FILES[split]}.{language}" for split in ("train", "validation") for language in languages}
    - {f"{FILES[split]}.{language}" for language, read in found.items() for split in read}
  )
  if missing:
    raise ConfigError(
      f"Multi30k: {folder} lacks {', '.join(missing)} (plain or .gz). Clone "
      "github.com/multi30k/dataset and name its folder data/task1/raw."
    )
  for language, split in itertools.product(languages, FILES):
    counts = [len(found[code].get(split, ())) for code in (language, languages[0])]
    if counts[0] != counts[1]:
      raise ConfigError(
        f"Multi30k: {FILES[split]}.{language} in {folder} has {counts[0]} lines, "
        f"{FILES[split]}.{languages[0]} has {counts[1]}: expected as many, line n of each the same "
        "caption. Copy the files again."
      )
  whole = repr([(language, sorted(found[language].items())) for language in languages])
  return hashlib.sha256(whole.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def captions(settings: Multi30k, split: str) -> dict[str, tuple[str, ...]]:
  """Returns the captions of a split by language, those with at most `most_words` words.

  `held_out_voices` are those of test. DataError where the files changed since the config was read.
  """
  split = "test" if split == "held_out_voices" else split
  if digest(settings.folder, settings.languages) != settings.digest:
    raise DataError(
      f"Multi30k: the files in {settings.folder} are not those that the config was made with. "
      "Copy them again, or run the same command again to take them as they are."
    )
  read = {language: _files(Path(settings.folder), language) for language in settings.languages}
  kept = {language: _split(files, split) for language, files in read.items()}
  words_LN = np.array([[len(text.split()) for text in lines] for lines in kept.values()])
  fits_N = (words_LN > 0).all(axis=0)
  if settings.most_words is not None:
    fits_N &= (words_LN <= settings.most_words).all(axis=0)
  return {
    language: tuple(text for text, fits in zip(lines, fits_N, strict=True) if fits)
    for language, lines in kept.items()
  }


def _split(files: dict[str, list[str]], split: str) -> list[str]:
  if "test" in files or split == "validation":
    return files[split]
  return files["train"][:-KEPT_FOR_TEST] if split == "train" else files["train"][-KEPT_FOR_TEST:]


def _files(folder: Path, language: str) -> dict[str, list[str]]:
  """Returns the lines of the files of a language by split."""
  found = {}
  for split, name in FILES.items():
    path = folder / f"{name}.{language}"
    packed = path.with_name(f"{path.name}.gz")
    if packed.is_file():
      found[split] = _texts(gzip.decompress(packed.read_bytes()))
    elif path.is_file():
      found[split] = _texts(path.read_bytes())
  return found


def _texts(data: bytes) -> list[str]:
  """Returns the lines of a file: they end at "\\n" alone, or a text that holds another end of line
  would stand beside the wrong translation."""
  return [orthography.plain(line.decode()) for line in json_lines.split(data)]
