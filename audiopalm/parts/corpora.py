"""Corpora that configs name and that have to be looked at first: files that a user has."""

from typing import Any

from audiopalm.data import multi30k as captions
from audiopalm.data.manifest import corpus
from audiopalm.data.manifest.lines import Reading


def manifest(
  train: str,
  validation: str | None = None,
  test: str | None = None,
  held_out_voices: str | None = None,
  *,
  language: str | None = None,
  translation_language: str | None = None,
  audio_dir: str | None = None,
  variants: int = 1,
  name: str = "manifest",
) -> corpus.Manifest:
  """Returns the corpus that files list, after reading them: one for each split.

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


def multi30k(folder: str, **options: Any) -> captions.Multi30k:
  """Returns the captions of Multi30k in a folder, spoken; `options` are fields of `Multi30k`.

  ConfigError where the folder does not hold the files of its languages.
  """
  return _captions(captions.Multi30k, folder, options)


def multi30k_text(folder: str, **options: Any) -> captions.Multi30kText:
  """Returns the captions of Multi30k in a folder as text alone."""
  return _captions(captions.Multi30kText, folder, options)


def _captions(kind: type, folder: str, options: dict[str, Any]) -> Any:
  languages = options.get("languages", kind.languages)
  return kind(folder=folder, digest=captions.digest(folder, languages), **options)
