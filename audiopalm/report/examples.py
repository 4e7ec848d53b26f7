"""A few examples of each task as text and audio: input, reference and answer."""

import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Sequence

from audiopalm import orthography
from audiopalm.data.cache import Entry
from audiopalm.errors import AudioError, DataError
from audiopalm.evaluation import answers, saved, scoring
from audiopalm.evaluation.answers import Answer, Output
from audiopalm.language_tags import LANGUAGES
from audiopalm.metrics import numbers, text
from audiopalm.report import recordings
from audiopalm.report.elements import Element, element, missing
from audiopalm.report.recordings import Playback
from audiopalm.report.run import RunFiles
from audiopalm.types import Task

EXAMPLES = 4  # per task; one of them is by a held-out voice if any was evaluated
BUDGET_BYTES = 7_000_000  # for all examples together, so that a page can be sent by email


@dataclasses.dataclass(frozen=True, eq=False)
class Card:
  """An answer, its record (None if no longer stored), and the answer of the units baseline."""

  task: Task
  answer: Answer
  entry: Entry | None
  ceiling: Answer | None = None


def of_run(run: RunFiles) -> Iterator[Element]:
  """Yields a heading and examples for each evaluated task.

  They are the first of each language, not the best. Examples beyond BUDGET_BYTES are left out and
  counted in a note.
  """
  reasons: dict[str, None] = {}  # why recordings are missing, in order of occurrence
  cards = {
    task.name: [_card(run, example) for example in _pick(run, task, reasons)]
    for task in run.experiment.tasks
  }
  left_out = _keep_small(cards)
  for reason in reasons:
    yield missing("Source and reference recordings cannot be played: ", reason)
  for task in run.experiment.tasks:
    if cards[task.name]:
      yield element("h3", f"{task.name}: {_described(run, task)} ", element("code", task.tag))
      several = any(len(card.findall(".//figure")) > 1 for card in cards[task.name])
      yield element("div", cards[task.name], class_="examples" + " wide" * several)
  if left_out:
    yield element(
      "p", f"{left_out} more examples would make this page too large to send; they are in ",
      element("code", str(saved.folder_of(run.workdir) / "outputs")), ".", class_="note",
    )  # fmt: skip


def marked(reference: str, hypothesis: str, language: str) -> list[Element | str]:
  """Returns the hypothesis with wrong words marked and missing words struck out.

  Words are compared as they are scored, by `metrics.text.normalize`. In languages without spaces
  characters are compared instead.
  """
  if orthography.has_spaces(language):
    space, right, output = " ", reference.split(), hypothesis.split()
  else:
    space = ""
    right, output = (
      orthography.graphemes("".join(side.split())) for side in (reference, hypothesis)
    )
  plain = [[text.normalize(word) for word in words] for words in (right, output)]
  parts: list[Element | str] = []
  for kind, a, b, c, d in difflib.SequenceMatcher(None, *plain, autojunk=False).get_opcodes():
    if kind == "equal":
      parts.append(space.join(output[c:d]) + space)
    elif d > c:
      parts += [element("mark", space.join(output[c:d])), space]
    elif any(plain[0][a:b]):
      parts += [element("del", space.join(right[a:b])), space]
  return parts


def _pick(run: RunFiles, task: Task, reasons: dict[str, None]) -> Iterator[Card]:
  """Yields the first examples of a task, alternating languages, the last by a held-out voice. If
  their entries cannot be read, adds the reason to `reasons`."""
  held_out = _in_turn(run.answers(answers.MODEL, scoring.HELD_OUT, task.name))[:1]
  test = _in_turn(run.answers(answers.MODEL, scoring.SEEN, task.name))[: EXAMPLES - len(held_out)]
  ceilings = run.answers(answers.UNITS_CEILING, scoring.SEEN, task.name)
  for split, chosen in ((scoring.SEEN, test), (scoring.HELD_OUT, held_out)):
    ids = {answer.id for answer in chosen}
    entries: dict[str, Entry] = {}
    try:
      matches = (entry for entry in run.entries(task, split) if entry.id in ids) if ids else ()
      entries = {entry.id: entry for entry in itertools.islice(matches, len(ids))}
    except DataError as error:
      reasons[str(error)] = None
    by_id = {ceiling.id: ceiling for ceiling in ceilings if split == scoring.SEEN}
    for answer in chosen:
      yield Card(task, answer, entries.get(answer.id), by_id.get(answer.id))


def _in_turn(answered: Sequence[Answer]) -> list[Answer]:
  """Returns the answers with outputs, the first of every language before the second of any."""
  counts: dict[str, int] = {}
  numbered = []
  for answer in answered:
    if answer.outputs:
      counts[answer.language] = counts.get(answer.language, 0) + 1
      numbered.append((counts[answer.language], answer))
  return [answer for _, answer in sorted(numbered, key=lambda pair: pair[0])]


def _card(run: RunFiles, example: Card) -> Element:
  answer, heard = example.answer, list(_recordings(run, example))
  seconds = max((item.seconds for item in heard if isinstance(item, Playback)), default=1.0)
  voice = f"held-out voice {answer.voice}" if answer.split == scoring.HELD_OUT else None
  languages = " to ".join(LANGUAGES.get(code, code) for code in answer.language.split("-"))
  players = [
    recordings.draw(item, seconds)
    if isinstance(item, Playback)
    else element("p", item, class_="note")
    for item in heard
  ]
  texts = element("dl", _texts(run, example), class_="long" if len(answer.outputs) > 1 else None)
  return element(
    "article",
    element("header", element("b", languages), element("span", answer.id), voice),
    element("div", players, texts, class_="recordings"),
    class_="example",
  )


def _recordings(run: RunFiles, example: Card) -> Iterator[Playback | str]:
  """Yields the recordings of an example, or the reason if one cannot be played."""
  utterances = example.entry.utterances if example.entry else {}
  sides = [(role, stream, role.capitalize(), None) for role, stream in example.task.inputs]
  sides += [(output.role, output.stream, "Reference", output) for output in example.answer.outputs]
  for role, stream, title, output in sides:
    if run.modality(stream) != "speech":
      continue
    original = utterances.get(role)
    if original is not None and original.wave_flac is not None:
      yield recordings.from_flac(title, original.speaker, original.wave_flac)
    if output is not None:
      for through in example.ceiling.outputs if example.ceiling else ():
        if through.stream == stream and through.wave is not None:
          yield _written(run, through, "Through units")
      yield _written(run, output, "Generated")


def _written(run: RunFiles, output: Output, title: str) -> Playback | str:
  """Returns the recording that the evaluation wrote, or the reason if there is none."""
  if output.wave is None:
    return f"{title}: the evaluation kept no recording of it."
  readings = [] if output.mcd is None else [f"MCD {output.mcd:.1f} dB"]
  readings += [
    f"{score} {value:.2f}" for score, value in output.measured.items() if value is not None
  ]
  try:
    return recordings.read(title, ", ".join(readings), saved.folder_of(run.workdir) / output.wave)
  except AudioError as error:
    return f"{title}: {error}"


def _texts(run: RunFiles, example: Card) -> Iterator[Element]:
  """Yields the texts of an example: inputs, then the reference and the answer of each output.

  An input's words are left out if they are also the reference of an output.
  """
  answer = example.answer
  utterances = example.entry.utterances if example.entry else {}
  right = {output.role for output in answer.outputs}
  for role, stream in example.task.inputs:
    if role in utterances and role not in right:
      verb = "says" if run.modality(stream) == "speech" else "reads"
      yield element("dt", f"{role.capitalize()} {verb}")
      yield element("dd", utterances[role].text, lang=utterances[role].language)
  cut = None if answer.complete else " (cut before its end)"
  for output in answer.outputs:
    language = output.language
    spoken = output.modality == "speech"
    role = f"{output.role} " if len(answer.outputs) > 1 else ""
    yield element("dt", f"{role}should {'say' if spoken else 'be'}".capitalize())
    yield element("dd", output.reference, lang=language)
    yield element("dt", "Heard as" if spoken else "Answer")
    if output.fault is None and output.hypothesis is None:
      yield element("dd", "not transcribed: no task of this run recognizes this language")
    else:
      yield _given(output.reference, output.hypothesis, output.fault, cut, language)
    if output.independent is not None:
      yield element("dt", "By the independent recognizer")
      texts = (numbers.spell(side, language) for side in (output.reference, output.independent))
      yield _given(*texts, output.independent_fault, cut, language)


def _given(
  reference: str, hypothesis: str | None, fault: str | None, cut: str | None, language: str
) -> Element:
  if fault is not None:
    return element("dd", fault)
  return element("dd", marked(reference, hypothesis, language) or "nothing", cut, lang=language)


def _described(run: RunFiles, task: Task) -> str:
  """Returns "speech to text", or with several roles "source speech to target text"."""
  alone = len(task.roles) == 1
  sides = [
    " and ".join(("" if alone else f"{role} ") + run.modality(stream) for role, stream in side)
    for side in (task.inputs, task.outputs)
  ]
  return f"{sides[0] or 'nothing'} to {sides[1]}"


def _keep_small(cards: dict[str, list[Element]]) -> int:
  """Removes the last examples of tasks beyond BUDGET_BYTES in all, and returns how many."""
  total = sum(map(len, cards.values()))
  kept: dict[str, list[Element]] = {name: [] for name in cards}
  spent = 0
  for number, row in enumerate(itertools.zip_longest(*cards.values())):
    for name, card in zip(cards, row, strict=True):
      if card is None or len(kept[name]) < number:
        continue  # an earlier one of this task was too large already
      size = sum(len(value) for node in card.iter() for value in node.attrib.values())
      if spent + size <= BUDGET_BYTES:
        kept[name].append(card)
        spent += size
  cards |= kept
  return total - sum(map(len, kept.values()))
