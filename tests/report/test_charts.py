import pytest

from audiopalm.report import charts
from audiopalm.report.charts import Axis, Series

STEP, LOSS = Axis("step", zero=True), Axis("nats", log=True)


def texts(chart):
  return [text.text for text in chart.iter("text")]


@pytest.mark.parametrize(
  ("value", "text"),
  [(0, "0"), (0.00852, "0.0085"), (0.462, "0.46"), (12.34, "12.3"), (5338.2, "5,338"),
   (2_102_976, "2.1M"), (999_960, "1M"), (3e-6, "3e-6")],
)  # fmt: skip
def test_numbers_are_short(value, text):
  assert charts.short(value) == text


def test_a_chart_has_labelled_axes_a_legend_and_last_values():
  series = [Series("asr", [(0, 1.0), (100, 0.5)]), Series("tts", [(0, 2.0), (100, 0.25)], 1)]
  chart = charts.line_chart("Loss", series, STEP, LOSS)
  assert {"step", "nats", "0", "100", "asr 0.5", "tts 0.25"} <= set(texts(chart))
  legend = [item[0].tail for item in chart.iter("li")]
  assert legend == ["asr", "tts"]
  assert chart.find("svg").get("aria-label") == (
    "Loss: nats over step. asr ends at 0.5; tts ends at 0.25"
  )


def test_one_line_needs_no_legend_and_its_value_no_name():
  chart = charts.line_chart("Rate", [Series("rate", [(0, 1.0), (9, 3.0)])], STEP, Axis("rate"))
  assert list(chart.iter("li")) == []
  assert texts(chart)[-1] == "3"


def test_series_without_points_are_left_out_and_no_points_are_no_chart():
  empty = Series("mt", [])
  assert charts.line_chart("Loss", [empty], STEP, LOSS) is None
  chart = charts.line_chart("Loss", [empty, Series("asr", [(1, 1.0)])], STEP, LOSS)
  assert chart.find("svg").get("aria-label").endswith("over step. asr ends at 1")


def test_a_log_axis_leaves_out_what_has_no_logarithm():
  points = [(1, 0.0), (2, None), (3, float("nan")), (4, 0.5), (5, 0.1)]
  chart = charts.line_chart("Loss", [Series("a", points, marked=True)], STEP, LOSS)
  assert len(list(chart.iter("circle"))) == 2


def test_every_point_lies_between_the_axes():
  points = [(1, 7.3), (520, 0.0085)]
  chart = charts.line_chart("Loss", [Series("a", points, marked=True)], STEP, LOSS)
  places = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in chart.iter("circle")]
  assert all(charts.LEFT <= x <= charts.RIGHT for x, _ in places)
  assert all(charts.TOP <= y <= charts.BOTTOM for _, y in places)
  assert places[0][1] < places[1][1]


def test_a_line_that_never_changes_is_drawn():
  for axis in (LOSS, Axis("rate"), Axis("rate", zero=True)):
    assert charts.line_chart("Rate", [Series("a", [(1, 2.0), (2, 2.0)])], STEP, axis) is not None


def test_labels_that_would_meet_are_moved_apart():
  series = [Series(name, [(0, 1.0), (9, 0.5)], n) for n, name in enumerate("abcd")]
  chart = charts.line_chart("Loss", series, STEP, LOSS)
  heights = sorted(float(text.get("y")) for text in chart.iter("text") if text.get("class"))
  gaps = [b - a for a, b in zip(heights, heights[1:], strict=False)]
  assert min(gaps) >= charts.LABEL_STEP


def test_more_series_than_colors_differ_by_their_dashes():
  classes = [Series("a", (), number).classes for number in range(20)]
  assert len(set(classes)) == 20


def test_thinned_points_are_means_of_neighbors():
  points = [(1, 1.0), (2, 3.0), (3, 5.0)]
  assert charts.thinned(points, most=2) == [(1.5, 2.0), (3.0, 5.0)]
  assert charts.thinned(points) == points
  assert charts.thinned([]) == []


def test_ticks_of_small_and_large_numbers_fit_beside_the_axis():
  small = charts.line_chart("a", [Series("a", [(0, 0.0), (9, 8e-4)])], STEP, Axis("rate"))
  assert {"2e-4", "8e-4"} <= set(texts(small))
  large = charts.line_chart("a", [Series("a", [(0, 0.0), (20_000, 1.0)])], STEP, Axis("rate"))
  assert {"5,000", "10k"} <= set(texts(large))
