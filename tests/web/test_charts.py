"""Charts: well-formed SVG without anything that the content policy forbids, with a sentence for those who listen."""

from xml.etree import ElementTree

import pytest

from redpencil.web.charts import Chart, Line, Point, columns, lines, rows

HOSTILE = "<b onclick='x'>&\""


def parsed(chart: Chart) -> ElementTree.Element:
    assert " style=" not in chart.svg
    assert "<b" not in chart.svg
    return ElementTree.fromstring(chart.svg)


def bars(chart: Chart) -> list[float]:
    return [float(bar.attrib["height"]) for bar in parsed(chart).iter("rect")]


def test_columns_are_as_high_as_their_numbers() -> None:
    chart = columns([("a", 10), (HOSTILE, 5), ("c", 0)], title="T", below="b", beside="n")
    heights = bars(chart)
    assert heights[0] == pytest.approx(2 * heights[1])
    assert heights[2] == 0
    assert HOSTILE in [text.text for text in parsed(chart).iter("text")]
    assert chart.description == f"T, by b. a: 10, {HOSTILE}: 5."


@pytest.mark.parametrize(
    ("most", "top"), [(0, "1"), (1, "1"), (4, "4"), (5, "6"), (9, "10"), (21, "30"), (100, "100"), (4001, "6000")]
)
def test_axes_end_on_a_round_number(most: float, top: str) -> None:
    texts = [text.text for text in parsed(columns([("a", most)], title="T", below="b", beside="n")).iter("text")]
    assert top in texts


def test_of_many_labels_only_some_are_written_and_the_last_always() -> None:
    drawn = columns([(f"d{n}", 1) for n in range(10)], title="T", below="b", beside="n", ticks_every=4)
    texts = [text.text or "" for text in parsed(drawn).iter("text")]
    assert [text for text in texts if text.startswith("d")] == ["d1", "d5", "d9"]


def test_rows_are_as_long_as_their_numbers() -> None:
    chart = rows([("a", 10, "10 (67 %)"), ("b" * 99, 5, "5 (33 %)")], title="T", whole=10)
    widths = [float(bar.attrib["width"]) for bar in parsed(chart).iter("rect")]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert max(len(text.text or "") for text in parsed(chart).iter("text")) == 34


def test_lines_break_where_nothing_is_known_and_have_whiskers() -> None:
    points = [Point("1", 0.5, 0.25, 0.75), Point("2", None), Point("3", -0.5)]
    chart = lines([Line("words", points, 0)], title="T", below="b", beside="n", ticks=(-1, 0, 1))
    root = parsed(chart)
    assert len(list(root.iter("circle"))) == 2
    whiskers = [line for line in root.iter("line") if line.attrib["x1"] == line.attrib["x2"]]
    assert len(whiskers) == 1
    assert chart.description == "T, by b. words: 1: 0.50, 3: -0.50."


def test_charts_of_nothing_are_still_drawn() -> None:
    for chart in (
        columns([], title="T", below="b", beside="n"),
        rows([], title="T", whole=0),
        lines([], title="T", below="b", beside="n", ticks=(0, 1)),
    ):
        parsed(chart)
