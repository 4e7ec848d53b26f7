"""Corpora for configs: classes of settings, and functions for corpora in files of the user, which
are read first."""

from audiopalm.data.corpora import (
  TOPICS,
  SeqioText,
  SpokenDigit,
  Synthetic,
  SyntheticDialogue,
  SyntheticText,
  SyntheticTranslations,
)
from audiopalm.data.manifest import corpus
from audiopalm.data.manifest.lines import Files, Reading
from audiopalm.data.manifest.published import covost2, cvss, fleurs, librispeech, voxpopuli

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
  """Reads manifests, one or several for each split, and returns the corpus that they list.

  A manifest is JSON Lines or a tab-separated table, whose columns have our names or those of NeMo,
  Common Voice or CoVoST 2 (listed in `audiopalm/data/manifest/columns.py`); or a LibriSpeech-style
  folder with SPEAKER/CHAPTER/*.trans.txt. Lines with the same `pair` are one sentence in two
  languages; their records, and those with a `translation`, have a target. `language`,
  `translation_language` and `audio_dir` apply to lines that lack them. Each training recording has
  `variants` versions, all but the first at other speeds. DataError, listing every faulty line, for
  manifests that cannot be used.

      corpora.manifest("train.jsonl", test="test.jsonl", language="fr")
  """
  files = {
    "train": train, "validation": validation, "test": test, "held_out_voices": held_out_voices,
  }  # fmt: skip
  return corpus.read(files, Reading(language, translation_language, audio_dir), name, variants)
