"""From task to layout and tag."""

import dataclasses

import pytest

from audiopalm import layouts
from audiopalm.errors import ConfigError
from audiopalm.layouts import (
  Chain,
  Concat,
  Delay,
  Flat,
  Given,
  Infill,
  Infilling,
  Interleave,
  Interleaving,
  Stop,
  Tag,
)  # fmt: skip
from audiopalm.types import Task


@dataclasses.dataclass(frozen=True)
class Corpus:
  name: str = "synthetic"

  def pairs(self, roles):
    every = [{"source": "en", "target": "fr"}, {"source": "fr", "target": "en"}]
    return tuple({role: pair[role] for role in roles} for pair in every)


AST = Task(
  name="ast",
  corpus=Corpus(),
  tag="[AST {source} {target}]",
  inputs=(("source", "units"),),
  outputs=(("source", "text"), ("target", "text")),
)


def test_chain_is_tag_inputs_outputs_stop():
  assert Chain().layout_of(AST) == Concat(
    Tag("[AST {source} {target}]", ("[AST English French]", "[AST French English]")),
    Given(Flat("source.units")),
    Flat("source.text"),
    Flat("target.text"),
    Stop(),
  )


def test_chain_passes_both_ways_to_every_input():
  layout = Chain(both_ways=True).layout_of(AST)
  assert layout.parts[1] == Given(Flat("source.units"), both_ways=True)


def test_streams_with_delays_lie_in_columns_and_others_in_one():
  rule = Chain(delays=(("codes", (0, 1, 2)),))
  speak = dataclasses.replace(
    AST, inputs=(("source", "codes"), ("source", "units")), outputs=(("target", "codes"),)
  )
  assert rule.layout_of(speak).parts[1:] == (
    Given(Delay("source.codes", (0, 1, 2))),
    Given(Flat("source.units")),
    Delay("target.codes", (0, 1, 2)),
    Stop(),
  )
  assert rule.layout_of(AST) == Chain().layout_of(AST)


def test_loss_on_inputs_leaves_the_inputs_unwrapped():
  layout = Chain().layout_of(dataclasses.replace(AST, loss_on_inputs=True))
  assert layout.parts[1] == Flat("source.units")


def test_a_task_without_inputs_continues_its_tag():
  task = dataclasses.replace(AST, tag="[LM]", inputs=(), outputs=(("source", "text"),))
  assert Chain().layout_of(task) == Concat(Tag("[LM]", ("[LM]",)), Flat("source.text"), Stop())


def test_an_empty_tag_is_an_error():
  with pytest.raises(ConfigError, match="Task 'ast' has an empty tag. Give it one, .*\\[AST\\]"):
    Chain().layout_of(dataclasses.replace(AST, tag=""))


def test_a_task_without_outputs_is_an_error():
  with pytest.raises(ConfigError, match="Task 'ast' has no outputs"):
    Chain().layout_of(dataclasses.replace(AST, outputs=()))


def test_tags_are_every_language_the_corpus_has_for_the_roles_named():
  layout = Chain().layout_of(AST)
  assert layout.tag_strings() == ("[AST English French]", "[AST French English]")
  one_role = dataclasses.replace(AST, tag="[ASR {source}]")
  assert Chain().layout_of(one_role).tag_strings() == ("[ASR English]", "[ASR French]")
  no_role = dataclasses.replace(AST, tag="[LM]")
  assert Chain().layout_of(no_role).tag_strings() == ("[LM]",)


def test_paraphrases_are_tags_of_the_layout_too():
  task = dataclasses.replace(AST, paraphrases=("Say this in {target}.", "Translate."))
  assert Chain().layout_of(task).tag_strings() == (
    "[AST English French]", "[AST French English]", "Say this in French.", "Say this in English.",
    "Translate.",
  )  # fmt: skip
  languages = {"source": "fr", "target": "en"}
  assert [layouts.tag_of(task, languages, number) for number in range(3)] == [
    "[AST French English]", "Say this in English.", "Translate.",
  ]  # fmt: skip


def test_tag_of_a_record_names_its_languages():
  languages = {"source": "fr", "target": "en", "question": "de"}
  assert layouts.tag_of(AST, languages) == "[AST French English]"
  assert layouts.tag_of(dataclasses.replace(AST, tag="[LM]"), {}) == "[LM]"


def test_an_unknown_language_lists_the_known_ones():
  with pytest.raises(ConfigError) as error:
    layouts.tag_of(AST, {"source": "es", "target": "en"})
  assert str(error.value) == (
    "Task 'ast' does not know the language source=es, target=en. Its corpus 'synthetic' has: "
    "source=en, target=fr; source=fr, target=en. Choose one of these, or add the language to the "
    "corpus."
  )


def test_a_missing_role_is_named():
  with pytest.raises(ConfigError, match="needs the language of 'target'; given were: source"):
    layouts.tag_of(AST, {"source": "fr"})


def test_a_layout_lists_its_streams_in_order():
  layout = Chain().layout_of(AST)
  assert layouts.stream_names(layout) == ("source.units", "source.text", "target.text")
  assert layouts.given_streams(layout) == ("source.units",)
  assert layouts.predicted_streams(layout) == ("source.text", "target.text")


def speak(*sides, inputs=(), **changes):
  return dataclasses.replace(AST, inputs=inputs, outputs=sides, tag="[X]", **changes)


def test_text_and_speech_of_one_role_are_interleaved_and_either_alone_is_marked():
  rule = Interleaving(text_words=(1, 2), collapse=True)
  both = Interleave("source.text", "source.units", (1, 2), collapse=True)
  text, units = ("source", "text"), ("source", "units")
  for task, part in (
    (speak(text, units), both),
    (speak(units, text), both),
    (speak(text), dataclasses.replace(both, units=None)),
    (speak(units), dataclasses.replace(both, text=None)),
  ):
    assert rule.layout_of(task) == Concat(Tag("[X]", ("[X]",)), part, Stop())
  delayed = dataclasses.replace(rule, chain=Chain(delays=(("units", (0, 1)),)))
  part = dataclasses.replace(both, units=Delay("source.units", (0, 1)))
  assert delayed.layout_of(speak(text, units)).parts[1] == part
  assert delayed.layout_of(AST) == delayed.chain.layout_of(AST)
  for task in (AST, speak(text, ("target", "units")), speak(units, inputs=(text,))):
    assert rule.layout_of(task) == Chain().layout_of(task)


def test_the_last_output_is_infilled_where_the_rule_names_its_stream():
  tts = speak(("target", "codes"), inputs=(("target", "text"),))
  rule = Infilling(("codes",), gap=2, chain=Chain(delays=(("codes", (0, 1)),)))
  assert rule.layout_of(tts) == Concat(
    Tag("[X]", ("[X]",)),
    Given(Flat("target.text")),
    Infill(Delay("target.codes", (0, 1)), gap=2),
    Stop(),
  )
  assert rule.layout_of(AST) == Chain().layout_of(AST)
  turns = speak(("source", "text"), ("source", "units"))
  both = Infilling(("units",), chain=Interleaving())
  assert both.layout_of(turns) == Interleaving().layout_of(turns)
  for task in (
    dataclasses.replace(tts, loss_on_inputs=True),
    speak(("source", "text"), ("target", "codes")),
  ):
    with pytest.raises(ConfigError, match="predicts something before 'target.codes', but what Inf"):
      rule.layout_of(task)
