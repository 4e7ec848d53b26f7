"""The evaluation's JSON from saved outputs: a pure function of lines, without a model."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from audiopalm import orthography
from audiopalm.evaluation import ears
from audiopalm.evaluation.lines import MODEL, Line, Said, language_of
from audiopalm.metrics import likelihood, speech, tally, text
from audiopalm.metrics.tally import Tally, ratio

SEEN = "test"
HELD_OUT = "held_out_voices"
SUITES = "suites"
RECORDINGS = "recordings"
PARTS = (HELD_OUT, "baselines", SUITES, RECORDINGS)  # of the scores: all other names are tasks
OWN_ASR = "this model's own ASR, from the written WAV read back and re-encoded"
KNOWN_TEXT = "the known text of the copied recording"

_TEXT_SCORES = {"words": (text.wer, text.cer, text.exact), "translation": (text.bleu, text.chrf)}
_SPEECH_SCORES = {
  "words": (text.wer, text.cer, text.exact),
  "translation": (text.asr_bleu, text.asr_chrf),
}
# The score that stands for a task and ranks voices, and whether less of it is better.
LEADING = (
  ("wer", True),
  ("cer", True),  # where no spaces separate words
  (ears.WER, True),
  (ears.CER, True),
  ("asr_bleu", False),
  (ears.ASR_BLEU, False),
  ("bleu", False),
  ("mcd", True),
  ("nll", True),
  ("accuracy", False),
)


def score(lines: Iterable[Line]) -> dict:
  """Returns {task: scores, "held_out_voices": {task: scores}, "baselines": {system: {task: ...}}}.

  The scores of a task on the test split: those of its outputs (WER and CER are fractions, BLEU and
  chrF 0 to 100, MCD in dB, what meters read), "nll" in nats per predicted cell, "token_accuracy"
  and both by modality, the "intervals" of all of them, the number of examples and the mean words of
  their references, how many outputs were cut before their stop, by which "rules" it was measured,
  and the same per language and per voice, the worst voice named, and for examples with words new to
  the task. Examples of languages that the task was never trained on are scored apart: "zero_shot".
  Examples among which a language has no spaces between words have no WER, and mean characters.
  """
  groups: dict[tuple[str, str, str], list[Line]] = {}  # baselines are asked on the test split alone
  for line in lines:
    groups.setdefault((line.system, line.split, line.task), []).append(line)
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


def of_tasks(scores: Mapping[str, Any], names: Collection[str]) -> dict:
  """Returns the part of what `saved.score` returned that is about the tasks, or pairs, named."""

  def part(of: Mapping[str, Any]) -> dict:
    return {task: values for task, values in of.items() if task in names}

  def parts(of: Mapping[str, Any]) -> dict:
    return {name: kept for name, tasks in of.items() if (kept := part(tasks))}

  return {
    **part(scores),
    HELD_OUT: part(scores[HELD_OUT]),
    "baselines": parts(scores["baselines"]),
    SUITES: parts(scores[SUITES]),
    **({RECORDINGS: scores[RECORDINGS]} if RECORDINGS in scores else {}),
  }


def score_task(lines: Sequence[Line]) -> dict:
  """Returns the scores of one task's lines, with languages and voices."""
  asked = [line for line in lines if not line.left_out]
  tallies = _tallies(asked)

  def scores_of(kept: Callable[[Line], bool]) -> dict:
    return _scores(asked, tallies, np.array([kept(line) for line in asked], bool))

  def split(key: Callable[[Line], str | None]) -> dict[str, dict]:
    names = sorted({key(line) for line in asked} - {None})
    return {name: scores_of(lambda line, name=name: key(line) == name) for name in names}

  scores = scores_of(lambda line: not line.zero_shot)
  if any(line.new_words for line in asked):
    scores["new_words"] = scores_of(lambda line: line.new_words)
  if any(line.zero_shot for line in asked):
    scores["zero_shot"] = scores_of(lambda line: line.zero_shot)
  scores |= _mean_length([(line, said) for line in asked for said in line.said[:1]])
  scores["cut"] = sum(not line.complete for line in asked)
  if len(asked) < len(lines):
    scores["left_out"] = len(lines) - len(asked)
  scores["rules"] = rules(asked)
  scores["languages"] = split(lambda line: line.language)
  voices = split(lambda line: None if line.zero_shot else line.voice)
  if voices:
    scores["voices"] = voices
    scores["worst_voice"] = _worst(voices)
  return scores


def plain(lines: Sequence[Line]) -> dict:
  """Returns the scores of lines together, with intervals and the number of examples."""
  return _scores(lines, _tallies(lines), np.ones(len(lines), bool))


def leading(scores: Mapping[str, Any]) -> str | None:
  """Returns the name of the score that stands for a task; None where it has none."""
  return next((name for name, _ in LEADING if name in scores), None)


def _tallies(lines: Sequence[Line]) -> dict[str, dict[str, Tally]]:
  """Returns the counts of every line by output and score: texts are looked at once."""
  streams = dict.fromkeys(said.stream for line in lines for said in line.said)
  return {
    stream: _of_output(
      [next(((line, said) for said in line.said if said.stream == stream), None) for line in lines]
    )
    for stream in streams
  }


def _mean_length(said: Sequence[tuple[Line, Said]]) -> dict[str, float]:
  """Returns how long references are on average: in words, or in characters if one has no spaces."""
  if not said:
    return {}
  texts = [(one.reference, language_of(line, one)) for line, one in said]
  if all(orthography.has_spaces(language) for _, language in texts):
    return {"mean_words": sum(len(text.split()) for text, _ in texts) / len(texts)}
  return {"mean_characters": sum(len("".join(text.split())) for text, _ in texts) / len(texts)}


def _of_output(pairs: Sequence[tuple[Line, Said] | None]) -> dict[str, Tally]:
  said = [pair and pair[1] for pair in pairs]
  tallies = {}
  by_language: dict[str, list[int]] = {}
  for number, pair in enumerate(pairs):
    if pair is not None and pair[1].hypothesis is not None:
      by_language.setdefault(language_of(*pair), []).append(number)
  for language, numbers in by_language.items():
    texts = [said[number] for number in numbers]
    for metric in _metrics(texts[0], language):
      counted = metric.tally([one.reference for one in texts], [one.hypothesis for one in texts])
      if metric.name not in tallies:
        counts_NE = np.full((len(said), counted.counts_NE.shape[1]), np.nan)
        tallies[metric.name] = Tally(counts_NE, metric.value)
      tallies[metric.name].counts_NE[numbers] = counted.counts_NE
  tallies |= ears.tallies([pair and (language_of(*pair), pair[1]) for pair in pairs])
  means = {"mcd": [one and one.mcd for one in said]}
  for name in sorted({name for one in said if one is not None for name in one.measured}):
    means[name] = [one and one.measured.get(name) for one in said]
  for name, found in means.items():
    values = np.array([np.nan if value is None else value for value in found], np.float64)
    if np.isfinite(values).any():
      counts_NE = np.stack([np.where(np.isfinite(values), values, np.nan), np.ones(len(said))])
      tallies[name] = Tally(counts_NE.T, ratio)
  return tallies


def _metrics(said: Said, language: str) -> list[text.Metric]:
  """Returns the scores of an output in its language."""
  metrics = (_TEXT_SCORES if said.modality == "text" else _SPEECH_SCORES)[said.measure]
  return [metric for one in metrics if (metric := one.of(language)).measures]


def _scores(
  lines: Sequence[Line], tallies: Mapping[str, Mapping[str, Tally]], kept_N: np.ndarray
) -> dict:
  """Returns the scores of the lines that a mask keeps."""
  lines = [line for line, kept in zip(lines, kept_N, strict=True) if kept]
  by_stream = {}
  for stream, of_stream in tallies.items():
    pairs = [(line, said) for line in lines for said in line.said if said.stream == stream]
    said = [said for _, said in pairs]
    partial = _partial(pairs)
    output = tally.scores(
      {name: one.among(kept_N) for name, one in of_stream.items() if name not in partial}
    )
    for name in ("fault", "independent_fault"):
      faults = sum(getattr(one, name) is not None for one in said)
      if faults:
        output[f"{name}s"] = faults
    unmeasured = sum(None in one.measured.values() for one in said)
    if unmeasured:
      output["unmeasured"] = unmeasured
    if said:
      by_stream[stream] = output
  scores: dict = {}
  intervals: dict = {}
  # Two outputs of one kind: the first gives the task's score.
  for output in (*by_stream.values(), likelihood.reduce(line.likelihood for line in lines)):
    for name, value in output.items():
      scores.setdefault(name, value)
    for name, interval in output.get("intervals", {}).items():
      intervals.setdefault(name, interval)
  if intervals:
    scores["intervals"] = intervals
  if len(tallies) > 1:
    scores["outputs"] = by_stream
  scores["examples"] = len(lines)
  return scores


def _partial(pairs: Iterable[tuple[Line, Said]]) -> set[str]:
  """Returns the scores that measure some languages of these outputs and not others."""
  pairs = list(pairs)
  own = {language_of(*pair): pair[1] for pair in pairs if pair[1].hypothesis is not None}
  other = {language_of(*pair): pair[1] for pair in pairs if pair[1].independent is not None}
  found: set[str] = set()
  for names in (
    [{one.name for one in _metrics(said, code)} for code, said in own.items()],
    [set(ears.metrics(said, code)) for code, said in other.items()],
  ):
    found |= set().union(*names) - set.intersection(*names) if names else set()
  return found


def rules(lines: Sequence[Line]) -> dict[str, str]:
  """Returns by which rules lines are scored."""
  rules = {"intervals": tally.RULE}
  if any(line.likelihood for line in lines):
    rules["nll"] = likelihood.RULE
  decoded = {line.decoding for line in lines} - {None}
  if decoded:
    rules["decoding"] = ", ".join(sorted(decoded))
  measured: dict[str, dict[str, dict[str, None]]] = {}  # by score and rule the languages
  pairs = [(line, said) for line in lines for said in line.said]
  every = [said for _, said in pairs]
  for one, said in pairs:
    if said.hypothesis is None and said.independent is None:
      continue
    language = language_of(one, said)
    for name in (metric.name for metric in _metrics(said, language)):
      if (rule := text.rule(name, language)) is not None:
        measured.setdefault(name, {}).setdefault(rule, {})[language] = None
    if said.measure == "words" or said.modality == "speech":
      rules["normalizer"] = text.NORMALIZER
    if said.modality == "speech" and said.hypothesis is not None:
      rules["transcripts"] = KNOWN_TEXT if said.wave is None else OWN_ASR
  for name, languages in measured.items():
    told = [f"{rule} ({', '.join(sorted(codes))})" for rule, codes in languages.items()]
    rules[name] = "; ".join(told) if len(languages) > 1 else next(iter(languages))
  rules |= ears.rules([(language_of(*pair), pair[1]) for pair in pairs], KNOWN_TEXT)
  if any(said.mcd is not None for said in every):
    rules["mcd"] = speech.MCD_RULE
  for said in every:
    rules |= said.measured_by
  return rules


def _worst(voices: dict[str, dict]) -> dict:
  for name, less_is_better in LEADING:
    scored = {voice: scores[name] for voice, scores in voices.items() if name in scores}
    if len(scored) == len(voices):  # voices of several languages have the score of all of them
      voice = (max if less_is_better else min)(scored, key=scored.__getitem__)
      return {"voice": voice, name: scored[voice]}
  return {}
