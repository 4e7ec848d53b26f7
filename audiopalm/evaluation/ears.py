"""Scores of outputs by their texts, as two ears hear speech: the run's own and an independent one.

wer, cer, exact, bleu, chrf            texts, and speech by the run's own transcripts
asr_bleu, asr_chrf                     of speech that translates
independent_wer, _cer, _exact          numbers as words on both sides: "€2" is "two euros"
independent_raw_wer                    texts as they were written
independent_asr_bleu, _asr_chrf        of speech that translates, numbers as words
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from audiopalm.evaluation.lines import Measure, Said
from audiopalm.metrics import numbers, text
from audiopalm.metrics.tally import Scores, Tally
from audiopalm.metrics.text import Metric
from audiopalm.types import Modality

PREFIX = "independent_"
WER, RAW_WER, CER, ASR_BLEU = (f"{PREFIX}{name}" for name in ("wer", "raw_wer", "cer", "asr_bleu"))
TRANSCRIPTS, NUMBERS = f"{PREFIX}transcripts", f"{PREFIX}numbers"  # rules

Output = tuple[str, Said]  # with its language


@dataclasses.dataclass(frozen=True)
class Ear:
  """Whose texts are scored: a field of `Said`, the scores by their names, and which of them compare
  numbers as words."""

  field: Literal["hypothesis", "independent"]
  scores: Mapping[tuple[Modality, Measure], Mapping[str, Metric]]
  spelled: tuple[str, ...] = ()

  def text(self, said: Said) -> str | None:
    """Returns what was heard or read, None where there is no such text."""
    return getattr(said, self.field)

  def metrics(self, said: Said, language: str) -> dict[str, Metric]:
    """Returns the scores of an output in its language by their names."""
    scores = self.scores[said.modality, said.measure]
    metrics = {name: metric.of(language) for name, metric in scores.items()}
    return {name: metric for name, metric in metrics.items() if metric.measures}

  def tallies(self, outputs: Sequence[Output | None]) -> dict[str, Tally]:
    """Returns the counts of each output by score, NaN where there is none or it has no text."""
    by_language: dict[str, list[int]] = {}
    for number, output in enumerate(outputs):
      if output is not None and self.text(output[1]) is not None:
        by_language.setdefault(output[0], []).append(number)
    tallies: dict[str, Tally] = {}
    for language, places in by_language.items():
      said = [outputs[place][1] for place in places]
      raw = [output.reference for output in said], [self.text(output) for output in said]
      spelled = raw
      if self.spelled:
        spelled = tuple([numbers.spell(value, language) for value in texts] for texts in raw)
      for name, metric in self.metrics(said[0], language).items():
        counted = metric.tally(*(spelled if name in self.spelled else raw))
        if name not in tallies:
          counts_NE = np.full((len(outputs), counted.counts_NE.shape[1]), np.nan)
          tallies[name] = Tally(counts_NE, counted.value)
        tallies[name].counts_NE[places] = counted.counts_NE
    return tallies


def _named(*metrics: Metric) -> dict[str, Metric]:
  return {metric.name: metric for metric in metrics}


OWN = Ear(
  "hypothesis",
  {
    ("text", "words"): _named(text.wer, text.cer, text.exact),
    ("text", "translation"): _named(text.bleu, text.chrf),
    ("speech", "words"): _named(text.wer, text.cer, text.exact),
    ("speech", "translation"): _named(text.asr_bleu, text.asr_chrf),
  },
)
_WORDS = {WER: text.wer, RAW_WER: text.wer, CER: text.cer, f"{PREFIX}exact": text.exact}
_TRANSLATION = {ASR_BLEU: text.asr_bleu, f"{PREFIX}asr_chrf": text.asr_chrf}
INDEPENDENT = Ear(
  "independent",
  {("speech", "words"): _WORDS, ("speech", "translation"): _TRANSLATION},
  spelled=tuple(name for name in (*_WORDS, *_TRANSLATION) if name != RAW_WER),
)
EARS = (OWN, INDEPENDENT)


def rules(outputs: Sequence[Output], known_text: str) -> dict[str, str]:
  """Returns who made the independent transcripts, and how numbers came to words; {} without any.

  `known_text` names what stands for a transcript where nothing was heard.
  """
  heard = [output for output in outputs if output[1].independent is not None]
  if not heard:
    return {}
  by = sorted({said.heard_by or known_text for _, said in heard})
  return {TRANSCRIPTS: "; ".join(by), NUMBERS: numbers.rule([language for language, _ in heard])}


def leading(values: Scores) -> str:
  """Returns the error rate that stands for speech: by words, by characters without spaces."""
  return CER if WER not in values and CER in values else WER
