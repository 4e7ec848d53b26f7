"""Scores of texts against references: word and character error rates, BLEU and chrF.

Every score is a pure function `(targets, predictions) -> {name: value}`, so each is also a SeqIO
metric function as it stands (SeqIO knows them by these two argument names).
"""

import functools
import importlib.metadata
from collections.abc import Sequence

import jiwer
import sacrebleu
from whisper_normalizer import basic

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


def wer(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"wer"}: wrong, missing and extra words per word of all targets, normalised.

  It can pass 1. Where the targets hold no word at all it is the number of words predicted.
  """
  counts = jiwer.process_words(*_normalized(targets, predictions))
  return {"wer": _rate(counts)}


def cer(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"cer"}: as `wer`, in characters (spaces count)."""
  counts = jiwer.process_characters(*_normalized(targets, predictions))
  return {"cer": _rate(counts)}


def exact(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"exact"}: the fraction of predictions equal to their target, normalised."""
  targets, predictions = _normalized(targets, predictions)
  equal = sum(target == said for target, said in zip(targets, predictions, strict=True))
  return {"exact": equal / len(targets)}


def bleu(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"bleu"}: corpus BLEU, 0 to 100, of texts as they are, by `signatures()["bleu"]`.

  Papineni et al. 2002; sacreBLEU of Post 2018, arXiv:1804.08771.
  """
  _check(targets, predictions)
  return {"bleu": sacrebleu.BLEU().corpus_score(list(predictions), [list(targets)]).score}


def chrf(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"chrf"}: corpus chrF, 0 to 100: F-score of character n-grams (Popovic 2015)."""
  _check(targets, predictions)
  return {"chrf": sacrebleu.CHRF().corpus_score(list(predictions), [list(targets)]).score}


def asr_bleu(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"asr_bleu"}: BLEU of transcripts of generated speech, both sides normalised.

  A recogniser's case and punctuation say nothing about the speech, so they are taken away first (as
  in Translatotron 2, Jia et al. 2022, arXiv:2107.08661).
  """
  return {"asr_bleu": bleu(*_normalized(targets, predictions))["bleu"]}


def asr_chrf(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
  """Returns {"asr_chrf"}: as `asr_bleu`, by chrF."""
  return {"asr_chrf": chrf(*_normalized(targets, predictions))["chrf"]}


@functools.cache
def signatures() -> dict[str, str]:
  """Returns sacreBLEU's signature of each of its scores: rules and version."""
  signed = {}
  for name, metric in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
    metric.corpus_score(["a"], [["a"]])  # a signature counts references, so it needs one score
    signed[name] = signed[f"asr_{name}"] = str(metric.get_signature())
  return signed


def _normalized(targets, predictions) -> tuple[list[str], list[str]]:
  _check(targets, predictions)
  return [normalize(text) for text in targets], [normalize(text) for text in predictions]


def _rate(counts) -> float:
  wrong = counts.substitutions + counts.deletions + counts.insertions
  return wrong / max(1, counts.hits + counts.substitutions + counts.deletions)


def _check(targets, predictions) -> None:
  if not targets or len(targets) != len(predictions):
    raise ValueError(
      f"A score needs one prediction for each of at least one target; "
      f"got {len(targets)} targets and {len(predictions)} predictions."
    )
