import dataclasses
import functools
import json

import numpy as np
import pytest

from audiopalm.audio import waveform
from audiopalm.data.executors import Local
from audiopalm.errors import AudioError, ConfigError, DataError
from audiopalm.evaluation import likelihoods, pairs, runner, saved
from audiopalm.evaluation.pairs import Judged, Pair
from audiopalm.metrics.likelihood import Sums
from audiopalm.parts import mixtures


def judged(right, wrong, language="en", kind=None):
  """A pair by the (sum of nll, number of cells) of both sides."""
  sums = tuple(Sums(nll, 0.0, cells) for nll, cells in (right, wrong))
  return Judged(Pair("a:1", language, "a", "b", kind=kind), "text", sums)


def manifest(path, *lines):
  path.write_text("".join(json.dumps(line) + "\n" for line in lines))
  return path


LINE = {"language": "en", "positive": "one", "negative": "nine"}


def test_accuracy_is_the_share_whose_right_side_is_likelier_and_ties_count_half():
  scores = pairs.score_pairs(
    [judged((1, 1), (2, 1)), judged((2, 1), (1, 1)), judged((3, 1), (3, 1)), judged((1, 1), (9, 1))]
  )
  assert scores["accuracy"] == 2.5 / 4
  assert scores["examples"] == 4
  low, high = scores["intervals"]["accuracy"]
  assert low < 2.5 / 4 < high


def test_per_token_a_longer_side_is_not_less_likely_for_its_length():
  scores = pairs.score_pairs([judged((4.0, 4), (3.0, 1)), judged((4.0, 4), (3.0, 1))])
  assert (scores["accuracy"], scores["accuracy_per_token"]) == (0, 1)


def test_languages_and_kinds_are_scored_apart_and_what_was_too_long_is_counted():
  scores = pairs.score_pairs(
    [
      judged((1, 1), (2, 1), "en", "verbs"),
      judged((2, 1), (1, 1), "fr", "nouns"),
      Judged(Pair("a:3", "en", "a", "b"), "text", None),
    ]
  )
  languages = {name: one["accuracy"] for name, one in scores["languages"].items()}
  assert languages == {"en": 1, "fr": 0}
  assert {name: one["accuracy"] for name, one in scores["kinds"].items()} == {
    "nouns": 0,
    "verbs": 1,
  }
  assert (scores["examples"], scores["left_out"]) == (2, 1)
  assert scores["rules"]["task"] == "text"


def test_scores_of_what_was_kept_are_the_same(tmp_path):
  one = [judged((1.1, 3), (2, 1), kind="é"), Judged(Pair("a:2", "en", "a", "b", "c"), "text", None)]
  pairs.keep(tmp_path, {"swuggy": one})
  scores = pairs.score(tmp_path)
  assert scores == {"swuggy": pairs.score_pairs(one)}
  assert json.loads((tmp_path / "pairs.json").read_text()) == scores
  assert pairs.score(tmp_path / "other") == {}


def test_a_damaged_line_is_named(tmp_path):
  pairs.keep(tmp_path, {"swuggy": []})
  (tmp_path / "pairs/swuggy.jsonl").write_text('{"pair": {}}\n')
  with pytest.raises(DataError, match=r"swuggy.jsonl, line 1: .*Run `audiopalm evaluate --pairs`"):
    pairs.score(tmp_path)


def test_a_table_with_tabs_is_read_as_json_lines_are(tmp_path):
  path = tmp_path / "pairs.tsv"
  path.write_text("language\tpositive\tnegative\tprompt\nen\tone\tnine\t\nfr\tun\tdeux\tet\n")
  first, second = pairs.read(path)
  assert dataclasses.replace(first, place="") == Pair("", "en", "one", "nine")
  assert (second.place, second.prompt) == (f"{path}:3", "et")


def test_every_fault_of_a_manifest_is_named_with_its_line(tmp_path):
  lines = {**LINE, "promt": "x"}, {**LINE, "negative": ""}, {**LINE, "positive": 3}, LINE
  with pytest.raises(DataError) as error:
    pairs.read(manifest(tmp_path / "p.jsonl", *lines))
  text = str(error.value)
  assert (
    "p.jsonl:1: unknown column 'promt'. Expected language, positive, negative, prompt, kind."
    in text
  )
  assert "p.jsonl:2: expected a text in 'negative'" in text
  assert "p.jsonl:3: expected a text in 'positive'" in text
  assert "p.jsonl:4" not in text


@pytest.fixture
def run(made_up, monkeypatch, tmp_path):
  """Judges a manifest by a made-up run, whose likelihood of a grid is its sum of ids."""
  seen = []

  def sums(trained, grids):
    seen.extend(grids)
    return [{"speech": Sums(float(one.tokens_LK.sum()), 0.0, float(len(one)))} for one in grids]

  monkeypatch.setattr(likelihoods, "of_examples", sums)

  def judge(task, *paths, step=3):
    builders = (mixtures.continuation, mixtures.text, mixtures.asr)
    made = made_up.trained(*builders)
    options = runner.Options(pairs=paths, judged_by=task, workers=0)
    scores = runner.judge(dataclasses.replace(made, step=step), tmp_path, options)
    return scores, seen

  return judge


def test_texts_are_judged_by_a_task_of_texts_with_the_tag_of_their_language(run, tmp_path, made_up):
  path = manifest(
    tmp_path / "blimp.jsonl", LINE, {**LINE, "language": "fr", "prompt": "six", "positive": "ten"}
  )
  scores, grids = run("text", path)
  assert list(scores) == ["blimp"] and scores["blimp"]["examples"] == 2
  space = made_up.trained(mixtures.continuation, mixtures.text, mixtures.asr).prepared.space
  spelled = [[ord(letter) for letter in text] for text in ("one", "nine", "six ten", "six nine")]
  for grid, letters in zip(grids, spelled, strict=True):
    said = grid.tokens_LK[:, 0].tolist()
    assert said[-len(letters) - 1 :] == [*letters, space.special("stop")]
  assert grids[2].tokens_LK[0, 0] == grids[3].tokens_LK[0, 0]
  assert list(grids[0].tokens_LK[:, 0]) != list(grids[2].tokens_LK[:, 0])


def test_recordings_are_judged_after_their_prompt_and_paths_begin_at_the_manifest(
  run, tmp_path, made_up
):
  for word in ("one", "nine", "six"):
    waveform.write(tmp_path / f"{word}.wav", made_up.wave_of(word), waveform.RATE_HZ)
  line = {"language": "en", "positive": "one.wav", "negative": "nine.wav"}
  path = manifest(tmp_path / "swuggy.jsonl", line, {**line, "prompt": "six.wav"})
  _, grids = run("continuation", path)
  said = [grid.tokens_LK[:, 0] for grid in grids]
  units = made_up.units_of("one")
  assert len(said[2]) - len(said[0]) == len(said[3]) - len(said[1]) == 3 + 2  # 80 ms of silence
  first = said[0][-len(units) - 1]
  np.testing.assert_array_equal(said[0][-len(units) - 1 : -1] - first, units - units[0])


def test_a_pair_longer_than_a_row_is_left_out(run, tmp_path):
  path = manifest(tmp_path / "p.jsonl", LINE, {**LINE, "negative": "nine " * 20})
  scores, grids = run("text", path)
  assert (scores["p"]["examples"], scores["p"]["left_out"], len(grids)) == (1, 1, 2)


def test_sides_that_sound_the_same_to_the_model_tie_to_the_last_bit(run, tmp_path, monkeypatch):
  numbers = iter(range(100))  # as if each place in a batch gave other bits

  def sums(trained, grids):
    return [{"text": Sums(1.0 + next(numbers) * 1e-9, 0.0, 1.0)} for _ in grids]

  monkeypatch.setattr(likelihoods, "of_examples", sums)
  path = manifest(tmp_path / "p.jsonl", LINE, {**LINE, "negative": "one"}, LINE)
  assert run("text", path)[0]["p"]["accuracy"] == 2.5 / 3


def test_pairs_of_one_checkpoint_come_together_and_those_of_another_go(run, tmp_path):
  first = manifest(tmp_path / "a.jsonl", LINE)
  second = manifest(tmp_path / "b.jsonl", LINE)
  run("text", first)
  assert list(run("text", second)[0]) == ["b"]
  folder = saved.folder_of(tmp_path)
  assert list(json.loads((folder / "pairs.json").read_text())) == ["a", "b"]
  run("text", second, step=4)
  assert list(json.loads((folder / "pairs.json").read_text())) == ["b"]


@pytest.mark.parametrize(
  ("task", "line", "text"),
  [
    ("asr", LINE, "'asr' maps source.units to source.text. Such tasks of this run: contin"),
    ("mt", LINE, "Unknown task 'mt'. This run was trained on: "),
    ("text", {**LINE, "language": "de"}, "Task 'text' does not know the language source=de."),
  ],
)
def test_what_cannot_be_judged_says_so(run, tmp_path, task, line, text):
  with pytest.raises(ConfigError, match=text):
    run(task, manifest(tmp_path / "p.jsonl", line))


def test_the_first_task_that_fits_judges_where_none_is_named(run, tmp_path, made_up):
  for word in ("one", "nine"):
    waveform.write(tmp_path / f"{word}.WAV", made_up.wave_of(word), waveform.RATE_HZ)
  spoken = {"language": "fr", "positive": "one.WAV", "negative": "nine.WAV"}
  paths = manifest(tmp_path / "t.jsonl", LINE), manifest(tmp_path / "s.jsonl", spoken)
  scores, _ = run(None, *paths)
  assert {name: one["rules"]["task"] for name, one in scores.items()} == {
    "t": "text",
    "s": "continuation",
  }


def test_pairs_that_no_task_can_judge_say_of_what_they_are(run, tmp_path):
  path = manifest(tmp_path / "p.jsonl", {**LINE, "language": "de"})
  text = "holds texts in de, and no task .* judge them. Such tasks: continuation, text. Omit the"
  with pytest.raises(ConfigError, match=text):
    run(None, path)


def test_recordings_and_texts_in_one_file_are_refused_with_a_line_of_each(run, tmp_path):
  path = manifest(tmp_path / "p.jsonl", LINE, {**LINE, "positive": "one.wav"})
  with pytest.raises(DataError, match=r"p.jsonl:2 names a recording and .*p.jsonl:1 is a text"):
    run(None, path)


def test_a_recording_that_cannot_be_read_is_named_with_its_line(run, tmp_path):
  path = manifest(tmp_path / "p.jsonl", {**LINE, "positive": "none.wav"})
  with pytest.raises(AudioError, match=r"p.jsonl:1: none.wav: no such file"):
    run("continuation", path)


def test_a_recording_too_short_for_an_id_is_named_with_its_line(
  run, tmp_path, made_up, monkeypatch
):
  waveform.write(tmp_path / "a.wav", made_up.wave_of("one"), waveform.RATE_HZ)
  monkeypatch.setattr(made_up.Tones, "encode", lambda self, utterance: np.zeros(0, np.int32))
  path = manifest(tmp_path / "p.jsonl", {**LINE, "positive": "a.wav", "negative": "a.wav"})
  with pytest.raises(AudioError, match=r"p.jsonl:1: a.wav: too short for a single id"):
    run("continuation", path)


def test_files_of_one_name_are_refused(run, tmp_path):
  (tmp_path / "other").mkdir()
  paths = [manifest(folder / "p.jsonl", LINE) for folder in (tmp_path, tmp_path / "other")]
  with pytest.raises(ConfigError, match="Two files of pairs have the name 'p'. Rename one."):
    run("text", *paths)


def test_other_processes_encode_the_same(tmp_path, made_up):
  jobs = [[Pair(f"a:{number}", "en", "one", "two " * number)] for number in range(1, 5)]
  encode = functools.partial(pairs.encode, made_up.Text(), tmp_path)
  with Local(1) as executor:
    elsewhere = list(executor.map(encode, jobs))
  for pair, other in zip(map(encode, jobs), elsewhere, strict=True):
    for side, other_side in zip(pair[0], other[0], strict=True):
      np.testing.assert_array_equal(side, other_side)


def test_likelihoods_of_pairs_with_other_ends_of_lines_are_read_again(tmp_path):
  pair = Pair("a:1", "en", "a\u2028b", "c\x85d", "\u2029")
  pairs.keep(tmp_path, {"blimp": [Judged(pair, "text", None)]})
  assert pairs.score(tmp_path)["blimp"]["left_out"] == 1


@pytest.mark.parametrize(
  ("language", "prompt", "side", "asked"),
  [
    ("fr", "Un\u00a0", "cafe\u0301.\r\n", "Un café."),
    ("zh", "今天", "很好。", "今天很好。"),
  ],
)
def test_texts_of_pairs_have_one_form_and_join_as_their_language_does(
  made_up, language, prompt, side, asked
):
  pair = Pair("a:1", language, side, asked, prompt)
  ((right, _),) = pairs.encode(made_up.Text(), None, [pair])
  assert made_up.Text().decode(right) == asked
