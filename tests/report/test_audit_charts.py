"""The charts of an audit: valid SVG in the page's colours, whose description tells the numbers."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from redpencil.audit.audit import Audit, GrowthBin, audit_edits
from redpencil.records import Edit
from redpencil.report.audit_charts import (
    SHOWN_EDITORS,
    _scale,
    editors_chart,
    growth_label,
    kept_chart,
    length_chart,
    places_chart,
)
from redpencil.report.charts import Chart


def audit(*rows: Edit) -> Audit:
    return audit_edits(lambda: rows, examples=0)


ROWS = (
    Edit("1", "p", "a1 b1 c1 d1", "a1 x c1 d1", editor="ann"),
    Edit("2", "p", "a1 b1", "a1 b1 c1 d1", editor="<bob> & co"),
)


def bars(chart: Chart) -> list[float]:
    """Heights of the bars; the last number of each rectangle's is what it stands for."""
    root = ET.fromstring(chart.svg)
    return [float(bar.attrib["height"]) for bar in root.iter("rect")]


@pytest.mark.parametrize("draw", [kept_chart, length_chart, places_chart, editors_chart])
def test_charts_are_valid_and_use_the_page_s_colours(draw: Callable[[Audit], Chart | None]) -> None:
    chart = draw(audit(*ROWS))
    assert chart is not None
    assert ET.fromstring(chart.svg).tag == "svg"
    assert "var(--series-" in chart.svg
    assert not re.search(r"#[0-9a-f]{6}|font-family|http|id=", chart.svg)


def test_bars_are_as_high_as_their_numbers() -> None:
    # one edit keeps .75, one all: two bars of the same height
    heights = bars(kept_chart(audit(*ROWS)))
    assert [height > 0 for height in heights] == [place in (7, 9) for place in range(10)]
    assert heights[7] == heights[9]
    assert "70 to 80 percent kept: 50.0" in kept_chart(audit(*ROWS)).description


def test_places_by_hand() -> None:
    # tenths of 4 words: 0 2 5 7; of 2: 0 5. Removed and added: the second of four words. Behind the last: 2 words.
    story = places_chart(audit(*ROWS)).description
    assert "tenth 1: 0 removed, 0 added; tenth 2: 0 removed, 0 added; tenth 3: 100 removed, 100 added" in story
    assert "tenth 10: 0 removed, 200 added" in story


def test_lengths_by_hand() -> None:
    assert "0 words: 50.0, +1 to +9 words: 50.0" in length_chart(audit(*ROWS)).description


def test_editors_need_company_and_are_escaped() -> None:
    assert editors_chart(audit(ROWS[0])) is None
    chart = editors_chart(audit(*ROWS))
    assert chart is not None
    assert "&lt;bob&gt; &amp; co" in chart.svg
    assert "<bob> & co: 100 percent kept, 100 percent only append" in chart.description
    many = audit(*(Edit(str(n), "p", "a b", "a c", editor=f"{n}" * 50) for n in range(SHOWN_EDITORS + 5)))
    chart = editors_chart(many)
    assert chart is not None
    assert chart.svg.count("<rect") == 2 * SHOWN_EDITORS


@pytest.mark.parametrize(
    ("low", "high", "label"),
    [
        (None, -40, "\u2264\u221240"),
        (-39, -10, "\u221239 to \u221210"),
        (0, 0, "0"),
        (1, 9, "+1 to +9"),
        (40, None, "\u2265+40"),
    ],
)
def test_labels_of_growth(low: int | None, high: int | None, label: str) -> None:
    assert growth_label(GrowthBin(low, high, 1)) == label


@pytest.mark.parametrize("most", [0.0, 0.03, 1.0, 7.3, 39.0, 100.0, 12345.0, 1e9])
def test_an_axis_reaches_its_highest_bar(most: float) -> None:
    top, ticks = _scale(most)
    assert top >= most
    assert top > 0
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(top)
    assert 2 <= len(ticks) <= 5
