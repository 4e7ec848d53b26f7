"""Published corpora in the layout in which they are downloaded, read like manifests.

    corpus       content of its folder
    LibriSpeech  dev-clean/SPEAKER/CHAPTER/*.trans.txt, beside the .flac
    CoVoST 2     covost_v2.fr_en.tsv, or the three tables that its script writes, .train.tsv, ...;
                 and Common Voice 4: fr/validated.tsv, fr/clips/*.mp3
    CVSS         {train,dev,test}.tsv, {train,dev,test}/CLIP.mp3.wav; and Common Voice 4
    FLEURS       data/en_us/{train,dev,test}.tsv, data/en_us/audio/{train,dev,test}/*.wav
    VoxPopuli    transcribed_data/en/asr_{train,dev,test}.tsv, transcribed_data/en/2009/*.ogg

Functions return the settings of a corpus after reading its tables, and open no recording. They
raise ConfigError if a file or folder is missing, and DataError, with every faulty line, for
tables that cannot be used. Sources: Panayotov et al. 2015; Wang et al., arXiv:2007.10310; Jia et
al., arXiv:2201.03713; Conneau et al., arXiv:2205.12446; Wang et al., arXiv:2101.00390.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from audiopalm import language_tags
from audiopalm.data.manifest import corpus, lines, table
from audiopalm.data.manifest.corpus import Manifest
from audiopalm.data.manifest.faults import Fault, Location
from audiopalm.data.manifest.lines import CLIPS, Files, Reading
from audiopalm.data.manifest.table import Row, Table
from audiopalm.data.manifest.turns import Turns
from audiopalm.errors import ConfigError

SPLITS = {"train": "train", "validation": "dev", "test": "test"}  # the corpora's own names
MOST_NAMES = 20  # most names of a folder's content in an error

# Required columns. The tables of FLEURS and CVSS have no header.
FLEURS = ("id", "file", "raw_transcription", "transcription", "phonemes", "samples", "gender")
VOXPOPULI = ("id", "raw_text", "normalized_text", "speaker_id")
COVOST_SPLIT = ("path", "sentence", "translation", "client_id")  # as written by CoVoST's script
COVOST = ("path", "translation", "split")  # as downloaded
COMMON_VOICE = ("path", "sentence", "client_id")
CVSS_TABLE = ("path", "translation")
VALIDATED = "validated.tsv"  # Common Voice's table of its clips

Clips = tuple[dict[str, dict[str, str]], tuple[Fault, ...], str]  # rows by clip, faults, sha256


def librispeech(
  folder: str,
  train: Files = "train-clean-100",
  validation: Files = "dev-clean",
  test: Files = "test-clean",
  held_out_voices: Files = (),
  *,
  variants: int = 1,
  name: str = "librispeech",
) -> Manifest:
  """Returns LibriSpeech: English speech and transcripts, by subsets, which are folders of `folder`.

  The speakers of its dev and test subsets do not occur in its train subsets, so "test-other" may be
  `held_out_voices`.

      corpora.librispeech("LibriSpeech", train=("train-clean-100", "train-clean-360"))
  """
  root = _existing("LibriSpeech", Path(folder).expanduser())
  if not train:
    raise ConfigError(
      f"LibriSpeech: train={train!r} names no subset. Name one or more: {_names(root)}."
    )
  subsets = {
    "train": train, "validation": validation, "test": test, "held_out_voices": held_out_voices,
  }  # fmt: skip
  files = {
    split: tuple(str(_existing("LibriSpeech", root / name)) for name in lines.paths(names))
    for split, names in subsets.items()
    if names
  }
  return corpus.read(files, Reading(language="en"), name, variants)


def covost2(
  folder: str,
  pair: str,
  *,
  common_voice: str | None = None,
  variants: int = 1,
  name: str = "covost2",
) -> Manifest:
  """Returns CoVoST 2: clips of Common Voice 4, their transcripts, and translations of these.

  `pair` is source and target language as in the file names. The tables, split or not, are in
  `folder` or in its subfolder of the source language, which also has `clips/`; else `common_voice`
  is the folder with the clips.

      corpora.covost2("covost", pair="fr_en")
  """
  source, target = _pair("CoVoST 2", pair)
  root = _existing("CoVoST 2", Path(folder).expanduser())
  clips = _clips("CoVoST 2", Path(common_voice or folder).expanduser(), source)
  folders = (root, root / source)
  parent = next((path for path in folders if any(path.glob(f"covost_v2.{pair}.*"))), None)
  if parent is None:
    raise ConfigError(
      f"CoVoST 2: neither {root} nor {root / source} holds covost_v2.{pair}.tsv: there are "
      f"{_names(root)}. Download and unpack that table, or correct folder and pair."
    )
  tables = {split: parent / f"covost_v2.{pair}.{part}.tsv" for split, part in SPLITS.items()}
  if not (parent / f"covost_v2.{pair}.tsv").is_file():
    for path in tables.values():
      _existing("CoVoST 2", path)
  reading = CoVoST2(_code("CoVoST 2", source), _code("CoVoST 2", target), str(clips))
  files = {split: (str(path),) for split, path in tables.items()}
  return corpus.read(files, reading, name, variants)


def cvss(
  folder: str,
  pair: str,
  *,
  common_voice: str,
  transferred: bool = False,
  variants: int = 1,
  name: str = "cvss",
) -> Manifest:
  """Returns CVSS-C: clips of Common Voice 4 and their translations, spoken by one voice, "cvss".

  `transferred` reads CVSS-T, whose translations are in the voice of the clip. `common_voice` holds
  the folder of the language, with `validated.tsv` and `clips/`; `pair` has its name.

      corpora.cvss("cvss_c_fr_en_v1.0", pair="fr_en", common_voice="cv-corpus-4")
  """
  source, target = _pair("CVSS", pair)
  root = _existing("CVSS", Path(folder).expanduser())
  clips = _clips("CVSS", Path(common_voice).expanduser(), source)
  _existing("CVSS", clips.parent / VALIDATED)
  files = {}
  for split, part in SPLITS.items():
    _existing("CVSS", root / part)
    files[split] = (str(_existing("CVSS", root / f"{part}.tsv")),)
  codes = _code("CVSS", source), _code("CVSS", target)
  return corpus.read(files, CVSS(*codes, str(clips), transferred=transferred), name, variants)


def fleurs(
  folder: str,
  languages: tuple[str, ...],
  *,
  raw: bool = False,
  variants: int = 1,
  name: str = "fleurs",
) -> Manifest:
  """Returns FLEURS in some languages, named as its folders: speech, transcripts, and translations.

  A recording gives a record for each other language that has its sentence, up to n - 1 for n
  languages. Transcripts are normalized, or, with `raw`, as they were read. Speakers are not known:
  the voices are "en_us-female", "en_us-male", and the same in all splits.

      corpora.fleurs("fleurs", languages=("en_us", "fr_fr"))
  """
  root = _inner("FLEURS", folder, "data")
  files = _language_tables("FLEURS", root, languages, "{}.tsv")
  for language in languages:
    for part in SPLITS.values():
      _existing("FLEURS", root / language / "audio" / part)
  return corpus.read(files, Fleurs(raw=raw), name, variants)


def voxpopuli(
  folder: str,
  languages: tuple[str, ...],
  *,
  raw: bool = False,
  variants: int = 1,
  name: str = "voxpopuli",
) -> Manifest:
  """Returns the transcribed speeches of VoxPopuli in some languages, named as its folders.

  Transcripts are normalized, or, with `raw`, the original ones, which some recordings lack.

      corpora.voxpopuli("voxpopuli", languages=("en", "de"))
  """
  root = _inner("VoxPopuli", folder, "transcribed_data")
  files = _language_tables("VoxPopuli", root, languages, "asr_{}.tsv")
  for language in languages:
    if not any(path.is_dir() for path in (root / language).iterdir()):
      raise ConfigError(
        f"VoxPopuli: {root / language} has no recordings: it holds {_names(root / language)}. Cut "
        "them with VoxPopuli's own get_asr_data, which writes a folder for each year."
      )
  return corpus.read(files, VoxPopuli(raw=raw), name, variants)


@dataclasses.dataclass(frozen=True)
class _Clips(Reading):
  """Clips of Common Voice in `audio_dir`."""

  def __post_init__(self):
    super().__post_init__()
    if self.audio_dir is None:
      raise ConfigError(
        f"{type(self).__name__} needs the clips of Common Voice: expected audio_dir, their folder, "
        "got none. Set it, as to cv-corpus-4/fr/clips."
      )

  @property
  def _clip_table(self) -> Path:
    return Path(self.audio_dir).parent / VALIDATED


@dataclasses.dataclass(frozen=True)
class CoVoST2(_Clips):
  """Clips of Common Voice and their translations as text."""

  def table_of(self, path: str) -> Table:
    name = re.fullmatch(r"(.+)\.(train|dev|test)\.tsv", path)
    if name is None:
      text = "is not named like a split of CoVoST 2, such as covost_v2.fr_en.dev.tsv."
      return Table((), (Fault(Location(path), text),), "", Path(path))
    whole, split = f"{name[1]}.tsv", name[2]
    if Path(path).is_file() or not Path(whole).is_file():
      source = _with_columns(table.read(path), COVOST_SPLIT)
      return _table(source, (self._row(row, row.values) for row in source.rows), ())
    clips, faults, digest = _validated(self._clip_table)
    source = _with_columns(table.read(whole), COVOST)
    # As in CoVoST's own script: train is larger than Common Voice's split of that name.
    splits = (split, f"{split}_covost") if split == "train" else (split,)
    rows = [
      self._row(row, row.values | clips[clip])
      for row in source.rows
      if (clip := row.values["path"]) in clips and row.values["split"] in splits
    ]
    if not rows and not faults and not source.faults:
      text = (
        f"has no line of the split {split!r} whose clip is in {self._clip_table}. Give the folder "
        "of Common Voice 4, which CoVoST 2 is based on."
      )
      faults = (Fault(Location(whole), text),)
    return _table(source, rows, faults, digest, split)

  def _row(self, row: Row, values: Mapping[str, str]) -> Row:
    names = ("audio", "text", "translation", "speaker")
    cells = (_unescaped(values[column]) for column in COVOST_SPLIT)
    return Row(row.location, dict(zip(names, cells, strict=True)))


@dataclasses.dataclass(frozen=True)
class CVSS(_Clips):
  """Clips of Common Voice and their spoken translations.

  All translations of CVSS-C have one voice, named "cvss" here; those of CVSS-T (`transferred`) have
  the voice and name of the clip's speaker.
  """

  transferred: bool = False

  def table_of(self, path: str) -> Table:
    clips, clip_faults, digest = _validated(self._clip_table)
    source, path = table.read(path, CVSS_TABLE), Path(path)
    translations = str((path.parent / path.stem).absolute())
    rows, faults = [], list(clip_faults)
    for row in () if clip_faults else source.rows:
      clip = row.values["path"]
      if clip not in clips:
        text = (
          f"the clip {clip!r} has no line in {self._clip_table}. Give the folder of Common Voice "
          "4, which CVSS is based on, and the right pair."
        )
        faults.append(Fault(row.location, text))
        continue
      speaker = clips[clip]["client_id"]
      values = {
        "audio": clip,
        "text": _unescaped(clips[clip]["sentence"]),
        "speaker": speaker,
        "translation": row.values["translation"],
        "translation_audio": f"{translations}/{clip}.wav",
        "translation_speaker": speaker if self.transferred else "cvss",
      }
      rows.append(Row(row.location, values))
    return _table(source, rows, faults, digest, path.stem, self.transferred)


@dataclasses.dataclass(frozen=True)
class Fleurs(Reading):
  """Sentences read by several people in each language, of whom only the gender is known.

  A recording gives one record for each other language with its sentence, so n - 1 records for n
  languages. The target is a recording of the sentence in that language; if there are several, they
  alternate. A recording whose sentence no other language has gives a record without a target.
  """

  raw: bool = False

  def tables(self, paths: Sequence[str]) -> list[Table]:
    sources = [(Path(path), table.read(path, FLEURS)) for path in paths]
    sentences = [self._sentences(path, source) for path, source in sources]
    digests = [(path.parent.name, source.digest) for path, source in sources]
    return [
      _table(source, self._rows(number, sentences), (), digests, self.raw)
      for number, (_, source) in enumerate(sources)
    ]

  def _sentences(self, path: Path, source: Table) -> dict[str, list[Row]]:
    """Returns the recordings of each sentence in a language."""
    folder = path.parent
    sentences = collections.defaultdict(list)
    # A recording is one record, even if the table has its line twice.
    for row in {row.values["file"]: row for row in source.rows}.values():
      audio = folder / "audio" / path.stem / row.values["file"]
      values = {
        "id": f"{folder.name}-{audio.stem}",
        "audio": str(audio.absolute()),
        "text": row.values["raw_transcription" if self.raw else "transcription"],
        "speaker": f"{folder.name}-{row.values['gender'].lower()}",
        "language": _code("FLEURS", folder.name),
      }
      sentences[row.values["id"]].append(Row(row.location, values))
    return sentences

  def _rows(self, number: int, languages: Sequence[Mapping[str, list[Row]]]) -> Iterator[Row]:
    """Yields the records whose source is language `number`."""
    own = languages[number]
    for sentence, sources in own.items():
      others = [other[sentence] for other in languages if other is not own and sentence in other]
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
          yield Row(source.location, source.values | values)


@dataclasses.dataclass(frozen=True)
class VoxPopuli(Reading):
  """Transcribed speeches from the European Parliament."""

  raw: bool = False

  def table_of(self, path: str) -> Table:
    source, folder = _with_columns(table.read(path), VOXPOPULI), Path(path).parent
    rows = (self._row(folder, row) for row in source.rows)
    return _table(source, rows, (), self.raw, folder.name)

  def _row(self, folder: Path, row: Row) -> Row:
    id, speaker = row.values["id"], row.values["speaker_id"]
    values = {
      "id": id,
      "audio": str((folder / id[:4] / f"{id}.ogg").absolute()),  # an id starts with the year
      "text": row.values["raw_text" if self.raw else "normalized_text"],
      "speaker": "" if speaker == "None" else speaker,
      "language": _code("VoxPopuli", folder.name),
    }
    return Row(row.location, values)


# By the names for `audiopalm inspect data --corpus`.
READINGS = {
  "covost2": CoVoST2, "cvss": CVSS, "fleurs": Fleurs, "voxpopuli": VoxPopuli, "turns": Turns,
}  # fmt: skip


def _table(source: Table, rows: Iterable[Row], faults: Sequence[Fault], *inputs: object) -> Table:
  """Returns a table with other rows, and a digest of all that they depend on."""
  digest = hashlib.sha256(json.dumps([source.digest, *inputs]).encode()).hexdigest()
  return Table(tuple(rows), (*source.faults, *faults), digest, source.folder)


def _with_columns(source: Table, names: Sequence[str]) -> Table:
  """Returns a table; one that lacks some of these columns without rows and with a fault."""
  header = source.header
  missing = [] if header is None else [name for name in names if name not in header.values]
  if not missing:
    return source
  text = (
    f"no column {missing[0]!r}: expected {', '.join(names)}, the columns are "
    f"{', '.join(header.values)}. Download it again, or list it in a manifest."
  )
  faults = (*source.faults, Fault(header.location, text))
  return dataclasses.replace(source, rows=(), faults=faults)


def _validated(path: Path) -> Clips:
  """Returns the rows of `validated.tsv` by clip, its faults and its sha256."""
  state = path.stat() if path.exists() else None
  return _read_validated(path, state and (state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=1)
def _read_validated(path: Path, state: tuple[int, int] | None) -> Clips:
  """Returns `_validated`, cached for all splits until `state` changes."""
  source = _with_columns(table.read(str(path)), COMMON_VOICE)
  clips = {
    row.values["path"]: {name: row.values[name] for name in COMMON_VOICE} for row in source.rows
  }
  # A line that cannot be read matters only if a clip needs it, and is then a fault of the clip.
  return clips, () if clips else source.faults, source.digest


def _unescaped(text: str) -> str:
  """Returns a cell of Common Voice or CoVoST 2 without its escaping backslashes."""
  return re.sub(r"\\(.)", r"\1", text)


def _inner(corpus: str, folder: str, name: str) -> Path:
  """Returns the subfolder `name` of a folder, or the folder itself if it has none."""
  root = _existing(corpus, Path(folder).expanduser())
  return root / name if (root / name).is_dir() else root


def _clips(corpus: str, root: Path, language: str) -> Path:
  """Returns Common Voice's folder of clips."""
  for clips in (root / language / CLIPS, root / CLIPS):
    if clips.is_dir():
      return clips
  raise ConfigError(
    f"{corpus}: no recordings: expected Common Voice 4 in {root / language / CLIPS}. Download and "
    "unpack it there, or set its folder: common_voice=..."
  )


def _existing(corpus: str, path: Path) -> Path:
  """Returns the path; raises ConfigError if it does not exist."""
  if path.exists():
    return path
  parent = path.parent
  while not parent.is_dir():
    parent = parent.parent
  raise ConfigError(
    f"{corpus}: {path} does not exist: {parent} holds {_names(parent)}. Correct the name, or "
    "download and unpack what is missing."
  )


def _names(folder: Path) -> str:
  """Returns the names of a folder's files for an error."""
  names = sorted(path.name for path in folder.iterdir())
  left = len(names) - MOST_NAMES
  listed = ", ".join(names[:MOST_NAMES]) or "nothing"
  return f"{listed} and {left:,} more" if left > 0 else listed


def _pair(corpus: str, pair: str) -> tuple[str, str]:
  source, _, target = pair.partition("_")
  if not source or not target:
    raise ConfigError(
      f"{corpus}: pair={pair!r} must be source and target language as in the file names: fr_en, "
      "sv-SE_en, en_zh-CN."
    )
  return source, target


def _language_tables(
  corpus: str, root: Path, languages: Sequence[str], pattern: str
) -> dict[str, tuple[str, ...]]:
  """Returns the tables of each split, one per language; raises ConfigError for unknown ones."""
  codes = [_code(corpus, name) for name in ([] if isinstance(languages, str) else languages)]
  if not codes or len(set(codes)) < len(codes):
    raise ConfigError(
      f"{corpus}: languages={languages!r} must be a tuple of folder names, each language once, "
      'such as ("en_us", "fr_fr") of FLEURS.'
    )
  return {
    split: tuple(
      str(_existing(corpus, root / language / pattern.format(name))) for language in languages
    )
    for split, name in SPLITS.items()
  }


def _code(corpus: str, name: str) -> str:
  """Returns the code of a language that a corpus calls en_us, zh-CN or cmn_hans_cn."""
  code = language_tags.find(name)
  if code is None:
    expected = language_tags.expected(name)
    raise ConfigError(f"{corpus}: {name!r} is not a known language. {expected}")
  return code
