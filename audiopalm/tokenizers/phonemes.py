"""Text as phonemes: its pronunciation in IPA symbols, by espeak-ng.

"the children"   ->   "ð ə | tʃ ˈɪ l d ɹ ə n"   ->   an id for each symbol, "|" included
"""

import dataclasses
import functools
import importlib.util
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from audiopalm import servers
from audiopalm.errors import ConfigError, DataError, RecordError
from audiopalm.tokenizers import base
from audiopalm.types import StreamSpec, Utterance

BYTES = 256  # ids of bytes, for symbols without an id; those of symbols follow
WORD_END = "|"  # the symbol between words; other symbols are separated by spaces
STRESS = "ˈˌ"
INSTALL = "Install espeakng-loader 0.2.4 or newer: pip install 'audiopalm[data]'."
MODULE = "audiopalm.data_pipelines.speech.espeak"
# Names of espeak-ng's voices that differ from the code of the language.
VOICES = {"en": "en-us", "no": "nb", "zh": "cmn"}


@dataclasses.dataclass(frozen=True)
class Phonemes:
  """The phonemes of the `text` of utterances, each in the utterance's language.

  There are at most `size` ids: 256 bytes, and the most frequent symbols in `fit_texts` training
  texts. Symbols without an id are encoded as bytes, so nothing is lost. `stress` marks are "joined"
  to their vowels ("ˈɪ"), "apart" as symbols of their own, or left out ("none").
  """

  file: ClassVar[str] = "phonemes.json"  # in the folder of a fitted tokenizer
  answers: ClassVar[bool] = False

  stream: str = "phonemes"
  size: int = 512
  stress: Literal["joined", "apart", "none"] = "joined"
  fit_texts: int = 5_000

  def __post_init__(self):
    if self.size <= BYTES + 1:
      raise ConfigError(
        f"Phoneme stream {self.stream!r} has size={self.size}, expected more than {BYTES + 1}: "
        f"{BYTES} bytes and the end of a word take ids before any phoneme. Set size=512."
      )
    if self.stress not in ("joined", "apart", "none"):
      raise ConfigError(
        f"Phoneme stream {self.stream!r} has stress={self.stress!r}, expected joined, apart or "
        "none."
      )

  @property
  def largest(self) -> StreamSpec:
    return StreamSpec(self.stream, "text", (self.size,), None, "")

  def check(self) -> None:
    """Raises ConfigError if espeak-ng is not installed."""
    if importlib.util.find_spec("espeakng_loader") is None:
      raise ConfigError(
        f"The stream {self.stream!r} needs the package espeakng-loader, which is not installed. "
        f"{INSTALL}"
      )

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedPhonemes":
    """Returns the tokenizer fitted on the first `fit_texts` texts; the seed has no effect."""
    spoken = (utterance for utterance in utterances if utterance.text.strip())
    counts, version = Counter(), ""
    for utterance in itertools.islice(spoken, self.fit_texts):
      try:
        pronounced = pronounce(utterance.text, utterance.language, self.stress)
      except RecordError:
        continue  # `encode` raises the same, and `prepare` then leaves the record out
      counts.update(symbol for word in pronounced.words for symbol in word)
      version = pronounced.version
    if not counts:
      raise DataError(
        f"No phonemes to fit the stream {self.stream!r} on: no utterance of the training split has "
        "a text that can be pronounced. Use a corpus with transcripts."
      )
    frequent = [symbol for symbol, _ in counts.most_common(self.size - BYTES - 1)]
    content = {"espeak-ng": version, "symbols": [WORD_END, *sorted(frequent)]}
    return self.fitted(json.dumps(content, ensure_ascii=False).encode())

  def load(self, folder: Path) -> "FittedPhonemes":
    base.check_settings(self, folder)
    return self.fitted((Path(folder) / self.file).read_bytes())

  def fitted(self, content: bytes) -> "FittedPhonemes":
    """Returns the tokenizer of a file that was fitted with these settings."""
    return FittedPhonemes(self, content)


class FittedPhonemes(base.FittedFile):
  """An inventory of symbols, and the version of espeak-ng that produced them."""

  @functools.cached_property
  def spec(self) -> StreamSpec:
    fingerprint = base.fingerprint(self.settings, {"content": self.content})
    sizes = (BYTES + len(self.symbols),)
    return dataclasses.replace(self.settings.largest, sizes=sizes, fingerprint=fingerprint)

  @property
  def symbols(self) -> tuple[str, ...]:
    """The symbols with ids from BYTES on; the first is WORD_END."""
    return tuple(self._read["symbols"])

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns the ids of the phonemes of the utterance's text."""
    words = [word for word in self.pronounce(utterance) if word]
    return np.array(self.encode_text(written(words)), np.int32)

  def pronounce(self, utterance: Utterance) -> list[tuple[str, ...]]:
    """Returns the phonemes of each word of `text.split()`. If two words are pronounced together,
    the first has the phonemes of both and the second has (), like words without phonemes.

    RecordError for a text that is not valid Unicode, and for a language that espeak-ng does not
    know. DataError if the installed version of espeak-ng is not that of the fit.
    """
    base.check_text(utterance.text)
    pronounced = pronounce(utterance.text, utterance.language, self.settings.stress)
    if pronounced.version != self._read["espeak-ng"]:
      raise DataError(
        f"The stream {self.spec.name!r} was fitted with espeak-ng {self._read['espeak-ng']}, but "
        f"{pronounced.version} is installed, which may pronounce texts differently. Install the "
        "espeakng-loader of the fit, or prepare a new workdir."
      )
    return list(pronounced.words)

  def ends(self, utterance: Utterance, cuts: Sequence[int]) -> list[int]:
    """Returns the number of ids before each position in the text; `cuts` are in characters.

    A word belongs to the part after the cut if the cut is in it, or if it is pronounced together
    with the word after the cut.
    """
    texts, words = list(re.finditer(r"\S+", utterance.text)), self.pronounce(utterance)
    spoken = [number for number, word in enumerate(words) if word]
    ends_before = {0: 0}  # by place in the text
    ids = 0
    for number, following in zip(spoken, [*spoken[1:], None], strict=True):
      end = "" if following is None else f" {WORD_END}"
      ids += len(self.encode_text(written([words[number]]) + end))
      joined = range(number + 1, following or len(words))
      last = max([number, *(other for other in joined if is_word(texts[other][0]))])
      ends_before[texts[last].end()] = ids
    return [max(ids for place, ids in ends_before.items() if place <= cut) for cut in cuts]

  def encode_text(self, text: str) -> list[int]:
    """Returns ids whose `decode` is exactly `text`, symbols separated by spaces."""
    base.check_text(text)
    ids = []
    for symbol in text.split(" ") if text else ():
      known = self._ids.get(symbol)
      ids += [*symbol.encode(), ord(" ")] if known is None else [known]
    return ids

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> str:
    """Returns the symbols of any ids; bytes that are not UTF-8 become U+FFFD."""
    symbols, data = [], b""
    for id_ in base.check_ids(ids, self.spec).tolist():
      if id_ < BYTES and id_ != ord(" "):
        data += bytes([id_])
        continue
      if id_ < BYTES or data:
        symbols.append(data.decode(errors="replace"))
        data = b""
      if id_ >= BYTES:
        symbols.append(self.symbols[id_ - BYTES])
    return " ".join([*symbols, data.decode(errors="replace")] if data else symbols)

  @functools.cached_property
  def _read(self) -> dict:
    return json.loads(self.content)

  @functools.cached_property
  def _ids(self) -> dict[str, int]:
    return {symbol: BYTES + number for number, symbol in enumerate(self.symbols)}


@dataclasses.dataclass(frozen=True)
class Pronounced:
  """The phonemes of each word of a text, and the version of espeak-ng that produced them."""

  words: tuple[tuple[str, ...], ...]
  version: str


@functools.lru_cache(maxsize=1_024)
def pronounce(text: str, language: str, stress: str = "joined") -> Pronounced:
  """Returns the pronunciation of a text; for its words see `FittedPhonemes.pronounce`. RecordError
  for a language that espeak-ng does not know."""
  voice = VOICES.get(language, language)
  server = servers.Server("espeak", MODULE, "espeakng-loader", "espeakng_loader", INSTALL, (voice,))
  try:
    answer, _ = servers.ask(server, {"text": text, "voice": voice})
  except RecordError as error:
    raise RecordError(
      f"no phonemes: expected a language that espeak-ng supports, got {language!r}. Leave out "
      "records of that language, or the stream of phonemes."
    ) from error
  places = [match.start() for match in re.finditer(r"\S+", text)]
  words = [[] for _ in places]
  for character, phoneme in answer["phonemes"]:
    word = max(0, sum(place <= character for place in places) - 1)
    words[word] += _with_stress(phoneme, stress)
  tokens = text.split()
  for number, (token, following) in enumerate(itertools.pairwise(tokens)):
    if not is_word(token) and is_word(following) and not words[number + 1]:
      words[number], words[number + 1] = [], words[number]  # espeak-ng starts the word at the dash
  return Pronounced(tuple(map(tuple, words)), answer["version"])


def is_word(token: str) -> bool:
  """Returns whether a token has a letter or digit, and is not just punctuation."""
  return any(map(str.isalnum, token))


def written(words: Iterable[Sequence[str]]) -> str:
  """Returns the phonemes of words as one text: "ð ə | tʃ ˈɪ l d ɹ ə n"."""
  return f" {WORD_END} ".join(map(" ".join, words))


def _with_stress(phoneme: str, stress: str) -> list[str]:
  if stress == "joined":
    return [phoneme]
  parts = [part for part in re.split(f"([{STRESS}])", phoneme) if part]
  return parts if stress == "apart" else [part for part in parts if part not in STRESS]
