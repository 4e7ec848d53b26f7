"""Rules from task to layout, and the tags of a task."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Protocol

from audiopalm import language_tags
from audiopalm.errors import ConfigError
from audiopalm.layouts import cells, columns, infill, interleave, sequence
from audiopalm.types import Side, Task


class Rule(Protocol):
  """The layout of a config: a frozen dataclass that gives every task its layout."""

  def layout_of(self, task: Task) -> cells.Part:
    """Returns the task's layout: inputs of a task without `loss_on_inputs` in `Given` parts."""


@dataclasses.dataclass(frozen=True)
class Chain:
  """AudioPaLM's rule: tag, inputs, outputs, stop (arXiv:2306.12925, sections 3.2 and 3.3).

      [ASR AST French English]  units...  French text...  sep  English text...  stop

  Several outputs form a chain; a task without inputs continues its tag. With `loss_on_inputs` the
  inputs are predicted too: the tokens are the same and only the weights differ, so the layout of
  `dataclasses.replace(task, loss_on_inputs=False)` can prompt such a model.

  `delays` are (stream, delays of its codebooks) pairs. These streams have one column per codebook
  (`Delay`); all others are in one column (`Flat`), codebooks one after another.
  """

  both_ways: bool = False
  delays: tuple[tuple[str, tuple[int, ...]], ...] = ()

  def layout_of(self, task: Task) -> sequence.Concat:
    """Returns the task's layout."""
    tag = tag_part(task)
    if not task.outputs:
      raise ConfigError(f"Task {task.name!r} has no outputs. Name at least one (role, stream).")
    inputs = [self._part(side) for side in task.inputs]
    if not task.loss_on_inputs:
      inputs = [sequence.Given(part, self.both_ways) for part in inputs]
    outputs = [self._part(side) for side in task.outputs]
    return sequence.Concat(tag, *inputs, *outputs, sequence.Stop())

  def delayed(self, side: Side) -> columns.Delay | None:
    """Returns the part of a stream with a column for each codebook, None for one without delays."""
    delays = dict(self.delays).get(side[1])
    return None if delays is None else columns.Delay(".".join(side), delays)

  def _part(self, side: Side) -> cells.Part:
    return self.delayed(side) or sequence.Flat(".".join(side))


@dataclasses.dataclass(frozen=True)
class Interleaving:
  """SPIRIT LM's rule: text and speech of one utterance interleaved (arXiv:2402.05755, section 3.1).

  A task without inputs whose outputs are streams of one role is an `Interleave` of its `text` and
  its speech, or of only one of them. All other tasks use `chain`, whose `delays` apply to
  interleaved speech too. The other fields are those of `Interleave`.

      [CONTINUE English]  to_text the cat  to_speech u4 u5 u6 u7 u8  to_text down  stop
  """

  text: str = "text"
  text_words: tuple[int, int] = (10, 30)
  unit_words: tuple[int, int] = (5, 15)
  collapse: bool = False
  chain: Chain = Chain()

  def layout_of(self, task: Task) -> sequence.Concat:
    """Returns the task's layout."""
    texts = [".".join(side) for side in task.outputs if side[1] == self.text]
    units = [side for side in task.outputs if side[1] != self.text]
    roles = {role for role, _ in task.outputs}
    if task.inputs or len(roles) != 1 or len(texts) > 1 or len(units) > 1:
      return self.chain.layout_of(task)
    speech = [self.chain.delayed(side) or ".".join(side) for side in units]
    part = interleave.Interleave(
      *(texts or [None]), *(speech or [None]), self.text_words, self.unit_words, self.collapse
    )
    return sequence.Concat(tag_part(task), part, sequence.Stop())


@dataclasses.dataclass(frozen=True)
class Infilling:
  """VoiceCraft's rule: the speech output is learned by infilling (arXiv:2403.16973, section 3.1).

  The last output of a task is put into `Infill` if its stream is one of `streams`; the rest is laid
  out by `chain`. The other fields are those of `Infill`.

      [TTS English]  text  u0 u1  mask1  u4 u5  mask1  u2 u3  span_end  stop
  """

  streams: tuple[str, ...] = ("units",)
  spans: tuple[int, int] = (1, 3)
  frames: tuple[int, int] = (1, 600)
  gap: int = 5
  to_end: float = 0.0
  context_loss: bool = True
  chain: Chain | Interleaving = Chain()

  def layout_of(self, task: Task) -> sequence.Concat:
    """Returns the task's layout."""
    layout = self.chain.layout_of(task)
    *before, last, stop = layout.parts
    if task.outputs[-1][1] not in self.streams or isinstance(last, interleave.Interleave):
      return layout
    if len(task.outputs) > 1 or task.loss_on_inputs:
      raise ConfigError(
        f"Task {task.name!r} predicts something before {'.'.join(task.outputs[-1])!r}, but what "
        "Infill keeps of that stream is given. Let the task have one output and "
        f"loss_on_inputs=False, or leave {task.outputs[-1][1]!r} out of the rule's streams."
      )
    part = infill.Infill(last, self.spans, self.frames, self.gap, self.to_end, self.context_loss)
    return sequence.Concat(*before, part, stop)


def tag_part(task: Task) -> sequence.Tag:
  """Returns the tag of a task, with all strings of its template and its paraphrases."""
  if not task.tag:
    raise ConfigError(
      f'Task {task.name!r} has an empty tag. Give it one, such as "[{task.name.upper()}]": the '
      "tag is what tells the model which task it does."
    )
  tags = [_known_tags(task, number)[1].values() for number in range(len(templates(task)))]
  return sequence.Tag(task.tag, tuple(dict.fromkeys(itertools.chain.from_iterable(tags))))


def templates(task: Task) -> tuple[str, ...]:
  """Returns the templates of a task: its tag, then its paraphrases."""
  return task.tag, *task.paraphrases


def tag_of(task: Task, languages: Mapping[str, str], number: int = 0) -> str:
  """Returns one of the task's `templates` for a record of these languages by role, as codes.

  tag_of(ast, {"source": "en", "target": "fr"}) is "[AST English French]" for the template "[AST
  {source} {target}]".
  """
  roles, known = _known_tags(task, number)
  missing = [role for role in roles if role not in languages]
  if missing:
    raise ConfigError(
      f"The tag {task.tag!r} of task {task.name!r} needs the language of {missing[0]!r}; given "
      f"were: {', '.join(languages) or 'none'}."
    )
  codes = tuple(languages[role] for role in roles)
  if codes not in known:
    raise ConfigError(
      f"Task {task.name!r} does not know the language {_named(roles, codes)}. Its corpus "
      f"{task.corpus.name!r} has: {'; '.join(_named(roles, own) for own in known)}. Choose one of "
      "these, or add the language to the corpus."
    )
  return known[codes]


@functools.lru_cache(maxsize=1024)
def _known_tags(task: Task, number: int) -> tuple[tuple[str, ...], dict[tuple[str, ...], str]]:
  """Returns the roles of a template and {their languages: tag}; cached, as it is called per
  example."""
  tag = sequence.Tag(templates(task)[number])
  known = {}
  for pair in task.corpus.pairs(tag.roles) if tag.roles else ({},):
    names = {role: language_tags.name(code) for role, code in pair.items()}
    known[tuple(pair[role] for role in tag.roles)] = tag.template.format(**names)
  return tag.roles, known


def _named(roles: tuple[str, ...], codes: tuple[str, ...]) -> str:
  return ", ".join(f"{role}={code}" for role, code in zip(roles, codes, strict=True))


def stream_names(layout: cells.Part) -> tuple[str, ...]:
  """Returns every "role.stream" the layout places, in order."""
  return tuple(dict.fromkeys(name for name, _ in cells.leaves(layout)))


def given_streams(layout: cells.Part) -> tuple[str, ...]:
  """Returns the streams inside Given parts, in order: those that a prompt and its conditioning
  need."""
  return tuple(dict.fromkeys(name for name, given in cells.leaves(layout) if given))


def predicted_streams(layout: cells.Part) -> tuple[str, ...]:
  """Returns the streams outside Given parts, in order."""
  return tuple(dict.fromkeys(name for name, given in cells.leaves(layout) if not given))
