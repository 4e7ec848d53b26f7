"""Encodes waves of any length in bounded memory: windows of fixed size, few programs for all.

    frames of the front    chunk by chunk, the same as those of the whole wave
    states                 of windows of 25 s, of which 2.5 s at either seam are dropped

What norms over the clip takes its mean and variance from a pass over the whole wave before. Whisper
takes windows of samples, 30 s or as its settings say, and drops a twelfth of them at a seam.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from audiopalm.batch import Array
from audiopalm.models.base import Params
from audiopalm.models.encoder import StateModel
from audiopalm.nn import fbank, fronts, log_mel

WINDOW, CONTEXT = 1_250, 125  # frames of 20 ms: a window, and what a seam drops of it at each end
CHUNK = 500  # frames of the front that are computed at a time
ROUNDED = 25  # least step of the lengths that short waves are padded to
CPU_BATCH, ACCELERATOR_BATCH = 400, 24_000  # frames of short waves that are computed together


def pieces(
  model: StateModel,
  params: Params,
  wave_S: np.ndarray,
  layer: int,
  products: str | None = None,
) -> Iterator[np.ndarray]:
  """Yields the states of a 16 kHz wave after `layer` layers, hidden_TD of consecutive frames.

  A wave of at most one window is one piece, equal to what `model.encode` returns for it: it is
  padded to one of a few lengths, as each length compiles a program.
  """
  wave_S = np.asarray(wave_S, np.float32)
  front = model.settings.front
  count = int(front.frames(len(wave_S)))
  if not count:
    return
  if count <= _longest(front):
    length = _length(front, _rounded(front, count))
    yield _encoded(model, params, [wave_S], length, layer, products)[0, :count]
  elif isinstance(front, fronts.LogMels):
    yield from _window_pieces(model, params, wave_S, layer, products)
  else:
    yield from _state_pieces(model, params, wave_S, layer, products)


def batch(
  model: StateModel, params: Params, waves: Sequence[np.ndarray], layer: int
) -> list[np.ndarray]:
  """Returns the states of each wave, hidden_TD, within the rounding of float32 as of `pieces`.

  Waves of at most one window are computed together with others of near length. Each length has one
  size of batches beside 1, so that few programs are compiled.
  """
  front, width = model.settings.front, model.settings.block.width
  counts = [int(front.frames(len(wave_S))) for wave_S in waves]
  states = [np.zeros((0, width), np.float32)] * len(waves)
  short = []
  for number, count in enumerate(counts):
    if count > _longest(front):
      states[number] = np.concatenate(list(pieces(model, params, waves[number], layer)))
    elif count:
      short.append(number)
  short.sort(key=lambda number: (-counts[number], number))
  most_frames = CPU_BATCH if jax.default_backend() == "cpu" else ACCELERATOR_BATCH
  while short:
    rounded = _rounded(front, counts[short[0]])
    rows = max(1, most_frames // rounded)
    numbers = short[:rows] if 2 * len(short) > rows else short[:1]
    short = short[len(numbers) :]
    taken = [waves[number] for number in numbers]
    if len(taken) > 1:
      taken += taken[:1] * (rows - len(taken))  # whose states are dropped
    hidden_BTD = _encoded(model, params, taken, _length(front, rounded), layer, None)
    for row, number in enumerate(numbers):
      states[number] = hidden_BTD[row, : counts[number]]
  return states


def frames(
  model: StateModel, params: Params, wave_S: np.ndarray, products: str | None = None
) -> Iterator[np.ndarray]:
  """Yields frames_TC of the front, at most CHUNK at a time: those of the whole wave."""
  front = model.settings.front
  if isinstance(front, fronts.Filterbanks):
    yield from _filterbank_frames(front, wave_S)
    return
  if isinstance(front, fronts.Mels):
    yield from _mel_frames(model, params, wave_S, products)
    return
  count, length = int(front.frames(len(wave_S))), _samples(front, CHUNK)
  if front.normalized:
    mean, variance = wave_S.mean(dtype=np.float64), wave_S.var(dtype=np.float64)
    scale = (variance + fronts.WAVE_EPS) ** -0.5
  else:
    mean, scale = 0.0, 1.0

  def part(start: int, size: int) -> np.ndarray:
    return ((wave_S[start : start + size] - mean) * scale).astype(np.float32)

  of_clip = None
  if front.norm == "group":
    of_clip = _first_moments(model, params, part, len(wave_S))
  for start in range(0, count, CHUNK):
    wave_BS, samples_B = _padded([part(start * front.hop_samples, length)], length)
    frames_BTC = _front(model, params, wave_BS, samples_B, of_clip)
    yield np.asarray(frames_BTC)[0, : count - start]


def _first_moments(
  model: StateModel, params: Params, part: Callable[[int, int], np.ndarray], samples: int
) -> fronts.Moments:
  """Returns the moments of the first convolution over a whole wave."""
  front = model.settings.front
  hop = front.strides[0]
  count, step = front.first_frames(samples), CHUNK * front.hop_samples // hop
  length = (step - 1) * hop + front.kernels[0]
  merged = _Merged()
  for start in range(0, count, step):
    wave_BS, samples_B = _padded([part(start * hop, length)], length)
    of_part = _moments(model, params, wave_BS, samples_B)
    merged.add(min(step, count - start), of_part.mean_B1C, of_part.variance_B1C)
  return fronts.Moments(np.float32(merged.mean), np.float32(merged.variance))


def _filterbank_frames(front: fronts.Filterbanks, wave_S: np.ndarray) -> Iterator[np.ndarray]:
  count, step = int(fbank.frames(len(wave_S))), CHUNK * front.stacked
  length = (step - 1) * fbank.HOP + fbank.WINDOW
  mel_TM = np.empty((count, front.bins), np.float32)
  for start in range(0, count, step):
    first = start * fbank.HOP
    wave_BS, _ = _padded([wave_S[first : first + length]], length)
    mel_TM[start : start + step] = np.asarray(_fbank(wave_BS, front.bins))[0, : count - start]
  mean_M, variance_M = mel_TM.mean(0, np.float64), mel_TM.var(0, np.float64, ddof=1)
  scale_M = (variance_M + fronts.BIN_EPS) ** -0.5
  for start in range(0, count - count % front.stacked, step):
    normed_TM = ((mel_TM[start : start + step] - mean_M) * scale_M).astype(np.float32)
    yield front.stack(normed_TM[None])[0]


def _mel_frames(
  model: StateModel, params: Params, wave_S: np.ndarray, products: str | None
) -> Iterator[np.ndarray]:
  front, hop = model.settings.front, log_mel.HOP
  count, stride = len(wave_S) // hop, front.hop_samples // hop
  mel_TM = np.empty((count, front.bins), np.float32)
  for start in range(0, count, CHUNK * stride):
    size = min(CHUNK * stride, count - start)
    length = CHUNK * front.hop_samples + log_mel.WINDOW
    wave_BS, _ = _padded([wave_S[start * hop : start * hop + length]], length)
    mel_TM[start : start + size] = np.asarray(_log_mel(wave_BS, front.bins, front.high_hz))[
      0, :size
    ]
  mel_TM -= mel_TM.mean(0, np.float64)
  mel_TM /= mel_TM.std(0, dtype=np.float64) + fronts.MEL_EPS
  for start in range(0, count // stride, CHUNK):
    before = min(start, 1)  # frames in front, which the first one sees
    part_TM = mel_TM[(start - before) * stride : (start + CHUNK) * stride]
    mel_BTM = np.zeros((1, (CHUNK + 1) * stride, front.bins), np.float32)
    mel_BTM[0, : len(part_TM)] = part_TM
    frames_BTC = _front(model, params, mel_BTM, None, None, products=products)
    yield np.asarray(frames_BTC)[0, before : min(before + CHUNK, before + count // stride - start)]


def _state_pieces(
  model: StateModel, params: Params, wave_S: np.ndarray, layer: int, products: str | None
) -> Iterator[np.ndarray]:
  left = count = int(model.settings.front.frames(len(wave_S)))
  source = frames(model, params, wave_S, products)
  buffer_TC = next(source)
  for start in range(0, count - 2 * CONTEXT, WINDOW - 2 * CONTEXT):
    wanted = min(WINDOW, left)
    while len(buffer_TC) < wanted:
      buffer_TC = np.concatenate([buffer_TC, next(source)])
    frames_BTC = np.zeros((1, WINDOW, buffer_TC.shape[1]), np.float32)
    frames_BTC[0, :wanted] = buffer_TC[:wanted]
    valid_BT = np.arange(WINDOW)[None] < wanted
    hidden_BTD = _states(model, params, frames_BTC, valid_BT, layer=layer, products=products)
    yield np.asarray(hidden_BTD)[0, _kept(start, WINDOW, CONTEXT, count)]
    buffer_TC = buffer_TC[WINDOW - 2 * CONTEXT :]
    left -= WINDOW - 2 * CONTEXT


def _window_pieces(
  model: StateModel, params: Params, wave_S: np.ndarray, layer: int, products: str | None
) -> Iterator[np.ndarray]:
  front = model.settings.front
  window, hop, count = front.window_frames, front.hop_samples, int(front.frames(len(wave_S)))
  context = window // 12
  for start in range(0, max(1, count - 2 * context), window - 2 * context):
    part_S = wave_S[start * hop : start * hop + front.window_samples]
    hidden_BTD = _encoded(model, params, [part_S], front.window_samples, layer, products)
    yield hidden_BTD[0, _kept(start, window, context, count)]


def _kept(start: int, window: int, context: int, count: int) -> slice:
  """Returns which frames of a window from `start` on are kept: those between its seams."""
  is_last = start + window >= count
  return slice(context if start else 0, count - start if is_last else window - context)


def _encoded(
  model: StateModel,
  params: Params,
  waves: Sequence[np.ndarray],
  length: int,
  layer: int,
  products: str | None,
) -> np.ndarray:
  """Returns hidden_BTD of waves that are padded to `length`."""
  wave_BS, samples_B = _padded(waves, length)
  return np.asarray(
    _encode(model, params, wave_BS, samples_B, layer=layer, products=products)
  )  # fmt: skip


def _padded(waves: Sequence[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns (wave_BS, samples_B) of waves, padded to `length`."""
  wave_BS = np.zeros((len(waves), length), np.float32)
  for row, wave_S in enumerate(waves):
    wave_BS[row, : len(wave_S)] = wave_S
  return wave_BS, np.array([len(wave_S) for wave_S in waves], np.int32)


def _length(front: fronts.FrontSettings, count: int) -> int:
  """Returns the most samples that have so many frames, of which Whisper's window has all."""
  if isinstance(front, fronts.LogMels):
    return front.window_samples
  return _samples(front, count) + front.hop_samples - 1


def _samples(front: fronts.Waves | fronts.Filterbanks | fronts.Mels, count: int) -> int:
  """Returns the fewest samples that have so many frames."""
  return (count - 1) * front.hop_samples + front.field_samples


def _longest(front: fronts.FrontSettings) -> int:
  """Returns the most frames that are computed as one window."""
  return front.window_frames if isinstance(front, fronts.LogMels) else WINDOW


def _rounded(front: fronts.FrontSettings, count: int) -> int:
  """Returns the frames that `count` are padded to: those of Whisper's window, else one of two
  lengths per octave above 2 * ROUNDED."""
  if isinstance(front, fronts.LogMels):
    return front.window_frames
  step = max(ROUNDED, 2 ** ((count - 1).bit_length() - 2))
  return min(-(-count // step) * step, WINDOW)


class _Merged:
  """Mean and variance of frames that come in parts. Source: Chan, Golub and LeVeque, 1979."""

  def __init__(self):
    self._count, self.mean, self.variance = 0, 0.0, 0.0

  def add(self, count: int, mean: np.ndarray, variance: np.ndarray) -> None:
    total = self._count + count
    gap, share = np.asarray(mean, np.float64) - self.mean, count / total
    self.variance += share * (np.asarray(variance, np.float64) - self.variance)
    self.variance += share * (1 - share) * gap * gap
    self.mean += share * gap
    self._count = total


@functools.partial(jax.jit, static_argnames=("model", "layer", "products"))
def _encode(
  model: StateModel,
  params: Params,
  wave_BS: Array,
  samples_B: Array,
  *,
  layer: int,
  products: str | None,
) -> jax.Array:
  return model.encode(params, wave_BS, samples_B, layer, products)[0]


@functools.partial(jax.jit, static_argnames=("model", "layer", "products"))
def _states(
  model: StateModel,
  params: Params,
  frames_BTC: Array,
  valid_BT: Array,
  *,
  layer: int,
  products: str | None,
) -> jax.Array:
  return model.states(params, frames_BTC, valid_BT, layer, products)


@functools.partial(jax.jit, static_argnames=("model", "products"))
def _front(
  model: StateModel,
  params: Params,
  features: Array,
  samples_B: Array | None,
  of_clip: fronts.Moments | None,
  *,
  products: str | None = None,
) -> jax.Array:
  return model.frames(params, features, samples_B, of_clip, products)


@functools.partial(jax.jit, static_argnames="model")
def _moments(model: StateModel, params: Params, wave_BS: Array, samples_B: Array) -> fronts.Moments:
  return model.first_moments(params, wave_BS, samples_B)


_fbank = jax.jit(fbank.fbank, static_argnums=1)
_log_mel = jax.jit(log_mel.log_mel, static_argnums=(1, 2))
