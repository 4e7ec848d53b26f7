"""Silence, pauses, level and noise of spoken sentences: what is heard of them, measured."""

import dataclasses

import numpy as np
import pytest

from audiopalm.audio import silence, waveform
from audiopalm.data import takes
from audiopalm.data.takes import Phrase, Takes
from audiopalm.errors import ConfigError
from audiopalm.types import Phone, Word

TEXT = "one two three four five six seven eight"
QUIET = Takes(hiss=0.0)


def tone(seconds, peak=0.4, silent_s=0.0):
  """Returns a phrase: a tone, with silence at both ends as a synthesizer leaves it."""
  at_S = np.arange(round(seconds * waveform.RATE_HZ)) / waveform.RATE_HZ
  silence_S = np.zeros(round(silent_s * waveform.RATE_HZ))
  wave_S = peak * np.cos(2 * np.pi * 200 * at_S)
  return Phrase(np.concatenate([silence_S, wave_S, silence_S]).astype(np.float32))


def recorded(settings, key, answer=False):
  take = takes.draw(settings, TEXT, key, answer=answer)
  return take, takes.record(take, [tone(0.5, silent_s=0.3) for _ in take.phrases]).wave_S


def silent_s(wave_S):
  """Returns the seconds of silence before and after what is loud."""
  loud = np.flatnonzero(np.abs(wave_S) > 0.1 * np.abs(wave_S).max())
  return loud[0] / waveform.RATE_HZ, (len(wave_S) - 1 - loud[-1]) / waveform.RATE_HZ


def drawn(settings, count=400, answer=False):
  return [takes.draw(settings, TEXT, f"{n}", answer=answer) for n in range(count)]


def test_the_same_key_gives_the_same_bytes_and_another_key_others():
  one, other = (recorded(Takes(), "0 a source")[1].tobytes() for _ in range(2))
  assert one == other != recorded(Takes(), "0 b source")[1].tobytes()


def test_silence_at_both_ends_is_as_sampled_and_that_of_the_synthesizer_is_cut():
  for n in range(20):
    take, wave_S = recorded(QUIET, f"{n}")
    first_s, last_s = take.silences_s[0], take.silences_s[-1]
    assert silent_s(wave_S) == pytest.approx((first_s, last_s), abs=2 * takes.MARGIN_S)
    before = wave_S[: round(first_s * waveform.RATE_HZ)]
    assert not before.any()


@pytest.mark.parametrize(
  ("peak", "after_s", "kept_s"),
  [
    (0.4 / 100, 0.5, 0.5),  # a burst of noise that a synthesizer leaves
    (0.4 / 100, 0.1, 0.7),  # the release of a last consonant
    (0.4 / 20, 0.5, 1.1),  # a weak word
  ],
)
def test_a_weak_burst_apart_from_the_speech_is_cut(peak, after_s, kept_s):
  gap_S = np.zeros(round(after_s * waveform.RATE_HZ), np.float32)
  speech_S, weak_S = tone(0.5).wave_S, tone(0.1, peak).wave_S
  for wave_S in ([speech_S, gap_S, weak_S], [weak_S, gap_S, speech_S]):
    take = dataclasses.replace(drawn(QUIET, 1)[0], phrases=(TEXT,), silences_s=(0.0, 0.0))
    kept_S = takes.record(take, [Phrase(np.concatenate(wave_S))]).wave_S
    assert len(kept_S) / waveform.RATE_HZ == pytest.approx(kept_s, abs=takes.MARGIN_S + 0.005)


def test_ends_have_silence_of_the_range_given_and_some_have_none():
  first_s = np.array([take.silences_s[0] for take in drawn(Takes())])
  last_s = np.array([take.silences_s[-1] for take in drawn(Takes())])
  for found_s in (first_s, last_s):
    assert 0.1 < (found_s == 0).mean() < 0.2
    assert found_s.max() <= 0.5 and 0.2 < found_s[found_s > 0].mean() < 0.32
  assert abs(np.corrcoef(first_s, last_s)[0, 1]) < 0.2


def test_pauses_are_between_words_at_least_three_from_either_end():
  found = drawn(Takes())
  assert 0.05 < np.mean([len(take.phrases) > 1 for take in found]) < 0.2
  for take in found:
    assert " ".join(take.phrases) == TEXT
    assert len(take.silences_s) == len(take.phrases) + 1
    assert all(len(phrase.split()) >= 3 for phrase in take.phrases)
    assert all(0.1 <= pause_s <= 0.4 for pause_s in take.silences_s[1:-1])


def test_a_pause_is_silent():
  settings = dataclasses.replace(QUIET, no_end=1.0, pauses=1.0, pause_s=(0.3, 0.3))
  take, wave_S = recorded(settings, "0")
  assert take.phrases == ("one two three", "four five six seven eight")
  found = silence.pauses(wave_S, waveform.RATE_HZ)
  assert len(found) == 1
  assert all(stop - start == pytest.approx(0.3, abs=0.07) for start, stop in found)


def test_the_level_is_that_of_the_loudest_sample():
  for n in range(20):
    take, wave_S = recorded(QUIET, f"{n}")
    assert -16 <= take.peak_db <= -1
    assert 20 * np.log10(np.abs(wave_S).max()) == pytest.approx(take.peak_db, abs=0.1)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
def test_noise_has_the_requested_ratio(snr_db):
  quiet = dataclasses.replace(QUIET, peak_db=(-20.0, -20.0))
  noisy = dataclasses.replace(quiet, snr_db=(snr_db, snr_db))
  for n in range(5):
    take, clean_S = recorded(quiet, f"{n}")
    noise_S = recorded(noisy, f"{n}")[1] - clean_S
    spoken_S = clean_S[np.abs(clean_S) > 0]
    ratio = np.square(spoken_S).mean() / np.square(noise_S).mean()
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.5)
    # In the silence at the ends too.
    count = round(take.silences_s[0] * waveform.RATE_HZ)
    assert count < 2000 or np.square(noise_S[:count]).mean() > 0.5 * np.square(noise_S).mean()


def test_loud_noise_clips_nothing_and_keeps_its_ratio():
  settings = dataclasses.replace(QUIET, peak_db=(0.0, 0.0), snr_db=(-6.0, -6.0))
  _, wave_S = recorded(settings, "0")
  assert np.abs(wave_S).max() == pytest.approx(1.0)


def test_silence_is_zeros_in_some_recordings_and_hiss_in_others():
  hisses = [take.noise_db for take in drawn(Takes())]
  assert 0.4 < np.mean([hiss is None for hiss in hisses]) < 0.6
  assert all(35 <= hiss <= 60 for hiss in hisses if hiss is not None)


def test_changing_one_range_changes_nothing_else():
  plain = takes.draw(Takes(), TEXT, "k", answer=False)
  noisy = takes.draw(Takes(snr_db=(5.0, 5.0)), TEXT, "k", answer=False)
  assert noisy == dataclasses.replace(plain, noise_db=5.0)


def test_answers_have_studio_quality():
  for take in drawn(Takes(snr_db=(5.0, 5.0)), answer=True):
    assert take.phrases == (TEXT,) and take.noise_db is None and take.peak_db == -3
    assert take.silences_s == (0, 0)
  longest_s = [max(take.silences_s) for take in drawn(Takes(answer_ends_s=(0.1, 0.2)), answer=True)]
  assert 0.1 < np.mean(longest_s) and max(longest_s) <= 0.2


def test_times_of_words_and_phones_move_with_them():
  take = takes.draw(
    Takes(ends_s=(0.5, 0.5), no_end=0.0, pauses=1.0, pause_s=(0.25, 0.25), hiss=0.0),
    "a b c d e f", "k", answer=False,
  )  # fmt: skip
  assert take.phrases == ("a b c", "d e f")
  times = ((0.0, 0.4), (0.4, 0.5), (0.5, 0.8))
  words = [
    tuple(Word(x, *time) for x, time in zip(of, times, strict=True)) for of in ("abc", "def")
  ]
  first = dataclasses.replace(tone(0.4, silent_s=0.2), words=words[0])
  first = dataclasses.replace(first, phones=tuple(Phone("a", *time) for time in times))
  second = dataclasses.replace(first, words=words[1])
  found = takes.record(take, [first, second])
  # Of a phrase of 0.8 s, 0.17 to 0.63 is kept, and lies after half a second of silence.
  starts = [word.start_s for word in found.words]
  ends = [word.end_s for word in found.words]
  assert starts == pytest.approx([0.5, 0.73, 0.83, 1.21, 1.44, 1.54], abs=1e-3)
  assert ends == pytest.approx([0.73, 0.83, 0.96, 1.44, 1.54, 1.67], abs=1e-3)
  assert [(phone.start_s, phone.end_s) for phone in found.phones] == list(
    zip(starts, ends, strict=True)
  )
  assert len(found.wave_S) / waveform.RATE_HZ == pytest.approx(1.67 + 0.5, abs=1e-3)


def test_a_phrase_without_a_sound_stays_silent():
  take = takes.draw(Takes(snr_db=(5.0, 5.0)), "a", "k", answer=False)
  assert not takes.record(take, [Phrase(np.zeros(100, np.float32))]).wave_S.any()


@pytest.mark.parametrize(
  ("options", "text"),
  [
    ({"ends_s": (0.5, 0.1)}, "ends_s=(0.5, 0.1) must be a pair (lowest, highest)"),
    ({"pause_s": (-0.1, 0.1)}, "pause_s=(-0.1, 0.1) must be seconds of at least 0"),
    ({"peak_db": (-3.0, 1.0)}, "peak_db=(-3.0, 1.0) must be at most 0, which is full scale"),
    ({"pauses": 1.5}, "pauses=1.5 must be a probability from 0 to 1"),
    ({"snr_db": 5.0}, "snr_db=5.0 must be a pair (lowest, highest)"),
  ],
)
def test_invalid_settings_are_an_error_that_says_why(options, text):
  with pytest.raises(ConfigError) as error:
    Takes(**options)
  assert text in str(error.value)
