"""Scores of speech by a recognizer that is not the run's own, beside those by the run itself.

independent_wer, _cer, _exact          numbers as words on both sides: "€2" is "two euros"
independent_raw_wer                    texts as they were written
independent_asr_bleu, _asr_chrf        of speech that translates, numbers as words
"""

from collections.abc import Mapping, Sequence

import numpy as np

from audiopalm.evaluation.lines import Said
from audiopalm.metrics import numbers, text
from audiopalm.metrics.tally import Tally

PREFIX = "independent_"
WER, RAW_WER, CER, ASR_BLEU = (f"{PREFIX}{name}" for name in ("wer", "raw_wer", "cer", "asr_bleu"))
TRANSCRIPTS, NUMBERS = f"{PREFIX}transcripts", f"{PREFIX}numbers"  # rules

_METRICS = {
  "words": {
    WER: text.wer, RAW_WER: text.wer, CER: text.cer, f"{PREFIX}exact": text.exact
  },
  "translation": {ASR_BLEU: text.asr_bleu, f"{PREFIX}asr_chrf": text.asr_chrf},
}  # fmt: skip


def metrics(said: Said, language: str) -> dict[str, text.Metric]:
  """Returns the scores of an output in its language by their names."""
  found = {name: metric.of(language) for name, metric in _METRICS[said.measure].items()}
  return {name: metric for name, metric in found.items() if metric.measures}


def tallies(outputs: Sequence[tuple[str, Said] | None]) -> dict[str, Tally]:
  """Returns the counts of each transcript by score, NaN where there is none.

  `outputs` are (language, what was said) of each example, None where nothing was.
  """
  by_language: dict[str, list[int]] = {}
  for place, output in enumerate(outputs):
    if output is not None and output[1].independent is not None:
      by_language.setdefault(output[0], []).append(place)
  found: dict[str, Tally] = {}
  for language, places in by_language.items():
    heard = [outputs[place][1] for place in places]
    raw = [one.reference for one in heard], [one.independent for one in heard]
    spelled = tuple([numbers.spell(one, language) for one in texts] for texts in raw)
    for name, metric in metrics(heard[0], language).items():
      counted = metric.tally(*(raw if name == RAW_WER else spelled))
      if name not in found:
        counts_NE = np.full((len(outputs), counted.counts_NE.shape[1]), np.nan)
        found[name] = Tally(counts_NE, counted.value)
      found[name].counts_NE[places] = counted.counts_NE
  return found


def rules(outputs: Sequence[tuple[str, Said]], known_text: str) -> dict[str, str]:
  """Returns who made the transcripts, and how numbers came to words; {} without any.

  `known_text` names what stands for a transcript where nothing was heard.
  """
  heard = [output for output in outputs if output[1].independent is not None]
  if not heard:
    return {}
  by = sorted({said.heard_by or known_text for _, said in heard})
  return {TRANSCRIPTS: "; ".join(by), NUMBERS: numbers.rule([language for language, _ in heard])}


def leading(values: Mapping[str, float]) -> str:
  """Returns the error rate that stands for speech: by words, by characters without spaces."""
  return CER if WER not in values and CER in values else WER
