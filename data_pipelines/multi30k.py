"""Records of Multi30k: captions of photographs, spoken by a synthesizer, or as text alone."""

from collections.abc import Iterator

from audiopalm.audio import waveform
from audiopalm.data import multi30k
from audiopalm.data_pipelines.speech import saying
from audiopalm.errors import DataError
from audiopalm.types import Record, Utterance


def count(settings: multi30k.Multi30k, split: str) -> int:
  """Returns how many records a split has; DataError where there are too few captions.

  A caption gives at most one record for each pair of languages.
  """
  if split not in settings.splits:
    raise DataError(
      f"Corpus {settings.name!r} has no split {split!r}: it has {', '.join(settings.splits)}."
    )
  if split == "held_out_voices" and not settings.held_out_voices:
    return 0
  field = "test_records" if split == "held_out_voices" else f"{split}_records"
  wanted = getattr(settings, field)
  found = len(_captions(settings, split)) * len(settings.pairs(settings.roles))
  if wanted > found:
    raise DataError(
      f"Corpus {settings.name!r}: {field}={wanted}, but the captions of most_words="
      f"{settings.most_words} in all pairs of languages are {found}. Ask for at most {found}."
    )
  return wanted


def records(settings: multi30k.Multi30k, split: str, start: int, stop: int) -> Iterator[Record]:
  """Yields the records number `start` to `stop` - 1 of a split: the same bytes wherever it runs."""
  assert 0 <= start <= stop <= count(settings, split), (split, start, stop)
  captions, pairs = multi30k.captions(settings, split), settings.pairs(settings.roles)
  for number in range(start, stop):
    rounds, place = divmod(number, len(_captions(settings, split)))
    turn, pair = divmod(place + rounds, len(pairs))
    utterances, name = {}, f"{settings.name}/{split}/{number:06d}"
    for role, language in pairs[pair].items():
      text = captions[language][place]
      if isinstance(settings, multi30k.Multi30kText):
        utterances[role] = Utterance(None, waveform.RATE_HZ, text, language, speaker="")
        continue
      speakers = settings.voices_of(language, split)
      # A target is spoken by the one canonical voice of its language.
      canonical = settings.train_voices(language)[0]
      speaker = speakers[(turn + rounds) % len(speakers)] if role == "source" else canonical
      utterances[role] = saying.say(settings, text, language, speaker, record=name, role=role)
    yield Record(name, utterances)


def _captions(settings: multi30k.Multi30k, split: str) -> tuple[str, ...]:
  return multi30k.captions(settings, split)[settings.languages[0]]
