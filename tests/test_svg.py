"""Charts: well-formed SVG in the page's colours, places that agree with the numbers, sensible ticks."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.svg import (
    SERIES,
    WIDTH,
    Axis,
    Column,
    Plot,
    Point,
    Row,
    draw_columns,
    draw_rows,
    mark,
    swatch,
)

HOSTILE = "<b onclick='x'>&\""
MINUS = "\N{MINUS SIGN}"


def parsed(svg: str) -> ElementTree.Element:
    """The drawing, which has nothing that a content security policy forbids and no colour or font of its own."""
    assert not re.search(r" style=|<b|#[0-9a-f]{3}|font-family|http|id=|nan|inf", svg)
    return ElementTree.fromstring(svg)


def labels(axis: Axis) -> list[str]:
    return [label for _, label in axis.ticks]


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in parsed(svg).iter("text")]


def heights(svg: str) -> list[float]:
    return [float(bar.attrib["height"]) for bar in parsed(svg).iter("rect")]


def test_ticks_by_hand() -> None:
    assert labels(Axis.between(0, 10, "x")) == ["0", "2", "4", "6", "8", "10"]
    assert labels(Axis.between(50, 100, "x")) == ["50", "60", "70", "80", "90", "100"]
    assert labels(Axis.between(-0.3, 0.9, "x")) == ["0.0", "0.5"]
    assert labels(Axis.around([-0.56, 1.6], "y")) == [f"{MINUS}1.0", f"{MINUS}0.5", "0.0", "0.5", "1.0", "1.5", "2.0"]
    assert labels(Axis.between(0, 40000, "x")) == ["0", "10,000", "20,000", "30,000", "40,000"]


def test_an_axis_around_values_ends_on_round_ones() -> None:
    axis = Axis.around([37.4, 61.5], "y")
    assert (axis.low, axis.high) == (35, 65)
    assert (Axis.around([3.0], "y").low, Axis.around([3.0], "y").high) == (2, 4)


@pytest.mark.parametrize(("most", "top"), [(0, 1), (1, 1), (4, 4), (5, 6), (9, 10), (21, 30), (100, 100), (4001, 6000)])
def test_counts_end_on_a_round_number(most: float, top: float) -> None:
    axis = Axis.upwards([most], "n", whole=True)
    assert axis.high == top
    assert all(tick == int(tick) for tick, _ in axis.ticks)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_on_the_axis(low: float, span: float) -> None:
    axis = Axis.between(low, low + span, "x")
    assert 1 <= len(axis.ticks) <= 6
    assert all(low - span / 100 <= tick <= low + span + span / 100 for tick, _ in axis.ticks)
    around = Axis.around([low, low + span], "x")
    assert around.low <= low + span * 1e-6
    assert around.high >= low + span - span * 1e-6
    assert len(around.ticks) <= 8


@given(st.floats(0, 1e9))
def test_an_axis_reaches_its_highest_bar(most: float) -> None:
    axis = Axis.upwards([most], "y")
    assert axis.high >= most * (1 - 1e-9)
    assert axis.ticks[0][0] == 0
    assert axis.ticks[-1][0] == pytest.approx(axis.high)
    assert 2 <= len(axis.ticks) <= 5


def test_places_agree_with_the_axes() -> None:
    plot = Plot(Axis.between(0, 10, "x"), Axis.between(0, 100, "y"))
    assert (plot.x(0), plot.x(10), plot.y(0), plot.y(100)) == (plot.left, plot.right, plot.bottom, plot.top)
    assert plot.x(5) == pytest.approx((plot.left + plot.right) / 2)
    assert plot.y(250) == plot.top
    assert 0 < plot.left < plot.right < WIDTH


def test_a_line_has_a_mark_and_an_interval_at_each_point() -> None:
    plot = Plot(Axis.named(["one", HOSTILE], "x"), Axis.between(0, 1, "y"))
    plot.line([Point(0, 0.5, 0.25, 0.75), Point(1, 1.0)], 1)
    root = parsed(plot.svg())
    assert HOSTILE in [text.text for text in root.iter("text")]
    fills = [path for path in root.iter("path") if path.attrib.get("fill") == "var(--series-1)"]
    assert [path.attrib["d"] for path in fills] == [mark(1, plot.x(0), plot.y(0.5)), mark(1, plot.x(1), plot.y(1))]
    intervals = [path.attrib["d"] for path in root.iter("path") if "V" in path.attrib["d"]]
    assert intervals == [f"M{plot.x(0):.1f} {plot.y(0.25):.1f}V{plot.y(0.75):.1f}"]
    assert len([path for path in root.iter("path") if "L" in path.attrib["d"]]) == 1


def test_faint_lines_have_no_marks() -> None:
    plot = Plot(Axis.between(0, 1, "x"), Axis.between(0, 1, "y"))
    plot.line([Point(0, 0, 0, 1), Point(1, 1)], 1, faint=True)
    assert len(list(parsed(plot.svg()).iter("path"))) == 1


def test_names_at_the_ends_do_not_touch() -> None:
    plot = Plot(Axis.between(0, 4, "x"), Axis.between(0, 4, "y"), names=["one", "two", "three"])
    plot.name_ends([(4, 2, name, series) for series, name in enumerate(("one", "two", "three"))])
    written = [text for text in parsed(plot.svg()).iter("text") if text.text in ("one", "two", "three")]
    places = sorted(float(text.attrib["y"]) for text in written)
    assert min(b - a for a, b in pairwise(places)) > 11
    assert all(float(text.attrib["x"]) > plot.right for text in written)


def test_bars_are_as_high_as_their_numbers() -> None:
    svg = draw_columns([Column("a", ((10, 0),)), Column(HOSTILE, ((5, 2),)), Column("c", ((0, 0),))], x="b", y="n")
    high, half, none = heights(svg)
    assert high == pytest.approx(2 * half, abs=0.1)
    assert none == 0
    assert {HOSTILE, "b", "n", "10"} <= set(texts(svg))
    assert svg.count("var(--series-2)") == 1


def test_bars_of_one_place_are_side_by_side() -> None:
    svg = draw_columns([Column("a", ((4, 1), (2, 2)))], x="b", y="n")
    first, second = parsed(svg).iter("rect")
    assert float(first.attrib["x"]) + float(first.attrib["width"]) < float(second.attrib["x"])
    assert (first.attrib["fill"], second.attrib["fill"]) == ("var(--series-1)", "var(--series-2)")


def test_of_many_labels_only_some_are_written_and_the_last_always() -> None:
    svg = draw_columns([Column(f"day {n}", ((1, 0),)) for n in range(30)], x="b", y="n")
    written = [text for text in texts(svg) if text.startswith("day")]
    assert written[-1] == "day 29"
    steps = {int(b[4:]) - int(a[4:]) for a, b in pairwise(written)}
    assert len(steps) == 1
    assert steps.pop() > 1


def test_rows_are_as_long_as_their_numbers() -> None:
    svg = draw_rows([Row("a", ((1.0, "10", 0),)), Row("b" * 99, ((0.5, "5", 0), (0.25, "2", 1)))])
    widths = [float(bar.attrib["width"]) for bar in parsed(svg).iter("rect")]
    assert widths == pytest.approx([widths[0], widths[0] / 2, widths[0] / 4], abs=0.1)
    assert max(len(text) for text in texts(svg)) == 40


def test_charts_of_nothing_are_still_drawn() -> None:
    for svg in (draw_columns([], x="b", y="n"), draw_rows([]), Plot(Axis.between(0, 0, "x"), Axis(0, 1)).svg()):
        parsed(svg)


def test_series_differ_in_more_than_colour() -> None:
    assert len({mark(series, 0, 0) for series in range(SERIES)}) == SERIES
    assert len({re.sub(r"series-\d", "", swatch(series, marked=False)) for series in range(SERIES)}) == SERIES
    assert swatch(SERIES) == swatch(0)


def test_the_same_each_time() -> None:
    assert swatch(3) == swatch(3)
    assert draw_columns([Column("a", ((0.1 + 0.2, 0),))], x="b", y="n") == draw_columns(
        [Column("a", ((0.1 + 0.2, 0),))], x="b", y="n"
    )
