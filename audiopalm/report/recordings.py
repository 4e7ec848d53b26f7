"""A recording on a page: its spectrogram above a player, both embedded in the page."""

import base64
import dataclasses
import functools
import io
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from audiopalm.audio import spectrum, waveform
from audiopalm.report.elements import Element, element

LOW_HZ, HIGH_HZ, BINS = 60.0, 7_600.0, 80
FLOOR_DB = 65.0
MOST_FRAMES = 500  # columns of a picture, more than a screen shows at this size
LOSSLESS_S = 10.0  # longer recordings are embedded as MP3, an eighth of the size of FLAC
WIDTH, HEIGHT, LEFT, BOTTOM = 300, 120, 26, 102
SHOWN_HZ = (500, 1_000, 2_000, 4_000)

# (level from 0 to 1, RGB). Lightness rises evenly, so that pictures are readable in gray too.
RAMP = (
  (0.0, (12, 11, 30)), (0.25, (62, 28, 98)), (0.5, (148, 46, 104)), (0.75, (231, 108, 68)),
  (0.9, (250, 190, 96)), (1.0, (255, 250, 214)),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Playback:
  """A wave at 16 kHz with its caption; `flac` is the FLAC file it was read from, if any."""

  title: str
  about: str
  wave_S: np.ndarray
  flac: bytes | None = None

  @property
  def seconds(self) -> float:
    return len(self.wave_S) / waveform.RATE_HZ


def from_flac(title: str, about: str, flac: bytes) -> Playback:
  """Returns the recording in a FLAC file of any sample rate."""
  return Playback(title, about, waveform.read_flac(flac), flac)


def read(title: str, about: str, path: Path) -> Playback:
  """Returns the recording in a file; AudioError if it cannot be read."""
  return Playback(title, about, waveform.read(path))


def draw(recording: Playback, seconds: float) -> Element:
  """Returns spectrogram and player. The time axis is `seconds` long, the same for neighbors."""
  sound, kind = _sound(recording)
  about = "".join(f" · {note}" for note in (recording.about, f"{recording.seconds:.2f} s") if note)
  player = element(
    "audio", controls=True, preload="metadata", src=f"data:{kind};base64,{_base64(sound)}",
    aria_label=f"{recording.title}{about}",
  )  # fmt: skip
  caption = element("figcaption", recording.title, element("span", about))
  return element("figure", caption, _picture(recording, seconds), player)


def spectrogram(wave_S: np.ndarray) -> np.ndarray:
  """Returns levels_MT: 0 (FLOOR_DB or more below the peak) to 255, high frequencies first."""
  power_TE = spectrum.power(wave_S)
  step = -(-len(power_TE) // MOST_FRAMES)
  power_TE = np.maximum.reduceat(power_TE, range(0, len(power_TE), step))
  log_mel_TM = spectrum.log_mel(power_TE, spectrum.mel_filters(BINS, LOW_HZ, HIGH_HZ), FLOOR_DB)
  floor = log_mel_TM.max() - FLOOR_DB * np.log(10) / 10
  levels_TM = (log_mel_TM - floor) / (FLOOR_DB * np.log(10) / 10)
  return np.round(255 * levels_TM.clip(0, 1)).astype(np.uint8).T[::-1]


def png(levels_MT: np.ndarray) -> bytes:
  """Returns a PNG file of levels in the colors of RAMP."""
  picture = Image.fromarray(levels_MT)
  picture.putpalette(_palette())
  buffer = io.BytesIO()
  picture.save(buffer, "PNG", optimize=True)
  return buffer.getvalue()


@functools.cache
def _palette() -> bytes:
  stops, colors = zip(*RAMP, strict=True)
  levels = np.linspace(0, 1, 256)
  channels = [np.interp(levels, stops, channel) for channel in zip(*colors, strict=True)]
  return np.round(np.stack(channels, axis=1)).astype(np.uint8).tobytes()


def _picture(recording: Playback, seconds: float) -> Element:
  across = (WIDTH - LEFT - 8) / seconds
  step = next(s for s in (0.5, 1, 2, 5, 10, 20, 60, 600, 3600) if seconds / s <= 8)
  axes = []
  for hz in SHOWN_HZ:
    label, y = f"{hz // 1000}k" if hz >= 1000 else hz, _height(hz)
    axes.append(element("text", label, x=LEFT - 4, y=y + 4, text_anchor="end"))
    axes.append(element("path", d=f"M{LEFT - 2} {y}h4", class_="axis"))
  for number in range(int(seconds / step + 1e-6) + 1):
    label, x = f"{number * step:g}" + " s" * (number == 0), LEFT + number * step * across
    axes.append(element("text", label, x=x, y=HEIGHT - 4, text_anchor="middle"))
    axes.append(element("path", d=f"M{x:.1f} {BOTTOM}v3", class_="axis"))
  return element(
    "svg",
    element("rect", x=LEFT, y=0, width=WIDTH - LEFT, height=BOTTOM, class_="back"),
    element(
      "image", href=f"data:image/png;base64,{_base64(png(spectrogram(recording.wave_S)))}",
      x=LEFT, y=0, width=round(recording.seconds * across, 1), height=BOTTOM,
      preserveAspectRatio="none",
    ),
    element("path", d=f"M{LEFT} {BOTTOM}H{WIDTH}", class_="axis"),
    axes,
    viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
    aria_label=f"Spectrogram, {LOW_HZ:.0f} Hz to {HIGH_HZ:.0f} Hz over {recording.seconds:.2f} s",
  )  # fmt: skip


def _height(hz: float) -> float:
  low, high = spectrum.to_mel(LOW_HZ), spectrum.to_mel(HIGH_HZ)
  return round(float(BOTTOM * (high - spectrum.to_mel(hz)) / (high - low)), 1)


def _sound(recording: Playback) -> tuple[bytes, str]:
  """Returns (file, media type) of a recording as it is embedded in the page."""
  if recording.seconds <= LOSSLESS_S:
    return recording.flac or waveform.to_flac(recording.wave_S), "audio/flac"
  buffer = io.BytesIO()
  soundfile.write(buffer, recording.wave_S, waveform.RATE_HZ, format="MP3")
  return buffer.getvalue(), "audio/mpeg"


def _base64(data: bytes) -> str:
  return base64.b64encode(data).decode("ascii")
