"""Processes that answer in turn."""

import contenders
import pytest

SERVES = """
import sys
sys.path.insert(0, {folder!r})
import contenders

def answer(number):
  print("output of a library, not an answer")
  return {{"half": number / 2}}

contenders.serve(answer)
"""


@pytest.fixture
def script(tmp_path):
  folder = str(contenders.ROOT / "benchmarks")

  def write(text):
    path = tmp_path / "contender.py"
    path.write_text(text.format(folder=folder))
    return path

  return write


def test_a_contender_answers_each_question(script):
  with contenders.Worker(str(script(SERVES))) as worker:
    assert worker.ask(number=3) == {"half": 1.5}
    assert worker.ask(number=5) == {"half": 2.5}


def test_a_dead_contender_ends_the_benchmark_with_an_error_that_names_it(script):
  with pytest.raises(SystemExit, match="contender.py 4M failed with exit code 3"):
    contenders.Worker(str(script("raise SystemExit(3)")), "4M").ask(number=1)
