import json

import pytest

from audiopalm.errors import DataError
from audiopalm.parts import corpora


def test_a_manifest_is_read_when_the_config_is(tmp_path):
  path = tmp_path / "train.jsonl"
  row = {"audio": "a.wav", "text": "un", "translation": "one"}
  path.write_text(json.dumps(row))
  found = corpora.manifest(
    str(path), language="fr", translation_language="en", audio_dir="/data", variants=2, name="mine"
  )
  assert (found.name, found.variants, found.translations) == ("mine", 2, (("fr", "en"),))
  assert found.reading.audio_dir == "/data"
  with pytest.raises(DataError, match=r"none.tsv: cannot be read: No such file or directory"):
    corpora.manifest(str(path), test=str(tmp_path / "none.tsv"), language="fr")
