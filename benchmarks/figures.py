"""Figures of repeated measurements, and the tables they are shown in."""

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def spread(repeats: Sequence[float], digits: int = 4) -> dict[str, Any]:
  """Returns what is written of repeats: their median, least and greatest, and all of them."""
  return {
    "median": round(statistics.median(repeats), digits),
    "min": round(min(repeats), digits),
    "max": round(max(repeats), digits),
    "repeats": [round(value, digits) for value in repeats],
  }


def shown(found: Mapping[str, Any], digits: int = 0) -> str:
  """Returns a spread as text: its median, and in brackets from where to where it went."""
  middle, least, most = (f"{found[name]:,.{digits}f}" for name in ("median", "min", "max"))
  return f"{middle} ({least} to {most})"


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
  """Returns (a, b) of the line y = a x + b that is nearest the points (least squares)."""
  a, b = np.polyfit(xs, ys, 1)
  return float(a), float(b)


def paragraph(text: str) -> str:
  """Returns a paragraph in lines of at most 100 columns."""
  return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], words: int = 1) -> str:
  """Returns a Markdown table; its first `words` columns are words, the others numbers."""
  lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
  return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
