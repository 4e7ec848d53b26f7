"""Scores of texts against references: word and character error rates, BLEU and chrF.

Every score is a pure function `(targets, predictions) -> {name: value}`, so each is also a SeqIO
metric function (SeqIO passes these two arguments by name). `Metric.of` gives the score for a
language, as the definition of a word differs.

    languages                       BLEU's tokenizer            error rates
    with spaces between words       13a                         wer and cer
    Chinese, Cantonese, ...         zh                          cer, spaces left out
    Japanese                        ja-mecab where the extra    cer, spaces left out
                                    [ja] is installed, or char
    Thai, Lao, Khmer, Burmese, ...  char                        cer, spaces left out
"""

import collections
import dataclasses
import functools
import importlib.metadata
import importlib.util
import re
import warnings
from collections.abc import Callable, Collection, Sequence

import jiwer
import numpy as np
import sacrebleu

from audiopalm import language_tags, orthography
from audiopalm.metrics.tally import Tally, ratio

with (
  warnings.catch_warnings()
):  # about an escape in it, when Python compiles it at its first import
  warnings.simplefilter("ignore", SyntaxWarning)
  from whisper_normalizer import basic

_VERSION = importlib.metadata.version("whisper_normalizer")
NORMALIZER = f"whisper_normalizer-{_VERSION}:BasicTextNormalizer(preserve_marks=True)"

Counts = Sequence[Sequence[int]]  # of each pair of texts
Count = Callable[[Sequence[str], Sequence[str], str], Counts]  # targets, predictions, language

# Keep combining marks, with which some scripts write vowels.
_NORMALIZER = basic.BasicTextNormalizer(preserve_marks=True)


def normalize(text: str) -> str:
  """Returns the text in lower case, one space for every run of punctuation, symbols and space.

  This is Whisper's rule for all languages (Radford et al. 2022, arXiv:2212.04356, appendix C); its
  name, `NORMALIZER`, is saved with the scores. Text in brackets is dropped.

      "L'hôtel, s'il vous plaît!"  ->  "l hôtel s il vous plaît"
  """
  return _NORMALIZER(text).strip()


def words(text: str, language: str) -> list[str]:
  """Returns the normalized words of a text; its characters in languages without spaces."""
  spelled = _spelled(text, language)
  return spelled.split() if orthography.has_spaces(language) else list(spelled)


def has_word(text: str, words: Collection[str], language: str) -> bool:
  """Returns whether a text has one of these words, both normalized.

  In languages without spaces between words it is searched for as a substring.
  """
  spelled = _spelled(text, language)
  words = {_spelled(word, language) for word in words}
  if orthography.has_spaces(language):
    return not words.isdisjoint(spelled.split())
  return any(word in spelled for word in words)


def _spelled(text: str, language: str) -> str:
  """Returns a text in the form in which errors are counted: normalized, and without spaces if they
  do not separate words (Thai and Khmer may have zero-width spaces at line breaks)."""
  spelled = normalize(text)
  return spelled if orthography.has_spaces(language) else re.sub("[ \u200b]", "", spelled)


@dataclasses.dataclass(frozen=True)
class Metric:
  """A score of texts. Called with (targets, predictions) it returns {name: value} of all of them.

  `count` returns the counts_NE of each pair in a language, and `value` the score of a sum of them
  (`tally.Tally`). With `by_words` it is only defined for languages with spaces between words.
  """

  name: str
  count: Count
  value: Callable[[np.ndarray], np.ndarray]
  by_words: bool = False
  language: str = "und"  # undetermined: one with spaces

  def __call__(self, targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    return {self.name: self.tally(targets, predictions).score()}

  def of(self, language: str) -> "Metric":
    """Returns this score for texts in a language."""
    return dataclasses.replace(self, language=language)

  @property
  def measures(self) -> bool:
    """Whether the score is defined for its language."""
    return orthography.has_spaces(self.language) or not self.by_words

  def tally(self, targets: Sequence[str], predictions: Sequence[str]) -> Tally:
    """Returns the counts of each pair; raises ValueError unless each target has a prediction."""
    if not targets or len(targets) != len(predictions):
      raise ValueError(
        f"A score needs one prediction for each of at least one target; "
        f"got {len(targets)} targets and {len(predictions)} predictions."
      )
    texts = ([orthography.plain(text) for text in side] for side in (targets, predictions))
    return Tally(np.array(self.count(*texts, self.language), np.float64), self.value)


def _errors(
  process: Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput],
) -> Count:
  """Returns the function that counts (errors, words or characters of the target) of each pair."""

  def count(targets: Sequence[str], predictions: Sequence[str], language: str) -> Counts:
    sides = ([_spelled(text, language) for text in side] for side in (targets, predictions))
    aligned = process(*sides)
    counts = []
    for target, alignment in zip(aligned.references, aligned.alignments, strict=True):
      wrong = [part for part in alignment if part.type != "equal"]
      sizes = (
        (of.ref_end_idx - of.ref_start_idx, of.hyp_end_idx - of.hyp_start_idx) for of in wrong
      )
      counts.append((sum(map(max, sizes)), len(target)))
    return counts

  return count


def _error_rate(sums: np.ndarray) -> np.ndarray:
  return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _equal(targets: Sequence[str], predictions: Sequence[str], language: str) -> Counts:
  pairs = zip(targets, predictions, strict=True)
  return [(_spelled(target, language) == _spelled(text, language), 1) for target, text in pairs]


def tokenizer_of(language: str) -> str:
  """Returns the sacreBLEU tokenizer of a language."""
  if orthography.has_spaces(language):
    return "13a"
  code = language_tags.canonical(language)
  if code in orthography.CHINESE:
    return "zh"
  return "ja-mecab" if code == "ja" and _has_mecab() else "char"


@functools.cache
def _has_mecab() -> bool:
  return all(importlib.util.find_spec(name) is not None for name in ("MeCab", "ipadic"))


def _bleu_counts(targets: Sequence[str], predictions: Sequence[str], language: str) -> Counts:
  """Returns words predicted, words of the target, then n-grams matched and predicted, each for n =
  1 to 4."""
  # The effective order only changes the score of a sentence, which is not used here, not the
  # counts.
  measure = sacrebleu.BLEU(tokenize=tokenizer_of(language), effective_order=True)
  pairs = zip(targets, predictions, strict=True)
  scored = [measure.sentence_score(text, [target]) for target, text in pairs]
  return [[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scored]


def _bleu(sums: np.ndarray) -> np.ndarray:
  predicted, right, matched, totals = np.split(sums, (1, 2, 6), axis=-1)
  # Exponential smoothing: the first precision without a match counts as half a match, the next as a
  # quarter, ...
  misses = np.cumsum(matched == 0, axis=-1)
  precisions = np.where(matched > 0, matched, 0.5**misses) / np.maximum(totals, 1)
  brevity = np.minimum(0, 1 - right / np.maximum(predicted, 1))[..., 0]
  scores = 100 * np.exp(brevity + np.log(precisions).mean(axis=-1))
  return np.where((matched > 0).any(axis=-1) & (totals > 0).all(axis=-1), scores, 0)


def _chrf_counts(targets: Sequence[str], predictions: Sequence[str], language: str) -> Counts:
  """Returns character n-grams predicted, of the target and matched, for each n = 1 to 6."""
  counts = []
  for target, text in zip(targets, predictions, strict=True):
    counts.append([])
    for n in range(1, 7):
      right, predicted = _n_grams(target, n), _n_grams(text, n)
      # As in sacreBLEU: if the target is too short for any, those of the prediction are not
      # counted.
      counts[-1] += [predicted.total() if right else 0, right.total(), (right & predicted).total()]
  return counts


def _n_grams(text: str, n: int) -> collections.Counter[str]:
  letters = "".join(text.split())
  return collections.Counter(letters[at : at + n] for at in range(len(letters) - n + 1))


def _chrf(sums: np.ndarray) -> np.ndarray:
  predicted, right, matched = np.moveaxis(sums.reshape(*sums.shape[:-1], 6, 3), -1, 0)
  known = (predicted > 0) & (right > 0)  # texts shorter than n have no n-grams
  precision, recall = (
    (known * matched / np.maximum(of, 1)).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    for of in (predicted, right)
  )
  return 100 * 5 * precision * recall / np.where(precision > 0, 4 * precision + recall, 1)


def _of_normalized(count: Count) -> Count:
  return lambda targets, predictions, language: count(
    [normalize(text) for text in targets], [normalize(text) for text in predictions], language
  )


# Word errors per word of all targets, normalized. It can exceed 1. If the targets have no words it
# is the number of predicted words.
wer = Metric("wer", _errors(jiwer.process_words), _error_rate, by_words=True)

# The same in characters (spaces count where they separate words).
cer = Metric("cer", _errors(jiwer.process_characters), _error_rate)

# The fraction of predictions equal to their target, normalized.
exact = Metric("exact", _equal, ratio)

# Corpus BLEU, 0 to 100, of texts as they are, by `rule("bleu", language)`: Papineni et al. 2002;
# sacreBLEU of Post 2018, arXiv:1804.08771.
bleu = Metric("bleu", _bleu_counts, _bleu)

# Corpus chrF, 0 to 100: F-score of character n-grams (Popovic 2015).
chrf = Metric("chrf", _chrf_counts, _chrf)

# BLEU and chrF of transcripts of generated speech, both sides normalized: case and punctuation come
# from the recognizer, not from the speech (as in Translatotron 2, Jia et al. 2022,
# arXiv:2107.08661).
asr_bleu = Metric("asr_bleu", _of_normalized(_bleu_counts), _bleu)
asr_chrf = Metric("asr_chrf", _of_normalized(_chrf_counts), _chrf)


@functools.cache
def rule(name: str, language: str) -> str | None:
  """Returns the rule of a score in a language: jiwer's version, sacreBLEU's signature.

  None for a score that has no such rule.
  """
  if name in ("wer", "cer"):
    spaces = "" if orthography.has_spaces(language) else ", spaces left out"
    return f"jiwer:{importlib.metadata.version('jiwer')}{spaces}"
  if name in ("bleu", "asr_bleu"):
    measure = sacrebleu.BLEU(tokenize=tokenizer_of(language))
  elif name in ("chrf", "asr_chrf"):
    measure = sacrebleu.CHRF()
  else:
    return None
  measure.corpus_score(["a"], [["a"]])  # a signature counts references, so it needs one score
  return str(measure.get_signature())
