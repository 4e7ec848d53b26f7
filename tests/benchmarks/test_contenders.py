"""Processes that answer one after another."""

import contenders
import pytest

SERVES = """
import sys
sys.path.insert(0, {folder!r})
import contenders

def answer(number):
  print("what a library prints is no answer")
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


def test_a_contender_that_dies_ends_the_benchmark_with_its_name(script):
  with pytest.raises(SystemExit, match="contender.py 4M ended with 3"):
    contenders.Worker(str(script("raise SystemExit(3)")), "4M").ask(number=1)
