"""A few examples of each task to read and to hear: input, reference and answer."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence

from audiopalm import orthography
from audiopalm.data.cache import Entry, EntryUtterance
from audiopalm.errors import AudioError, DataError
from audiopalm.evaluation import lines, saved, scoring
from audiopalm.evaluation.lines import Answer, Said
from audiopalm.language_tags import LANGUAGES
from audiopalm.metrics import numbers, text
from audiopalm.report import recordings
from audiopalm.report.elements import Element, element
from audiopalm.report.recordings import Playback
from audiopalm.report.run import RunFiles
from audiopalm.types import Task

EACH = 4  # examples of a task; one of them by a held-out voice where the task hears those
BUDGET_BYTES = 7_000_000  # of all examples together, so that a page can be sent by mail


@dataclasses.dataclass(frozen=True, eq=False)
class Card:
  """An answer with the record it was asked of, None where that is gone, and its ceiling."""

  task: Task
  line: Answer
  entry: Entry | None
  ceiling: Answer | None = None


def of_run(run: RunFiles) -> Iterator[Element]:
  """Yields a heading and examples for each evaluated task.

  They are the first of each language, not the best. Examples that would make the page larger than
  BUDGET_BYTES are left out, which a note says.
  """
  missing: dict[str, None] = {}  # in the order they were met
  cards = {
    task.name: [_card(run, example) for example in _pick(run, task, missing)]
    for task in run.experiment.tasks
  }
  left_out = _keep_small(cards)
  for reason in missing:
    yield element(
      "div", element("p", "Source and reference recordings cannot be played: ", reason),
      class_="missing",
    )  # fmt: skip
  for task in run.experiment.tasks:
    if cards[task.name]:
      yield element("h3", f"{task.name}: {_described(run, task)} ", element("code", task.tag))
      most = max(_players(card) for card in cards[task.name])
      width = "examples wide" if most > 1 else "examples"
      yield element("div", *cards[task.name], class_=width)
  if left_out:
    yield element(
      "p", f"{left_out} more examples would make this page too large to send; they are in ",
      element("code", str(saved.folder_of(run.workdir) / "outputs")), ".", class_="note",
    )  # fmt: skip


def marked(reference: str, hypothesis: str, language: str) -> list[Element | str]:
  """Returns the hypothesis with wrong words marked and missing words struck out.

  Words compare as they are scored: `metrics.text.normalize`. Where no spaces separate them they are
  characters.
  """
  if orthography.has_spaces(language):
    space, wanted, said = " ", reference.split(), hypothesis.split()
  else:
    space = ""
    wanted, said = (
      orthography.graphemes("".join(side.split())) for side in (reference, hypothesis)
    )
  plain = [[text.normalize(word) for word in words] for words in (wanted, said)]
  parts: list[Element | str] = []
  for kind, a, b, c, d in difflib.SequenceMatcher(None, *plain, autojunk=False).get_opcodes():
    if kind == "equal":
      parts.append(space.join(said[c:d]) + space)
      continue
    if d > c:
      parts += [element("mark", space.join(said[c:d])), space]
    elif any(plain[0][a:b]):
      parts += [element("del", space.join(wanted[a:b])), space]
  return parts


def _pick(run: RunFiles, task: Task, missing: dict[str, None]) -> list[Card]:
  """Returns the first examples of a task, languages in turn, the last by a held-out voice."""
  held_out = _in_turn(run.lines(lines.MODEL, scoring.HELD_OUT, task.name))[:1]
  test = _in_turn(run.lines(lines.MODEL, scoring.SEEN, task.name))[: EACH - len(held_out)]
  cards = []
  ceilings = {line.id: line for line in run.lines(lines.UNITS_CEILING, scoring.SEEN, task.name)}
  for split, chosen in ((scoring.SEEN, test), (scoring.HELD_OUT, held_out)):
    entries = _entries(run, task, split, [line.id for line in chosen], missing)
    for line in chosen:
      ceiling = ceilings.get(line.id) if split == scoring.SEEN else None
      cards.append(Card(task, line, entries.get(line.id), ceiling))
  return cards


def _in_turn(asked: Sequence[Answer]) -> list[Answer]:
  """Returns the lines that say something, the first of every language before the second of any."""
  places: dict[str, int] = {}
  numbered = []
  for line in asked:
    if line.said:
      numbered.append((places.setdefault(line.language, 0), line))
      places[line.language] += 1
  return [line for _, line in sorted(numbered, key=lambda pair: pair[0])]


def _entries(
  run: RunFiles, task: Task, split: str, ids: Sequence[str], missing: dict[str, None]
) -> dict[str, Entry]:
  """Returns the entries of these ids; where there are none says why in `missing`."""
  entries: dict[str, Entry] = {}
  if not ids:
    return entries
  try:
    for entry in run.entries(task, split):
      if entry.id in ids:
        entries[entry.id] = entry
      if len(entries) == len(set(ids)):
        break
  except DataError as error:
    missing[str(error)] = None
  return entries


def _card(run: RunFiles, example: Card) -> Element:
  line, heard = example.line, _recordings(run, example)
  seconds = max((item.seconds for item in heard if isinstance(item, Playback)), default=1.0)
  voice = f"held-out voice {line.voice}" if line.split == scoring.HELD_OUT else None
  return element(
    "article",
    element("header", element("b", _languages(line.language)), element("span", line.id), voice),
    element(
      "div",
      [
        recordings.draw(item, seconds)
        if isinstance(item, Playback)
        else element("p", item, class_="note")
        for item in heard
      ],
      element("dl", *_texts(run, example), class_="long" if len(line.said) > 1 else None),
      class_="recordings",
    ),
    class_="example",
  )


def _recordings(run: RunFiles, example: Card) -> list[Playback | str]:
  """Returns the recordings of an example, with a text in place of one that cannot be played."""
  heard: list[Playback | str] = []
  for role, stream in example.task.inputs:
    if run.modality(stream) == "speech":
      heard += _original(example, role, role.capitalize())
  for said in example.line.said:
    if said.modality == "speech":
      role = said.stream.rpartition(".")[0]
      heard += _original(example, role, "Reference")
      through = example.ceiling.said if example.ceiling else ()
      heard += [
        _made(run, item, "Through units")
        for item in through
        if item.stream == said.stream and item.wave is not None
      ]
      heard.append(_made(run, said, "Generated"))
  return heard


def _original(example: Card, role: str, title: str) -> list[Playback]:
  said = _utterance(example, role)
  if said is None or said.wave_flac is None:
    return []
  return [recordings.from_flac(title, said.speaker, said.wave_flac)]


def _made(run: RunFiles, said: Said, title: str) -> Playback | str:
  """Returns the recording an evaluation wrote, or why there is none."""
  if said.wave is None:
    return f"{title}: the evaluation kept no recording of it."
  readings = [] if said.mcd is None else [f"MCD {said.mcd:.1f} dB"]
  readings += [
    f"{score} {value:.2f}" for score, value in said.measured.items() if value is not None
  ]
  try:
    return recordings.read(title, ", ".join(readings), saved.folder_of(run.workdir) / said.wave)
  except AudioError as error:
    return f"{title}: {error}"


def _texts(run: RunFiles, example: Card) -> Iterator[Element]:
  """Yields the texts of an example: inputs, then the reference and the answer of each output.

  An input's words are left out where they are what should come out.
  """
  wanted = {said.stream.rpartition(".")[0] for said in example.line.said}
  for role, stream in example.task.inputs:
    said = _utterance(example, role)
    if said is None or role in wanted:
      continue
    verb = "says" if run.modality(stream) == "speech" else "reads"
    yield element("dt", f"{role.capitalize()} {verb}")
    yield element("dd", said.text, lang=said.language)
  for said in example.line.said:
    role = said.stream.rpartition(".")[0]
    utterance = _utterance(example, role)
    language = utterance.language if utterance else lines.language_of(example.line, said)
    spoken = said.modality == "speech"
    should = "should say" if spoken else "should be"
    several = len(example.line.said) > 1
    yield element("dt", f"{role} {should}".capitalize() if several else should.capitalize())
    yield element("dd", said.reference, lang=language)
    cut = None if example.line.complete else " (cut before its end)"
    yield element("dt", "Heard as" if spoken else "Answer")
    if said.fault is None and said.hypothesis is None:
      yield element("dd", "not transcribed: no task of this run hears this language")
    else:
      yield _answer(said.reference, said.hypothesis, said.fault, cut, language)
    if said.independent is not None:
      yield element("dt", "By the independent recognizer")
      spelled = (numbers.spell(side, language) for side in (said.reference, said.independent))
      yield _answer(*spelled, said.independent_fault, cut, language)


def _answer(
  reference: str, hypothesis: str | None, fault: str | None, cut: str | None, language: str
) -> Element:
  if fault is not None:
    return element("dd", fault)
  return element("dd", marked(reference, hypothesis, language) or "nothing", cut, lang=language)


def _utterance(example: Card, role: str) -> EntryUtterance | None:
  return example.entry.utterances.get(role) if example.entry else None


def _languages(codes: str) -> str:
  """Returns "English to French" for "en-fr"."""
  return " to ".join(LANGUAGES.get(code, code) for code in codes.split("-"))


def _described(run: RunFiles, task: Task) -> str:
  """Returns "speech to text", with roles where there are several: "source speech to ..."."""
  alone = len({role for role, _ in task.sides}) == 1
  sides = [
    " and ".join(("" if alone else f"{role} ") + run.modality(stream) for role, stream in side)
    for side in (task.inputs, task.outputs)
  ]
  return f"{sides[0] or 'nothing'} to {sides[1]}"


def _players(card: Element) -> int:
  return len(card.findall(".//figure"))


def _keep_small(cards: dict[str, list[Element]]) -> int:
  """Removes examples beyond BUDGET_BYTES, the last of every task first; returns how many."""
  sizes = {
    name: [sum(len(v) for node in card.iter() for v in node.attrib.values()) for card in drawn]
    for name, drawn in cards.items()
  }
  kept, spent = dict.fromkeys(cards, 0), 0
  for number in range(max(map(len, cards.values()), default=0)):
    for name, drawn in cards.items():
      if kept[name] == number < len(drawn) and spent + sizes[name][number] <= BUDGET_BYTES:
        kept[name] += 1
        spent += sizes[name][number]
  left_out = sum(len(drawn) - kept[name] for name, drawn in cards.items())
  for name in cards:
    cards[name] = cards[name][: kept[name]]
  return left_out
