"""Whisper by faster-whisper, as an independent recognizer of speech. Needs no jax.

The model is a folder in CTranslate2's layout, so evaluations need no network, and checksums in the
scores identify its weights.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from audiopalm import language_tags
from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.evaluation import listeners
from audiopalm.evaluation.listeners import Listener, Measurement, Score, WavFile

if TYPE_CHECKING:
  import faster_whisper

MODEL, INNER = "model.bin", "ctranslate2"
NEEDED = (MODEL, "config.json", "tokenizer.json")
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
BEAMS = 5
COMPUTE = "float32"
_NAMES = {"jv": "jw"}  # language codes that differ in Whisper


@dataclasses.dataclass(frozen=True)
class Whisper(Listener):
  """A Whisper model in a folder, checked by `opened`; each worker process loads it.

  Workers use one thread: parallel recordings are faster than parallel threads, and the order of
  floating-point sums is then fixed.
  """

  folder: Path
  sums: tuple[tuple[str, str], ...]  # SHA-256 of model.bin and of the vocabulary, by file name
  languages: tuple[str, ...]  # as Whisper calls them
  score: Score = "asr"
  repeatable = True

  @property
  def rule(self) -> str:
    versions = " with ".join(
      f"{name} {metadata.version(name)}" for name in ("faster-whisper", "ctranslate2")
    )
    sums = ", ".join(f"{name} sha256:{digest}" for name, digest in self.sums)
    return (
      f"{versions}, {sums}, {COMPUTE} on the CPU, language given, beam {BEAMS}, temperature 0, no "
      "conditioning on earlier text, no VAD, no timestamps, windows of 30 s, from the written WAV"
    )

  def hears(self, language: str) -> bool:
    return _name(language) in self.languages

  def check(self, languages: Collection[str] = ()) -> None:
    known = "only English" if self.languages == ("en",) else f"{len(self.languages)} languages"
    option, advice = f"--asr whisper with {self.folder}", "or name a model that supports them"
    listeners.check_languages(self, languages, option, known, advice)

  def hear(self, wav: WavFile) -> Measurement:
    segments, _ = _model(self.folder).transcribe(
      waveform.read(wav.path),
      language=_name(wav.language),
      beam_size=BEAMS,
      temperature=0,
      condition_on_previous_text=False,
      vad_filter=False,
      without_timestamps=True,
    )
    return Measurement(" ".join("".join(segment.text for segment in segments).split()))


def opened(model: str) -> Whisper:
  """Returns the model in the folder `model`, or downloads the model of this name.

  Raises ConfigError if the package is missing, there is no such folder or name, the folder has
  another layout, or its model cannot be read.
  """
  listeners.check_installed("--asr whisper", ["faster_whisper"], "whisper")
  folder = folder_of(Path(model) if Path(model).exists() else _downloaded(model))
  try:
    loaded = _model.__wrapped__(folder)  # not cached: only workers use the model
  except (RuntimeError, ValueError, OSError) as error:
    raise ConfigError(
      f"--asr-model {folder} cannot be opened as a Whisper model: {error}. Convert it again."
    ) from error
  vocabulary = next(name for name in VOCABULARIES if (folder / name).is_file())
  sums = []
  for name in (MODEL, vocabulary):
    with (folder / name).open("rb") as file:
      sums.append((name, hashlib.file_digest(file, "sha256").hexdigest()))
  return Whisper(folder, tuple(sums), tuple(loaded.supported_languages))


def folder_of(folder: Path) -> Path:
  """Returns the folder of the CTranslate2 files: this one or its "ctranslate2".

  Raises ConfigError, with the missing files and how to create them, if neither has them all.
  """
  if not folder.is_dir():
    raise ConfigError(f"--asr-model {folder} is a file. Name the folder that holds {MODEL}.")
  inner = folder / INNER
  place = inner if inner.is_dir() and not (folder / MODEL).is_file() else folder
  held = sorted(path.name for path in place.iterdir())
  missing = [name for name in NEEDED if name not in held]
  if not any(name in held for name in VOCABULARIES):
    missing.append(" or ".join(VOCABULARIES))
  if not missing:
    return place
  advice = "Name a folder in CTranslate2's layout, or one that holds it as ctranslate2/."
  torch = (name.endswith(".safetensors") or name.startswith("pytorch_model") for name in held)
  if MODEL in missing and any(torch):
    advice = (
      "It is a folder of transformers: convert it by `ct2-transformers-converter --model "
      f"{place} --output_dir {place / INNER} --copy_files tokenizer.json preprocessor_config.json`."
    )
  raise ConfigError(
    f"--asr-model {place} is not a Whisper model of CTranslate2: it lacks {', '.join(missing)}, "
    f"and holds {', '.join(held) or 'nothing'}. {advice}"
  )


def _downloaded(name: str) -> Path:
  """Returns the folder of a downloaded model, named as in faster-whisper or on the hub."""
  from faster_whisper import utils

  known = utils.available_models()
  if name not in known and (name.count("/") != 1 or name.startswith((".", "~", "/"))):
    raise ConfigError(
      f"--asr-model {name} is neither an existing folder nor a model of faster-whisper. Name the "
      f"folder of a model, or one of {', '.join(known)}."
    )
  try:
    return Path(utils.download_model(name))  # raises OSError if the hub or the network fails
  except (OSError, ValueError) as error:
    raise ConfigError(
      f"--asr-model {name} is not a folder and cannot be downloaded: "
      f"{str(error).splitlines()[0]}. Name the folder of a model."
    ) from error


@functools.cache  # once per process
def _model(folder: Path) -> "faster_whisper.WhisperModel":
  import faster_whisper

  return faster_whisper.WhisperModel(
    str(folder), device="cpu", compute_type=COMPUTE, cpu_threads=1, num_workers=1
  )


def _name(language: str) -> str:
  code = language_tags.canonical(language)
  return _NAMES.get(code, code)
