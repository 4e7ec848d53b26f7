import pytest

from audiopalm.data import json_lines
from audiopalm.errors import DataError

# What other readers take for ends of lines.
BREAKS = "\v \f \r \x1c \x1d \x1e \x85 \u2028 \u2029 \r\n"


def test_what_was_written_is_read_whatever_characters_it_holds(tmp_path):
  path = tmp_path / "outputs.jsonl"
  said = [{"text": BREAKS}, {"text": "\n", "n": 1}, {"text": "é"}]
  json_lines.write(path, said)
  assert list(json_lines.read(path)) == list(enumerate(said, 1))
  assert path.read_bytes().count(b"\n") == 3


def test_blank_lines_and_line_ends_of_other_systems_are_no_lines_of_their_own(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes('{"a": "\u2028"}\r\n\r\n  \n{"a": 2}'.encode())
  assert list(json_lines.read(path)) == [(1, {"a": "\u2028"}), (4, {"a": 2})]


@pytest.mark.parametrize("cut", [b'{"a": 2', b'{"a": "\xe2\x80', b"\0\0\0"])
def test_a_last_line_that_was_cut_is_left_out_of_a_growing_file_alone(tmp_path, cut):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"a": 1}\n' + cut)
  assert json_lines.read_grown(path) == [{"a": 1}]
  with pytest.raises(DataError, match=r"metrics.jsonl, line 2: expected JSON.*Run it again"):
    list(json_lines.read(path, again="Run it again."))


def test_any_other_damaged_line_is_named(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"a": 1}\n{"a"\n{"a": 3}\n')
  with pytest.raises(DataError, match=r"line 2: expected JSON.*Delete that line"):
    json_lines.read_grown(path)


@pytest.mark.parametrize("line", ["5", "null", '[{"a": 1}]', '"a"', '{"b": 1}'])
def test_a_line_that_is_no_record_is_named_with_what_was_expected(tmp_path, line):
  path = tmp_path / "metrics.jsonl"
  path.write_text(f'{{"a": 1}}\n{line}\n')
  with pytest.raises(DataError) as error:
    json_lines.read_grown(path, "a")
  text = f"{path}, line 2: expected a JSON object with 'a', but it is "
  assert str(error.value).startswith(text) and str(error.value).endswith(" Delete that line.")


def test_a_last_line_that_has_its_end_was_not_cut_and_is_named_too(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_bytes(b'{"a": 1}\n{"a"\n')
  with pytest.raises(DataError, match=r"line 2: expected JSON"):
    json_lines.read_grown(path)


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path):
  assert json_lines.read_grown(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize(
  ("data", "lines"),
  [(b'{"a": 1}\n{"a"', [1]), (b'{"a": 1}', [1]), (b'{"a": 1}\n', [1]), (b"", [])],
)
def test_lines_added_after_a_cut_one_can_be_read(tmp_path, data, lines):
  path = tmp_path / "goodput.jsonl"
  path.write_bytes(data)
  json_lines.mend(path)
  with path.open("ab") as file:
    file.write(json_lines.dumps({"a": "\x85"}).encode())
  assert [line["a"] for line in json_lines.read_grown(path)] == [*lines, "\x85"]
