import pytest

from audiopalm.errors import DataError
from audiopalm.evaluation import lines


def test_a_damaged_line_is_named(tmp_path):
  path = tmp_path / "model-test-asr.jsonl"
  path.write_text('{"system": "model"}\n')
  with pytest.raises(DataError, match=r"asr.jsonl, line 1: .*Run `audiopalm evaluate` again"):
    lines.read(path)
