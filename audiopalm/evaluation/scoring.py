"""Scores of saved answers, as in the evaluation's JSON: pure functions that need no model.

Text outputs are scored by their text, speech by the transcripts of two recognizers: the run's own
and an independent one.

    wer, cer, exact, bleu, chrf            texts, and speech by the run's own transcripts
    asr_bleu, asr_chrf                     of translations to speech
    independent_wer, _cer, _exact          numbers as words on both sides: "€2" is "two euros"
    independent_raw_wer                    numbers as they were written
    independent_asr_bleu, _asr_chrf        of translations to speech, numbers as words
"""

import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from audiopalm import orthography
from audiopalm.evaluation.answers import MODEL, Answer, Measure, Output
from audiopalm.metrics import likelihood, numbers, speech, tally, text
from audiopalm.metrics.tally import Among, Scores, Tally, ratio
from audiopalm.metrics.text import Metric
from audiopalm.types import Modality

SEEN = "test"
HELD_OUT = "held_out_voices"
SUITES = "suites"
RECORDINGS = "recordings"
PARTS = (HELD_OUT, "baselines", SUITES, RECORDINGS)  # keys of the scores that are not tasks
OWN_ASR = "this model's own ASR, from the written WAV read back and re-encoded"
KNOWN_TEXT = "the known text of the copied recording"
AS_RECORDED = "as_recorded"
SPEECH = "speech"  # one name for all streams, which are scored together per voice

INDEPENDENT = "independent_"
INDEPENDENT_WER, INDEPENDENT_RAW_WER, INDEPENDENT_CER, INDEPENDENT_ASR_BLEU = (
  f"{INDEPENDENT}{name}" for name in ("wer", "raw_wer", "cer", "asr_bleu")
)
INDEPENDENT_TRANSCRIPTS = f"{INDEPENDENT}transcripts"  # a rule

# The first of these that a task has summarizes it and ranks its voices. CER is for languages
# without spaces between words.
LEADING = (
  "wer", "cer", INDEPENDENT_WER, INDEPENDENT_CER, "asr_bleu", INDEPENDENT_ASR_BLEU, "bleu", "mcd",
  "nll", "accuracy",
)  # fmt: skip
LESS_IS_BETTER = (
  "wer", "cer", "mcd", "nll", INDEPENDENT_WER, INDEPENDENT_RAW_WER, INDEPENDENT_CER,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TextScore:
  """A score that compares the text in one field of outputs with the reference.

  `modality` None applies to text and speech; with `spelled`, numbers are compared as words.
  """

  name: str
  metric: Metric
  measure: Measure
  modality: Modality | None = None
  field: Literal["hypothesis", "independent"] = "hypothesis"
  spelled: bool = False

  def applies(self, output: Output) -> bool:
    """Returns whether outputs of this kind have the score if it `measures` their language."""
    return output.measure == self.measure and self.modality in (None, output.modality)

  def has_text(self, output: Output | None) -> bool:
    return output is not None and self.applies(output) and getattr(output, self.field) is not None

  def measures(self, language: str) -> bool:
    return self.metric.of(language).measures

  def tally(self, outputs: Sequence[Output | None]) -> Tally | None:
    """Returns the counts of each output, NaN for None and outputs without the text; None if no
    output has it."""
    by_language: dict[str, list[int]] = {}
    for number, output in enumerate(outputs):
      if self.has_text(output) and self.measures(output.language):
        by_language.setdefault(output.language, []).append(number)
    tally = None
    for language, places in by_language.items():
      pairs = [(outputs[n].reference, getattr(outputs[n], self.field)) for n in places]
      if self.spelled:
        pairs = [tuple(numbers.spell(side, language) for side in pair) for pair in pairs]
      counted = self.metric.of(language).tally(*zip(*pairs, strict=True))
      if tally is None:
        tally = Tally(np.full((len(outputs), counted.counts_NE.shape[1]), np.nan), counted.value)
      tally.counts_NE[places] = counted.counts_NE
    return tally

  def is_partial(self, outputs: Sequence[Output]) -> bool:
    """Returns whether the score measures some of the outputs' languages but not all."""
    return len({self.measures(of.language) for of in outputs if self.has_text(of)}) > 1


TEXT_SCORES = (
  TextScore("wer", text.wer, "words"),
  TextScore("cer", text.cer, "words"),
  TextScore("exact", text.exact, "words"),
  TextScore("bleu", text.bleu, "translation", "text"),
  TextScore("chrf", text.chrf, "translation", "text"),
  TextScore("asr_bleu", text.asr_bleu, "translation", "speech"),
  TextScore("asr_chrf", text.asr_chrf, "translation", "speech"),
  TextScore(INDEPENDENT_WER, text.wer, "words", "speech", "independent", spelled=True),
  TextScore(INDEPENDENT_RAW_WER, text.wer, "words", "speech", "independent"),
  TextScore(INDEPENDENT_CER, text.cer, "words", "speech", "independent", spelled=True),
  TextScore(f"{INDEPENDENT}exact", text.exact, "words", "speech", "independent", spelled=True),
  *(
    TextScore(f"{INDEPENDENT}{of.name}", of, "translation", "speech", "independent", spelled=True)
    for of in (text.asr_bleu, text.asr_chrf)
  ),
)


def score(answers: Iterable[Answer]) -> dict:
  """Returns {task: scores, "held_out_voices": {task: scores}, "baselines": {system: {task: ...}}}.

  The scores of a task are of the test split: those of its outputs (WER and CER as fractions, BLEU
  and chrF from 0 to 100, MCD in dB, values of meters), "nll" in nats per predicted cell and
  "token_accuracy", in all and by modality, their "intervals", "examples", "mean_words" of the
  references, "cut" (the number of answers without a stop token) and "rules". "languages", "voices"
  and "new_words" have the scores of these subsets, "worst_voice" names a voice. "zero_shot" has
  those of languages that the task was not trained on, which no other score includes. If a language
  has no spaces between words, there is no WER, and "mean_characters" instead.
  """
  # Baselines answer only the test split.
  groups: dict[tuple[str, str, str], list[Answer]] = {}
  for answer in answers:
    groups.setdefault((answer.system, answer.split, answer.task), []).append(answer)
  results: dict = {}
  held_out: dict = {}
  baselines: dict = {}
  for (system, split, task), group in groups.items():
    if system != MODEL:
      place = baselines.setdefault(system, {})
    else:
      place = held_out if split == HELD_OUT else results
    place[task] = score_task(group)
  return {**results, HELD_OUT: held_out, "baselines": baselines}


def of_tasks(scores: Scores, names: Collection[str]) -> dict:
  """Returns the part of the result of `saved.score` about these tasks and files of pairs."""

  def part(of: Scores) -> dict:
    return {task: values for task, values in of.items() if task in names}

  def parts(of: Scores) -> dict:
    return {name: kept for name, tasks in of.items() if (kept := part(tasks))}

  return {
    **part(scores),
    HELD_OUT: part(scores[HELD_OUT]),
    "baselines": parts(scores["baselines"]),
    SUITES: parts(scores[SUITES]),
    **({RECORDINGS: scores[RECORDINGS]} if RECORDINGS in scores else {}),
  }


def score_task(answers: Sequence[Answer]) -> dict:
  """Returns the scores of the answers to one task, also by language and by voice."""
  answered = [answer for answer in answers if not answer.left_out]
  among = functools.partial(_scores, answered, _tallies(answered))
  scores = among([not answer.zero_shot for answer in answered])
  for name in ("new_words", "zero_shot"):
    kept = [getattr(answer, name) for answer in answered]
    if any(kept):
      scores[name] = among(kept)
  scores |= _mean_length([output for answer in answered for output in answer.outputs[:1]])
  scores["cut"] = sum(not answer.complete for answer in answered)
  if len(answered) < len(answers):
    scores["left_out"] = len(answers) - len(answered)
  scores["rules"] = rules(answered)
  scores["languages"] = tally.by_group([answer.language for answer in answered], among)
  voices = [None if answer.zero_shot else answer.voice for answer in answered]
  if voices := tally.by_group(voices, among):
    scores["voices"] = voices
    scores["worst_voice"] = _worst(voices)
  return scores


def score_recordings(
  heard: Sequence[Answer], answers: Iterable[Answer], read_aloud: Collection[str]
) -> dict:
  """Returns the scores of an independent recognizer on each voice: {"rules", split: {language:
  {system: scores, "voices": {voice: {system: scores}}}}}, {} if it transcribed no recordings.

      as_recorded     the recordings themselves: how well the recognizer understands this voice
      through_units   the same, encoded as ids of a stream and decoded: the best for speech output
      model           texts that the model read aloud in this voice

  `heard` are the answers of the first two, which `hearing` writes; those of the model are its
  `answers` to the tasks named in `read_aloud`. Scores include intervals and number of examples.
  """
  if not heard:
    return {}
  by = {output.heard_by for answer in heard for output in answer.outputs}
  spoken = (
    (answer, dataclasses.replace(output, stream=SPEECH, measured={}, mcd=None, hypothesis=None))
    for answer in answers
    if answer.system == MODEL and answer.split == SEEN and answer.task in read_aloud
    for output in answer.outputs
    if output.modality == "speech" and output.independent is not None and output.heard_by in by
  )
  lines = [*heard] + [
    Answer(MODEL, of.task, of.split, of.id, output.language, output.voice, (output,))
    for of, output in spoken
  ]
  among = functools.partial(_scores, lines, _tallies(lines))

  def grouped(key: str, among: Among, kept: Sequence[bool]) -> dict[str, dict]:
    names = [getattr(line, key) if of else None for line, of in zip(lines, kept, strict=True)]
    return tally.by_group(names, among)

  def by_system(kept: Sequence[bool]) -> dict[str, dict]:
    scores = grouped("system", among, kept)
    return {name: scores[name] for name in sorted(scores, key=system_order)}

  def by_voice(kept: Sequence[bool]) -> dict[str, dict]:
    return {**by_system(kept), "voices": grouped("voice", by_system, kept)}

  section: dict = {"rules": rules(lines)}
  for split in (SEEN, HELD_OUT):
    languages = grouped("language", by_voice, [line.split == split for line in lines])
    if languages:
      section[split] = languages
  return section


def system_order(name: str) -> tuple[bool, bool, str]:
  """Returns the sort key of a system of recordings: as recorded, through streams, the model."""
  return name == MODEL, name != AS_RECORDED, name


def leading(scores: Scores) -> str | None:
  """Returns the name of the score that summarizes a task; None if it has none."""
  return next((name for name in LEADING if name in scores), None)


def independent_error_rate(scores: Scores) -> str:
  """Returns the name of the independent error rate: WER, or CER if the scores have only that."""
  by_characters = INDEPENDENT_WER not in scores and INDEPENDENT_CER in scores
  return INDEPENDENT_CER if by_characters else INDEPENDENT_WER


def _mean_length(outputs: Sequence[Output]) -> dict[str, float]:
  """Returns the mean length of references in words, or in characters if a language lacks spaces."""
  if not outputs:
    return {}
  references = [output.reference.split() for output in outputs]
  if all(orthography.has_spaces(output.language) for output in outputs):
    return {"mean_words": sum(map(len, references)) / len(outputs)}
  return {"mean_characters": sum(len("".join(words)) for words in references) / len(outputs)}


def _tallies(answers: Sequence[Answer]) -> dict[str, dict[str, Tally]]:
  """Returns {output: {score: counts of all answers}}; each text is processed once."""
  tallies: dict[str, dict[str, Tally]] = {}
  for stream in dict.fromkeys(output.stream for of in answers for output in of.outputs):
    outputs: list[Output | None] = [
      next((output for output in answer.outputs if output.stream == stream), None)
      for answer in answers
    ]
    means = {"mcd": [output and output.mcd for output in outputs]}
    for name in sorted({name for output in outputs if output for name in output.measured}):
      means[name] = [output and output.measured.get(name) for output in outputs]
    counted = {of.name: of.tally(outputs) for of in TEXT_SCORES}
    tallies[stream] = {name: counts for name, counts in counted.items() if counts is not None}
    for name, by_example in means.items():
      values = np.array(by_example, np.float64)  # None becomes NaN
      if np.isfinite(values).any():
        values[~np.isfinite(values)] = np.nan
        tallies[stream][name] = Tally(np.stack([values, np.ones(len(values))], axis=1), ratio)
  return tallies


def _scores(
  answers: Sequence[Answer], tallies: Mapping[str, Mapping[str, Tally]], kept: Sequence[bool]
) -> dict:
  answers = list(itertools.compress(answers, kept))
  by_stream = {}
  for stream, of_stream in tallies.items():
    outputs = [output for of in answers for output in of.outputs if output.stream == stream]
    if not outputs:
      continue
    partial = {of.name for of in TEXT_SCORES if of.is_partial(outputs)}
    counted = {
      "faults": sum(output.fault is not None for output in outputs),
      "independent_faults": sum(output.independent_fault is not None for output in outputs),
      "unmeasured": sum(None in output.measured.values() for output in outputs),
    }
    by_stream[stream] = tally.scores(
      {name: counts.among(kept) for name, counts in of_stream.items() if name not in partial}
    ) | {name: count for name, count in counted.items() if count}
  scores: dict = {}
  intervals: dict = {}
  # If two outputs have the same score, the first gives that of the task.
  for of in (*by_stream.values(), likelihood.reduce(answer.likelihood for answer in answers)):
    scores |= {name: value for name, value in of.items() if name not in scores}
    new = of.get("intervals", {})
    intervals |= {name: value for name, value in new.items() if name not in intervals}
  if intervals:
    scores["intervals"] = intervals
  if len(tallies) > 1:
    scores["outputs"] = by_stream
  scores["examples"] = len(answers)
  return scores


def rules(answers: Sequence[Answer]) -> dict[str, str]:
  """Returns {score: how it is computed}: versions, normalizers, recognizers."""
  rules = {"intervals": tally.RULE}
  if any(answer.likelihood for answer in answers):
    rules["nll"] = likelihood.RULE
  decoded = {answer.decoding for answer in answers} - {None}
  if decoded:
    rules["decoding"] = ", ".join(sorted(decoded))
  outputs = [output for answer in answers for output in answer.outputs]
  measured: dict[str, dict[str, set[str]]] = {}  # {score: {rule: languages}}
  for output in outputs:
    if output.hypothesis is None and output.independent is None:
      continue
    for of in TEXT_SCORES:
      own = of.field == "hypothesis" and of.applies(output) and of.measures(output.language)
      if own and (rule := text.rule(of.name, output.language)) is not None:
        measured.setdefault(of.name, {}).setdefault(rule, set()).add(output.language)
    if output.measure == "words" or output.modality == "speech":
      rules["normalizer"] = text.NORMALIZER
    if output.modality == "speech" and output.hypothesis is not None:
      rules["transcripts"] = KNOWN_TEXT if output.wave is None else OWN_ASR
  for name, languages in measured.items():
    described = [f"{rule} ({', '.join(sorted(codes))})" for rule, codes in languages.items()]
    rules[name] = "; ".join(described) if len(languages) > 1 else next(iter(languages))
  heard = [output for output in outputs if output.independent is not None]
  if heard:
    by = {output.heard_by or KNOWN_TEXT for output in heard}
    rules[INDEPENDENT_TRANSCRIPTS] = "; ".join(sorted(by))
    rules[f"{INDEPENDENT}numbers"] = numbers.rule([output.language for output in heard])
  if any(output.mcd is not None for output in outputs):
    rules["mcd"] = speech.MCD_RULE
  for output in outputs:
    rules |= output.measured_by
  return rules


def _worst(voices: dict[str, dict]) -> dict:
  for name in LEADING:
    scored = {voice: scores[name] for voice, scores in voices.items() if name in scores}
    if len(scored) == len(voices):  # only a score that all voices have can rank them
      worst = max if name in LESS_IS_BETTER else min
      voice = worst(scored, key=scored.__getitem__)
      return {"voice": voice, name: scored[voice]}
  return {}
