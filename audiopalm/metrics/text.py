"""Scores of texts against references: word and character error rates, BLEU and chrF.

Every score is a pure function `(targets, predictions) -> {name: value}`, so each is also a SeqIO
metric function as it stands (SeqIO knows them by these two argument names).
"""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Sequence

import jiwer
import numpy as np
import sacrebleu
from whisper_normalizer import basic

from audiopalm.metrics.tally import Tally, ratio

_VERSION = importlib.metadata.version("whisper_normalizer")
NORMALIZER = f"whisper_normalizer-{_VERSION}:BasicTextNormalizer(preserve_marks=True)"


@functools.cache
def _normalizer() -> basic.BasicTextNormalizer:
  # Marks are kept: scripts that write vowels as marks would lose them.
  return basic.BasicTextNormalizer(preserve_marks=True)


def normalize(text: str) -> str:
  """Returns the text in lower case, one space for every run of punctuation, symbols and space.

  The rule for all languages of Whisper (Radford et al. 2022, arXiv:2212.04356, appendix C); its
  name, `NORMALIZER`, is written beside the scores. Text in brackets is dropped.

      "L'hôtel, s'il vous plaît!"  ->  "l hôtel s il vous plaît"
  """
  return _normalizer()(text).strip()


@dataclasses.dataclass(frozen=True)
class Metric:
  """A score of texts. Called with (targets, predictions) it returns {name: value} of all of them.

  `count` gives the counts_NE of each pair, and `value` the score of a sum of them: `tally.Tally`.
  """

  name: str
  count: Callable[[Sequence[str], Sequence[str]], np.ndarray]
  value: Callable[[np.ndarray], np.ndarray]

  def __call__(self, targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    return {self.name: self.tally(targets, predictions).score()}

  def tally(self, targets: Sequence[str], predictions: Sequence[str]) -> Tally:
    """Returns the counts of each pair; ValueError unless there is one for each target."""
    if not targets or len(targets) != len(predictions):
      raise ValueError(
        f"A score needs one prediction for each of at least one target; "
        f"got {len(targets)} targets and {len(predictions)} predictions."
      )
    return Tally(np.array(self.count(targets, predictions), np.float64), self.value)


def _word_errors(targets, predictions) -> list[tuple[int, int]]:
  counted = jiwer.process_words(*_normalized(targets, predictions))
  return _errors(counted)


def _character_errors(targets, predictions) -> list[tuple[int, int]]:
  counted = jiwer.process_characters(*_normalized(targets, predictions))
  return _errors(counted)


def _errors(counted) -> list[tuple[int, int]]:
  """Returns (wrong, missing and extra, all in the target) of each pair."""
  return [
    (
      sum(
        max(part.ref_end_idx - part.ref_start_idx, part.hyp_end_idx - part.hyp_start_idx)
        for part in alignment
        if part.type != "equal"
      ),
      len(target),
    )
    for alignment, target in zip(counted.alignments, counted.references, strict=True)
  ]


def _error_rate(sums: np.ndarray) -> np.ndarray:
  return sums[..., 0] / np.maximum(sums[..., 1], 1)


def _equal(targets, predictions) -> list[tuple[int, int]]:
  pairs = zip(*_normalized(targets, predictions), strict=True)
  return [(target == said, 1) for target, said in pairs]


def _bleu_counts(targets, predictions) -> list[list[int]]:
  """Returns words said, words of the target, then n-grams matched and said, each for n = 1 to 4."""
  return sacrebleu.BLEU()._extract_corpus_statistics(list(predictions), [list(targets)])


def _bleu(sums: np.ndarray) -> np.ndarray:
  said, wanted, matched, all_said = np.split(sums, (1, 2, 6), axis=-1)
  # A precision without a match is taken as half of one match, the next as a quarter, ...
  misses = np.cumsum(matched == 0, axis=-1)
  precisions = np.where(matched > 0, matched, 0.5**misses) / np.maximum(all_said, 1)
  brevity = np.minimum(0, 1 - wanted / np.maximum(said, 1))[..., 0]
  scores = 100 * np.exp(brevity + np.log(precisions).mean(axis=-1))
  return np.where((matched > 0).any(axis=-1) & (all_said > 0).all(axis=-1), scores, 0)


def _chrf_counts(targets, predictions) -> list[list[int]]:
  """Returns character n-grams said, of the target and matched, for n = 1 to 6 in turn."""
  return sacrebleu.CHRF()._extract_corpus_statistics(list(predictions), [list(targets)])


def _chrf(sums: np.ndarray) -> np.ndarray:
  said, wanted, matched = np.moveaxis(sums.reshape(*sums.shape[:-1], 6, 3), -1, 0)
  known = (said > 0) & (wanted > 0)  # texts shorter than n say nothing about n-grams
  precision, recall = (
    (known * matched / np.maximum(of, 1)).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    for of in (said, wanted)
  )
  return 100 * 5 * precision * recall / np.where(precision > 0, 4 * precision + recall, 1)


def _of_normalized(count):
  return lambda targets, predictions: count(*_normalized(targets, predictions))


# Wrong, missing and extra words per word of all targets, normalised. It can pass 1. Where the
# targets hold no word at all it is the number of words predicted.
wer = Metric("wer", _word_errors, _error_rate)

# The same in characters (spaces count).
cer = Metric("cer", _character_errors, _error_rate)

# The fraction of predictions equal to their target, normalised.
exact = Metric("exact", _equal, ratio)

# Corpus BLEU, 0 to 100, of texts as they are, by `signatures()["bleu"]`: Papineni et al. 2002;
# sacreBLEU of Post 2018, arXiv:1804.08771.
bleu = Metric("bleu", _bleu_counts, _bleu)

# Corpus chrF, 0 to 100: F-score of character n-grams (Popovic 2015).
chrf = Metric("chrf", _chrf_counts, _chrf)

# BLEU and chrF of transcripts of generated speech, both sides normalised: a recogniser's case and
# punctuation say nothing about the speech (as in Translatotron 2, Jia et al. 2022,
# arXiv:2107.08661).
asr_bleu = Metric("asr_bleu", _of_normalized(_bleu_counts), _bleu)
asr_chrf = Metric("asr_chrf", _of_normalized(_chrf_counts), _chrf)


@functools.cache
def signatures() -> dict[str, str]:
  """Returns by score what measured it: sacreBLEU's signatures, jiwer's version."""
  signed = dict.fromkeys(("wer", "cer"), f"jiwer:{importlib.metadata.version('jiwer')}")
  for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
    metric.corpus_score(["a"], [["a"]])  # a signature counts references, so it needs one score
    signed[name] = signed[f"asr_{name}"] = str(metric.get_signature())
  return signed


def _normalized(targets, predictions) -> tuple[list[str], list[str]]:
  return [normalize(text) for text in targets], [normalize(text) for text in predictions]
