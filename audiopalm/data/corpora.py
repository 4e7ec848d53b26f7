"""Settings of corpora. The module that they name as `served_by` makes the records."""

import dataclasses
import hashlib
import itertools
import json
import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from audiopalm import language_tags
from audiopalm.data import synthesizers
from audiopalm.data.takes import Takes
from audiopalm.errors import ConfigError

SPLITS = ("train", "validation", "test", "held_out_voices")

# Increment it when a sentence, a voice or a split of the synthetic corpora changes.
GENERATOR = "synthetic 1"

# Languages of the synthetic corpora.
SPOKEN_LANGUAGES = ("en", "fr", "de")

# Fields of spoken corpora that do not apply to text corpora.
OF_SPEECH = ("voices", "held_out_voices", "synthesizer", "takes")

# Topics of the grammar in data_pipelines/synthetic.
TOPICS = (
  "times", "numbers", "prices", "weather", "directions", "shopping", "travel", "holidays",
  "family", "food", "daily", "home", "school", "health",
)  # fmt: skip

# Topics of its dialogues.
QUESTIONS = ("sums", "order", "opposites", "names", "colours", "places")

DIGIT_SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


class Corpus:
  """The base of our settings classes: frozen dataclasses with the ClassVars below."""

  name: ClassVar[str]
  served_by: ClassVar[str]
  roles: ClassVar[tuple[str, ...]]
  optional_roles: ClassVar[tuple[str, ...]] = ()
  version: ClassVar[str]
  unprinted: ClassVar[tuple[str, ...]] = (
    "variants",
  )  # not in the fingerprint: no effect on records
  before: ClassVar[Mapping[str, Any]] = {}  # values of newer fields in runs that lack them
  splits: ClassVar[tuple[str, ...]] = SPLITS

  @property
  def fingerprint(self) -> str:
    printed = {field.name for field in dataclasses.fields(self)} - {*self.unprinted}
    values = {name: getattr(self, name) for name in printed}
    kept = {
      name: value
      for name, value in values.items()
      if name not in self.before or value != self.before[name]
    }
    identity = operator.attrgetter("identity")  # replaces values that JSON cannot encode
    text = json.dumps([self.name, self.version, kept], sort_keys=True, default=identity)
    return hashlib.sha256(text.encode()).hexdigest()

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    self._check_roles(roles)
    return tuple({role: language for role in roles} for language in self.languages)

  def _check_roles(self, roles: Sequence[str]) -> None:
    for role in roles:
      if role not in self.roles:
        raise ConfigError(
          f"Corpus {self.name!r} has no role {role!r}: its records have {', '.join(self.roles)}. "
          "Name one of these in the task."
        )

  def _check_language(self, language: str) -> None:
    if language not in self.languages:
      raise ConfigError(
        f"Corpus {self.name!r} has no language {language!r}: it has {', '.join(self.languages)}. "
        "Name one of these, or add it to the corpus in the config."
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Voiced(Corpus):
  """Settings of the synthetic corpora. `topics` selects topics of the grammar (None: all); the
  first `voices` of each language are the training voices.

  `synthesizer` is "pico", "espeak", a result of `parts.synthesizers`, or the user's own
  `SynthesizerSettings`. `takes` are recording conditions: silence, pauses, level, noise; None keeps
  the output of the synthesizer as it is.
  """

  languages: tuple[str, ...] = SPOKEN_LANGUAGES
  voices: int = 12
  held_out_voices: int = 2
  variants: int = 1
  seed: int = 0
  synthesizer: synthesizers.Choice = "pico"
  takes: Takes | None = Takes()
  topics: tuple[str, ...] | None = None
  train_records: int = 20_000
  validation_records: int = 300
  test_records: int = 900

  version: ClassVar[str] = GENERATOR
  served_by: ClassVar[str] = "audiopalm.data_pipelines.synthetic"
  known_topics: ClassVar[tuple[str, ...]] = TOPICS
  before: ClassVar[Mapping[str, Any]] = {"synthesizer": "espeak", "takes": None}
  translated: ClassVar[bool] = False  # the roles of a record are in different languages

  def __post_init__(self):
    codes = tuple(map(language_tags.canonical, self.languages))
    object.__setattr__(self, "languages", codes)
    check_known(self.name, "languages", self.languages, SPOKEN_LANGUAGES)
    speaks = check_speaks(self.name, self.synthesizer, self.languages)
    most = min(len(speaks.train_voices(language)) for language in self.languages)
    check_count(self.name, "voices", self.voices, 1, most)
    most = min(len(speaks.held_out_voices(language)) for language in self.languages)
    check_count(self.name, "held_out_voices", self.held_out_voices, 0, most)
    check_count(self.name, "variants", self.variants, 1)
    topics = self.known_topics if self.topics is None else self.topics
    check_known(self.name, "topics", topics, self.known_topics)
    check_count(self.name, "train_records", self.train_records, 1)
    for field in ("validation_records", "test_records"):
      check_count(self.name, field, getattr(self, field), 0)

  def train_voices(self, language: str) -> tuple[str, ...]:
    self._check_language(language)
    return synthesizers.named(self.synthesizer).train_voices(language)[: self.voices]

  def voices_of(self, language: str, split: str) -> tuple[str, ...]:
    """Returns the speakers who may speak a source or a question of this split."""
    if split != "held_out_voices":
      return self.train_voices(language)
    return synthesizers.named(self.synthesizer).held_out_voices(language)[: self.held_out_voices]

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    if not self.translated or len(self.languages) == 1:
      return super().pairs(roles)
    self._check_roles(roles)
    ordered = itertools.permutations(self.languages, len(roles))
    return tuple(dict(zip(roles, languages, strict=True)) for languages in ordered)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic(Voiced):
  """Sentences of the grammar and their translations, spoken by a synthesizer.

  A record is one meaning: `source` in one language by one of its training voices, `target` in
  another language by that language's canonical voice (one voice speaks all targets of a language,
  as in CVSS-C, arXiv:2201.03713). Records cycle through the ordered language pairs and the voices.
  Validation and test share no meaning with train in any language; `held_out_voices` has the
  meanings of test, with sources spoken by voices that do not occur in train.
  """

  translated: ClassVar[bool] = True
  name: ClassVar[str] = "synthetic"
  roles: ClassVar[tuple[str, ...]] = ("source", "target")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticDialogue(Voiced):
  """Spoken questions with spoken answers that follow from them, in the same language.

  `question` is spoken by a training voice (in `held_out_voices`: by a held-out voice), `answer` by
  the language's canonical voice. `topics` are a subset of QUESTIONS; splits are disjoint in
  meaning.
  """

  known_topics: ClassVar[tuple[str, ...]] = QUESTIONS
  name: ClassVar[str] = "dialogue"
  roles: ClassVar[tuple[str, ...]] = ("question", "answer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextAlone(Voiced):
  """Settings of corpora without speech. Their train split has only meanings of the grammar's
  training split, so none of validation or test in any language."""

  train_records: int = 50_000
  unprinted: ClassVar[tuple[str, ...]] = (*Corpus.unprinted, "synthesizer", "takes")
  before: ClassVar[Mapping[str, Any]] = {}
  splits: ClassVar[tuple[str, ...]] = SPLITS[:3]

  def __post_init__(self):
    super().__post_init__()
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if field.name in OF_SPEECH and value != field.default:
        raise ConfigError(
          f"Corpus {self.name!r} has only text: nothing of it is spoken. Remove {field.name}="
          f"{value!r}."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticText(TextAlone):
  """Sentences of the grammar, one language per record."""

  name: ClassVar[str] = "text"
  roles: ClassVar[tuple[str, ...]] = ("source",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SyntheticTranslations(TextAlone):
  """Sentences of the grammar and their translations, in all ordered language pairs."""

  translated: ClassVar[bool] = True
  name: ClassVar[str] = "translations"
  roles: ClassVar[tuple[str, ...]] = ("source", "target")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenSentences(Corpus):
  """Sentences of a file of the user's, one a line, as a synthesizer says them: to train on.

  Line after line is spoken by the first `voices` of the language in turn, and after the last line
  the first again by another voice, up to `train_records`. A `file` whose name ends with .gz is
  decompressed. `plain` leaves out capitals and punctuation (`metrics.text.normalize`), as
  transcripts often do. `digest` is that of the file, which is read where it is not given. Other
  fields are as in `Voiced`.
  """

  file: str
  language: str
  train_records: int
  plain: bool = False
  voices: int = 12
  variants: int = 1
  seed: int = 0
  synthesizer: synthesizers.Choice = "pico"
  takes: Takes | None = Takes()
  digest: str = ""
  name: str = "spoken_sentences"

  roles: ClassVar[tuple[str, ...]] = ("source",)
  version: ClassVar[str] = "spoken_sentences 1"
  served_by: ClassVar[str] = "audiopalm.data_pipelines.spoken_sentences"
  unprinted: ClassVar[tuple[str, ...]] = ("name", "variants", "file")

  def __post_init__(self):
    check_name(self.name)
    object.__setattr__(self, "language", language_tags.code(self.language))
    check_count(self.name, "train_records", self.train_records, 1)
    check_count(self.name, "variants", self.variants, 1)
    speaks = check_speaks(self.name, self.synthesizer, (self.language,))
    check_count(self.name, "voices", self.voices, 1, len(speaks.train_voices(self.language)))
    if not self.digest:
      try:
        digest = hashlib.sha256(Path(self.file).expanduser().read_bytes()).hexdigest()
      except OSError as error:
        raise ConfigError(
          f"Corpus {self.name!r}: file={self.file!r} cannot be read: {error.strerror}. Give the "
          "path of a text file with one sentence a line."
        ) from error
      object.__setattr__(self, "digest", digest)

  @property
  def languages(self) -> tuple[str, ...]:
    return (self.language,)

  def train_voices(self, language: str) -> tuple[str, ...]:
    self._check_language(language)
    return synthesizers.named(self.synthesizer).train_voices(language)[: self.voices]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpokenDigit(Corpus):
  """Recordings of people saying one digit in English: the Free Spoken Digit Dataset, through TFDS.

  `data_dir` is the data folder of TFDS (None: its default). All recordings of `held_out_speaker`, a
  name or several separated by commas, are the split `held_out_voices` (None: it is empty); those of
  the others are train, validation and test by recording number.
  """

  data_dir: str | None = None
  held_out_speaker: str | None = "theo"
  validation_recordings: int = 2  # of the 50 of each digit by each speaker
  test_recordings: int = 3
  variants: int = 5

  name: ClassVar[str] = "spoken_digit"
  roles: ClassVar[tuple[str, ...]] = ("source",)
  version: ClassVar[str] = "spoken_digit 1.0.9"
  served_by: ClassVar[str] = "audiopalm.data_pipelines.spoken_digit"
  unprinted: ClassVar[tuple[str, ...]] = ("variants", "data_dir")

  def __post_init__(self):
    if unknown := set(self.held_out_speakers) - set(DIGIT_SPEAKERS):
      raise ConfigError(
        f"Corpus 'spoken_digit' has no speaker {', '.join(map(repr, sorted(unknown)))}: it has "
        f"{', '.join(DIGIT_SPEAKERS)}. Set held_out_speaker to one of these, to several separated "
        "by commas, or to None to hold out no speaker."
      )
    if len(set(self.held_out_speakers)) == len(DIGIT_SPEAKERS):
      raise ConfigError(
        f"Corpus 'spoken_digit' holds out {self.held_out_speaker}: no speaker is left to train on. "
        "Name fewer in held_out_speaker."
      )
    check_count(self.name, "variants", self.variants, 1)
    check_count(self.name, "validation_recordings", self.validation_recordings, 0, 20)
    check_count(self.name, "test_recordings", self.test_recordings, 0, 20)

  @property
  def held_out_speakers(self) -> tuple[str, ...]:
    names = self.held_out_speaker
    return () if names is None else tuple(name.strip() for name in names.split(","))

  @property
  def languages(self) -> tuple[str, ...]:
    return ("en",)

  def train_voices(self, language: str) -> tuple[str, ...]:
    self._check_language(language)
    return tuple(name for name in DIGIT_SPEAKERS if name not in self.held_out_speakers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeqioText(Corpus):
  """Texts of a registered SeqIO Task or Mixture: the first examples of each split.

  `module` is imported first and registers `task`. Its feature `source` is the text in `language`,
  `target`, if set, its translation in `target_language`. The text is that before tokenization if
  the task keeps it ("targets_pretokenized"), else it is decoded by the task's vocabulary.
  `train_split` and the like are SeqIO's names of the splits. The data of the task is not part of
  the fingerprint: change `revision` when it has changed.
  """

  task: str
  module: str
  language: str
  source: str = "targets"
  target: str | None = None
  target_language: str | None = None
  train_records: int
  validation_records: int = 300
  test_records: int = 300
  train_split: str = "train"
  validation_split: str = "validation"
  test_split: str = "test"
  revision: str = ""
  variants: int = 1
  name: str = "seqio"

  version: ClassVar[str] = "seqio 2"
  served_by: ClassVar[str] = "audiopalm.data_pipelines.seqio_text"
  splits: ClassVar[tuple[str, ...]] = SPLITS[:3]

  @property
  def imports(self) -> tuple[str, ...]:
    return (self.module,)

  def __post_init__(self):
    check_name(self.name)
    if (self.target is None) != (self.target_language is None):
      raise ConfigError(
        f"Corpus {self.name!r}: target={self.target!r} and target_language="
        f"{self.target_language!r}: a translation needs both, plain text neither."
      )
    for field in ("language", "target_language"):
      if getattr(self, field) is not None:
        object.__setattr__(self, field, language_tags.code(getattr(self, field)))
    check_count(self.name, "train_records", self.train_records, 1)
    for field in ("validation_records", "test_records"):
      check_count(self.name, field, getattr(self, field), 0)
    check_count(self.name, "variants", self.variants, 1, 1)

  @property
  def roles(self) -> tuple[str, ...]:
    return ("source",) if self.target is None else ("source", "target")

  @property
  def languages(self) -> tuple[str, ...]:
    return tuple(self._languages.values())

  def pairs(self, roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    self._check_roles(roles)
    return ({role: self._languages[role] for role in roles},)

  def train_voices(self, language: str) -> tuple[str, ...]:
    """Returns (), as there is no speech."""
    self._check_language(language)
    return ()

  @property
  def _languages(self) -> dict[str, str]:
    return dict(zip(self.roles, (self.language, self.target_language), strict=False))


def check_speaks(
  corpus: str, synthesizer: synthesizers.Choice, languages: Sequence[str]
) -> synthesizers.SynthesizerSettings:
  """Returns the settings of a synthesizer; ConfigError unless it speaks the languages."""
  speaks = synthesizers.named(synthesizer)
  for language in languages:
    if language not in speaks.languages:
      raise ConfigError(
        f"Corpus {corpus!r}: synthesizer {speaks.name!r} does not speak {language!r}: it speaks "
        f"{', '.join(speaks.languages)}. Choose another synthesizer, or remove the language."
      )
  return speaks


def check_name(name: str) -> None:
  """Raises ConfigError for an invalid name of a corpus."""
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
    raise ConfigError(
      f"A corpus cannot have the name {name!r}: lowercase letters, digits and _ are expected."
    )


def check_known(corpus: str, field: str, values: Sequence[str], known: tuple[str, ...]) -> None:
  """Raises ConfigError unless a setting has one or more of the known values, each once."""
  if not values or len(set(values)) != len(values) or not set(values) <= set(known):
    raise ConfigError(
      f"Corpus {corpus!r}: {field}={values!r} must be one or more of {', '.join(known)}, each once."
    )


def check_count(corpus: str, field: str, value: int, least: int, most: int | None = None) -> None:
  """Raises ConfigError unless a setting is an integer from `least` to `most`."""
  if type(value) is not int or value < least or (most is not None and value > most):
    upper = " or more" if most is None else f" to {most}"
    raise ConfigError(f"Corpus {corpus!r}: {field}={value!r} must be an integer, {least}{upper}.")
