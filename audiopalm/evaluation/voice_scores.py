"""The recordings of a run as an independent recognizer hears them, voice by voice.

    as_recorded     the recordings themselves: how well the recognizer understands this voice
    through_units   the same through ids of a stream and back: the ceiling for speech out
    model           texts that the run read aloud in this voice

All of them in words wrong, so that a line a voice shows where understanding is lost. They lie in
WORKDIR/evaluation/recordings, `lines.Answer` by line, where `hearing` writes them. Needs no jax.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from audiopalm.evaluation import lines, scoring
from audiopalm.evaluation.lines import MODEL, Answer
from audiopalm.metrics.tally import Scores

FOLDER = "recordings"
AS_RECORDED = "as_recorded"
SPEECH = "speech"  # one name for all streams: voices are scored over whatever they were heard in


def system_of(stream: str) -> str:
  """Returns the name of recordings through a stream and back: "through_units"."""
  return f"through_{stream}"


def score(folder: Path, answered: Iterable[Answer], read_aloud: Collection[str]) -> dict:
  """Returns {"rules", split: {language: {system: scores, "voices": {voice: {system: scores}}}}}.

  Scores have their intervals and number of examples. `answered` are lines of the model, of which
  those of the tasks that `read_aloud` count. {} where no recordings were heard.
  """
  heard = [line for path in sorted((folder / FOLDER).glob("*.jsonl")) for line in lines.read(path)]
  if not heard:
    return {}
  by = {said.heard_by for line in heard for said in line.said}
  heard += _of_the_model(answered, read_aloud, by)
  section: dict = {"rules": scoring.rules(heard)}
  for split in (scoring.SEEN, scoring.HELD_OUT):
    of_split = [line for line in heard if line.split == split]
    if of_split:
      section[split] = {
        language: {
          **_by_system(of_language),
          "voices": {
            voice: _by_system(of_voice) for voice, of_voice in _grouped(of_language, "voice")
          },
        }
        for language, of_language in _grouped(of_split, "language")
      }
  return section


def title_of(system: str) -> str:
  """Returns a system as tables name it: "recordings", "through units", "model's speech"."""
  titles = {AS_RECORDED: "recordings", MODEL: "model's speech"}
  return titles.get(system, system.replace("_", " "))


def systems(section: Scores) -> list[str]:
  """Returns the systems with scores, in order: as recorded, through streams, the model."""
  systems = {
    name
    for split in (scoring.SEEN, scoring.HELD_OUT)
    for of in section.get(split, {}).values()
    for scores in (of, *of["voices"].values())
    for name in scores
    if name != "voices"
  }
  return _ordered(systems)


def rows(section: Scores) -> Iterator[tuple[str, Scores]]:
  """Yields (what, {system: scores}) for each language, its voices indented below."""
  for split in (scoring.SEEN, scoring.HELD_OUT):
    for language, of in section.get(split, {}).items():
      yield language + (", held-out voices" if split == scoring.HELD_OUT else ""), of
      for voice, scores in of["voices"].items():
        yield f"  {voice}", scores


def _of_the_model(
  answered: Iterable[Answer], read_aloud: Collection[str], by: Collection[str | None]
) -> list[Answer]:
  """Returns an answer for each text that the model read aloud and the same recognizer heard, under
  the voice it was said in."""
  return [
    Answer(
      MODEL, line.task, line.split, line.id, said.language, said.voice,
      (dataclasses.replace(said, stream=SPEECH, measured={}, mcd=None, hypothesis=None),),
    )
    for line in answered
    if line.system == MODEL and line.split == scoring.SEEN and line.task in read_aloud
    for said in line.said
    if said.modality == "speech" and said.independent is not None and said.heard_by in by
  ]  # fmt: skip


def _grouped(of: Sequence[Answer], key: str) -> Iterator[tuple[str, list[Answer]]]:
  for name in sorted({getattr(line, key) for line in of} - {None}):
    yield name, [line for line in of if getattr(line, key) == name]


def _by_system(of: Sequence[Answer]) -> dict[str, dict]:
  names = _ordered({line.system for line in of})
  return {name: scoring.plain([line for line in of if line.system == name]) for name in names}


def _ordered(names: Collection[str]) -> list[str]:
  return sorted(names, key=lambda name: (name == MODEL, name != AS_RECORDED, name))
