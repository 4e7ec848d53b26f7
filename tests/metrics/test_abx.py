"""ABX errors are those of its definition, one triple at a time, and those of fastabx."""

import itertools

import numpy as np
import pytest

from audiopalm.metrics import abx, warping


def made(count=36):
  """Returns (tokens, vectors, ids) of three categories by three speakers in two contexts."""
  tokens, vectors, ids = [], [], []
  for number in range(count):
    category, speaker, context = number % 3, number // 3 % 3, number // 9 % 2
    tokens.append(abx.Token("pqr"[category], "uvw"[speaker], str(number), "xy"[context]))
    at_T = np.arange(2 + number * 5 % 6)
    columns = np.cos(category * at_T + speaker), np.sin(at_T * 1.7 + number)
    columns = *columns, np.cos(number * number / 3.0 + at_T)
    vectors.append(np.stack(columns, axis=1).astype(np.float32))
    ids.append((category * at_T + number * at_T // 4) % 4)
  return tokens, vectors, ids


def distance(first, other, cost):
  cost_BTU = cost(first, other)[None]
  return warping.mean_costs(cost_BTU, *(np.array([n]) for n in cost_BTU.shape[1:]))[0]


def by_definition(tokens, frames, cost, across):
  """Returns the error as the mean over triples, contexts and speakers of x, speakers, and pairs."""
  errors = {}
  for a, b, x in itertools.permutations(range(len(tokens)), 3):
    one, two, asked = tokens[a], tokens[b], tokens[x]
    same = one.context == two.context == asked.context and one.speaker == two.speaker
    if not same or one.category != asked.category or two.category == one.category:
      continue
    if (one.speaker != asked.speaker) != across:
      continue
    # Within a category the earlier token is in the rows, which matters where paths tie.
    to_a = distance(*(frames[n] for n in ((x, a) if across else sorted((x, a)))), cost)
    to_b = distance(frames[x], frames[b], cost)
    error = float(to_b < to_a) + 0.5 * float(to_b == to_a)
    place = (one.category, two.category), one.speaker, (one.context, asked.speaker)
    errors.setdefault(place, []).append(error)
  for _ in range(2):
    merged = {}
    for place, values in errors.items():
      merged.setdefault(place[:-1], []).append(np.mean(values))
    errors = merged
  return np.mean([np.mean(values) for values in errors.values()])


# Of fastabx 0.9 (its `abx_on_cell`, averaged over contexts, speakers and pairs), on `made()`.
FASTABX = {
  ("vectors", False): 0.15972222222222224,
  ("vectors", True): 0.65625,
  ("ids", False): 0.3819444444444444,
  ("ids", True): 0.47309027777777785,
}


@pytest.mark.parametrize(("side", "across"), FASTABX)
def test_errors_are_those_of_the_definition_and_of_fastabx(side, across):
  tokens, vectors, ids = made()
  frames, cost = {"vectors": (vectors, abx.angular), "ids": (ids, abx.different)}[side]
  score = abx.discriminate(tokens, frames, cost, across=across)
  assert score.error == pytest.approx(FASTABX[side, across], abs=1e-9)
  assert score.error == pytest.approx(by_definition(tokens, frames, cost, across), abs=1e-9)
  assert score.tokens == 36 and score.cells == (72 if across else 36) and score.most == 100
  low, high = score.interval
  assert low < score.error < high and score.drawn_over == "recordings"


def test_where_paths_tie_the_earlier_token_of_a_category_is_in_the_rows():
  random = np.random.default_rng(1)
  tokens = [abx.Token("pq"[n % 2], "u", str(n)) for n in range(16)]
  ids = [random.integers(4, size=size) for size in random.integers(3, 12, size=16)]
  distance_NN = np.array([[distance(one, other, abx.different) for other in ids] for one in ids])
  assert (distance_NN != distance_NN.T).any()
  score = abx.discriminate(tokens, ids, abx.different, across=False)
  expected = by_definition(tokens, ids, abx.different, False)
  assert score.error == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("across", (False, True))
@pytest.mark.parametrize("over", ("recordings", "speakers"))
def test_a_resample_without_some_is_the_score_of_the_others(over, across, monkeypatch):
  tokens, vectors, _ = made()
  if over == "speakers":
    monkeypatch.setattr(abx, "MANY_SPEAKERS", 3)
  count = 3 if over == "speakers" else len(tokens)
  kept_M = np.arange(count) % 3 != 1
  monkeypatch.setattr(abx, "_drawn", lambda count, random: np.stack([np.ones(count), 1.0 * kept_M]))
  monkeypatch.setattr(abx, "RESAMPLES", 1)
  score = abx.discriminate(tokens, vectors, abx.angular, across=across)
  assert score.drawn_over == over
  names = sorted({getattr(token, over[:-1]) for token in tokens})
  left_out = {name for name, kept in zip(names, kept_M, strict=True) if not kept}
  others = [n for n, token in enumerate(tokens) if getattr(token, over[:-1]) not in left_out]
  expected = by_definition(
    [tokens[n] for n in others], [vectors[n] for n in others], abx.angular, across
  )
  assert score.interval == pytest.approx((expected, expected), abs=1e-6) and expected > 0


def test_resamples_that_lack_a_category_are_left_out_of_the_interval_in_silence(recwarn):
  tokens = [abx.Token("pq"[n % 2], "u", str(n)) for n in range(4)]
  frames = [np.array([n % 2, n // 2]) for n in range(4)]
  score = abx.discriminate(tokens, frames, abx.different, across=False)
  assert np.isfinite(score.interval).all() and not recwarn.list


def test_equal_categories_are_told_apart_by_chance_and_others_always():
  tokens = [abx.Token("pq"[n % 2], "uv"[n // 2 % 2], str(n)) for n in range(16)]
  alike = [np.zeros(3, int)] * 16
  apart = [np.full(3, n % 2) for n in range(16)]
  for across in (False, True):
    assert abx.discriminate(tokens, alike, abx.different, across=across).error == 0.5
    assert abx.discriminate(tokens, apart, abx.different, across=across).error == 0


def test_speakers_are_drawn_where_there_are_many_and_a_seed_gives_the_same():
  tokens = [abx.Token("pq"[n % 2], f"s{n // 4}", str(n)) for n in range(48)]
  random = np.random.default_rng(0)
  frames = [random.normal(n % 2, 2, (3, 4)).astype(np.float32) for n in range(48)]
  first, again = (abx.discriminate(tokens, frames, abx.angular, across=True) for _ in range(2))
  assert first == again and first.drawn_over == "speakers"
  low, high = first.interval
  assert 0 < high - low < 0.5 and low < first.error < high
  assert abx.discriminate(tokens, frames, abx.angular, across=True, seed=1) != first  # other x


def test_more_tokens_than_can_be_aligned_are_drawn_from(monkeypatch):
  monkeypatch.setattr(abx, "MOST_PAIRS", 40**2)
  tokens = [abx.Token("pq"[n % 2], "u", str(n)) for n in range(60)]
  frames = [np.full(3, n % 2) for n in range(60)]
  score = abx.discriminate(tokens, frames, abx.different, across=False)
  assert (score.most, score.tokens, score.error) == (20, 40, 0)


def test_what_shares_no_context_is_not_compared():
  tokens = [abx.Token("pq"[n % 2], "u", str(n), context="xy"[n % 2]) for n in range(8)]
  frames = [np.zeros(2, int)] * 8
  for across in (False, True):
    assert abx.discriminate(tokens, frames, abx.different, across=across) is None


def test_a_frame_of_zeros_is_at_a_right_angle_to_all_others():
  cost_TU = abx.angular(np.zeros((1, 2)), np.array([[1.0, 0], [0, 0]]))
  np.testing.assert_array_equal(cost_TU, [[0.5, 0.5]])
  angles_TU = abx.angular(np.array([[1.0, 0]]), np.array([[2.0, 0], [0, 3], [-1, 0], [1, 1]]))
  np.testing.assert_allclose(angles_TU, [[0, 0.5, 1, 0.25]], atol=1e-6)
