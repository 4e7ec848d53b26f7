"""Published corpora as they lie on a disk after download, read as manifests are.

    corpus       what lies in its folder
    LibriSpeech  dev-clean/SPEAKER/CHAPTER/*.trans.txt, beside the .flac
    CoVoST 2     covost_v2.fr_en.tsv, or the three tables its script makes of it, .train.tsv, ...;
                 and Common Voice 4: fr/validated.tsv, fr/clips/*.mp3
    CVSS         {train,dev,test}.tsv, {train,dev,test}/CLIP.mp3.wav; and Common Voice 4
    FLEURS       data/en_us/{train,dev,test}.tsv, data/en_us/audio/{train,dev,test}/*.wav
    VoxPopuli    transcribed_data/en/asr_{train,dev,test}.tsv, transcribed_data/en/2009/*.ogg

Functions find the files of each split and say how they are read; they open none. ConfigError where
something is not there. Sources: Panayotov et al. 2015; Wang et al., arXiv:2007.10310; Jia et al.,
arXiv:2201.03713; Conneau et al., arXiv:2205.12446; Wang et al., arXiv:2101.00390.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from audiopalm import language_tags
from audiopalm.data.manifest import lines, table
from audiopalm.data.manifest.faults import Fault, Place
from audiopalm.data.manifest.lines import CLIPS, Files, Reading
from audiopalm.data.manifest.table import Row, Table
from audiopalm.errors import ConfigError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}  # what corpora call them
MOST_NAMES = 20  # of what lies in a folder, that an error prints

# Columns of FLEURS, VoxPopuli, CoVoST 2 once its script has divided it and before, Common Voice and
# CVSS. The tables of FLEURS and CVSS do not name theirs.
READ = ("id", "file", "raw_transcription", "transcription", "phonemes", "samples", "gender")
TRANSCRIBED = ("id", "raw_text", "normalized_text", "speaker_id")
DIVIDED = ("path", "sentence", "translation", "client_id")
UNDIVIDED = ("path", "translation", "split")
COMMON_VOICE = ("path", "sentence", "client_id")
NORMALIZED = ("path", "translation")
VALIDATED = "validated.tsv"  # where Common Voice says what its clips say

Found = tuple[dict[str, tuple[str, ...]], Reading]
Said = tuple[dict[str, dict[str, str]], tuple[Fault, ...], str]


def librispeech(folder: str, subsets: Mapping[str, Files]) -> Found:
  """Returns the folders of the subsets of each split."""
  root = _there("LibriSpeech", Path(folder).expanduser())
  if not subsets["train"]:
    raise ConfigError(
      f"LibriSpeech: train={subsets['train']!r} names no subset. Name one or more: {_names(root)}."
    )
  files = {
    split: tuple(str(_there("LibriSpeech", root / name)) for name in lines.paths(names))
    for split, names in subsets.items()
    if names
  }
  return files, Reading(language="en")


def covost2(folder: str, pair: str, common_voice: str | None) -> Found:
  """Returns the tables of a pair such as "fr_en"; one not divided yet is named as if it were."""
  source, target = _pair("CoVoST 2", pair)
  root = _there("CoVoST 2", Path(folder).expanduser())
  clips = _clips("CoVoST 2", Path(common_voice or folder).expanduser(), source)
  beside = next(
    (one for one in (root, root / source) if any(one.glob(f"covost_v2.{pair}.*"))), None
  )
  if beside is None:
    raise ConfigError(
      f"CoVoST 2: neither {root} nor {root / source} holds covost_v2.{pair}.tsv: there are "
      f"{_names(root)}. Download and unpack that table, or correct folder and pair."
    )
  names = {split: beside / f"covost_v2.{pair}.{theirs}.tsv" for split, theirs in SPLITS.items()}
  if not (beside / f"covost_v2.{pair}.tsv").is_file():
    for name in names.values():
      _there("CoVoST 2", name)
  reading = CoVoST2(_code("CoVoST 2", source), _code("CoVoST 2", target), str(clips))
  return {split: (str(name),) for split, name in names.items()}, reading


def cvss(folder: str, common_voice: str, pair: str, transferred: bool) -> Found:
  """Returns the tables of CVSS-C, or, with `transferred` voices, of CVSS-T."""
  source, target = _pair("CVSS", pair)
  root = _there("CVSS", Path(folder).expanduser())
  clips = _clips("CVSS", Path(common_voice).expanduser(), source)
  _there("CVSS", clips.parent / VALIDATED)
  files = {}
  for split, theirs in SPLITS.items():
    _there("CVSS", root / theirs)
    files[split] = (str(_there("CVSS", root / f"{theirs}.tsv")),)
  codes = _code("CVSS", source), _code("CVSS", target)
  return files, CVSS(*codes, str(clips), transferred=transferred)


def fleurs(folder: str, languages: Sequence[str], raw: bool) -> Found:
  """Returns the tables of languages such as "en_us"; of each split all at once."""
  root = _inner("FLEURS", folder, "data")
  _check_languages("FLEURS", languages)
  files = {
    split: tuple(str(_there("FLEURS", root / name / f"{theirs}.tsv")) for name in languages)
    for split, theirs in SPLITS.items()
  }
  for name in languages:
    for theirs in SPLITS.values():
      _there("FLEURS", root / name / "audio" / theirs)
  return files, Fleurs(raw=raw)


def voxpopuli(folder: str, languages: Sequence[str], raw: bool) -> Found:
  """Returns the tables of transcribed speech in languages such as "en"."""
  root = _inner("VoxPopuli", folder, "transcribed_data")
  _check_languages("VoxPopuli", languages)
  files = {
    split: tuple(str(_there("VoxPopuli", root / name / f"asr_{theirs}.tsv")) for name in languages)
    for split, theirs in SPLITS.items()
  }
  for name in languages:
    if not any(path.is_dir() for path in (root / name).iterdir()):
      raise ConfigError(
        f"VoxPopuli: {root / name} has no recordings: it holds {_names(root / name)}. Cut them "
        "with VoxPopuli's own get_asr_data, which puts them into a folder for each year."
      )
  return files, VoxPopuli(raw=raw)


@dataclasses.dataclass(frozen=True)
class _Clips(Reading):
  """Clips of Common Voice, which lie in `audio_dir`."""

  def __post_init__(self):
    super().__post_init__()
    if self.audio_dir is None:
      raise ConfigError(
        f"{type(self).__name__} is read with the clips of Common Voice: expected audio_dir, their "
        "folder, got none. Give it: cv-corpus-4/fr/clips."
      )

  @property
  def _validated(self) -> Path:
    return Path(self.audio_dir).parent / VALIDATED


@dataclasses.dataclass(frozen=True)
class CoVoST2(_Clips):
  """Clips of Common Voice and their translations in words."""

  def tables(self, paths: Sequence[str]) -> list[Table]:
    return [self._table(path) for path in paths]

  def _table(self, path: str) -> Table:
    name = re.fullmatch(r"(.+)\.(train|dev|test)\.tsv", path)
    if name is None:
      text = "is not named as CoVoST 2 names a split, such as covost_v2.fr_en.dev.tsv."
      return Table((), (Fault(Place(path), text),), "", Path(path))
    undivided, split = f"{name[1]}.tsv", name[2]
    if Path(path).is_file() or not Path(undivided).is_file():
      found = _named(table.read(path), DIVIDED)
      return _table(found, (self._row(row, row.values) for row in found.rows), ())
    said, faults, digest = _said(self._validated)
    found = _named(table.read(undivided), UNDIVIDED)
    # As CoVoST's own script: train has more than Common Voice's split of that name.
    splits = (split, f"{split}_covost") if split == "train" else (split,)
    rows = [
      self._row(row, row.values | said[clip])
      for row in found.rows
      if (clip := row.values["path"]) in said and row.values["split"] in splits
    ]
    if not rows and not faults and not found.faults:
      text = (
        f"has no line of the split {split!r} whose clip is in {self._validated}. Give the folder "
        "of Common Voice 4, which CoVoST 2 was made of."
      )
      faults = (Fault(Place(undivided), text),)
    return _table(found, rows, faults, digest, split)

  def _row(self, row: Row, values: Mapping[str, str]) -> Row:
    plain = {name: _plain(values[name]) for name in DIVIDED}
    return Row(
      row.place,
      {
        "audio": plain["path"],
        "text": plain["sentence"],
        "speaker": plain["client_id"],
        "translation": plain["translation"],
      },
    )


@dataclasses.dataclass(frozen=True)
class CVSS(_Clips):
  """Clips of Common Voice and their spoken translations.

  All translations of CVSS-C are in one voice, here called "cvss"; those of CVSS-T (`transferred`)
  are in that of whoever spoke the clip, and bear that name.
  """

  transferred: bool = False

  def tables(self, paths: Sequence[str]) -> list[Table]:
    return [self._table(Path(path)) for path in paths]

  def _table(self, path: Path) -> Table:
    said, unread, digest = _said(self._validated)
    found = table.read(str(path), NORMALIZED)
    spoken = str((path.parent / path.stem).absolute())
    rows, faults = [], list(unread)
    for row in () if unread else found.rows:
      clip = row.values["path"]
      if clip not in said:
        text = (
          f"the clip {clip!r} has no line in {self._validated}. Give the folder of Common Voice 4, "
          "which CVSS was made of, and the right pair."
        )
        faults.append(Fault(row.place, text))
        continue
      speaker = said[clip]["client_id"]
      values = {
        "audio": clip,
        "text": _plain(said[clip]["sentence"]),
        "speaker": speaker,
        "translation": row.values["translation"],
        "translation_audio": f"{spoken}/{clip}.wav",
        "translation_speaker": speaker if self.transferred else "cvss",
      }
      rows.append(Row(row.place, values))
    return _table(found, rows, faults, digest, path.stem, self.transferred)


@dataclasses.dataclass(frozen=True)
class Fleurs(Reading):
  """Sentences read by several people in each language; who they are is not told, only gender.

  A recording is a record for each other language that has its sentence, with one recording of that
  as the target: where there are several they take turns. One whose sentence no other language has
  is a record without a target. So of n languages a recording is n - 1 records.
  """

  raw: bool = False

  def tables(self, paths: Sequence[str]) -> list[Table]:
    found = [table.read(path, READ) for path in paths]
    spoken = [self._spoken(Path(path), one) for path, one in zip(paths, found, strict=True)]
    said = [(Path(path).parent.name, one.digest) for path, one in zip(paths, found, strict=True)]
    return [
      _table(one, self._rows(number, spoken), (), said, self.raw)
      for number, one in enumerate(found)
    ]

  def _spoken(self, path: Path, found: Table) -> dict[str, list[Row]]:
    """Returns the recordings of each sentence of a language."""
    folder = path.parent
    sentences = collections.defaultdict(list)
    # A recording is one record, whether or not the table has its line twice.
    for row in {row.values["file"]: row for row in found.rows}.values():
      audio = folder / "audio" / path.stem / row.values["file"]
      values = {
        "id": f"{folder.name}-{audio.stem}",
        "audio": str(audio.absolute()),
        "text": row.values["raw_transcription" if self.raw else "transcription"],
        "speaker": f"{folder.name}-{row.values['gender'].lower()}",
        "language": _code("FLEURS", folder.name),
      }
      sentences[row.values["id"]].append(Row(row.place, values))
    return sentences

  def _rows(self, number: int, spoken: Sequence[Mapping[str, list[Row]]]) -> Iterator[Row]:
    """Yields the records that begin in one language."""
    for sentence, sources in spoken[number].items():
      others = [one[sentence] for one in spoken if one is not spoken[number] and sentence in one]
      for turn, source in enumerate(sources):
        if not others:
          yield source
        for targets in others:
          target = targets[turn % len(targets)].values
          values = {
            "id": f"{source.values['id']}-{target['language']}",
            "translation": target["text"],
            "translation_language": target["language"],
            "translation_audio": target["audio"],
            "translation_speaker": target["speaker"],
          }
          yield Row(source.place, source.values | values)


@dataclasses.dataclass(frozen=True)
class VoxPopuli(Reading):
  """Speeches in the European Parliament, transcribed."""

  raw: bool = False

  def tables(self, paths: Sequence[str]) -> list[Table]:
    return [self._table(Path(path)) for path in paths]

  def _table(self, path: Path) -> Table:
    found = _named(table.read(str(path)), TRANSCRIBED)
    rows = (self._row(path.parent, row) for row in found.rows)
    return _table(found, rows, (), self.raw, path.parent.name)

  def _row(self, folder: Path, row: Row) -> Row:
    id, speaker = row.values["id"], row.values["speaker_id"]
    values = {
      "id": id,
      "audio": str((folder / id[:4] / f"{id}.ogg").absolute()),  # an id begins with the year
      "text": row.values["raw_text" if self.raw else "normalized_text"],
      "speaker": "" if speaker == "None" else speaker,
      "language": _code("VoxPopuli", folder.name),
    }
    return Row(row.place, values)


# By the names that `audiopalm inspect data --corpus` knows.
READINGS = {"covost2": CoVoST2, "cvss": CVSS, "fleurs": Fleurs, "voxpopuli": VoxPopuli}


def _table(found: Table, rows: Iterable[Row], faults: Sequence[Fault], *said: Any) -> Table:
  """Returns a table with other rows, and a digest that knows what else they depend on."""
  digest = hashlib.sha256(json.dumps([found.digest, *said]).encode()).hexdigest()
  return Table(tuple(rows), (*found.faults, *faults), digest, found.folder)


def _named(found: Table, names: Sequence[str]) -> Table:
  """Returns a table as it is; one without columns of all these names has a fault and no rows."""
  lacking = [] if found.header is None else [n for n in names if n not in found.header.values]
  if found.header is None or not lacking:
    return found
  text = (
    f"no column {lacking[0]!r}: expected {', '.join(names)}, the columns are "
    f"{', '.join(found.header.values)}. Download it again, or list it in a manifest."
  )
  fault = Fault(found.header.place, text)
  return dataclasses.replace(found, rows=(), faults=(*found.faults, fault))


def _said(path: Path) -> Said:
  """Returns what `validated.tsv` says of each clip, its faults, and sha256 of it all."""
  try:
    state = path.stat()
  except OSError:
    return _read_said(path, 0, 0)
  return _read_said(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _read_said(path: Path, size: int, written_ns: int) -> Said:
  """As `_said`, once for all splits; `size` and `written_ns` tell apart what was written since."""
  found = _named(table.read(str(path)), COMMON_VOICE)
  said = {
    row.values["path"]: {name: row.values[name] for name in COMMON_VOICE} for row in found.rows
  }
  # A line that cannot be read is no fault unless a clip needs it, which is then told of the clip.
  return said, () if said else found.faults, found.digest


def _plain(text: str) -> str:
  """Returns a cell of Common Voice or CoVoST 2: what follows a backslash is meant as it is."""
  return re.sub(r"\\(.)", r"\1", text)


def _inner(corpus: str, folder: str, name: str) -> Path:
  """Returns the folder `name` in another, or that itself where the user gave the inner one."""
  root = _there(corpus, Path(folder).expanduser())
  return root / name if (root / name).is_dir() else root


def _clips(corpus: str, root: Path, language: str) -> Path:
  """Returns the folder of the clips of Common Voice."""
  for clips in (root / language / CLIPS, root / CLIPS):
    if clips.is_dir():
      return clips
  raise ConfigError(
    f"{corpus}: no recordings: expected Common Voice 4 in {root / language / CLIPS}. Download and "
    "unpack it there, or give its folder: common_voice=..."
  )


def _there(corpus: str, path: Path) -> Path:
  if path.exists():
    return path
  above = path.parent
  while not above.is_dir():
    above = above.parent
  raise ConfigError(
    f"{corpus}: {path} is not there: {above} holds {_names(above)}. Correct the name, or download "
    "and unpack what is missing."
  )


def _names(folder: Path) -> str:
  """Returns what lies in a folder, as an error says it."""
  names = sorted(path.name for path in folder.iterdir())
  left = len(names) - MOST_NAMES
  some = ", ".join(names[:MOST_NAMES]) or "nothing"
  return f"{some} and {left:,} more" if left > 0 else some


def _pair(corpus: str, pair: str) -> tuple[str, str]:
  source, _, target = pair.partition("_")
  if not source or not target:
    raise ConfigError(
      f"{corpus}: pair={pair!r} must be the languages as the files have them, from and to: fr_en, "
      "sv-SE_en, en_zh-CN."
    )
  return source, target


def _check_languages(corpus: str, languages: Sequence[str]) -> None:
  codes = [_code(corpus, name) for name in ([] if isinstance(languages, str) else languages)]
  if not codes or len(set(codes)) < len(codes):
    raise ConfigError(
      f"{corpus}: languages={languages!r} must be a tuple of names of its folders, each language "
      'once, such as ("en_us", "fr_fr") of FLEURS.'
    )


def _code(corpus: str, name: str) -> str:
  """Returns the code of a language that a corpus calls en_us, zh-CN or cmn_hans_cn."""
  code = language_tags.find(name)
  if code is None:
    raise ConfigError(f"{corpus}: {name!r} is no known language. {language_tags.expected(name)}")
  return code
