"""Statistics of repeated measurements, and the tables that show them."""

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def spread(repeats: Sequence[float], digits: int = 4) -> dict[str, Any]:
  """Returns the median, minimum and maximum of repeats, and all of them, as JSON."""
  return {
    "median": round(statistics.median(repeats), digits),
    "min": round(min(repeats), digits),
    "max": round(max(repeats), digits),
    "repeats": [round(value, digits) for value in repeats],
  }


def shown(values: Mapping[str, Any], digits: int = 0) -> str:
  """Returns a spread as text: "median (minimum to maximum)"."""
  median, low, high = (f"{values[name]:,.{digits}f}" for name in ("median", "min", "max"))
  return f"{median} ({low} to {high})"


def slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
  """Returns (a, b) of the least-squares line y = a x + b."""
  a, b = np.polyfit(xs, ys, 1)
  return float(a), float(b)


def paragraph(text: str) -> str:
  """Returns a paragraph in lines of at most 100 columns."""
  return textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], text_columns: int = 1) -> str:
  """Returns a Markdown table; the first `text_columns` hold text, the others numbers."""
  alignment = ["---"] * text_columns + ["---:"] * (len(header) - text_columns)
  return "\n".join(f"| {' | '.join(map(str, line))} |" for line in [header, alignment, *rows])
