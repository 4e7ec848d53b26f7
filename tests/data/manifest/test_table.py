import codecs
import csv
import io

import pytest

from audiopalm.data.manifest import table


@pytest.fixture
def written(tmp_path):
  def write(data, name="m.jsonl"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return table.read(str(path))

  return write


def values(found):
  assert not found.faults
  return [dict(row.values) for row in found.rows]


def said(found):
  return [f"{fault.location.line}: {fault.text}" for fault in found.faults]


def test_json_lines_and_a_table_give_the_same_rows(written):
  rows = [{"audio": "a.wav", "text": "un"}, {"audio": "b.wav", "text": 'a "b" c'}]
  lines = '{"audio": "a.wav", "text": "un"}\n\n{"audio": "b.wav", "text": "a \\"b\\" c"}\n'
  assert values(written(lines)) == rows
  assert values(written(lines, "m.manifest")) == rows
  cells = 'audio\ttext\r\na.wav\tun\r\nb.wav\ta "b" c\r\n'
  assert values(written(codecs.BOM_UTF8 + cells.encode(), "m.tsv")) == rows
  assert [row.location.line for row in written(lines).rows] == [1, 3]


def test_digests_depend_on_the_content(written):
  one, two = written('{"a": 1}'), written('{"a": 2}')
  assert one.digest != two.digest
  assert written('{"a": 1}', "other.jsonl").digest == one.digest


def test_a_file_that_is_not_a_manifest_is_an_error_that_says_so(written, tmp_path):
  found = table.read(str(tmp_path / "none.jsonl"))
  assert said(found) == [
    "0: cannot be read: No such file or directory. Give the path of a manifest."
  ]
  assert said(written("\n \n")) == ["0: is empty: expected one recording per line."]
  for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
    for text, name in (('{"a": 1}', "m.jsonl"), ("audio\ttext\n", "m.tsv")):
      (fault,) = said(written(text.encode(encoding), name))
      assert "is in UTF-16 or UTF-32, or not text, expected UTF-8" in fault
  assert said(written(b"\xff\n\xfe")) == [
    f"{line}: is not UTF-8 text. Save the manifest in that encoding." for line in (1, 2)
  ]
  assert "is a JSON array, expected one JSON object per line" in said(written('[\n{"a": 1}]'))[0]


def test_lines_that_are_not_json_objects_are_named_and_the_others_read(written):
  found = written(b'{"a": 1}\n{"a": \n[1]\n\xff\xfe\n{"a": 5}')
  assert [row.location.line for row in found.rows] == [1, 5]
  assert sorted(said(found)) == [
    "2: is not JSON: Expecting value, column 7. Expected one object per line.",
    "3: is JSON, but not an object. Expected {...} on each line.",
    "4: is not UTF-8 text. Save the manifest in that encoding.",
  ]


def test_json_with_too_many_digits_or_brackets_is_a_fault_of_its_line(written):
  found = written(f'{{"a": {"1" * 5_000}}}\n{{"a": {"[" * 100_000}\n{{"a": 5}}')
  assert [row.location.line for row in found.rows] == [3]
  digits, brackets = said(found)
  assert digits.startswith("1: is not JSON: Exceeds the limit")
  assert brackets.startswith("2: is not JSON: maximum recursion depth exceeded")


def test_an_object_that_names_a_column_twice_is_a_fault_of_its_line(written):
  found = written('{"a": 1, "b": 2, "a": 1}\n{"a": {"b": 3}, "b": 5}')
  assert [row.location.line for row in found.rows] == [2]
  assert said(found) == ["1: is not JSON: it names 'a' twice. Expected one object per line."]


def test_a_table_is_refused_by_its_first_line_and_by_its_cells(written):
  assert (
    "1: is 'audio,text': expected column names separated by tabs"
    in (said(written("audio,text\na,b", "m.csv"))[0])
  )
  found = written("audio\ttext\ttext\na\tb\tc\na\tb\n", "m.tsv")
  assert said(found) == [
    "1: names the column 'text' twice. Rename one.",
    "3: has 2 cells, the header names 3 columns. Separate cells with one tab each.",
  ]
  assert "1: is the only line" in said(written("audio\ttext\n", "m.tsv"))[0]


def test_cells_quoted_by_a_csv_writer_are_read_without_their_quotes(written):
  rows = [
    {"path": "a.wav", "text": 'she said "red" twice'},
    {"path": "b.wav", "text": '"Too much," he said.'},
    {"path": "c.wav", "text": "a tab\there"},
    {"path": "d.wav", "text": 'two\nlines, "or" three\nof them'},
    {"path": "e.wav", "text": '"'},
  ]
  for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
    out = io.StringIO()
    writer = csv.DictWriter(out, ("path", "text"), dialect="excel-tab", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    found = written(out.getvalue(), "m.tsv")
    assert values(found) == rows
    assert list(found.header.values) == ["path", "text"]
    assert [row.location.line for row in found.rows] == [2, 3, 4, 5, 8]


def test_quotes_that_do_not_enclose_a_cell_are_kept(written):
  texts = ['"unbalanced he said', '"Good-bye," said the boy.', 'a "b" c', 'he said "no"', '"a"b"']
  lines = "\n".join(f"{number}.wav\t{text}" for number, text in enumerate(texts))
  assert [row["text"] for row in values(written(f"audio\ttext\n{lines}\n", "m.tsv"))] == texts


def test_an_unclosed_quote_does_not_swallow_other_lines(written):
  found = written('audio\ttext\ta\nx.wav\t"open\ny.wav\tone\t1\nz.wav\ttwo\t2\n', "m.tsv")
  assert [row.values["audio"] for row in found.rows] == ["y.wav", "z.wav"]
  assert said(found) == [
    "2: has 2 cells, the header names 3 columns. Separate cells with one tab each."
  ]


def test_names_of_columns_may_be_given_with_the_file(tmp_path):
  (tmp_path / "m.tsv").write_text("a.wav\t{one}\nb.wav\n")
  found = table.read(str(tmp_path / "m.tsv"), ("audio", "text"))
  assert [row.values for row in found.rows] == [{"audio": "a.wav", "text": "{one}"}]
  assert said(found) == [
    "2: has 1 cells, expected 2: audio, text. Separate cells with one tab each."
  ]


def test_a_folder_like_librispeech_is_read_from_its_transcripts(tmp_path):
  chapter = tmp_path / "dev" / "84" / "121123"
  chapter.mkdir(parents=True)
  (chapter / "84-121123.trans.txt").write_text("84-121123-0000 GO\n84-121123-0001 DO YOU\n")
  (chapter / "84-121123-0000.flac").touch()
  (chapter / "84-121123-0001.wav").touch()
  found = table.read(str(tmp_path))
  assert found.folder == tmp_path
  assert values(found)[1] == {
    "audio": "dev/84/121123/84-121123-0001.wav",
    "text": "DO YOU",
    "speaker": "84",
    "id": "84-121123-0001",
  }
  assert str(found.rows[1].location).endswith("dev/84/121123/84-121123.trans.txt:2")
  (chapter / "84-121123-0002.flac").touch()
  text = "0: has no line for 84-121123-0002.flac in its folder."
  assert said(table.read(str(tmp_path)))[0].startswith(text)


def test_a_folder_without_transcripts_says_what_was_looked_for(tmp_path):
  text = said(table.read(str(tmp_path)))[0]
  assert "0: is a folder without transcripts: expected SPEAKER/CHAPTER/*.trans.txt" in text
