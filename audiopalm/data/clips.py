"""Clips of recordings: a span of each wave, and the same span of the record's streams."""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import numpy as np

from audiopalm import sharding
from audiopalm.audio import waveform
from audiopalm.batch import ClipBatch
from audiopalm.data import examples, feeds
from audiopalm.data.feeds import PADDING, RowPlace
from audiopalm.data.prepared import Prepared
from audiopalm.errors import ConfigError, DataError
from audiopalm.layouts.cells import Part
from audiopalm.layouts.rules import Rule
from audiopalm.tokens.space import TokenSpace
from audiopalm.types import HOLE, WAVE, Task

WHOLE_HZ = 25  # ids per second that a clip has room for, of a stream without a fixed rate


@dataclasses.dataclass(frozen=True)
class Clips:
  """Clips of the recordings of tasks: `batch_rows` clips of at most `seconds` in a batch.

  A longer recording is cropped at a random position, drawn by (seed, record, epoch); a shorter one
  is padded with zeros; those shorter than `shortest_s` are left out. The first output of a task is
  a role's "wave"; others are streams. Those with a fixed rate are cut to the same span; others
  (text, phonemes) are empty if the recording was cropped or they have over WHOLE_HZ ids per second.
  """

  seconds: float = 10.0
  batch_rows: int = 16
  shortest_s: float = 0.5

  keeps_waves: ClassVar[bool] = True
  answers: ClassVar[bool] = False

  def __post_init__(self):
    feeds.check_count("data.batch_rows", self.batch_rows)
    if not 0 <= self.shortest_s <= self.seconds or self.seconds < 0.1:
      raise ConfigError(
        f"data.seconds must be at least 0.1 and data.shortest_s between 0 and that, got "
        f"{self.seconds!r} and {self.shortest_s!r}."
      )

  @property
  def samples(self) -> int:
    """The samples of a clip, at 16 kHz."""
    return self.length * ClipBatch.FRAME_SAMPLES

  @property
  def length(self) -> int:
    return round(self.seconds * 100)

  @property
  def prepared_by(self) -> tuple[int | str, ...]:
    return ("clips",)

  def check(self, tasks: Sequence[Task], streams: Sequence[str]) -> None:
    for task in tasks:
      if task.inputs or not task.outputs or task.outputs[0][1] != WAVE:
        raise ConfigError(
          f"Task {task.name!r} does not fit data=Clips(...): expected no inputs, and a role's "
          f"{WAVE!r} as its first output, as mixtures.speech makes them. Use that, or "
          "data=Packed(...)."
        )
      (own, _), *others = task.outputs
      if other_roles := sorted({role for role, _ in others} - {own}):
        raise ConfigError(
          f"Task {task.name!r} has streams of {', '.join(other_roles)} besides the recording of "
          f"{own}: a clip is a span of one recording. Name streams of that role."
        )
      feeds.check_streams(dataclasses.replace(task, outputs=tuple(others)), streams)

  def check_mesh(self, mesh: jax.sharding.Mesh) -> None:
    if sharding.row_ways(mesh) > 1:
      raise ConfigError(
        f"Clips cannot be split over context={sharding.row_ways(mesh)} devices: set context=1 of "
        "the machine."
      )

  def streams(self, space: TokenSpace, tasks: Sequence[Task]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each stream of the tasks in a clip: frames, and codebooks if there are
    several; WHOLE_HZ frames per second for a stream without a fixed rate."""
    shapes = {}
    for name in dict.fromkeys(stream for task in tasks for _, stream in task.outputs[1:]):
      spec = space.streams[name]
      frames = round(self.seconds * (spec.rate_hz or WHOLE_HZ))
      shapes[name] = (frames, spec.codebooks) if spec.codebooks > 1 else (frames,)
    return shapes

  def shapes(self, space: TokenSpace, tasks: Sequence[Task]) -> ClipBatch:
    clips, streams = self.batch_rows, self.streams(space, tasks)
    return ClipBatch(
      jax.ShapeDtypeStruct((clips, self.samples), np.float32),
      jax.ShapeDtypeStruct((clips,), np.int32),
      {name: jax.ShapeDtypeStruct((clips, *shape), np.int32) for name, shape in streams.items()},
      jax.ShapeDtypeStruct((clips,), np.uint32),
      jax.ShapeDtypeStruct((clips,), np.int32),
    )

  def layouts(self, rule: Rule, tasks: Sequence[Task]) -> dict[str, Part]:
    return {}

  def index(self, prepared: Prepared) -> None:
    self.check_index(prepared)

  def check_index(self, prepared: Prepared) -> None:
    """Raises DataError for a task that has no clip to train on."""
    for task in prepared.tasks:
      samples_N = _samples(prepared, task, "train")
      if not len(self.long_enough(samples_N)):
        raise DataError(
          f"Task {task.name!r} has no clips: corpus {task.corpus.name!r} has {len(samples_N)} "
          f"training records, none of which has a recording of at least {self.shortest_s:g} s as "
          f"{task.outputs[0][0]}. Lower data.shortest_s, or use another corpus in the task."
        )

  def long_enough(self, samples_N: np.ndarray) -> np.ndarray:
    """Returns the indices of the recordings, given by their samples, that are long enough."""
    return np.flatnonzero(samples_N >= max(1, round(self.shortest_s * waveform.RATE_HZ)))

  def feed(self, prepared: Prepared, tasks: Sequence[Task], split: str) -> feeds.Feed:
    return ClipFeed(prepared, tasks, split)

  def summary(self, prepared: Prepared, task: Task, split: str) -> dict[str, float]:
    """Returns the figures that `prepare` reports for a task; a token is a 10 ms frame of a clip."""
    samples_N = _samples(prepared, task, split)
    whole_N = samples_N[self.long_enough(samples_N)]
    heard_N, clips = np.minimum(whole_N, self.samples), len(whole_N)
    return {
      "hours": float(whole_N.sum()) / waveform.RATE_HZ / 3600,
      "records": len(samples_N),
      "examples": clips,
      "tokens": int(heard_N.sum()) // ClipBatch.FRAME_SAMPLES,
      "rows": clips,
      "efficiency": float(heard_N.mean()) / self.samples if clips else 0.0,
      "dropped": 0,  # a longer recording is cropped
      "cut": 0,
      "lacking": len(samples_N) - clips,  # no recording of that role that is long enough
    }


def _samples(prepared: Prepared, task: Task, split: str) -> np.ndarray:
  """Returns the number of samples of each record's recording, -1 without one."""
  role, _ = task.outputs[0]
  entries = prepared.entries(task, split)
  # A split without records, as manifests may leave them, has no streams either.
  return entries.lengths[f"{role}.{WAVE}"] if len(entries) else np.zeros(0, np.int64)


class ClipFeed:
  """Reads clips of a split of some tasks; see `feeds.Feed`. A batch row is a recording."""

  def __init__(self, prepared: Prepared, tasks: Sequence[Task], split: str):
    self._prepared, self._tasks, self._split = prepared, tuple(tasks), split
    self._data: Clips = prepared.data
    self._samples = [_samples(prepared, task, split) for task in tasks]
    self._records = [self._data.long_enough(samples_N) for samples_N in self._samples]
    self._streams = self._data.streams(prepared.space, tasks)
    self.rows = [len(records_N) for records_N in self._records]

  def per_row(self, unit: Literal["examples", "tokens"]) -> list[float]:
    """Returns 1 example, or the mean number of 10 ms frames of a clip, for each task."""
    if unit == "examples":
      return [1.0] * len(self._tasks)
    clips = zip(self._samples, self._records, strict=True)
    heard = [np.minimum(samples_N[records_N], self._data.samples) for samples_N, records_N in clips]
    return [float(heard_N.mean() / ClipBatch.FRAME_SAMPLES) for heard_N in heard]

  def batch(self, places: Sequence[RowPlace]) -> ClipBatch:
    """Returns the clips of these places, cropped at positions drawn by their keys."""
    clips = len(places)
    batch = ClipBatch(
      np.zeros((clips, self._data.samples), np.float32),
      np.zeros(clips, np.int32),
      {name: np.full((clips, *shape), HOLE, np.int32) for name, shape in self._streams.items()},
      np.zeros(clips, np.uint32),
      np.array([place.task for place in places], np.int32),
    )
    for row, place in enumerate(places):
      if place.row != PADDING:
        self._fill(batch, row, place)
    return batch

  def records(self, place: RowPlace) -> list[int]:
    return [int(self._records[place.task][place.row])]

  def _fill(self, batch: ClipBatch, row: int, place: RowPlace) -> None:
    task = self._tasks[place.task]
    entry = self._prepared.entries(task, self._split)[self.records(place)[0]]
    key = examples.key_of(place.seed, entry.id, place.epoch)
    (role, _), *others = task.outputs
    utterance = entry.utterances[role]
    wave_S = waveform.read_flac(utterance.wave_flac)
    start_s = self._start_s(len(wave_S) / waveform.RATE_HZ, key)
    first = round(start_s * waveform.RATE_HZ)
    clip_S = wave_S[first : first + self._data.samples]
    batch.wave_BS[row, : len(clip_S)] = clip_S
    batch.samples_B[row] = len(clip_S)
    batch.draw_B[row] = zlib.crc32(repr(key).encode())
    for _, stream in others:  # a kept record has ids of every speech tokenizer
      rate_hz, most = self._prepared.space.streams[stream].rate_hz, batch.streams[stream].shape[1]
      ids = utterance.streams[stream]
      if rate_hz is not None:
        begin = round(start_s * rate_hz)
        ids = ids[begin : begin + most]
      elif len(clip_S) < len(wave_S) or len(ids) > most:
        continue
      batch.streams[stream][row, : len(ids)] = ids

  def _start_s(self, length_s: float, key: tuple[int, int, int]) -> float:
    """Returns the start of a clip: a frame boundary of the slowest stream, drawn uniformly."""
    rates = [self._prepared.space.streams[name].rate_hz for name in self._streams]
    step_s = 1 / min([*filter(None, rates), waveform.RATE_HZ / ClipBatch.FRAME_SAMPLES])
    steps = max(0, int((length_s - self._data.seconds) / step_s))
    return int(np.random.default_rng(key).integers(steps + 1)) * step_s
