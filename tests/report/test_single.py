import re
from html.parser import HTMLParser

import pytest

from audiopalm.report import run, single

VOID = {"meta", "br", "img", "input", "link"}


class Page(HTMLParser):
  """A page read back: every tag closed in order, numbers by table, what it refers to."""

  def __init__(self, text):
    super().__init__()
    self.open, self.numbers, self.references, self.texts, self.tags = [], [], [], [], set()
    self.feed(text)
    self.close()
    assert self.open == []

  def handle_starttag(self, tag, attrs):
    self.tags.add(tag)
    values = dict(attrs)
    assert len(values) == len(attrs), f"an attribute of {tag} stands twice"
    if tag == "data":
      self.numbers.append(float(values["value"]))
    self.references += [values[key] for key in ("src", "href", "srcset", "data") if key in values]
    if tag not in VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.texts.append(data)

  @property
  def text(self):
    return "".join(self.texts)


@pytest.fixture(scope="module")
def written(workdir):
  return single.page(run.read(workdir))


@pytest.fixture(scope="module")
def page(written):
  return Page(written)


def leaves(value):
  if isinstance(value, dict):
    for child in value.values():
      yield from leaves(child)
  elif isinstance(value, int | float):
    yield value


def test_the_page_is_well_formed_and_has_every_part(page):
  parts = ["Scores", "Examples", "Curves", "Data", "Where the time went", "Settings"]
  assert [text for text in page.texts if text in parts] == [*parts, *parts]  # links, then headings
  assert {"#scores", "#examples", "#curves", "#data", "#time", "#settings"} <= set(page.references)


def test_the_page_needs_nothing_but_itself(written, page):
  assert all(one.startswith(("data:", "#")) for one in page.references)
  assert not re.search(r"https?:|url\(|@import|<script", written)
  assert {"audio", "svg", "image"} <= page.tags


def test_every_score_of_every_task_is_on_the_page_with_all_its_digits(workdir, page):
  scores = run.read(workdir).scores
  there = set(page.numbers)
  for task in ("asr", "tts", "s2st", "mt"):
    values = scores[task]
    own = {key: value for key, value in values.items() if key in single.tables.COLUMNS}
    assert own
    wanted = [own, values["languages"], values.get("worst_voice", {})]
    wanted += [scores["held_out_voices"].get(task, {}).get("voices", {})]
    wanted += [scores["baselines"]["nearest_copy"].get(task, {}).get("wer", 0.0)]
    for value in wanted:
      for number in leaves(_shown(value)):
        assert number in there, (task, number)


def _shown(value):
  """Returns scores without what tables do not show: losses by modality."""
  if not isinstance(value, dict):
    return value
  return {key: _shown(child) for key, child in value.items() if key != "modalities"}


def test_whose_transcripts_were_scored_is_said(page):
  text = "Speech is scored by its transcripts, including their errors: this model's own ASR"
  assert text in page.text


def test_texts_of_the_model_are_escaped(written, page):
  assert "<script>" not in written
  assert '<script>alert("1 & 2")</script>' in page.text
  assert "two␇" in page.text


def test_facts_are_those_of_the_files(workdir):
  facts = single.facts(run.read(workdir))
  facts.pop("parameters")
  assert facts == {
    "steps": "40",
    "tokens trained on": "4,000",
    "hours of speech": "2.0",
    "training time": "1 min 40 s",
    "tokens a second": "50",
  }


def test_the_head_says_what_the_run_is(page):
  for text in ("small", "asr, tts, s2st, mt in English, French.", "9 September 2001"):
    assert text in page.text
  assert "Training is at step" not in page.text


def test_a_run_that_is_half_trained_and_not_scored_says_so(made_run, tmp_path):
  workdir = made_run.write(tmp_path / "half", steps=25, evaluated=False)
  page = Page(single.page(run.read(workdir)))
  assert "Training is at step 25 of 40." in page.text
  assert f"audiopalm evaluate --workdir {workdir}" in page.text
  assert "Loss of text" in page.text
  assert "#scores" not in page.references
  assert "#examples" not in page.references


def test_a_run_without_a_step_still_has_a_page(made_run, tmp_path):
  workdir = made_run.write(tmp_path / "new", steps=0, evaluated=False)
  page = Page(single.page(run.read(workdir)))
  assert f"audiopalm train CONFIG --workdir {workdir}" in page.text
  assert [one for one in page.references if one.startswith("#")] == ["#data", "#settings"]


def test_scores_without_outputs_still_have_their_table(made_run, tmp_path):
  workdir = made_run.write(tmp_path / "bare")
  for path in (workdir / "evaluation/outputs").iterdir():
    path.unlink()
  page = Page(single.page(run.read(workdir)))
  assert "#scores" in page.references
  assert "#examples" not in page.references
