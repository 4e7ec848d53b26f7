import pytest

from audiopalm import values
from audiopalm.data.corpora import Synthetic
from audiopalm.errors import ConfigError
from audiopalm.parts import synthesizers


@pytest.fixture
def folder(tmp_path):
  """A folder of two voices of Piper's, as far as a config looks into them."""
  for name in ("en_US-amy-low", "fr_FR-upmc-medium"):
    (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    (tmp_path / f"{name}.onnx.json").write_text("{}")
  return tmp_path


TRAIN = {"en": ("en_US-amy-low",), "fr": ("fr_FR-upmc-medium#0",)}
HELD_OUT = {"fr": ("fr_FR-upmc-medium#1",)}


def said(call, *arguments):
  with pytest.raises(ConfigError) as error:
    call(*arguments)
  return str(error.value)


def test_voices_of_piper_are_known_by_their_files_and_not_by_their_place(folder):
  found = synthesizers.piper(str(folder), TRAIN, HELD_OUT)
  assert found.languages == ("en", "fr")
  assert found.train_voices("fr") == ("fr_FR-upmc-medium#0",)
  assert found.held_out_voices("fr") == HELD_OUT["fr"] and found.held_out_voices("en") == ()
  moved = folder.with_name(f"{folder.name}-moved")
  folder.rename(moved)
  again = synthesizers.piper(str(moved), TRAIN, HELD_OUT)
  assert again.identity == found.identity
  (moved / "en_US-amy-low.onnx").write_bytes(b"another network")
  assert synthesizers.piper(str(moved), TRAIN, HELD_OUT).identity != found.identity


def test_a_corpus_with_a_synthesizer_of_the_users_survives_json(folder):
  for speaks in (
    synthesizers.piper(str(folder), TRAIN),
    synthesizers.program("say {voice} {text}", {"en": ("a", "b"), "fr": ("c",)}, revision="2"),
  ):
    corpus = Synthetic(languages=("en", "fr"), synthesizer=speaks, voices=1, held_out_voices=0)
    again = values.from_json(values.to_json(corpus))
    assert again == corpus and again.fingerprint == corpus.fingerprint


def test_a_voice_that_is_not_in_the_folder_is_named_with_those_that_are(folder):
  text = said(synthesizers.piper, str(folder), {"en": ("en_GB-alan-low",)})
  assert "lacks en_GB-alan-low.onnx: it has en_US-amy-low.onnx, fr_FR-upmc-medium.onnx" in text
  (folder / "en_US-amy-low.onnx.json").unlink()
  assert "lacks en_US-amy-low.onnx.json" in said(synthesizers.piper, str(folder), TRAIN)


def test_another_revision_of_a_program_is_another_corpus():
  one, other = (
    synthesizers.program("say {text}", {"en": ("amy",)}, revision=name) for name in ("1", "2")
  )
  assert one.identity != other.identity


@pytest.mark.parametrize(
  ("line", "train", "held_out", "text"),
  [
    ("say it", {"en": ("a",)}, {}, "line='say it' must have {text} in place of the text"),
    ("say {text}", {"en": ("a", "b")}, {}, "must have {voice} in place of the name"),
    ("say {text} {voice}", {}, {}, "train=() must name the voices of each language"),
    ("say {text} {voice}", {"en": ("a", "a")}, {}, "must name the voices of each language, all"),
    ("say {text} {voice}", {"en": ("a",)}, {"en": ("a",)}, "voice 'a' is in train and in held_out"),
    ("say {text} {voice}", {"en": ("a",)}, {"fr": ("b",)}, "held_out has voices of 'fr', train"),
  ],
)
def test_a_program_that_cannot_be_says_why(line, train, held_out, text):
  assert text in said(synthesizers.program, line, train, held_out)
