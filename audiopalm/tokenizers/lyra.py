"""SoundStream codes and their decoder, with the weights published for Lyra V2, run by LiteRT.

    folder/soundstream_encoder.tflite   320 samples at 16 kHz -> 64 features, with state
    folder/quantizer.tflite             64 features <-> 46 levels of 16 entries
    folder/lyragan.tflite               64 features -> 320 samples, with state

A fitted tokenizer contains the three files, so a run needs their folder only at its start.
Source: SoundStream, arXiv:2107.03312; github.com/google/lyra, lyra/model_coeffs (Apache-2.0).
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from audiopalm.audio import waveform
from audiopalm.errors import ConfigError
from audiopalm.tokenizers import base, kmeans
from audiopalm.types import StreamSpec, Utterance

FILES = ENCODER, QUANTIZER, DECODER = (
  "soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite",
)  # fmt: skip
SHAPES = {ENCODER: ((1, 320), (1, 1, 64)), DECODER: ((1, 1, 64), (1, 320))}  # (input, output)
FRAME_SAMPLES, FEATURES = 320, 64
LEVELS, ENTRIES = 46, 16
MOST_LEVELS_PER_CODE = 4  # 65,536 ids per code
PARAMETERS = "lyra.npz"


@dataclasses.dataclass(frozen=True)
class Lyra:
  """The first `levels` of Lyra V2's residual quantizer, `levels_per_code` of them in each code.

  There are 50 frames per second and 4 bits per level: 16, 30 and 46 levels are Lyra's 3.2, 6 and
  9.2 kbps. With two levels per code a code has 256 ids, 16 * first + second. `folder` contains the
  published files, which a run copies; codes and fingerprint depend on the files, not on the folder.
  """

  stream: str = "codes"
  folder: str = ""
  levels: int = 16
  levels_per_code: int = 2

  def __post_init__(self):
    prefix = f"Code stream {self.stream!r} has"
    if not 1 <= self.levels <= LEVELS:
      raise ConfigError(
        f"{prefix} levels={self.levels}, expected 1 to {LEVELS}. Set levels=16 (3.2 kbps), 30 (6 "
        "kbps) or 46 (9.2 kbps)."
      )
    if not 1 <= self.levels_per_code <= MOST_LEVELS_PER_CODE or self.levels % self.levels_per_code:
      raise ConfigError(
        f"{prefix} levels_per_code={self.levels_per_code}, expected 1 to {MOST_LEVELS_PER_CODE}, a "
        f"divisor of levels={self.levels}. Set levels_per_code=2, which gives codes of 256 ids."
      )

  @property
  def codebooks(self) -> int:
    return self.levels // self.levels_per_code

  @property
  def powers(self) -> np.ndarray:
    """The weights of the levels in an id, largest first: 16 and 1 for two levels."""
    return ENTRIES ** np.arange(self.levels_per_code)[::-1]

  @property
  def largest(self) -> StreamSpec:
    sizes = (ENTRIES**self.levels_per_code,) * self.codebooks
    return StreamSpec(self.stream, "speech", sizes, waveform.RATE_HZ / FRAME_SAMPLES, "")

  def check(self) -> None:
    """Raises ConfigError if LiteRT or one of the published files is missing."""
    _litert()
    missing = [name for name in FILES if not (Path(self.folder) / name).is_file()]
    if not self.folder or missing:
      reason = f"{self.folder} lacks {', '.join(missing)}" if self.folder else "no folder is set"
      raise ConfigError(
        f"Code stream {self.stream!r} needs the files of Lyra V2 ({', '.join(FILES)}): {reason}. "
        "Clone github.com/google/lyra and name its folder lyra/model_coeffs: "
        f"--set tokenizers.{self.stream}.folder=DIR."
      )

  def fit(self, utterances: Iterable[Utterance], seed: int) -> "FittedLyra":
    """Returns the published tokenizer; it learns nothing from the utterances."""
    self.check()
    files = _read(Path(self.folder))
    for name in SHAPES:
      _Network(files, name)
    return FittedLyra(self, files, _codebooks(files[QUANTIZER]))

  def load(self, folder: Path) -> "FittedLyra":
    base.check_settings(self, folder)
    with np.load(Path(folder) / PARAMETERS, allow_pickle=False) as arrays:
      return FittedLyra(self, _read(Path(folder)), arrays["codebooks_QVE"])


@dataclasses.dataclass(frozen=True, eq=False)
class FittedLyra:
  """The published files, and the quantizer's codebooks read from them."""

  settings: Lyra
  files: Mapping[str, bytes]
  codebooks_QVE: np.ndarray  # Q counts levels here, not codes
  voices: tuple[str, ...] = ()  # the codes determine the voice

  @functools.cached_property
  def spec(self) -> StreamSpec:
    settings = dataclasses.replace(self.settings, folder="")
    return dataclasses.replace(settings.largest, fingerprint=base.fingerprint(settings, self.files))

  def encode(self, utterance: Utterance) -> np.ndarray:
    """Returns codes_TQ: one row per 20 ms, the last one padded."""
    wave_S = base.wave_of(utterance, self.settings.stream)
    padded_S = np.pad(wave_S, (0, -len(wave_S) % FRAME_SAMPLES))
    return self.codes(_Network(self.files, ENCODER).run(padded_S.reshape(-1, FRAME_SAMPLES)))

  def decode(self, ids: npt.ArrayLike, *, voice: str | None = None) -> np.ndarray:
    """Returns wave_S at 16 kHz, 20 ms for each row of codes."""
    base.check_voice(voice, self.spec, self.voices)
    codes_TQ = base.check_codes(ids, self.spec)
    levels_TQ = codes_TQ[:, :, None] // self.settings.powers % ENTRIES
    levels_TQ = levels_TQ.reshape(-1, self.settings.levels)
    features_TE = kmeans.residual_sum(levels_TQ, self.codebooks_QVE)
    wave_TS = _Network(self.files, DECODER).run(features_TE)
    return np.clip(wave_TS.reshape(-1), -1, 1)

  def save(self, folder: Path) -> None:
    base.write_settings(self.settings, Path(folder))
    for name, content in self.files.items():
      (Path(folder) / name).write_bytes(content)
    np.savez(Path(folder) / PARAMETERS, codebooks_QVE=self.codebooks_QVE)

  def codes(self, features_TE: np.ndarray) -> np.ndarray:
    """Returns codes_TQ of features_TE from the encoder."""
    s = self.settings
    levels_TQ = kmeans.residual_ids(features_TE, self.codebooks_QVE[: s.levels])
    return (levels_TQ.reshape(-1, s.codebooks, s.levels_per_code) @ s.powers).astype(np.int32)


class _Network:
  """One of the stateful networks. LiteRT cannot reset its state, so every utterance loads a new
  one, which takes 4 ms. The state does not allow batches."""

  def __init__(self, files: Mapping[str, bytes], name: str):
    self._interpreter = _interpreter(files[name], name)
    self._interpreter.allocate_tensors()
    ends = self._interpreter.get_input_details(), self._interpreter.get_output_details()
    self._shapes = tuple(tuple(end[0]["shape"].tolist()) for end in ends)
    if self._shapes != SHAPES[name]:
      raise _other_file(name)
    self._in, self._out = (end[0]["index"] for end in ends)

  def run(self, frames_TE: np.ndarray) -> np.ndarray:
    """Returns the network's outputs for the frames in order."""
    input_shape, output_shape = self._shapes
    frames = np.ascontiguousarray(frames_TE, np.float32).reshape(-1, *input_shape)
    outputs_TE = np.empty((len(frames), math.prod(output_shape)), np.float32)
    for number, frame in enumerate(frames):
      self._interpreter.set_tensor(self._in, frame)
      self._interpreter.invoke()
      outputs_TE[number] = self._interpreter.get_tensor(self._out).reshape(-1)
    return outputs_TE


def _read(folder: Path) -> dict[str, bytes]:
  return {name: (folder / name).read_bytes() for name in FILES}


def _codebooks(content: bytes) -> np.ndarray:
  """Returns codebooks_QVE [46, 16, 64]: the quantizer's output for each single entry of a level,
  with all other levels marked as absent (-1), as Lyra does below its full rate."""
  interpreter = _interpreter(content, QUANTIZER)
  if "decode" not in interpreter.get_signature_list():
    raise _other_file(QUANTIZER)
  decode = interpreter.get_signature_runner("decode")
  codebooks_QVE = np.empty((LEVELS, ENTRIES, FEATURES), np.float32)
  for level, entry in itertools.product(range(LEVELS), range(ENTRIES)):
    indices = np.full((LEVELS, 1, 1), -1, np.int32)
    indices[level] = entry
    codebooks_QVE[level, entry] = decode(encoding_indices=indices)["output_0"].reshape(-1)
  return codebooks_QVE


def _interpreter(content: bytes, name: str) -> Any:
  try:
    return _litert().Interpreter(model_content=content, num_threads=1)
  except ValueError as error:
    raise _other_file(name) from error


def _other_file(name: str) -> ConfigError:
  return ConfigError(
    f"{name} is not the file of Lyra V2 (version 1.3), or damaged. Copy it again from "
    "github.com/google/lyra, folder lyra/model_coeffs."
  )


def _litert() -> ModuleType:
  try:
    from ai_edge_litert import interpreter
  except ImportError as error:
    raise ConfigError(
      "The tokenizer 'lyra' needs the package ai-edge-litert, which is not installed. Install it: "
      "pip install 'audiopalm[lyra]'"
    ) from error
  return interpreter
