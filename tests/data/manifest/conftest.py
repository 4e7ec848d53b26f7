import numpy as np
import pytest
import soundfile


@pytest.fixture
def spoken(tmp_path):
  """Writes a tone into a file of tmp_path and returns its name."""

  def write(name, seconds=0.5, rate_hz=16_000, hertz=300.0, peak=0.3):
    time_S = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(tmp_path / name, peak * np.sin(2 * np.pi * hertz * time_S), rate_hz)
    return name

  return write
