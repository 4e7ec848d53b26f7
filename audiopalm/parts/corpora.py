"""Corpora that configs name: classes of settings, and functions for those that have to be looked at
first, files that a user has."""

from audiopalm.data.corpora import (
  TOPICS,
  SeqioText,
  SpokenDigit,
  SpokenSentences,
  Synthetic,
  SyntheticDialogue,
  SyntheticText,
  SyntheticTranslations,
)
from audiopalm.data.manifest import corpus
from audiopalm.data.manifest.lines import Files, Reading
from audiopalm.data.manifest.published import covost2, cvss, fleurs, librispeech, voxpopuli
from audiopalm.data.manifest.turns import Turns

__all__ = [
  "TOPICS",
  "SeqioText",
  "SpokenDigit",
  "SpokenSentences",
  "Synthetic",
  "SyntheticDialogue",
  "SyntheticText",
  "SyntheticTranslations",
  "covost2",
  "cvss",
  "dialogues",
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


def dialogues(
  train: Files,
  validation: Files | None = None,
  test: Files | None = None,
  held_out_voices: Files | None = None,
  *,
  language: str | None = None,
  audio_dir: str | None = None,
  variants: int = 1,
  name: str = "dialogues",
) -> corpus.Manifest:
  """Returns the conversations that files list, JSON lines with `turns`, for `mixtures.dialogue`.

  A turn that another speaker answers is a `question`, and the next turn its `answer`
  (`audiopalm/data/manifest/turns.py`). Everything else is as in `manifest`.
  """
  files = {
    "train": train, "validation": validation, "test": test, "held_out_voices": held_out_voices,
  }  # fmt: skip
  return corpus.read(files, Turns(language, None, audio_dir), name, variants)
