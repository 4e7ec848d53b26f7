"""Draws the README's picture from a finished quickstart.

  pip install '.[docs]' && python docs/picture.py runs/quickstart docs/quickstart.png

Left: the loss of each training step, and held-out losses by task. Right: spectrograms of a test
sentence, as the model speaks it and as the reference recording sounds after its units.
"""

import sys
from pathlib import Path

import matplotlib
import soundfile
from matplotlib.axes import Axes

matplotlib.use("Agg")
from matplotlib import pyplot

from audiopalm.data import json_lines

VOICES = {"model": "TTS by the model", "units_ceiling": "the recording through its units"}


def main(workdir: Path, picture: Path) -> None:
  figure = pyplot.figure(figsize=(11, 4.2), layout="constrained")
  grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.2))
  draw_losses(figure.add_subplot(grid[:, 0]), workdir / "metrics.jsonl")
  folders = [workdir / "evaluation/waves" / system / "test/tts" for system in VOICES]
  # Not every sentence of the model has a reference through units.
  name = min(set.intersection(*({wave.name for wave in folder.iterdir()} for folder in folders)))
  for row, (folder, title) in enumerate(zip(folders, VOICES.values(), strict=True)):
    draw_speech(figure.add_subplot(grid[row, 1]), folder / name, title)
  figure.savefig(picture, dpi=110)


def draw_losses(axes: Axes, path: Path) -> None:
  lines = json_lines.read_grown(path)
  steps = [line for line in lines if "loss" in line]
  axes.plot([s["step"] for s in steps], [s["loss"] for s in steps], color="0.8", label="training")
  evaluations = [line for line in lines if "held_out" in line]
  for task in evaluations[0]["held_out"]:
    losses = [line["held_out"][task]["loss"] for line in evaluations]
    axes.plot([line["step"] for line in evaluations], losses, marker="o", label=f"{task}, held out")
  axes.set(xlabel="step", ylabel="nats per token", ylim=(0, 3))
  axes.legend(frameon=False)


def draw_speech(axes: Axes, path: Path, title: str) -> None:
  wave_S, rate_hz = soundfile.read(path)
  axes.specgram(wave_S, NFFT=400, noverlap=320, Fs=rate_hz, vmin=-120, cmap="magma")
  axes.set(title=title, xlabel="seconds", ylabel="Hz")


if __name__ == "__main__":
  if len(sys.argv) != 3:
    sys.exit(__doc__)
  main(Path(sys.argv[1]), Path(sys.argv[2]))
