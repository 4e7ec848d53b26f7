"""Line charts as inline SVG: axes with units, a legend, and the last value beside each line."""

import dataclasses
import math
import re
from collections.abc import Sequence

from audiopalm.report import style
from audiopalm.report.elements import Element, element

# Drawn for a phone's width, so that text keeps its size; wide screens set charts side by side.
WIDTH, HEIGHT = 320, 216
LEFT, RIGHT, TOP, BOTTOM = 52, 240, 24, 176
LABEL_STEP = 14  # least distance of two labels' lines
DASHES = 3
MOST_POINTS = 200


@dataclasses.dataclass(frozen=True)
class Series:
  """One line: its name, its points in order, and how it is drawn.

  `color` counts through the palette and, after its end, through dashes. A `faint` line is a thin
  one without a label; the points of a `marked` one are dots with their value.
  """

  name: str
  points: Sequence[tuple[float, float]]
  color: int = 0
  faint: bool = False
  marked: bool = False

  @property
  def classes(self) -> str:
    dash = self.color // style.COLORS % DASHES
    return f"line s{self.color % style.COLORS} dash{dash}" + " faint" * self.faint


@dataclasses.dataclass(frozen=True)
class Axis:
  """What an axis shows: its label with the unit; `log` for equal ratios at equal distances.

  `zero` makes it begin at 0.
  """

  label: str
  log: bool = False
  zero: bool = False


def line_chart(
  title: str, series: Sequence[Series], x: Axis, y: Axis, note: str | None = None
) -> Element | None:
  """Returns a figure with the series that have points; None where none has."""
  drawn = [
    dataclasses.replace(line, points=points)
    for line in series
    if (points := [point for point in line.points if _drawable(point, x, y)])
  ]
  if not drawn:
    return None
  points = [point for line in drawn for point in line.points]
  across = _Scale([point[0] for point in points], x, LEFT, RIGHT, tight=True)
  up = _Scale([point[1] for point in points], y, BOTTOM, TOP)
  picture = element(
    "svg",
    [_x_tick(across, value) for value in across.ticks],
    [_y_tick(up, value) for value in up.ticks],
    element("path", d=f"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}", class_="axis"),
    element("text", x.label, x=(LEFT + RIGHT) / 2, y=HEIGHT - 5, text_anchor="middle"),
    element("text", y.label, x=0, y=11),
    [_line(line, across, up) for line in sorted(drawn, key=lambda line: not line.faint)],
    _end_labels(drawn, up),
    viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
    aria_label=f"{title}: {y.label} over {x.label}. " + "; ".join(
      f"{line.name} ends at {short(line.points[-1][1])}" for line in drawn
    ),
  )  # fmt: skip
  legend = element(
    "ul", [element("li", swatch(line), line.name) for line in drawn], class_="legend"
  )
  caption = element("figcaption", title, element("p", note) if note else None)
  return element("figure", caption, legend if len(drawn) > 1 else None, picture, class_="chart")


def swatch(line: Series) -> Element:
  """Returns a piece of a line as it is drawn, for a legend."""
  marks = element("circle", cx=12, cy=5, r=3, class_=f"fill{line.color % style.COLORS}")
  return element(
    "svg", element("path", d="M0 5H24", class_=line.classes), marks if line.marked else None,
    viewBox="0 0 24 10", aria_hidden="true",
  )  # fmt: skip


def thinned(
  points: Sequence[tuple[float, float]], most: int = MOST_POINTS
) -> list[tuple[float, float]]:
  """Returns at most `most` points: means of as many neighbors as that takes."""
  each = -(-len(points) // most) or 1
  groups = [points[start : start + each] for start in range(0, len(points), each)]
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


class _Scale:
  """Where values lie on an axis, and which of them get a tick.

  The axis ends at ticks; a `tight` one at the last value, and its ticks lie within.
  """

  def __init__(
    self, values: Sequence[float], axis: Axis, start: float, end: float, tight: bool = False
  ):
    self._log, self._start, self._end = axis.log, start, end
    low, high = min(values), max(values)
    if axis.log:
      self.ticks = _log_ticks(low, high)
      low, high = min(low, self.ticks[0]), max(high, self.ticks[-1])
    else:
      low = min(low, 0) if axis.zero else low
      self.ticks = _ticks(low, high)
      if tight and high > low:
        self.ticks = [tick for tick in self.ticks if low <= tick <= high]
      else:
        low, high = min(low, self.ticks[0]), max(high, self.ticks[-1])
    self._low, self._high = self._at(low), self._at(high)

  def _at(self, value: float) -> float:
    return math.log10(value) if self._log else value

  def place(self, value: float) -> float:
    """Returns where a value lies, in units of the picture."""
    share = (self._at(value) - self._low) / ((self._high - self._low) or 1)
    return round(self._start + share * (self._end - self._start), 1)


def _ticks(low: float, high: float, about: int = 5) -> list[float]:
  """Returns round numbers around low..high: the step is 1, 2 or 5 times a power of ten."""
  if high <= low:
    high = low + (abs(low) or 1)
  rough = (high - low) / about
  power = 10 ** math.floor(math.log10(rough))
  step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
  first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
  return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """Returns 1, 2 and 5 times powers of ten around low..high, fewer where that is many."""
  for factors in ((1, 2, 5), (1, 3), (1,)):
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max((n for n, tick in enumerate(every) if tick <= low * 1.001), default=0)
    last = min((n for n, t in enumerate(every) if t >= high * 0.999), default=len(every) - 1)
    if last - first <= 7:
      break
  return every[first : max(last, first + 1) + 1]


def _drawable(point: tuple[float, float], x: Axis, y: Axis) -> bool:
  return all(
    value is not None and math.isfinite(value) and (value > 0 or not axis.log)
    for value, axis in zip(point, (x, y), strict=True)
  )


def _x_tick(across: _Scale, value: float) -> list[Element]:
  x = across.place(value)
  return [
    element("path", d=f"M{x} {BOTTOM}v4", class_="axis"),
    element("text", _tick(value), x=x, y=BOTTOM + 18, text_anchor="middle"),
  ]


def _y_tick(up: _Scale, value: float) -> list[Element]:
  y = up.place(value)
  return [
    element("path", d=f"M{LEFT} {y}H{RIGHT}", class_="grid"),
    element("text", _tick(value), x=LEFT - 5, y=y + 4, text_anchor="end"),
  ]


def _tick(value: float) -> str:
  """Returns a round number in the few characters beside an axis: 10k for 10,000, 5e-4."""
  if 0 < abs(value) < 1e-3:
    return re.sub(r"e-0*", "e-", f"{value:.0e}")
  return f"{value / 1000:g}k" if 10_000 <= abs(value) < 1_000_000 else short(value)


def _line(line: Series, across: _Scale, up: _Scale) -> list[Element]:
  places = [(across.place(x), up.place(y)) for x, y in line.points]
  path = "M" + "L".join(f"{x} {y}" for x, y in places)
  drawn = [element("path", d=path, class_=line.classes)]
  if line.marked or len(places) == 1:
    drawn += [
      element(
        "circle", element("title", f"{line.name}: {short(y)} at {short(x)}"),
        cx=px, cy=py, r=3, class_=f"fill{line.color % style.COLORS}",
      )
      for (x, y), (px, py) in zip(line.points, places, strict=True)
    ]  # fmt: skip
  return drawn


def _end_labels(series: Sequence[Series], up: _Scale) -> list[Element]:
  """Returns each line's name and last value right of its end, moved apart where they would meet."""
  ends = sorted(
    ((up.place(line.points[-1][1]), line) for line in series if not line.faint),
    key=lambda end: end[0],
  )
  heights = _apart([height for height, _ in ends], TOP, BOTTOM)
  alone = len(ends) == 1
  return [
    element(
      "text", ("" if alone else f"{_brief(line.name)} ") + short(line.points[-1][1]),
      x=RIGHT + 5, y=round(y + 4, 1), class_=f"fill{line.color % style.COLORS}",
    )
    for y, (_, line) in zip(heights, ends, strict=True)
  ]  # fmt: skip


def _apart(heights: Sequence[float], top: float, bottom: float) -> list[float]:
  """Returns rising heights at least LABEL_STEP apart, above `bottom` if there is room."""
  placed: list[float] = []
  for height in heights:
    placed.append(max(height, placed[-1] + LABEL_STEP) if placed else max(height, top))
  over = max(0.0, placed[-1] - bottom) if placed else 0.0
  for number in range(len(placed) - 1, -1, -1):
    ceiling = placed[number + 1] - LABEL_STEP if number + 1 < len(placed) else bottom
    placed[number] = min(placed[number], ceiling) if over else placed[number]
  return placed


def _brief(name: str, most: int = 5) -> str:
  """Returns a name that fits beside the chart; the legend has it in full."""
  return name if len(name) <= most else name[: most - 1] + "…"
