"""Generation from recordings and texts: prompts, decoding, and conversion back to sound.

wave or text -> pieces the model can take -> tokenizer.encode -> layouts.prompt -> decode.decode
             -> layouts.recover -> tokenizer.decode -> pieces joined
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import numpy as np

from audiopalm import layouts, orthography
from audiopalm.audio import silence, waveform
from audiopalm.errors import AudiopalmError, ConfigError, RecordError
from audiopalm.inference import editing, languages, pieces, prompting
from audiopalm.inference.prompting import Continuation, Prompt
from audiopalm.inference.sampling import Beams, Sampling
from audiopalm.inference.trained import Trained
from audiopalm.tokenizers import base
from audiopalm.types import Side, Task, Utterance

SILENCE_S = 0.2  # between the waves of two pieces


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
  """A recording (at `waveform.RATE_HZ`) or a text, and the name that messages and results carry.

  With both, the recording is edited to say the text: `edits` is its present transcript or the spans
  to replace in seconds (`editing`). `notes` say how the recording was read (`waveform.Loaded`);
  they become the first notes of the result. `joins` are the samples at which another recording of
  the same file begins; each is answered separately.
  """

  name: str
  wave_S: np.ndarray | None = None
  text: str | None = None
  edits: str | Sequence[editing.Span] | None = None
  notes: tuple[str, ...] = ()
  joins: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
  """The answer to one input: `texts` and `waves` by output ("target.units"), in the task's order.

  `languages` are those of the tag, by role. `likelihoods` holds the log-likelihood per cell of
  every language that was tried, if none was named. `notes` say what a user should know: channels
  left out, cuts, outputs without a stop.
  """

  name: str
  languages: Mapping[str, str]
  texts: Mapping[str, str]
  waves: Mapping[str, np.ndarray]
  log_likelihood: float
  likelihoods: Mapping[str, float]
  complete: bool
  notes: tuple[str, ...] = ()
  rate_hz: int = waveform.RATE_HZ

  @property
  def text(self) -> str | None:
    """The last text output of the task, None if it has none."""
    return list(self.texts.values())[-1] if self.texts else None

  @property
  def wave_S(self) -> np.ndarray | None:
    """The last speech output of the task, None if it has none."""
    return list(self.waves.values())[-1] if self.waves else None


@dataclasses.dataclass(frozen=True, eq=False)
class Failure:
  """An input that could not be answered, and why; other inputs are not affected."""

  name: str
  error: AudiopalmError


@dataclasses.dataclass(frozen=True, eq=False)
class _Asked:
  """The prompts for one input: one prompt per piece, for every candidate of languages."""

  name: str
  prompts: tuple[tuple[dict[str, str], list[Prompt]], ...]
  notes: tuple[str, ...]


def generate(
  trained: Trained,
  task_name: str,
  inputs: Sequence[Input],
  *,
  language: str | None = None,
  source: str | None = None,
  target: str | None = None,
  voice: str | None = None,
  sampling: Sampling | Beams | None = None,
  seed: int = 0,
) -> list[Result | Failure]:
  """Returns a Result for each input, or a Failure with the reason, in the order of the inputs.

  An input longer than what the model was trained on is cut at pauses (a text: between sentences,
  else as in `pieces.cut_text`), and the outputs are joined by the rules of their language. Texts
  and voices are normalized with `orthography.plain`. A task without inputs continues what it is
  given. If a language is not given, every candidate is decoded and the one whose output has the
  highest log-likelihood per cell is kept. `voice` defaults to the first training voice of the
  output language. ConfigError, before anything is decoded, for a task, language or voice that the
  run does not know and for an input of the wrong kind.
  """
  task = prompting.find_task(trained, task_name)
  if any(input_.edits is not None for input_ in inputs):
    editing.check(trained, task)
  side = _asked_side(trained, task)
  sampling = sampling or Sampling()
  if not -(2**63) <= seed < 2**63:
    raise ConfigError(f"seed must be an integer from -2^63 to 2^63 - 1, not {seed}.")
  prompting.check_sampling(trained, task, sampling)
  for input_ in inputs:
    if input_.edits is None:
      _check_modality(trained, task, side, input_)
  options = languages.candidates(task, language=language, source=source, target=target)
  voices = _voices(trained, task, options, voice)
  questions = [_ask(trained, task, side, input_, options) for input_ in inputs]
  asked = [question for question in questions if isinstance(question, _Asked)]
  prompts = [prompt for question in asked for _, own in question.prompts for prompt in own]
  max_rows = trained.experiment.evaluation.max_output_rows
  key = jax.random.key(seed)
  answers = iter(
    prompting.continuations(trained, task, prompts, sampling=sampling, max_rows=max_rows, key=key)
  )
  results: list[Result | Failure] = []
  for question in questions:
    if isinstance(question, _Asked):
      question = _likeliest(trained, task, question, answers, voices)
    results.append(question)
  return results


def longest_input(trained: Trained, task: Task, side: Side) -> int:
  """Returns the most input frames for a task: a quarter more than the longest in training.

  Examples longer than a batch row were not trained on, so such an input exceeds this limit. The
  quarter allows for speakers slower than those of the corpus.
  """
  return trained.prepared.longest_input(task, side) * 5 // 4


def _asked_side(trained: Trained, task: Task) -> Side:
  """Returns the side that the user gives: the input, or the output if its beginning is
  continued."""
  if not task.inputs:
    prompting.check_begun(trained, task)
    return task.outputs[0]
  if len(task.inputs) > 1:
    askable = [other.name for other in trained.experiment.tasks if len(other.inputs) < 2]
    raise ConfigError(
      f"Task {task.name!r} takes {len(task.inputs)} inputs at once; only tasks with one input can "
      f"be asked here: {', '.join(askable) or 'none of this run'}."
    )
  return task.inputs[0]


def _check_modality(trained: Trained, task: Task, side: Side, input_: Input) -> None:
  wanted = trained.prepared.tokenizers[side[1]].spec.modality
  came = "speech" if input_.wave_S is not None else "text"
  if came != wanted:
    option = "audio" if wanted == "speech" else "text"
    raise ConfigError(f"Task {task.name!r} takes {wanted}, but {came} came: give {option}.")


def _voices(
  trained: Trained, task: Task, options: Sequence[Mapping[str, str]], voice: str | None
) -> dict[str, str | None]:
  """Returns the voice of each output language; None if the ids encode the voice."""
  voices = {}
  for role, stream in task.outputs:
    tokenizer = trained.prepared.tokenizers[stream]
    if tokenizer.spec.modality != "speech":
      continue
    voice = base.match_voice(voice, tokenizer.voices)
    base.check_voice(voice, tokenizer.spec, tokenizer.voices)
    for code in {option[role] for option in options}:
      voices[code] = voice or prompting.voice_of(tokenizer, task.corpus, code)
  if voice is not None and not voices:
    raise ConfigError(f"Task {task.name!r} has no speech output: leave out voice={voice!r}.")
  return voices


def _ask(
  trained: Trained, task: Task, side: Side, input_: Input, options: Sequence[dict[str, str]]
) -> _Asked | Failure:
  """Returns the prompts of an input, or a Failure with the reason."""
  language = options[0][side[0]]
  try:
    if input_.edits is not None:
      edited, notes = _edited(trained, task, input_, language)
    else:
      parts, notes = _parts(trained, task, side, input_, language, cut=bool(task.inputs))
  except RecordError as error:
    return Failure(input_.name, error)
  address = ".".join(side)
  prompts = []
  for option in options:
    tag = layouts.tag_of(task, option)
    if input_.edits is not None:
      prompts.append((option, [dataclasses.replace(edited, tag=tag)]))
    elif task.inputs:
      prompts.append((option, [Prompt({address: ids}, tag) for ids in parts]))
    else:
      prompts.append((option, [Prompt({}, tag, begun={address: ids}) for ids in parts]))
  return _Asked(input_.name, tuple(prompts), input_.notes + notes)


def _edited(
  trained: Trained, task: Task, input_: Input, language: str
) -> tuple[Prompt, tuple[str, ...]]:
  """Returns the prompt of a recording to be edited, without its tag, and notes for the user."""
  written, spoken = task.inputs[0], task.outputs[0]
  whole, streams, notes = dataclasses.replace(input_, joins=()), {}, ()
  for side, side_input in ((written, dataclasses.replace(whole, wave_S=None)), (spoken, whole)):
    (streams[".".join(side)],), _ = _parts(trained, task, side, side_input, language, cut=False)
  spans = input_.edits
  if isinstance(spans, str):
    spans = editing.spans_between(spans, input_.text, input_.wave_S, language)
    shown = ", ".join(f"{start_s:.2f}:{end_s:.2f}" for start_s, end_s in spans)
    notes = (f"the words that change are at {shown} s, estimated from their letters",)
  rate_hz = trained.prepared.tokenizers[spoken[1]].spec.rate_hz
  frames, duration_s = len(streams[".".join(spoken)]), len(input_.wave_S) / waveform.RATE_HZ
  return Prompt(streams, "", holes=editing.holes_of(spans, frames, rate_hz, duration_s)), notes


def _parts(
  trained: Trained, task: Task, side: Side, input_: Input, language: str, *, cut: bool
) -> tuple[list[np.ndarray], tuple[str, ...]]:
  """Returns the ids of the input and notes for the user: in pieces no longer than in training, or,
  without `cut`, as they are."""
  tokenizer = trained.prepared.tokenizers[side[1]]
  limit = longest_input(trained, task, side)

  def encode_text(text: str) -> np.ndarray:
    return tokenizer.encode(Utterance(None, waveform.RATE_HZ, text, language, ""))

  def encode_wave(wave_S: np.ndarray) -> np.ndarray:
    if waveform.peak(wave_S) < waveform.QUIETEST_PEAK:
      return np.zeros(0, np.int32)  # a piece without speech
    return tokenizer.encode(Utterance(wave_S, waveform.RATE_HZ, "", language, ""))

  notes = []
  if input_.wave_S is not None:
    waveform.check(input_.wave_S, waveform.RATE_HZ, input_.name)
    if cut:
      parts, inside = [], 0
      for recording_S in np.split(input_.wave_S, input_.joins):
        encoded, cuts = pieces.cut_wave(recording_S, waveform.RATE_HZ, encode_wave, limit)
        parts += encoded
        inside += cuts
    else:
      parts, inside = [encode_wave(input_.wave_S)], 0
    if inside:
      notes.append(f"{inside} of {len(parts) - 1} cuts fall inside speech: no pause was there")
  else:
    try:
      base.check_text(input_.text)
    except RecordError as error:
      raise RecordError(f"{input_.name}: {error}") from error
    text = orthography.plain(input_.text)
    if not text:
      raise RecordError(f"{input_.name}: empty text. Give at least one word.")
    parts = pieces.cut_text(text, encode_text, limit) if cut else [encode_text(text)]
  parts = [ids for ids in parts if len(ids)]
  if len(parts) > 1 + len(input_.joins):
    notes.insert(0, f"longer than what the model was trained on: cut into {len(parts)} pieces")
  longest = max(map(len, parts), default=0)
  if not longest:
    raise RecordError(f"{input_.name}: too short to give a single id of {side[1]}. Leave it out.")
  if longest > limit:
    raise RecordError(
      f"{input_.name}: {longest} frames of {side[1]} in one piece, but the model was trained on at "
      f"most {limit * 4 // 5}. Shorten it."
    )
  return parts, tuple(notes)


def _likeliest(
  trained: Trained,
  task: Task,
  question: _Asked,
  answers: Iterator[Continuation],
  voices: Mapping[str, str | None],
) -> Result:
  """Returns the answer in the most likely language, its pieces joined; consumes them from
  `answers`."""
  candidates = [(codes, [next(answers) for _ in prompts]) for codes, prompts in question.prompts]
  scores = [_per_cell(parts) for _, parts in candidates]
  codes, parts = candidates[int(np.argmax(scores))]
  texts: dict[str, str] = {}
  waves: dict[str, np.ndarray] = {}
  for role, stream in task.outputs:
    tokenizer = trained.prepared.tokenizers[stream]
    address = f"{role}.{stream}"
    ids = [part.streams[address] for part in parts]
    if tokenizer.spec.modality == "text":
      written = (tokenizer.decode(ids_T).strip() for ids_T in ids)
      texts[address] = orthography.joined(written, codes[role])
    else:
      spoken = [tokenizer.decode(ids_T, voice=voices[codes[role]]) for ids_T in ids]
      waves[address] = silence.joined(spoken, SILENCE_S, waveform.RATE_HZ)
  complete = all(part.complete for part in parts)
  notes = list(question.notes)
  if not complete:
    limit = trained.experiment.evaluation.max_output_rows
    notes.append(f"the output was cut: no stop within evaluation.max_output_rows={limit} rows")
  tried = {
    "-".join(dict.fromkeys(option.values())): score
    for (option, _), score in zip(candidates, scores, strict=True)
  }
  return Result(question.name, codes, texts, waves, max(scores), tried, complete, tuple(notes))


def _per_cell(parts: Sequence[Continuation]) -> float:
  cells = sum(part.cells for part in parts)
  return sum(part.log_likelihood for part in parts) / cells if cells else -math.inf
