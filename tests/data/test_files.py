import pytest

from audiopalm.data import files
from audiopalm.errors import DataError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
  path = tmp_path / "folder" / "a.json"
  files.write_json(path, {"b": 1})
  with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
    part.write_text("half")
    1 / 0  # noqa: B018
  assert files.read_json(path) == {"b": 1}
  assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_a_folder_takes_the_place_of_a_folder(tmp_path):
  for content in ("old", "new"):
    with files.replacing(tmp_path / "folder") as part:
      part.mkdir()
      (part / content).write_text(content)
  assert [file.name for file in (tmp_path / "folder").iterdir()] == ["new"]


def test_a_full_device_says_where_and_leaves_what_was_there(tmp_path, full):
  path = tmp_path / "a.json"
  files.write_json(path, 1)
  full("a.json")
  with pytest.raises(DataError, match="No space left on the device of .* while writing a.json"):
    files.write_json(path, 2)
  assert files.read_json(path) == 1
  assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_what_killed_writers_left_is_removed_files_and_folders(tmp_path):
  for path in (tmp_path / "a.json", tmp_path / "deep" / "b"):
    files.write_json(path, 1)
    files.part_of(path).write_text("half")
  files.part_of(tmp_path / "folder").mkdir()
  assert files.part_of(tmp_path / "a") != files.part_of(tmp_path / "a")
  files.remove_parts(tmp_path, ".a.json.*.part")
  assert len(list(tmp_path.rglob(".*.part"))) == 2
  files.remove_parts(tmp_path, "**/.*.part")
  assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.json", "b"]


def test_a_missing_and_a_damaged_file_say_what_to_do(tmp_path):
  with pytest.raises(DataError, match="no such file. Run `audiopalm prepare`"):
    files.read_json(tmp_path / "a.json")
  (tmp_path / "a.json").write_text("{")
  with pytest.raises(DataError, match="expected JSON, but it is damaged"):
    files.read_json(tmp_path / "a.json")
