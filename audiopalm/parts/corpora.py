"""Corpora that configs name: classes of settings, and functions for those that have to be looked at
first, files that a user has."""

from audiopalm.data.corpora import (
  TOPICS,
  SeqioText,
  SpokenDigit,
  Synthetic,
  SyntheticDialogue,
  SyntheticText,
  SyntheticTranslations,
)
from audiopalm.data.manifest import corpus, published
from audiopalm.data.manifest.lines import Files, Reading

__all__ = [
  "TOPICS",
  "SeqioText",
  "SpokenDigit",
  "Synthetic",
  "SyntheticDialogue",
  "SyntheticText",
  "SyntheticTranslations",
  "covost2",
  "cvss",
  "fleurs",
  "librispeech",
  "manifest",
  "voxpopuli",
]


def manifest(
  train: Files,
  validation: Files | None = None,
  test: Files | None = None,
  held_out_voices: Files | None = None,
  *,
  language: str | None = None,
  translation_language: str | None = None,
  audio_dir: str | None = None,
  variants: int = 1,
  name: str = "manifest",
) -> corpus.Manifest:
  """Returns the corpus that files list, after reading them: one, or several, for each split.

  A file is JSON lines or a table with tabs, with columns named as here, as by NeMo, Common Voice or
  CoVoST 2 (the table is in `audiopalm/data/manifest/columns.py`); or a folder like LibriSpeech's,
  with SPEAKER/CHAPTER/*.trans.txt. Lines that share a `pair` are one meaning in two languages;
  their records, and those with a `translation`, have a target. `language`, `translation_language`
  and `audio_dir` say what the files do not. Of each training recording there are `variants`, all
  but the first at other speeds. DataError, with every faulty line, for files that cannot be used.

      corpora.manifest("train.jsonl", test="test.jsonl", language="fr")
  """
  files = {
    "train": train, "validation": validation, "test": test, "held_out_voices": held_out_voices,
  }  # fmt: skip
  return corpus.read(files, Reading(language, translation_language, audio_dir), name, variants)


def librispeech(
  folder: str,
  train: Files = "train-clean-100",
  validation: Files = "dev-clean",
  test: Files = "test-clean",
  held_out_voices: Files = (),
  *,
  variants: int = 1,
  name: str = "librispeech",
) -> corpus.Manifest:
  """Returns LibriSpeech: English speech and its words, by subsets, which are folders of `folder`.

  Its dev and test subsets are spoken by others than its train subsets, so that "test-other" may be
  `held_out_voices`. This and the functions below raise ConfigError where a file or folder is not
  there, and DataError, with every faulty line, for tables that cannot be used.

      corpora.librispeech("LibriSpeech", train=("train-clean-100", "train-clean-360"))
  """
  subsets = {
    "train": train, "validation": validation, "test": test, "held_out_voices": held_out_voices,
  }  # fmt: skip
  return corpus.read(*published.librispeech(folder, subsets), name, variants)


def covost2(
  folder: str,
  pair: str,
  *,
  common_voice: str | None = None,
  variants: int = 1,
  name: str = "covost2",
) -> corpus.Manifest:
  """Returns CoVoST 2: clips of Common Voice 4, their words, and these in another language.

  `pair` is from and to, as the files have it. The tables lie in `folder` or in its folder of the
  language, where `clips/` is too; else `common_voice` is what holds that.

      corpora.covost2("covost", pair="fr_en")
  """
  return corpus.read(*published.covost2(folder, pair, common_voice), name, variants)


def cvss(
  folder: str,
  pair: str,
  *,
  common_voice: str,
  transferred: bool = False,
  variants: int = 1,
  name: str = "cvss",
) -> corpus.Manifest:
  """Returns CVSS-C: clips of Common Voice 4 and their translations, spoken by one voice, "cvss".

  `transferred` reads CVSS-T, whose translations are in the voice of the clip. `common_voice` holds
  the folder of the language, with `validated.tsv` and `clips/`; `pair` has its name.

      corpora.cvss("cvss_c_fr_en_v1.0", pair="fr_en", common_voice="cv-corpus-4")
  """
  found = published.cvss(folder, common_voice, pair, transferred)
  return corpus.read(*found, name, variants)


def fleurs(
  folder: str,
  languages: tuple[str, ...],
  *,
  raw: bool = False,
  variants: int = 1,
  name: str = "fleurs",
) -> corpus.Manifest:
  """Returns FLEURS in some languages, named as its folders: speech, words, and both translated.

  A recording is a record for each other language that has its sentence, so each of n languages adds
  n - 1 records a recording. Words are normalized, or, with `raw`, as they were read. Who speaks is
  not known: its voices are "en_us-female", "en_us-male", and the same in all splits.

      corpora.fleurs("fleurs", languages=("en_us", "fr_fr"))
  """
  return corpus.read(*published.fleurs(folder, languages, raw), name, variants)


def voxpopuli(
  folder: str,
  languages: tuple[str, ...],
  *,
  raw: bool = False,
  variants: int = 1,
  name: str = "voxpopuli",
) -> corpus.Manifest:
  """Returns the transcribed speeches of VoxPopuli in some languages, named as its folders.

  Words are normalized, or, with `raw`, as they were written down, which not all were.

      corpora.voxpopuli("voxpopuli", languages=("en", "de"))
  """
  return corpus.read(*published.voxpopuli(folder, languages, raw), name, variants)
