"""ABX discrimination: how often speech of another category is closer than speech of the same one.

For x and a of one category and b of another, d(b, x) < d(a, x) is an error, and a tie is half an
error. Chance is 50 %. Within speakers, a, b and x have the same speaker; across speakers, x has
another speaker than a and b. All three have the same context. Source: Schatz et al., "Evaluating
speech features with the minimal-pair ABX task", 2013; libri-light, arXiv:1912.07875.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from audiopalm.metrics import tally, warping

RESAMPLES = 200
MANY_SPEAKERS = 10  # from this number on intervals are over speakers, else over recordings
MOST_CELLS = 20_000  # whose recordings are resampled
MOST_X_SPEAKERS = 5  # for a, b and their speaker, as in libri-light
MOST_PAIRS = 4_000_000  # that are aligned
CAPS = (100, 50, 20, 10, 5, 2)  # tokens of one category, speaker and context
PAIRS = 256  # that are aligned at a time

Cost = Callable[[np.ndarray, np.ndarray], np.ndarray]  # frames [T, ...], [U, ...] -> cost_TU


@dataclasses.dataclass(frozen=True)
class Token:
  """A segment of speech: its category (a word, a phone), its speaker, and its context."""

  category: str
  speaker: str
  recording: str
  context: str = ""


@dataclasses.dataclass(frozen=True)
class Discrimination:
  """The error of an ABX test, its 95 % interval, and what was resampled for it.

  `cells` are pairs of categories in a context by speakers; of the tokens of one category, speaker
  and context at most `most` were drawn at random.
  """

  error: float
  interval: tuple[float, float] | None
  drawn_over: str
  cells: int
  tokens: int
  most: int


def angular(frames_TE: np.ndarray, others_UE: np.ndarray) -> np.ndarray:
  """Returns cost_TU: the angles between vectors, 0 to 1 for half a turn."""
  cosines_TU = _unit(frames_TE) @ _unit(others_UE).T
  return np.arccos(np.clip(cosines_TU, -1, 1)) / np.float32(np.pi)


def different(ids_T: np.ndarray, others_U: np.ndarray) -> np.ndarray:
  """Returns cost_TU: 0 for equal ids, 1 for others."""
  return (ids_T[:, None] != others_U).astype(np.float32)


def discriminate(
  tokens: Sequence[Token],
  frames: Sequence[np.ndarray],
  cost: Cost,
  *,
  across: bool,
  seed: int = 0,
  advance: Callable[[float], None] = lambda share: None,
) -> Discrimination | None:
  """Returns how well the frames of tokens distinguish their categories; None if no two categories
  share a context and a speaker.

  Errors are averaged over contexts and the speakers of x, over speakers, and over ordered pairs of
  categories. Of the tokens of a category, speaker and context as many of CAPS are drawn as align
  at most MOST_PAIRS. Distances are those of `distances`; `advance` is called with the fraction that
  is done.
  """
  random = np.random.default_rng(seed)
  most, groups = _within_reason(tokens, across, random)
  recordings, speakers = (
    sorted({getattr(tokens[number], name) for group in groups for number in group.numbers})
    for name in ("recording", "speaker")
  )
  cells = [cell for group in groups for cell in _cells(group, tokens, across, random)]
  if not cells:
    return None
  drawn_over = "speakers" if len(speakers) >= MANY_SPEAKERS else "recordings"
  if drawn_over == "recordings" and len(cells) > MOST_CELLS:
    drawn_over = "nothing"
  weight_RN, weight_RS = _weights(tokens, recordings, speakers, drawn_over, random)
  place = {name: number for number, name in enumerate(speakers)}
  sums: dict[tuple, list] = collections.defaultdict(lambda: [0.0, 0.0])
  by_group = itertools.groupby(cells, key=lambda cell: cell.group)
  work, done = sum(len(group.numbers) ** 2 for group in groups), 0
  for group, members in by_group:
    distance_NN = distances([frames[number] for number in group.numbers], cost)
    own_RN = weight_RN[:, list(group.numbers)]
    for cell in members:
      error_R = _error(cell, distance_NN, own_RN)
      weight_R = weight_RS[:, place[cell.x_speaker]] * ~np.isnan(error_R)
      total = sums[cell.pair, cell.speaker]
      total[0] = total[0] + weight_R * np.nan_to_num(error_R)
      total[1] = total[1] + weight_R
    done += len(group.numbers) ** 2
    advance(done / work)
  scores_R = _averaged(sums, weight_RS, place)
  interval = None
  if drawn_over != "nothing" and len(recordings) > 1:
    tail = (1 - tally.SHARE) / 2
    low, high = np.nanquantile(scores_R[1:], [tail, 1 - tail]).tolist()
    interval = low, high
  used = {number for group in groups for number in group.numbers}
  return Discrimination(float(scores_R[0]), interval, drawn_over, len(cells), len(used), most)


def distances(frames: Sequence[np.ndarray], cost: Cost) -> np.ndarray:
  """Returns distance_NN of each sequence of frames, in rows, to each: the mean cost along the
  cheapest alignment in time (`warping.mean_costs`)."""
  lengths_N = np.array([len(frames_T) for frames_T in frames])
  starts_N = np.cumsum(lengths_N) - lengths_N
  everything = np.concatenate(frames)
  by_length = np.argsort(lengths_N, kind="stable")
  chunks = np.array_split(by_length, -(-len(frames) // PAIRS))  # of similar lengths: less padding
  distance_NN = np.empty((len(frames), len(frames)), np.float32)
  for number, own in enumerate(frames):
    cost_TU = cost(own, everything)
    for chunk in chunks:
      most = lengths_N[chunk].max()
      columns_BU = np.minimum(starts_N[chunk][:, None] + np.arange(most), len(everything) - 1)
      cost_BTU = cost_TU[:, columns_BU].transpose(1, 0, 2)
      rows_B = np.full(len(chunk), len(own))
      distance_NN[number, chunk] = warping.mean_costs(cost_BTU, rows_B, lengths_N[chunk])
  return distance_NN


@dataclasses.dataclass(frozen=True)
class _Group:
  """Tokens of one context, whose distances are computed together."""

  numbers: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Cell:
  """The tokens of a group that are a, b and x, by index."""

  group: _Group
  pair: tuple[str, str]
  speaker: str
  x_speaker: str
  a: tuple[int, ...]
  b: tuple[int, ...]
  x: tuple[int, ...]


def _within_reason(
  tokens: Sequence[Token], across: bool, random: np.random.Generator
) -> tuple[int, list[_Group]]:
  """Returns (most tokens of a kind, groups): the largest of CAPS that aligns MOST_PAIRS or less."""
  for most in CAPS:
    groups = list(_groups(tokens, across, most, random))
    if sum(len(group.numbers) ** 2 for group in groups) <= MOST_PAIRS:
      break
  return most, groups


def _groups(
  tokens: Sequence[Token], across: bool, most: int, random: np.random.Generator
) -> Iterator[_Group]:
  """Yields the tokens of each context (and speaker, within speakers) that has two categories."""
  members: dict[tuple, dict[tuple, list[int]]] = {}
  for number, token in enumerate(tokens):
    apart = (token.context,) if across else (token.context, token.speaker)
    of_kind = members.setdefault(apart, {})
    of_kind.setdefault((token.category, token.speaker), []).append(number)
  for of_kind in members.values():
    if len({category for category, _ in of_kind}) < 2:
      continue
    kept = [
      number
      for numbers in of_kind.values()
      for number in (
        numbers
        if len(numbers) <= most
        else sorted(random.choice(numbers, most, replace=False).tolist())
      )
    ]
    yield _Group(tuple(kept))


def _cells(
  group: _Group, tokens: Sequence[Token], across: bool, random: np.random.Generator
) -> Iterator[_Cell]:
  places: dict[str, dict[str, tuple[int, ...]]] = {}  # by speaker and category
  for place, number in enumerate(group.numbers):
    token = tokens[number]
    of_speaker = places.setdefault(token.speaker, {})
    of_speaker[token.category] = (*of_speaker.get(token.category, ()), place)
  for speaker, of_speaker in places.items():
    for pair in itertools.permutations(of_speaker, 2):
      a, b = of_speaker[pair[0]], of_speaker[pair[1]]
      if not across:
        if len(a) > 1:
          yield _Cell(group, pair, speaker, speaker, a, b, a)
        continue
      others = [name for name in places if name != speaker and pair[0] in places[name]]
      if len(others) > MOST_X_SPEAKERS:
        others = sorted(random.choice(others, MOST_X_SPEAKERS, replace=False).tolist())
      for name in others:
        yield _Cell(group, pair, speaker, name, a, b, places[name][pair[0]])


def _error(cell: _Cell, distance_NN: np.ndarray, weight_RN: np.ndarray) -> np.ndarray:
  """Returns error_R of a cell for each weighting of its tokens, NaN where all weights are 0."""
  a, b, x = (np.array(places) for places in (cell.a, cell.b, cell.x))
  to_a_XA, to_b_XB = distance_NN[x][:, a], distance_NN[x][:, b]
  if cell.a == cell.x:  # each pair once, as its transpose may break ties in another order
    to_a_XA = np.triu(to_a_XA) + np.triu(to_a_XA, 1).T
  wrong_XAB = (to_b_XB[:, None] < to_a_XA[:, :, None]) + 0.5 * (
    to_b_XB[:, None] == to_a_XA[:, :, None]
  )
  apart_XA = x[:, None] != a
  weight_RXA = weight_RN[:, x][:, :, None] * weight_RN[:, a][:, None] * apart_XA
  weight_RB = weight_RN[:, b]
  by_b_RB = weight_RXA.reshape(len(weight_RN), -1) @ wrong_XAB.reshape(-1, len(b))
  total_R = weight_RXA.sum((1, 2)) * weight_RB.sum(1)
  with np.errstate(invalid="ignore"):
    return (by_b_RB * weight_RB).sum(1) / total_R


def _weights(
  tokens: Sequence[Token],
  recordings: Sequence[str],
  speakers: Sequence[str],
  drawn_over: str,
  random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns (weight_RN of tokens, weight_RS of speakers): row 0 is the sample itself, the others
  are drawn from it with replacement. Weights of tokens have one row if no tokens are drawn."""
  if drawn_over == "recordings":
    drawn_RM = _drawn(len(recordings), random)
    place = {name: number for number, name in enumerate(recordings)}
    numbers = [place.get(token.recording, 0) for token in tokens]
    return drawn_RM[:, numbers], np.ones((RESAMPLES + 1, len(speakers)))
  drawn_RS = _drawn(len(speakers), random) if drawn_over == "speakers" else np.ones((1, 1))
  return np.ones((1, len(tokens))), np.broadcast_to(drawn_RS, (len(drawn_RS), len(speakers)))


def _drawn(count: int, random: np.random.Generator) -> np.ndarray:
  drawn_RM = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
  return np.concatenate([np.ones((1, count)), drawn_RM]).astype(np.float32)


def _averaged(sums: dict[tuple, list], weight_RS: np.ndarray, place: dict[str, int]) -> np.ndarray:
  """Returns score_R from sums over contexts and speakers of x, by (pair, speaker)."""
  by_pair: dict[tuple[str, str], list] = collections.defaultdict(lambda: [0.0, 0.0])
  for (pair, speaker), (total_R, count_R) in sums.items():
    has_R = count_R > 0
    weight_R = weight_RS[:, place[speaker]] * has_R
    by_pair[pair][0] += weight_R * total_R / np.where(has_R, count_R, 1)
    by_pair[pair][1] += weight_R
  with np.errstate(invalid="ignore"):  # a resample may lack a pair, or all of them
    errors_PR = np.array([total_R / weight_R for total_R, weight_R in by_pair.values()])
    return np.nansum(errors_PR, axis=0) / (~np.isnan(errors_PR)).sum(axis=0)


def _unit(frames_TE: np.ndarray) -> np.ndarray:
  norm_T1 = np.linalg.norm(frames_TE, axis=1, keepdims=True)
  return (frames_TE / np.maximum(norm_T1, np.finfo(np.float32).tiny)).astype(np.float32)
