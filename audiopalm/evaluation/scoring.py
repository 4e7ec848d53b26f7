"""The evaluation's JSON from saved outputs: a pure function of lines, without a model."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from audiopalm.evaluation.lines import MODEL, Line, Said
from audiopalm.metrics import likelihood, text

SEEN = "test"
HELD_OUT = "held_out_voices"
OWN_ASR = "this model's own ASR, from the written WAV read back and re-encoded"
KNOWN_TEXT = "the known text of the copied recording"

_TEXT_SCORES = {"words": (text.wer, text.cer, text.exact), "translation": (text.bleu, text.chrf)}
_SPEECH_SCORES = {
  "words": (text.wer, text.cer, text.exact),
  "translation": (text.asr_bleu, text.asr_chrf),
}
# The score that stands for a task and ranks voices, and whether less of it is better.
LEADING = (("wer", True), ("asr_bleu", False), ("bleu", False), ("mcd", True), ("nll", True))


def score(lines: Iterable[Line]) -> dict:
  """Returns {task: scores, "held_out_voices": {task: scores}, "baselines": {system: {task: ...}}}.

  The scores of a task on the test split: those of its outputs (WER and CER are fractions, BLEU and
  chrF 0 to 100, MCD in dB), "nll" in nats per predicted cell, "token_accuracy" and both by
  modality, the number of examples and the mean words of their references, how many outputs were cut
  before their stop, by which rules texts were compared, and the same per language and per voice,
  the worst voice named, and for examples with words new to the task.
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
  """Returns the part of what `score` returned that is about the tasks named."""

  def part(of: Mapping[str, Any]) -> dict:
    return {task: values for task, values in of.items() if task in names}

  baselines = {system: part(of) for system, of in scores["baselines"].items()}
  return {
    **part(scores),
    HELD_OUT: part(scores[HELD_OUT]),
    "baselines": {system: of for system, of in baselines.items() if of},
  }


def score_task(lines: Sequence[Line]) -> dict:
  """Returns the scores of one task's lines, with languages and voices."""
  asked = [line for line in lines if not line.left_out]
  scores = _scores(asked)
  new = [line for line in asked if line.new_words]
  if new:
    scores["new_words"] = _scores(new)
  words = [len(said.reference.split()) for line in asked for said in line.said[:1]]
  if words:
    scores["mean_words"] = sum(words) / len(words)
  scores["cut"] = sum(not line.complete for line in asked)
  if len(asked) < len(lines):
    scores["left_out"] = len(lines) - len(asked)
  lines = asked
  rules = _rules(lines)
  if rules:
    scores["rules"] = rules
  scores["languages"] = _split(lines, lambda line: line.language)
  voices = _split(lines, lambda line: line.voice)
  if voices:
    scores["voices"] = voices
    scores["worst_voice"] = _worst(voices)
  return scores


def leading(scores: Mapping[str, Any]) -> str | None:
  """Returns the name of the score that stands for a task; None where it has none."""
  return next((name for name, _ in LEADING if name in scores), None)


def _split(lines: Sequence[Line], key: Callable[[Line], str | None]) -> dict[str, dict]:
  names = sorted({key(line) for line in lines} - {None})
  return {name: _scores([line for line in lines if key(line) == name]) for name in names}


def _scores(lines: Sequence[Line]) -> dict:
  scores: dict = {}
  streams = tuple(dict.fromkeys(said.stream for line in lines for said in line.said))
  by_stream = {
    stream: _score_output([said for line in lines for said in line.said if said.stream == stream])
    for stream in streams
  }
  for output in by_stream.values():
    for name, value in output.items():
      scores.setdefault(name, value)  # two outputs of one kind: the first gives the task's score
  if len(streams) > 1:
    scores["outputs"] = by_stream
  scores.update(likelihood.reduce(line.likelihood for line in lines))
  scores["examples"] = len(lines)
  return scores


def _score_output(said: Sequence[Said]) -> dict[str, float]:
  scores: dict[str, float] = {}
  pairs = [(one.reference, one.hypothesis) for one in said if one.hypothesis is not None]
  if pairs:
    targets, predictions = zip(*pairs, strict=True)
    kinds = _TEXT_SCORES if said[0].modality == "text" else _SPEECH_SCORES
    for metric in kinds[said[0].measure]:
      scores.update(metric(targets, predictions))
  distances = [one.mcd for one in said if one.mcd is not None and math.isfinite(one.mcd)]
  if distances:
    scores["mcd"] = sum(distances) / len(distances)
  faults = sum(one.fault is not None for one in said)
  if faults:
    scores["faults"] = faults
  return scores


def _rules(lines: Sequence[Line]) -> dict[str, str]:
  rules = {}
  for said in (said for line in lines for said in line.said if said.hypothesis is not None):
    metrics = (_TEXT_SCORES if said.modality == "text" else _SPEECH_SCORES)[said.measure]
    names = [metric.__name__ for metric in metrics]
    rules.update({name: rule for name, rule in text.signatures().items() if name in names})
    if said.measure == "words" or said.modality == "speech":
      rules["normalizer"] = text.NORMALIZER
    if said.modality == "speech":
      rules["transcripts"] = OWN_ASR if said.wave is not None else KNOWN_TEXT
  return rules


def _worst(voices: dict[str, dict]) -> dict:
  for name, less_is_better in LEADING:
    scored = {voice: scores[name] for voice, scores in voices.items() if name in scores}
    if scored:
      voice = (max if less_is_better else min)(scored, key=scored.__getitem__)
      return {"voice": voice, name: scored[voice]}
  return {}
