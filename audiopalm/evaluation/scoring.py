"""Scores of saved answers: the evaluation's JSON, a pure function that needs no model."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from audiopalm import orthography
from audiopalm.evaluation import ears
from audiopalm.evaluation.ears import EARS, OWN
from audiopalm.evaluation.lines import MODEL, Answer, Said, language_of
from audiopalm.metrics import likelihood, speech, tally, text
from audiopalm.metrics.tally import Scores, Tally, ratio

SEEN = "test"
HELD_OUT = "held_out_voices"
SUITES = "suites"
RECORDINGS = "recordings"
PARTS = (HELD_OUT, "baselines", SUITES, RECORDINGS)  # of the scores: all other names are tasks
OWN_ASR = "this model's own ASR, from the written WAV read back and re-encoded"
KNOWN_TEXT = "the known text of the copied recording"

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


def score(lines: Iterable[Answer]) -> dict:
  """Returns {task: scores, "held_out_voices": {task: scores}, "baselines": {system: {task: ...}}}.

  The scores of a task on the test split: those of its outputs (WER and CER are fractions, BLEU and
  chrF 0 to 100, MCD in dB, what meters read), "nll" in nats per predicted cell, "token_accuracy"
  and both by modality, the "intervals" of all of them, the number of examples and the mean words of
  their references, how many outputs were cut before their stop, by which "rules" it was measured,
  and the same per language and per voice, the worst voice named, and for examples with words new to
  the task. Examples of languages that the task was never trained on are scored apart: "zero_shot".
  Examples among which a language has no spaces between words have no WER, and mean characters.
  """
  # Baselines are asked on the test split alone.
  groups: dict[tuple[str, str, str], list[Answer]] = {}
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


def of_tasks(scores: Scores, names: Collection[str]) -> dict:
  """Returns the scores of the tasks and files of pairs named, from what `saved.score` returned."""

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


def score_task(lines: Sequence[Answer]) -> dict:
  """Returns the scores of the answers to one task, also by language and by voice."""
  asked = [line for line in lines if not line.left_out]
  tallies = _tallies(asked)

  def scores_of(kept: Callable[[Answer], bool]) -> dict:
    return _scores(asked, tallies, np.array([kept(line) for line in asked], bool))

  def split(key: Callable[[Answer], str | None]) -> dict[str, dict]:
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


def plain(lines: Sequence[Answer]) -> dict:
  """Returns the scores of all answers together, with intervals and the number of examples."""
  return _scores(lines, _tallies(lines), np.ones(len(lines), bool))


def leading(scores: Scores) -> str | None:
  """Returns the name of the score that summarizes a task; None where it has none."""
  return next((name for name, _ in LEADING if name in scores), None)


def _tallies(lines: Sequence[Answer]) -> dict[str, dict[str, Tally]]:
  """Returns the counts of every answer by output and score; each text is processed once."""
  streams = dict.fromkeys(said.stream for line in lines for said in line.said)
  return {
    stream: _of_output(
      [next(((line, said) for said in line.said if said.stream == stream), None) for line in lines]
    )
    for stream in streams
  }


def _mean_length(said: Sequence[tuple[Answer, Said]]) -> dict[str, float]:
  """Returns the mean length of references: in words, or in characters if one has no spaces."""
  if not said:
    return {}
  texts = [(output.reference, language_of(line, output)) for line, output in said]
  if all(orthography.has_spaces(language) for _, language in texts):
    return {"mean_words": sum(len(text.split()) for text, _ in texts) / len(texts)}
  return {"mean_characters": sum(len("".join(text.split())) for text, _ in texts) / len(texts)}


def _of_output(pairs: Sequence[tuple[Answer, Said] | None]) -> dict[str, Tally]:
  outputs = [pair and (language_of(*pair), pair[1]) for pair in pairs]
  tallies = {name: counts for ear in EARS for name, counts in ear.tallies(outputs).items()}
  said = [pair and pair[1] for pair in pairs]
  means = {"mcd": [output and output.mcd for output in said]}
  for name in sorted({name for output in said if output is not None for name in output.measured}):
    means[name] = [output and output.measured.get(name) for output in said]
  for name, by_example in means.items():
    values = np.array([np.nan if value is None else value for value in by_example], np.float64)
    if np.isfinite(values).any():
      counts_NE = np.stack([np.where(np.isfinite(values), values, np.nan), np.ones(len(said))])
      tallies[name] = Tally(counts_NE.T, ratio)
  return tallies


def _scores(
  lines: Sequence[Answer], tallies: Mapping[str, Mapping[str, Tally]], kept_N: np.ndarray
) -> dict:
  """Returns the scores of the answers that a mask keeps."""
  lines = [line for line, kept in zip(lines, kept_N, strict=True) if kept]
  by_stream = {}
  for stream, of_stream in tallies.items():
    pairs = [(line, said) for line in lines for said in line.said if said.stream == stream]
    outputs = [said for _, said in pairs]
    partial = _partial(pairs)
    own = tally.scores(
      {name: counts.among(kept_N) for name, counts in of_stream.items() if name not in partial}
    )
    for name in ("fault", "independent_fault"):
      faults = sum(getattr(said, name) is not None for said in outputs)
      if faults:
        own[f"{name}s"] = faults
    unmeasured = sum(None in said.measured.values() for said in outputs)
    if unmeasured:
      own["unmeasured"] = unmeasured
    if outputs:
      by_stream[stream] = own
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


def _partial(pairs: Sequence[tuple[Answer, Said]]) -> set[str]:
  """Returns the scores that exist for some languages of these outputs and not for others."""
  partial: set[str] = set()
  for ear in EARS:
    by_language = {language_of(*pair): pair[1] for pair in pairs if ear.text(pair[1]) is not None}
    names = [set(ear.metrics(said, code)) for code, said in by_language.items()]
    partial |= set().union(*names) - set.intersection(*names) if names else set()
  return partial


def rules(lines: Sequence[Answer]) -> dict[str, str]:
  """Returns how each score is computed, by its name: versions, normalizers, recognizers."""
  rules = {"intervals": tally.RULE}
  if any(line.likelihood for line in lines):
    rules["nll"] = likelihood.RULE
  decoded = {line.decoding for line in lines} - {None}
  if decoded:
    rules["decoding"] = ", ".join(sorted(decoded))
  measured: dict[str, dict[str, dict[str, None]]] = {}  # by score and rule the languages
  pairs = [(line, said) for line in lines for said in line.said]
  every = [said for _, said in pairs]
  for line, said in pairs:
    if said.hypothesis is None and said.independent is None:
      continue
    language = language_of(line, said)
    for name in OWN.metrics(said, language):
      if (rule := text.rule(name, language)) is not None:
        measured.setdefault(name, {}).setdefault(rule, {})[language] = None
    if said.measure == "words" or said.modality == "speech":
      rules["normalizer"] = text.NORMALIZER
    if said.modality == "speech" and said.hypothesis is not None:
      rules["transcripts"] = KNOWN_TEXT if said.wave is None else OWN_ASR
  for name, languages in measured.items():
    described = [f"{rule} ({', '.join(sorted(codes))})" for rule, codes in languages.items()]
    rules[name] = "; ".join(described) if len(languages) > 1 else next(iter(languages))
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
