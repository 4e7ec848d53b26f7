"""Corpora for configs: classes of settings, and functions for corpora in files of the user, which
are read first."""

from collections.abc import Sequence

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
from audiopalm.nn import log_mel
from audiopalm.types import CorpusSettings

TELEPHONE_HZ = 3_800.0  # what spoken_digit's 8 kHz hold, whatever it is resampled to

__all__ = [
  "TELEPHONE_HZ",
  "TOPICS",
  "SeqioText",
  "SpokenDigit",
  "SpokenSentences",
  "Synthetic",
  "SyntheticDialogue",
  "SyntheticText",
  "SyntheticTranslations",
  "band_hz",
  "covost2",
  "cvss",
  "dialogues",
  "fleurs",
  "librispeech",
  "manifest",
  "recordings",
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


def recordings(
  data_dir: str | None = None,
  manifests: tuple[str, ...] = (),
  *,
  held_out_speaker: str | None = "theo",
  dev_manifests: tuple[str, ...] = (),
  variants: int = 3,
  train_records: int = 2_000,
) -> tuple[CorpusSettings, ...]:
  """Returns corpora to learn from without labels: English and French of the grammar, unless there
  is real speech. That is spoken_digit in `data_dir`, TFDS's, without the held-out speaker, and what
  `manifests` list, with held-out losses on `dev_manifests`. Training hears `variants` speeds of
  each of these recordings.
  """
  corpora: list[CorpusSettings] = []
  if data_dir is not None:
    corpora.append(
      SpokenDigit(data_dir=data_dir, held_out_speaker=held_out_speaker, variants=variants)
    )
  if manifests:
    corpora.append(manifest(manifests, dev_manifests or None, variants=variants))
  return tuple(corpora) or (Synthetic(languages=("en", "fr"), train_records=train_records),)


def band_hz(corpora: Sequence[CorpusSettings]) -> float:
  """Returns the highest frequency that all speech of these corpora has."""
  narrow = any(isinstance(corpus, SpokenDigit) for corpus in corpora)
  return TELEPHONE_HZ if narrow else log_mel.HIGH_HZ
