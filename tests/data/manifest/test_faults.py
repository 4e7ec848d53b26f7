from audiopalm.data.manifest import faults
from audiopalm.data.manifest.faults import Fault, Location


def test_a_location_is_a_line_of_a_file_or_all_of_it():
  assert str(Location("a.tsv", 7)) == "a.tsv:7"
  assert str(Location("a.tsv")) == "a.tsv"


def test_equal_faults_share_a_line():
  both = [Fault(Location("a", line), "odd") for line in (3, 5, 6, 7, 11)]
  both.insert(2, Fault(Location("a", 4), "even"))
  assert faults.summary(both) == ["a, lines 3, 5-7, 11: odd", "a:4: even"]
  assert faults.summary([]) == []


def test_a_long_list_says_how_many_more_there_are():
  texts = faults.summary(Fault(Location("a", line), f"fault {line}") for line in range(1, 1001))
  assert len(texts) == faults.MOST_TEXTS + 1
  assert texts[-1] == "... and 970 more."


def test_many_spans_say_how_many_lines_are_left():
  assert faults.spans([4, 1, 2, 2]) == "1-2, 4"
  lines = [*range(0, 200, 2), 300, 301]
  assert faults.spans(lines).endswith("36, 38 and 82 more")
