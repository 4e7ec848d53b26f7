import json
import math
import unicodedata

import pytest

from audiopalm.data.manifest import lines
from audiopalm.data.manifest.lines import Reading
from audiopalm.errors import ConfigError
from audiopalm.types import Phone, Word

SOUND = {"audio": "a.wav", "text": "one", "language": "en"}


@pytest.fixture
def read(tmp_path):
  def write(*rows, **reading):
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return lines.read(str(path), Reading(**reading))

  return write


def only(found):
  assert not found.faults
  (line,) = found.lines
  return line


def said(found):
  return [f"{fault.location.line}: {fault.text}" for fault in found.faults]


def test_columns_of_nemo_are_understood(read, tmp_path):
  row = {
    "audio_filepath": "/data/a.wav", "text": " bom\ndia ", "offset": 2.5, "duration": 1.5,
    "source_lang": "pt-BR", "target_lang": "pt", "pnc": "yes",
  }  # fmt: skip
  found = read(row)
  line = only(found)
  assert found.unused == ("pnc",)
  assert (line.audio, line.text, line.language) == ("/data/a.wav", "bom dia", "pt")
  assert (line.span_s, line.seconds, line.id) == ((2.5, 4.0), 1.5, "/data/a.wav@2.5")
  assert line.speaker == lines.SOMEBODY and line.translation is None
  whole = only(read({"audio": "a.wav", "text": "x", "lang": "en", "duration": 3}))
  assert (whole.span_s, whole.audio) == (None, str(tmp_path / "a.wav"))
  rest = only(read(SOUND | {"offset": "1"}))
  assert rest.span_s == (1.0, math.inf)


NEMO = {"audio_filepath": "a.wav", "source_lang": "en-US", "target_lang": "de"}


@pytest.mark.parametrize(
  ("row", "transcript", "translation"),
  [
    ({"text": "ein Hemd"}, "", "ein Hemd"),
    ({"answer": "ein Hemd"}, "", "ein Hemd"),
    ({"text": "a shirt", "answer": "ein Hemd"}, "a shirt", "ein Hemd"),
    ({"text": "a shirt", "translation": "ein Hemd"}, "a shirt", "ein Hemd"),
    ({"text": "a shirt", "translation": ""}, "a shirt", None),
    ({"text": "a shirt", "target_lang": "eng"}, "a shirt", None),
    ({"answer": "a shirt", "target_lang": "en"}, "a shirt", None),
    ({"text": "a shirt", "answer": "a shirt", "target_lang": "en"}, "a shirt", None),
  ],
)
def test_what_nemo_answers_in_another_language_is_the_translation(
  read, row, transcript, translation
):
  line = only(read(NEMO | row))
  assert (line.text, line.language) == (transcript, "en")
  target = line.translation
  assert (target and (target.text, target.language)) == (translation and (translation, "de"))


def test_columns_of_common_voice_are_understood(tmp_path):
  (tmp_path / "clips").mkdir()
  path = tmp_path / "train.tsv"
  path.write_text("client_id\tpath\tsentence\tage\tlocale\nab12\tc_1.mp3\tUn mot.\t\tfr\n")
  line = only(lines.read(str(path), Reading()))
  assert line.audio == str(tmp_path / "clips" / "c_1.mp3")
  assert (line.speaker, line.text, line.language, line.id) == ("ab12", "Un mot.", "fr", "c_1.mp3")
  elsewhere = only(lines.read(str(path), Reading(audio_dir="/clips")))
  assert elsewhere.audio == "/clips/c_1.mp3"


def test_columns_of_covost_give_a_target_in_words_alone(tmp_path):
  path = tmp_path / "covost_v2.fr_en.dev.tsv"
  path.write_text(
    'path\tsentence\ttranslation\tclient_id\na.mp3\tUn "mot".\tOne "word".\tab\n'
    "b.mp3\tDeux.\t\tab\n"
  )
  found = lines.read(str(path), Reading(language="fr", translation_language="en"))
  first, second = found.lines
  (source, target), (_, none) = lines.joined(found.lines)
  assert source is first and (target.text, target.language) == ('One "word".', "en")
  assert target.audio is None and none is None and second.translation is None


def test_two_lines_of_a_pair_are_a_record_in_each_direction(read):
  en, fr = SOUND | {"pair": 7}, SOUND | {"pair": 7, "audio": "b.wav", "language": "fr"}
  found = read(en, SOUND | {"audio": "c.wav"}, fr)
  a, c, b = found.lines
  assert list(lines.joined(found.lines)) == [(a, b), (b, a), (c, None)]


def test_roles_leave_one_direction(read):
  row = SOUND | {"pair": "p"}
  found = read(
    row | {"role": "target"}, row | {"role": "source", "audio": "b.wav", "language": "fr"}
  )
  a, b = found.lines
  assert list(lines.joined(found.lines)) == [(b, a)]


def test_times_of_words_come_as_lists_or_objects(read):
  expected = (Word("one", 0.0, 0.5), Word("two", 0.5, 1.0))
  asked = [["one", 0, 0.5], ["two", 0.5, 1]]
  assert only(read(SOUND | {"words": asked})).words == expected
  assert only(read(SOUND | {"words": json.dumps(asked)})).words == expected
  objects = [{"word": "one", "start": 0, "end": 0.5}, {"text": "two", "start": 0.5, "end": 1}]
  assert only(read(SOUND | {"words": objects})).words == expected


def test_times_of_phones_come_as_lists_or_objects(read):
  expected = (Phone("ð", 0.0, 0.25), Phone("ə", 0.25, 0.5))
  asked = [["ð", 0, 0.25], ["ə", 0.25, 0.5]]
  assert only(read(SOUND | {"phones": asked})).phones == expected
  assert only(read(SOUND | {"phones": json.dumps(asked)})).phones == expected
  objects = [{"phone": "ð", "start": 0, "end": 0.25}, {"text": "ə", "start": 0.25, "end": 0.5}]
  assert only(read(SOUND | {"phones": objects})).phones == expected


def test_digests_follow_what_lines_depend_on(read):
  row = {"audio": "a.wav", "text": "one"}
  one = read(row, language="en")
  assert one.digest == read(row, language="en", audio_dir="/elsewhere").digest
  assert one.digest != read(row, language="fr").digest
  assert one.digest != read(row | {"text": "two"}, language="en").digest


@pytest.mark.parametrize(
  ("change", "text"),
  [
    ({"language": "xx"}, "unknown language 'xx'. Expected one of "),
    (
      {"audio": "~no_such_user/a.wav"},
      "there is no user for the ~ in '~no_such_user/a.wav'. Write",
    ),
    ({"offset": 10**400}, "offset is 1000"),
    ({"words": "[" * 3_000}, "words is '[[["),
    ({"language": "English"}, "unknown language 'English'. Write 'en'."),
    ({"language": None}, "no language: expected a column named language, locale, lang, so"),
    ({"audio": ""}, "audio is empty, expected the path of a recording"),
    ({"audio": {"bytes": 1}}, "audio is {'bytes': 1}, expected text"),
    ({"text": 5}, "text is 5, expected text"),
    ({"text": "a\ud800"}, "text is 'a\\ud800': half a character. Write it as UTF-8"),
    ({"sentence": "two"}, "the columns text and sentence give different texts. Remove one"),
    ({"duration": "long"}, "duration is 'long', expected seconds: a number, 0 or more"),
    ({"offset": -1}, "offset is -1, expected seconds"),
    ({"words": [["one", 1, 0]]}, "words is [['one', 1, 0]], expected [[word, start, end], ...]"),
    ({"words": [["a", 1, 2], ["b", 0, 1]]}, "words are not in the order of their starts"),
    ({"phones": [["a", 1]]}, "phones is [['a', 1]], expected [[phone, start, end], ...] with"),
    ({"phones": [["a", 1, 2], ["b", 0, 1]]}, "phones are not in the order of their starts"),
    ({"role": "boss", "pair": 1}, "role is 'boss', expected source or target, or none"),
    ({"role": "source"}, "role is 'source', but there is no pair"),
    ({"translation": "un"}, "no translation_language: expected a column named"),
    ({"translation": "a", "target_lang": "en"}, "its translation is in 'en', the language of its"),
    ({"translation": "a", "target_lang": "fr", "pair": 1}, "has a pair and a translation"),
    ({"answer": "two", "target_lang": "en"}, "has a text and an answer, both in 'en', that differ"),
    ({"translation_language": "fr"}, "has a translation_language, but no translation"),
    ({"translation_speaker": "bob"}, "has a translation_speaker, but no translation_audio"),
  ],
)
def test_a_line_that_cannot_be_used_says_why(read, change, text):
  found = read(SOUND | change, SOUND | {"id": "other"})
  assert [line.id for line in found.lines] == ["other"]
  assert said(found)[0].startswith(f"1: {text}")


def test_all_faults_of_a_line_are_told_once_each(read):
  found = read(SOUND | {"language": "xx", "duration": "long", "role": "boss", "pair": 1})
  assert len(said(found)) == 3


def test_a_missing_column_lists_the_columns(read, tmp_path):
  (fault,) = said(read({"file": "a.wav", "text": "x", "language": "en"}))
  assert fault == (
    "1: no column for audio: expected the name audio or audio_filepath or path, the columns are "
    "file, text, language. Rename one."
  )
  path = tmp_path / "m.tsv"
  path.write_text("audio\twords said\na.wav\tone\n")
  text, language = said(lines.read(str(path), Reading()))
  assert text.startswith("1: no column for text: expected the name text or sentence")
  assert language.endswith("Rename one; or set language=... for all lines.")


def test_a_translation_may_be_spoken(read, tmp_path):
  row = SOUND | {"translation": "un", "translation_language": "fr", "translation_audio": "b.wav"}
  target = only(read(row | {"translation_speaker": 7})).translation
  assert (target.audio, target.speaker) == (str(tmp_path / "b.wav"), "7")
  assert (target.text, target.language) == ("un", "fr")
  target = only(read(row, audio_dir="/data")).translation
  assert (target.audio, target.speaker) == ("/data/b.wav", lines.SOMEBODY)
  wordless = only(read(row | {"translation": ""})).translation
  assert (wordless.text, wordless.audio) == ("", str(tmp_path / "b.wav"))
  assert said(read(row | {"pair": "p"}))[0].startswith("1: has a pair and a translation. Remove")


def test_several_files_are_read_as_one(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "m.jsonl").write_text(json.dumps(SOUND | {"id": "one"}))
  first, second = (str(tmp_path / name / "m.jsonl") for name in ("a", "b"))
  (fault,) = lines.read((first, second), Reading()).faults
  assert fault.location.file == second
  assert fault.text.startswith(f"the id 'one' is that of {first}:1 too. Give each line an id")
  (tmp_path / "b" / "m.jsonl").write_text(json.dumps(SOUND | {"id": "two"}))
  found = lines.read((first, second), Reading())
  assert [line.audio for line in found.lines] == [str(tmp_path / n / "a.wav") for n in ("a", "b")]
  assert lines.read(first, Reading()).digest == lines.read((first,), Reading()).digest
  assert len({lines.read(files, Reading()).digest for files in (first, (first, second))}) == 2


def test_an_id_belongs_to_one_line(read):
  found = read(SOUND, SOUND | {"id": "b"}, SOUND | {"audio": "c.wav", "id": "b"}, SOUND)
  assert [fault[:45] for fault in said(found)] == [
    "3: the id 'b' is that of line 2 too. Give eac",
    "4: the id 'a.wav' is that of line 1 too. Give",
  ]
  assert [line.location.line for line in found.lines] == [1, 2]


def test_a_pair_is_two_lines_of_two_languages_and_roles(read):
  def row(id, pair, language="en", role=""):
    return SOUND | {"id": id, "pair": pair, "language": language, "role": role}

  found = read(
    row(1, "alone"), row(2, "same"), row(3, "same"), row(4, "roles", role="source"),
    row(5, "roles", "fr"),
  )  # fmt: skip
  assert said(found) == [
    "1: the pair 'alone' has 1 usable lines, expected two.",
    "2: both lines of the pair 'same' are in 'en'.",
    "3: both lines of the pair 'same' are in 'en'.",
    "4: the pair 'roles' needs one source and one target, or no roles at all.",
    "5: the pair 'roles' needs one source and one target, or no roles at all.",
  ]
  assert found.lines == ()


def test_an_unknown_language_for_all_lines_names_the_known_ones():
  with pytest.raises(ConfigError, match="language='xx' is not a known language. Expected one"):
    Reading(language="xx")


@pytest.mark.parametrize("form", ["{}", "{}\r\n", " {}\u2028"])
@pytest.mark.parametrize("normal", ["NFC", "NFD"])
def test_texts_and_speakers_have_one_form_and_paths_stay_as_files_are_called(read, form, normal):
  spelled = unicodedata.normalize(normal, form.format("Zoë\u00a0B."))
  row = {
    "audio": f"{spelled.strip()}.wav", "text": spelled, "speaker": spelled, "language": "fr",
    "translation": spelled, "translation_language": "en", "words": [[spelled, 0, 1]],
  }  # fmt: skip
  line = only(read(row))
  assert (line.text, line.speaker, line.translation.text) == ("Zoë B.",) * 3
  assert line.words == (Word("Zoë B.", 0.0, 1.0),)
  assert line.audio.endswith(f"/{spelled.strip()}.wav")


def test_texts_that_hold_other_ends_of_lines_are_one_line(tmp_path):
  path = tmp_path / "m.jsonl"
  text = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
  path.write_text(json.dumps(SOUND | {"text": text}, ensure_ascii=False) + "\n", encoding="utf-8")
  assert only(lines.read(str(path), Reading())).text == "a b c d e f g"
