"""Records of the synthetic corpora: `count(settings, split)` and `records(...)`."""

from collections.abc import Iterator

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.data_pipelines.speech import saying
from audiopalm.data_pipelines.synthetic import grammar
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance

Settings = corpora.Synthetic | corpora.SyntheticDialogue | corpora.TextAlone


def count(settings: Settings, split: str) -> int:
  """Returns the number of records in a split.

  Validation and test use each meaning once, and raise DataError if the grammar has too few. Train
  repeats its meanings with other voices.
  """
  if split == "train":
    return settings.train_records
  requested = settings.validation_records if split == "validation" else settings.test_records
  if split == "held_out_voices" and not settings.held_out_voices:
    return 0
  most = len(_meanings(settings, split))
  if requested > most:
    field = "validation_records" if split == "validation" else "test_records"
    raise DataError(
      f"Corpus {settings.name!r}: {field}={requested}, but topics={settings.topics} have only "
      f"{most} {split} meanings. Set at most {most}, or add topics."
    )
  return requested


def records(settings: Settings, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields records `start` to `stop` - 1 of a split, the same bytes on every machine."""
  assert 0 <= start <= stop <= count(settings, split), (split, start, stop)
  meanings = _meanings(settings, split)
  pairs = settings.pairs(settings.roles)
  for number in range(start, stop):
    rounds, place = divmod(number, len(meanings))
    # Adding `rounds` gives a repeated meaning another language or another voice.
    turn, pair = divmod(number + rounds, len(pairs))
    languages = pairs[pair]
    utterances, name = {}, f"{settings.name}/{split}/{number:06d}"
    for role_number, role in enumerate(settings.roles):
      language = languages[role]
      texts = grammar.texts(language, int(meanings[place]))
      text = texts[role_number if len(texts) > 1 else 0]
      if isinstance(settings, corpora.TextAlone):
        utterances[role] = Utterance(None, waveform.RATE_HZ, text, language, speaker="")
        continue
      speakers = settings.voices_of(language, split)
      # Targets and answers have the canonical voice of their language.
      speaker = (
        settings.train_voices(language)[0] if role_number else speakers[turn % len(speakers)]
      )
      utterances[role] = saying.say(settings, text, language, speaker, record=name, role=role)
    yield Record(name, utterances)


def _meanings(settings: Settings, split: str):
  topics = settings.topics or settings.known_topics
  base = "test" if split == "held_out_voices" else split
  return grammar.meanings(topics, base, f"{settings.name} {settings.seed}")
