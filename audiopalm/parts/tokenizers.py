"""Tokenizers for configs."""

from pathlib import Path
from typing import Any, Literal

from audiopalm import experiment as experiments
from audiopalm import language_tags, runs
from audiopalm.data import files
from audiopalm.errors import ConfigError
from audiopalm.parts import mixtures
from audiopalm.pretrained import source
from audiopalm.tokenizers import kept
from audiopalm.tokenizers import pretrained as pretrained_text
from audiopalm.tokenizers.base import Tokenizer
from audiopalm.tokenizers.kept import KeptTokenizer
from audiopalm.tokenizers.lyra import Lyra
from audiopalm.tokenizers.mel_rvq import MelRVQ
from audiopalm.tokenizers.neural import NeuralUnits
from audiopalm.tokenizers.phonemes import Phonemes
from audiopalm.tokenizers.pitch import PitchUnits
from audiopalm.tokenizers.text import SentencePieceText
from audiopalm.tokenizers.unit_bpe import UnitBPE
from audiopalm.tokenizers.units import KMeansUnits

COMMON_LANGUAGES = ("de", "en", "es", "fr", "it", "nl", "pl", "pt")


def text(
  size: int = 512, languages: tuple[str, ...] = COMMON_LANGUAGES, stream: str = "text"
) -> SentencePieceText:
  """Returns SentencePiece text with byte fallback, at most `size` ids.

  In tags, the name of each of `languages` is one id; names of other languages take several.
  """
  # [S2ST English French] then takes 7 ids instead of 22.
  words = mixtures.TAG_WORDS + tuple(language_tags.name(code) for code in languages)
  return SentencePieceText(stream=stream, size=size, words=words)


def pretrained(folder: str, stream: str = "text", trust: tuple[str, ...] = ()) -> Tokenizer:
  """Returns the text tokenizer of a text model in a Hugging Face folder (tokenizer.json, else
  tokenizer.model; as many ids as the model has rows), with the same ids.

  For the workdir of a run it is `fitted`, of the stream of its text.
  """
  if runs.holds(folder):
    return fitted(folder, stream, trust)
  return pretrained_text.in_folder(folder, source.described(folder)[1], stream)


def fitted(folder: str, stream: str | None = None, trust: tuple[str, ...] = ()) -> KeptTokenizer:
  """Returns a fitted tokenizer with its ids, from a folder of `audiopalm tokenizer fit` or from the
  workdir of a run.

  `stream` names one of several, by default the only one of speech. `trust` names the packages
  outside of audiopalm whose classes the run's config uses.
  """
  tokenizers = {tokenizer.stream: tokenizer for tokenizer in all_fitted(folder, trust)}
  speech = [tokenizer for tokenizer in tokenizers.values() if not is_text(tokenizer)]
  if stream is None and len(speech) == 1:
    return speech[0]
  if stream not in tokenizers:
    expected = "one speech tokenizer" if stream is None else f"the stream {stream!r}"
    raise ConfigError(
      f"Expected {expected} in {folder}, which has {', '.join(tokenizers)}. Name one of these by "
      "stream=..."
    )
  return tokenizers[stream]


def all_fitted(folder: str, trust: tuple[str, ...] = ()) -> tuple[KeptTokenizer, ...]:
  """Returns all tokenizers in a folder of `audiopalm tokenizer fit`, or in the workdir of a run;
  ConfigError if there are none."""
  place = Path(folder).expanduser()
  if (place / kept.RECORD).is_file() or not (place / runs.CONFIG).is_file():
    return (kept.read(folder, trust),)
  if not runs.holds(str(place)):
    raise ConfigError(
      f"{folder} is a model of another project, expected a folder that `audiopalm tokenizer fit` "
      "wrote, or the workdir of a run. To fit units on that encoder: audiopalm tokenizer fit "
      f"MANIFEST --units {NEURAL}{folder} --out DIR"
    )
  prints = files.read_json(place / "tokenizers" / "fit.json")["fingerprints"]
  return tuple(
    KeptTokenizer(
      kept.plain(tokenizer),
      str(place / "tokenizers" / tokenizer.stream),
      prints[tokenizer.stream],
    )
    for tokenizer in experiments.of_run(place, trust).tokenizers
  )


def is_text(tokenizer: Tokenizer) -> bool:
  """Returns whether a tokenizer encodes text."""
  return tokenizer.largest.modality == "text"


def units(
  size: int = 256,
  rate_hz: float = 25.0,
  collapse: bool = False,
  stream: str = "units",
  **options: Any,
) -> KMeansUnits:
  """Returns semantic units: `size` clusters of speaker-normalized MFCCs, `rate_hz` per second.

  `collapse` merges each run of equal units into one. `options` are further fields of `KMeansUnits`.
  """
  return KMeansUnits(stream=stream, size=size, rate_hz=rate_hz, collapse=collapse, **options)


def neural(
  folder: str,
  layer: int | None = None,
  size: int = 256,
  rate_hz: float = 50.0,
  collapse: bool = False,
  stream: str = "units",
  **options: Any,
) -> NeuralUnits:
  """Returns semantic units: `size` clusters of the states of a speech encoder.

  `folder` is the Hugging Face folder of a published one (wav2vec 2.0, HuBERT, WavLM, w2v-BERT 2.0,
  Whisper) or the workdir of a run that trains one (docs/tokenizers.md). `options` are further
  fields of `NeuralUnits`.
  """
  return NeuralUnits(
    stream=stream, folder=folder, layer=layer, size=size, rate_hz=rate_hz, collapse=collapse,
    **options,
  )  # fmt: skip


def bpe(units: Tokenizer, size: int = 1_000, stream: str | None = None) -> UnitBPE:
  """Returns byte-pair encoding of `units`: at most `size` pieces, frequent sequences of units.

      tokenizers.bpe(tokenizers.units(size=256, collapse=True), size=2_000)

  The stream is named like that of `units` by default: name it if the config has both.
  """
  return UnitBPE(units, size, units.stream if stream is None else stream)


NEURAL = "neural:"


def named_units(name: str, mfcc: KMeansUnits, **options: Any) -> KMeansUnits | NeuralUnits:
  """Returns units by name, for parameters of configs: `mfcc` for "mfcc", and for "neural:FOLDER"
  those of the encoder or run in FOLDER, with the options of `neural`."""
  if name == "mfcc":
    return mfcc
  folder = name.removeprefix(NEURAL)
  if folder == name or not folder:
    raise ConfigError(
      f"Unknown units {name!r}. Expected mfcc, or {NEURAL}FOLDER with the folder of a speech "
      "encoder as transformers saves it, or the workdir of a run that trained one."
    )
  return neural(folder, **{"stream": mfcc.stream, "collapse": mfcc.collapse, **options})


def mel_rvq(
  codebooks: int = 8, size: int = 256, rate_hz: float = 25.0, stream: str = "codes", **options: Any
) -> MelRVQ:
  """Returns acoustic codes without a network: residual k-means over log-mel frames, `rate_hz` per
  second. `options` are further fields of `MelRVQ`."""
  return MelRVQ(stream=stream, codebooks=codebooks, size=size, rate_hz=rate_hz, **options)


def lyra(
  folder: str = "", levels: int = 16, levels_per_code: int = 2, stream: str = "codes"
) -> Lyra:
  """Returns SoundStream's codes with the weights of Lyra V2 in `folder`, 50 frames per second.

  By default a frame has 8 codes of 256 ids: 3.2 kbps.
  """
  return Lyra(stream=stream, folder=folder, levels=levels, levels_per_code=levels_per_code)


def pitch(
  size: int = 64, rate_hz: float = 12.5, stream: str = "pitch", **options: Any
) -> PitchUnits:
  """Returns pitch as ids: `size` clusters of log pitch relative to its mean in the utterance, and
  an id for unvoiced frames, `rate_hz` per second. `options` are further fields of `PitchUnits`."""
  return PitchUnits(stream=stream, size=size, rate_hz=rate_hz, **options)


def phonemes(
  size: int = 512,
  stress: Literal["joined", "apart", "none"] = "joined",
  stream: str = "phonemes",
  **options: Any,
) -> Phonemes:
  """Returns the phonemes of texts, by espeak-ng: at most `size` ids, 256 of which are bytes for
  symbols without an id. `options` are further fields of `Phonemes`."""
  return Phonemes(stream=stream, size=size, stress=stress, **options)
