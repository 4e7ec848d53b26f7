"""When each word and phone of a recording is spoken, by a model with a CTC head.

wave -> log-probabilities of all ids for every state (`ctc`)
text -> the ids of its words (`SpokenText`)
both -> the likeliest path (`viterbi`) -> times (`Aligned`)
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from audiopalm.data import words as word_ends
from audiopalm.errors import ConfigError, RecordError
from audiopalm.inference import ctc, viterbi
from audiopalm.inference.trained import Trained
from audiopalm.objectives.ctc import CTC
from audiopalm.tokenizers import phonemes
from audiopalm.tokenizers.base import Fitted
from audiopalm.types import Phone, Utterance, Word

BLANK_COST = 2.0  # nats of every blank on a path
REACH_S = 0.04  # how far a sound may last beyond the states that show it, at a pause


@dataclasses.dataclass(frozen=True)
class IdSpan:
  """The ids `first` to `stop` - 1 of a text, and what they say: a phone, a word, or several words
  that are spoken as one."""

  texts: tuple[str, ...]
  first: int
  stop: int

  @property
  def has_ids(self) -> bool:
    return self.first < self.stop


@dataclasses.dataclass(frozen=True, eq=False)
class SpokenText:
  """The ids of a text, its words, and its phones where the ids are phonemes."""

  ids_N: np.ndarray
  words: tuple[IdSpan, ...]
  phones: tuple[IdSpan, ...] = ()


@dataclasses.dataclass(frozen=True)
class Aligned:
  """The words and phones of a recording with their times; `confidence` is the mean probability of
  the ids, each where it is likeliest on the path."""

  words: tuple[Word, ...]
  phones: tuple[Phone, ...]
  confidence: float


def targets(utterance: Utterance, tokenizer: Fitted) -> SpokenText:
  """Returns what is aligned of an utterance's text; RecordError for a text without ids."""
  is_phonemic = hasattr(tokenizer, "pronounce")
  result = (_of_phonemes if is_phonemic else _of_text)(utterance, tokenizer)
  if not result.words:
    raise RecordError(
      f"nothing to align: {utterance.text!r} has no ids of the stream {tokenizer.spec.name!r}. "
      "Write what is said, or leave it out."
    )
  return result


def _of_phonemes(utterance: Utterance, tokenizer: phonemes.FittedPhonemes) -> SpokenText:
  ids, words, phones = [], [], []
  for token, word in zip(utterance.text.split(), tokenizer.pronounce(utterance), strict=True):
    if word and ids:
      ids += tokenizer.encode_text(phonemes.WORD_END)
    first = len(ids)
    for symbol in word:
      own = tokenizer.encode_text(symbol)
      phones.append(IdSpan((symbol,), len(ids), len(ids) + len(own)))
      ids += own
    if word or phonemes.is_word(token):
      words.append(IdSpan((token,), first, len(ids)))
  return SpokenText(np.array(ids, int), _joined(words), tuple(phones))


def _of_text(utterance: Utterance, tokenizer: Fitted) -> SpokenText:
  ids = tokenizer.encode(utterance)
  tokens = [token for token in utterance.text.split() if phonemes.is_word(token)]
  named = dataclasses.replace(utterance, words=tuple(Word(token, 0.0, 0.0) for token in tokens))
  ends = word_ends.ends_in_text(named, ids.tolist(), tokenizer.encode_text) if tokens else []
  words = [
    IdSpan((token,), *span) for token, *span in zip(tokens, [0, *ends[:-1]], ends, strict=True)
  ]
  # A word that cannot be cut off has its ids among those of the next one: here it gets all of them.
  for number in range(len(words) - 2, -1, -1):
    if not words[number].has_ids:
      stop = words[number + 1].stop
      words[number] = dataclasses.replace(words[number], stop=stop)
      words[number + 1] = dataclasses.replace(words[number + 1], first=stop)
  return SpokenText(ids, _joined(words))


def _joined(words: Sequence[IdSpan]) -> tuple[IdSpan, ...]:
  """Returns words of which those without ids are joined to the one before, or else to the next."""
  joined: list[IdSpan] = []
  for word in words:
    if joined and not (word.has_ids and joined[-1].has_ids):
      before = joined.pop()
      own = before if before.has_ids else word
      word = IdSpan(before.texts + word.texts, own.first, own.stop)
    joined.append(word)
  return tuple(word for word in joined if word.has_ids)


@dataclasses.dataclass(frozen=True, eq=False)
class Aligner:
  """A trained run that aligns by its head for the stream of `tokenizer`."""

  trained: Trained
  tokenizer: Fitted

  def align(self, wave_S: np.ndarray, wanted: SpokenText) -> Aligned:
    """Returns the times of words and phones in a 16 kHz wave; RecordError where it is too short."""
    heard = ctc.log_probs(self.trained, wave_S, self.tokenizer.spec.name)
    return align(heard, wanted)


def aligner(trained: Trained) -> Aligner:
  """Returns what aligns by a run; ConfigError unless it was trained by CTC on text or phonemes."""
  objective, tokenizers = trained.experiment.objective, trained.prepared.tokenizers
  losses = [part for part in getattr(objective, "parts", ()) if isinstance(part, CTC)]
  if not losses:
    raise ConfigError(
      "Alignment needs a run that was trained by CTC, as configs/systems/aligner.py: its objective "
      f"is {type(objective).__name__} without a part CTC(...). Name such a run."
    )
  own = [tokenizers[loss.stream] for loss in losses]
  phonemic = [tokenizer for tokenizer in own if hasattr(tokenizer, "pronounce")]
  return Aligner(trained, (phonemic or own)[0])


def align(heard: ctc.FrameLogProbs, wanted: SpokenText) -> Aligned:
  """Returns the times of words and phones where a model says this of a recording."""
  # CTC shows an id in a state or two, with blanks between: where these cost more, it lasts longer.
  scores_TV = heard.log_probs_TV.copy()
  scores_TV[:, heard.blank] -= BLANK_COST
  tokens_T = viterbi.best_path(scores_TV, wanted.ids_N, blank=heard.blank)
  words, phones = times(tokens_T, wanted, 1 / heard.rate_hz)
  shown_T = np.flatnonzero(tokens_T != viterbi.BLANK)
  numbers = tokens_T[shown_T]
  surest_N = np.zeros(len(wanted.ids_N))
  np.maximum.at(surest_N, numbers, np.exp(heard.log_probs_TV[shown_T, wanted.ids_N[numbers]]))
  return Aligned(words, phones, float(surest_N.mean()))


def times(
  tokens_T: np.ndarray, wanted: SpokenText, state_s: float
) -> tuple[tuple[Word, ...], tuple[Phone, ...]]:
  """Returns the times of words and phones on a path of states that last `state_s` each.

  Between two ids of a word the boundary lies in the middle of the blanks. Between words, and at the
  ends, a sound lasts at most REACH_S beyond its states: what remains is a pause.
  """
  numbers = np.arange(len(wanted.ids_N))
  shown = np.flatnonzero(tokens_T != viterbi.BLANK)
  starts = shown[np.searchsorted(tokens_T[shown], numbers)] * state_s
  stops = (shown[np.searchsorted(tokens_T[shown], numbers, "right") - 1] + 1) * state_s
  length_s = len(tokens_T) * state_s
  begins, ends = starts.copy(), stops.copy()
  for word, following in itertools.zip_longest(wanted.words, wanted.words[1:]):
    for number in range(word.first + 1, word.stop):
      begins[number] = ends[number - 1] = (starts[number] + stops[number - 1]) / 2
    last = word.stop - 1
    if following is None:
      ends[last] += min(REACH_S, length_s - stops[last])
    else:
      reach_s = min(REACH_S, (starts[following.first] - stops[last]) / 2)
      ends[last] += reach_s
      begins[following.first] -= reach_s
  begins[wanted.words[0].first] -= min(REACH_S, starts[wanted.words[0].first])

  def spread(spans: Sequence[IdSpan], kind: Callable) -> tuple:
    return tuple(
      kind(*timed)
      for span in spans
      for timed in _shared(span.texts, begins[span.first], ends[span.stop - 1])
    )

  return spread(wanted.words, Word), spread(wanted.phones, Phone)


def _shared(
  texts: Sequence[str], start_s: float, end_s: float
) -> Iterator[tuple[str, float, float]]:
  """Returns (text, start, end) of words that are spoken as one: by their lengths."""
  edges = np.cumsum([0, *map(len, texts)]) / sum(map(len, texts))
  edges_s = (start_s + edges * (end_s - start_s)).tolist()
  return zip(texts, edges_s[:-1], edges_s[1:], strict=True)
