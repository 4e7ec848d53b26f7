"""Records of the synthetic corpora, by number: `count(settings, split)` and `records(...)`."""

from collections.abc import Iterator

from audiopalm.audio import waveform
from audiopalm.data import corpora
from audiopalm.data_pipelines.speech import saying
from audiopalm.data_pipelines.synthetic import grammar
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance

TextAlone = corpora.SyntheticText | corpora.SyntheticTranslations
Settings = corpora.Synthetic | corpora.SyntheticDialogue | TextAlone


def count(settings: Settings, split: str) -> int:
  """Returns how many records a split has.

  DataError where the grammar has too few meanings: validation and test use each meaning once,
  train begins again, with other voices, when it has used all.
  """
  if split not in settings.splits:
    raise DataError(
      f"Corpus {settings.name!r} has no split {split!r}: it has {', '.join(settings.splits)}."
    )
  if split == "train":
    return settings.train_records
  wanted = settings.validation_records if split == "validation" else settings.test_records
  if split == "held_out_voices" and not settings.held_out_voices:
    return 0
  found = len(_meanings(settings, split))
  if wanted > found:
    field = "validation_records" if split == "validation" else "test_records"
    raise DataError(
      f"Corpus {settings.name!r}: {field}={wanted}, but topics={settings.topics} have only {found} "
      f"{split} meanings. Ask for at most {found}, or add topics."
    )
  return wanted


def records(settings: Settings, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields the records number `start` to `stop` - 1 of a split: the same bytes wherever it runs."""
  assert 0 <= start <= stop <= count(settings, split), (split, start, stop)
  found = _meanings(settings, split)
  pairs = settings.pairs(settings.roles)
  for number in range(start, stop):
    rounds, place = divmod(number, len(found))
    # The shift gives a meaning that comes again another language or another voice.
    turn, pair = divmod(number + rounds, len(pairs))
    languages = pairs[pair]
    utterances, name = {}, f"{settings.name}/{split}/{number:06d}"
    for place_of_role, role in enumerate(settings.roles):
      language = languages[role]
      texts = grammar.texts(language, int(found[place]))
      text = texts[place_of_role if len(texts) > 1 else 0]
      if isinstance(settings, TextAlone):
        utterances[role] = Utterance(None, waveform.RATE_HZ, text, language, speaker="")
        continue
      speakers = settings.voices_of(language, split)
      # A target and an answer are spoken by the one canonical voice of their language.
      speaker = (
        settings.train_voices(language)[0] if place_of_role else speakers[turn % len(speakers)]
      )
      utterances[role] = saying.say(settings, text, language, speaker, record=name, role=role)
    yield Record(name, utterances)


def _meanings(settings: Settings, split: str):
  topics = settings.topics or settings.known_topics
  base = "test" if split == "held_out_voices" else split
  return grammar.meanings(topics, base, f"{settings.name} {settings.seed}")
