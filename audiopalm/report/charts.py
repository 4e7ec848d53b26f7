"""Line charts as inline SVG: axes with units, a legend, and the last value beside each line."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence

from audiopalm.report import style
from audiopalm.report.elements import Element, element

# As wide as a phone, so that text is not scaled; wide screens show charts side by side.
WIDTH, HEIGHT = 320, 216
LEFT, RIGHT, TOP, BOTTOM = 52, 240, 24, 176
LABEL_STEP = 14  # least distance between the baselines of two labels
LABEL_LETTERS = 5  # letters of a name beside its line; the legend has the full name
DASHES = 3
MOST_POINTS = 200

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Series:
  """One line: its name, its points in order, and how it is drawn.

  `color` is an index into the palette; beyond its end the palette repeats with other dashes. A
  `faint` line is thin and has no label; a `marked` one has a dot with its value at each point.
  """

  name: str
  points: Sequence[Point]
  color: int = 0
  faint: bool = False
  marked: bool = False

  @property
  def classes(self) -> str:
    dash = self.color // style.COLORS % DASHES
    return f"line s{self.color % style.COLORS} dash{dash}" + " faint" * self.faint

  @property
  def fill(self) -> str:
    return f"fill{self.color % style.COLORS}"


@dataclasses.dataclass(frozen=True)
class Axis:
  """An axis: its label with the unit, whether its scale is logarithmic, whether it begins at 0."""

  label: str
  log: bool = False
  zero: bool = False

  def shows(self, value: float | None) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not self.log)


def line_chart(
  title: str, series: Sequence[Series], x: Axis, y: Axis, note: str | None = None
) -> Element | None:
  """Returns a figure with the series that have points, None if none has."""
  lines = []
  for line in series:
    points = [point for point in line.points if x.shows(point[0]) and y.shows(point[1])]
    lines += [dataclasses.replace(line, points=points)] if points else []
  if not lines:
    return None
  columns, rows = zip(*(point for line in lines for point in line.points), strict=True)
  x_ticks, across = _scale(columns, x, LEFT, RIGHT, tight=True)
  y_ticks, up = _scale(rows, y, BOTTOM, TOP)
  ends = "; ".join(f"{line.name} ends at {short(line.points[-1][1])}" for line in lines)
  picture = element(
    "svg",
    [[_axis(f"M{across(value)} {BOTTOM}v4"),
      _text(_tick(value), across(value), BOTTOM + 18, "middle")] for value in x_ticks],
    [[_axis(f"M{LEFT} {up(value)}H{RIGHT}", "grid"),
      _text(_tick(value), LEFT - 5, up(value) + 4, "end")] for value in y_ticks],
    _axis(f"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"),
    _text(x.label, (LEFT + RIGHT) / 2, HEIGHT - 5, "middle"),
    _text(y.label, 0, 11),
    [_line(line, across, up) for line in sorted(lines, key=lambda line: not line.faint)],
    _end_labels(lines, up),
    viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
    aria_label=f"{title}: {y.label} over {x.label}. {ends}",
  )  # fmt: skip
  legend = element(
    "ul", [element("li", swatch(line), line.name) for line in lines], class_="legend"
  )
  caption = element("figcaption", title, element("p", note) if note else None)
  return element("figure", caption, legend if len(lines) > 1 else None, picture, class_="chart")


def swatch(line: Series) -> Element:
  """Returns a sample of a line for a legend."""
  dot = element("circle", cx=12, cy=5, r=3, class_=line.fill) if line.marked else None
  piece = element("path", d="M0 5H24", class_=line.classes)
  return element("svg", piece, dot, viewBox="0 0 24 10", aria_hidden="true")


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
  """Returns at most `most` points, each the mean of a group of neighbors."""
  size = -(-len(points) // most) or 1
  groups = [points[start : start + size] for start in range(0, len(points), size)]
  return [
    (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
    for group in groups
  ]


def short(value: float) -> str:
  """Returns a number in few characters: 0.00852, 0.46, 12.3, 5,000, 2.1M."""
  size = abs(value)
  if size >= 999_950:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
      if size >= unit * 0.99995:
        return f"{value / unit:.3g}{name}"
  if size >= 1000:
    return f"{value:,.0f}"
  if size >= 1:
    return f"{value:.3g}"
  return f"{value:.2g}" if size >= 1e-4 or not size else f"{value:.0e}".replace("e-0", "e-")


def _scale(
  values: Sequence[float], axis: Axis, start: float, end: float, tight: bool = False
) -> tuple[list[float], Callable[[float], float]]:
  """Returns the ticks of an axis, and the function from a value to its coordinate in the picture.

  The axis begins and ends at ticks, or if `tight` and linear at the first and last value.
  """
  low, high = min(values), max(values)
  if axis.zero and not axis.log:
    low = min(low, 0)
  ticks = _log_ticks(low, high) if axis.log else _ticks(low, high)
  if tight and high > low and not axis.log:
    ticks = [tick for tick in ticks if low <= tick <= high]
  else:
    low, high = min(low, ticks[0]), max(high, ticks[-1])
  at = math.log10 if axis.log else float
  length = (at(high) - at(low)) or 1
  return ticks, lambda value: round(start + (at(value) - at(low)) / length * (end - start), 1)


def _ticks(low: float, high: float) -> list[float]:
  """Returns about five round numbers around low..high, in steps of 1, 2 or 5 times 10^n."""
  if high <= low:
    high = low + (abs(low) or 1)
  rough = (high - low) / 5
  power = 10 ** math.floor(math.log10(rough))
  step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """Returns 1, 2 and 5 times powers of ten around low..high, fewer per power if that is many."""
  for factors in ((1, 2, 5), (1, 3), (1,)):
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max((n for n, tick in enumerate(every) if tick <= low * 1.001), default=0)
    last = min((n for n, t in enumerate(every) if t >= high * 0.999), default=len(every) - 1)
    if last - first <= 7:
      break
  return every[first : max(last, first + 1) + 1]


def _tick(value: float) -> str:
  """Returns a round number in few characters for an axis: 10k for 10,000, 5e-4 for 0.0005."""
  if 0 < abs(value) < 1e-3:
    return re.sub(r"e-0*", "e-", f"{value:.0e}")
  return f"{value / 1000:g}k" if 10_000 <= abs(value) < 1_000_000 else short(value)


def _axis(path: str, class_: str = "axis") -> Element:
  return element("path", d=path, class_=class_)


def _text(text: str, x: float, y: float, anchor: str | None = None) -> Element:
  return element("text", text, x=x, y=y, text_anchor=anchor)


def _line(
  line: Series, across: Callable[[float], float], up: Callable[[float], float]
) -> list[Element]:
  places = [(across(x), up(y)) for x, y in line.points]
  path = "M" + "L".join(f"{x} {y}" for x, y in places)
  marks = [element("path", d=path, class_=line.classes)]
  if line.marked or len(places) == 1:
    for (x, y), (cx, cy) in zip(line.points, places, strict=True):
      title = element("title", f"{line.name}: {short(y)} at {short(x)}")
      marks.append(element("circle", title, cx=cx, cy=cy, r=3, class_=line.fill))
  return marks


def _end_labels(series: Sequence[Series], up: Callable[[float], float]) -> list[Element]:
  """Returns the labels right of the lines' ends, name and last value, so that none overlap."""
  lines = sorted(
    (line for line in series if not line.faint), key=lambda line: up(line.points[-1][1])
  )
  heights = _apart([up(line.points[-1][1]) for line in lines])
  labels = []
  for y, line in zip(heights, lines, strict=True):
    name = line.name
    if len(name) > LABEL_LETTERS:
      name = name[: LABEL_LETTERS - 1] + "…"
    text = short(line.points[-1][1])
    text = text if len(lines) == 1 else f"{name} {text}"
    labels.append(element("text", text, x=RIGHT + 5, y=round(y + 4, 1), class_=line.fill))
  return labels


def _apart(heights: Sequence[float]) -> list[float]:
  """Returns rising heights at least LABEL_STEP apart, above BOTTOM if there is room."""
  placed: list[float] = []
  for height in heights:
    placed.append(max(height, placed[-1] + LABEL_STEP if placed else TOP))
  ceiling = BOTTOM
  if placed and placed[-1] > BOTTOM:
    for number in reversed(range(len(placed))):
      placed[number] = min(placed[number], ceiling)
      ceiling = placed[number] - LABEL_STEP
  return placed
