"""Frozen dataclasses as text: dotted paths and JSON by allow-list."""

import dataclasses
import json
from typing import Literal, Protocol

import pytest

from audiopalm import values
from audiopalm.data.corpora import Synthetic, SyntheticText
from audiopalm.errors import ConfigError
from audiopalm.models.decoder import Decoder
from audiopalm.settings import Evaluation, Machine, Optimizer
from audiopalm.types import Task


@dataclasses.dataclass(frozen=True)
class Named:
  name: str
  size: int = 1


@dataclasses.dataclass(frozen=True)
class Whole:
  parts: tuple[Named, ...] = (Named("a"), Named("b"))
  weights: tuple[tuple[str, float], ...] = (("text", 1.0), ("units", 0.5))
  sizes: tuple[int, ...] = (1, 2)
  optimizer: Optimizer = Optimizer()


@pytest.mark.parametrize(
  ("text", "kind", "value"),
  [
    ("3", int, 3),
    ("20_000", int, 20_000),
    ("1e-3", float, 1e-3),
    ("true", bool, True),
    ("False", bool, False),
    ("3", str, "3"),
    ("none", float | None, None),
    ("None", str | None, None),
    ("2", float | None, 2.0),
    ("fr", Literal["en", "fr"], "fr"),
    ("8", Literal[4, 8], 8),
    ("1,2,3", tuple[int, ...], (1, 2, 3)),
    ("(1, 2)", tuple[int, ...], (1, 2)),
    ("en,", tuple[str, ...], ("en",)),
    ("", tuple[str, ...], ()),
    ("0.9,fast", tuple[float, str], (0.9, "fast")),
    ("none,512", tuple[int | None, ...], (None, 512)),
  ],
)
def test_text_is_read_as_its_kind(text, kind, value):
  found = values.parse(text, kind, "x")
  assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
  ("text", "kind", "expected"),
  [
    ("3.5", int, "x takes an integer, not '3.5'."),
    ("yes", bool, "x takes true or false, not 'yes'."),
    ("es", Literal["en", "fr"], "x takes one of en, fr, not 'es'."),
    ("many", int | None, "x takes an integer or none, not 'many'."),
    (
      "1,b",
      tuple[int, ...],
      "x takes any count, with commas between, of an integer, not '1,b'.",
    ),
    ("1,2,3", tuple[int, int], "x takes an integer, an integer (with commas between)"),
    ("adamw", Optimizer, "x takes an Optimizer, which only a config file can give, not 'adamw'."),
  ],
)
def test_text_of_another_kind_says_what_was_expected(text, kind, expected):
  with pytest.raises(ConfigError) as error:
    values.parse(text, kind, "x")
  assert expected in str(error.value)


def test_a_path_goes_through_fields_names_and_pairs():
  whole = values.replaced(
    Whole(),
    {"parts.b.size": "5", "weights.units": "2", "sizes": "7,8,9", "optimizer.b1": 0.5},
  )
  assert whole == Whole(
    (Named("a"), Named("b", 5)), (("text", 1.0), ("units", 2.0)), (7, 8, 9), Optimizer(b1=0.5)
  )


def test_fields_that_are_only_valid_together_are_set_together():
  decoder = Decoder(layers=1, width=64, heads=3, kv_heads=3, head_width=8, hidden=64)
  smaller = values.replaced(decoder, {"heads": "2", "kv_heads": "1"})
  assert (smaller.heads, smaller.kv_heads) == (2, 1)
  assert values.replaced(decoder, {"kv_heads": "1", "heads": "2"}) == smaller


def test_every_path_that_is_listed_can_be_set_to_what_it_is():
  for path in values.paths(Whole()):
    value = Whole()
    for step in path.split("."):
      value = dict(values._children(value))[step]
    assert values.replaced(Whole(), {path: value}) == Whole(), path


def test_an_unknown_path_names_the_near_ones_or_the_top():
  with pytest.raises(ConfigError, match=r"no setting 'b1'. Near: optimizer.b1."):
    values.replaced(Whole(), {"b1": "1"})
  with pytest.raises(ConfigError, match=r"Near: parts, weights, sizes, optimizer."):
    values.replaced(Whole(), {"zzzzzz": "1"})


def test_json_gives_back_an_equal_value():
  value = (
    Task("asr", Synthetic(topics=("times",)), "[ASR {source}]", (("source", "units"),), ()),
    Machine(fsdp=-1),
    Optimizer(clip_norm=None, peak_lr=1e-30),
    ("text", 1, 1.5, True, None, ()),
  )
  assert values.from_json(values.to_json(value)) == value


def test_a_field_the_json_lacks_takes_its_default():
  plain = json.loads(values.to_json(Evaluation(held_out_batch_rows=7)))
  del plain["examples"]
  assert values.from_json(json.dumps(plain)) == Evaluation(held_out_batch_rows=7)


def test_fields_of_earlier_versions_are_read_by_their_names_of_today():
  for value, names in (
    (Evaluation(held_out_batch_rows=7, decode_batch_rows=9), Evaluation.renamed),
    (Machine(loss_chunk_cells=5), Machine.renamed),
  ):
    plain = json.loads(values.to_json(value))
    for old, new in names.items():
      plain[old] = plain.pop(new)
    assert values.from_json(json.dumps(plain)) == value


@pytest.mark.parametrize(
  ("plain", "text"),
  [
    ({"class": "os.system"}, "A config names the class 'os.system', which is not audiopalm's"),
    ({"class": "subprocess.Popen", "args": ["ls"]}, "add --trust subprocess"),
    ({"class": ["os.system"]}, "which is not audiopalm's"),
    ({"class": "audiopalm.cli.main.main"}, "not 'audiopalm.cli.main.main'"),
    ({"class": "audiopalm.types_of_mine.Thing"}, "not 'audiopalm.types_of_mine.Thing'"),
    ({"class": "audiopalm.types.dataclasses"}, "which is not a frozen dataclass"),
    ({"class": "audiopalm.data.corpora.check_name"}, "which is not a frozen dataclass"),
    ({"class": "audiopalm.types.Gone"}, "'audiopalm.types.Gone', which is not in this version"),
    ({"no class": 1}, "not ''"),
    ({"class": "audiopalm.settings.Optimizer", "momentum": 1}, "Optimizer does not know: momentum"),
    ({"class": "audiopalm.types.Task", "name": "asr"}, "config cannot be read: Task.__init__()"),
  ],
)
def test_json_builds_nothing_but_known_frozen_dataclasses(plain, text):
  with pytest.raises(ConfigError) as error:
    values.from_json(json.dumps(plain))
  assert text in str(error.value)


def test_damaged_json_is_a_readable_error():
  with pytest.raises(ConfigError, match="A resolved config must be JSON: Expecting"):
    values.from_json('{"class": ')


@pytest.mark.parametrize("value", [[1], {"a": 1}, {1}, 1j, Optimizer])
def test_what_json_cannot_give_back_is_refused(value):
  with pytest.raises(ConfigError, match=r"tuple.1 is an? \w+. A config holds only numbers"):
    values.to_json((0, value))


def test_a_dataclass_of_another_module_is_refused_when_written_unless_it_is_trusted():
  module = Named.__module__
  with pytest.raises(ConfigError, match=rf"the class '{module}.Named', which is not audiopalm's"):
    values.to_json(Named("a"))
  text = values.to_json(Whole(), trusted=(module,))
  assert values.from_json(text, trusted=(module,)) == Whole()


def test_a_class_inside_of_a_function_is_refused_when_written():
  @dataclasses.dataclass(frozen=True)
  class Inside:
    pass

  with pytest.raises(ConfigError, match="defined inside of another or of a function. Define it at"):
    values.to_json(Inside(), trusted=(__name__,))


def test_what_a_value_lacks_of_a_protocol_is_named():
  class Asked(Protocol):
    size: int

    @property
    def name(self) -> str: ...

    def fit(self): ...

  assert values.lacking(Named("a"), Asked) == ["fit"]
  assert values.lacking(Optimizer(), Asked) == ["fit", "size"]


def test_a_field_the_json_lacks_takes_what_it_was_before_there_was_such_a_field():
  plain = json.loads(values.to_json(Synthetic()))
  assert (plain.pop("synthesizer"), plain.pop("takes")["ends_s"]) == ("pico", [0.02, 0.5])
  found = values.from_json(json.dumps(plain))
  assert found == Synthetic(synthesizer="espeak", takes=None)
  assert values.stable_repr(found) == "Synthetic()"
  assert values.stable_repr(Synthetic()) == "Synthetic(synthesizer='pico', takes=Takes())"


def test_a_value_is_told_without_its_defaults():
  corpus = SyntheticText(languages=("en", "fr"), train_records=8)
  assert values.stable_repr(corpus) == "SyntheticText(languages=('en', 'fr'), train_records=8)"
  assert values.stable_repr((corpus, "error", 2)) == f"({values.stable_repr(corpus)}, 'error', 2)"
  task = Task("asr", corpus, "[ASR]", (("source", "units"),), (("source", "text"),))
  assert values.stable_repr(task) == (
    f"Task(name='asr', corpus={values.stable_repr(corpus)}, tag='[ASR]', "
    "inputs=(('source', 'units')), outputs=(('source', 'text')))"
  )
  assert "unseen_words=('six')" in values.stable_repr(
    dataclasses.replace(task, unseen_words=("six",))
  )
