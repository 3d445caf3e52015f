"""The charts of an edit audit: bars as inline SVG in the page's own colours and type."""

import html
from collections.abc import Sequence

from redpencil.audit.audit import BINS, Audit, Editor, GrowthBin
from redpencil.report.charts import Chart
from redpencil.report.run_data import DASH, signed

WIDTH, HEIGHT = 440, 190
LEFT, BOTTOM, TOP = 44, 36, 12
SHOWN_EDITORS = 12

Bar = tuple[str, float, str]
"""Label under the bar, height, series of the page's colours."""


def kept_chart(audit: Audit) -> Chart:
    """How many edits keep how much."""
    whole = max(audit.edits, 1)
    wide = 100 // BINS
    bars = [(f"{wide * i}{DASH}{wide * (i + 1)}", 100 * n / whole, "0") for i, n in enumerate(audit.kept_histogram)]
    story = ", ".join(f"{label.replace(DASH, ' to ')} percent kept: {height:.1f}" for label, height, _ in bars)
    title = "Share of the words that is kept"
    return Chart(
        _columns(bars, "share of the words that is kept, %", "% of the edits", 10),
        title,
        f"Percent of the edits by kept share. {story}.",
    )


def length_chart(audit: Audit) -> Chart:
    """How many edits became longer or shorter, and by how much."""
    whole = max(audit.edits, 1)
    bars = [(growth_label(row), 100 * row.edits / whole, _way(row)) for row in audit.length.bins]
    story = ", ".join(f"{label} words: {height:.1f}" for label, height, _ in bars)
    return Chart(
        _columns(bars, "words more or fewer", "% of the edits", 9.2),
        "How much longer edits are",
        f"Percent of the edits by change of length. {story}.",
    )


def _way(growth: GrowthBin) -> str:
    """The series of a bin: that of what is removed for losses, that of what is added for growth."""
    return "1" if (growth.high or 0) < 0 else "2" if (growth.low or 0) > 0 else "0"


def places_chart(audit: Audit) -> Chart:
    """What share of the words of each tenth is removed, and how much is added there."""
    places = audit.places
    removed = [100 * n / max(words, 1) for n, words in zip(places.removed, places.words, strict=True)]
    added = [100 * n / max(words, 1) for n, words in zip(places.added, places.words, strict=True)]
    tenths = range(1, len(removed) + 1)
    story = "; ".join(
        f"tenth {i}: {old:.0f} removed, {new:.0f} added" for i, old, new in zip(tenths, removed, added, strict=True)
    )
    groups = [(str(i), (old, new)) for i, old, new in zip(tenths, removed, added, strict=True)]
    return Chart(
        _pairs(groups, "tenth of the original", "words changed per 100 words of that tenth"),
        "Where in the response edits fall",
        f"Words removed and added for each 100 words of the original, by its tenths. {story}.",
    )


def editors_chart(audit: Audit) -> Chart | None:
    """The kept share of each editor, with the share of edits that only append; None for fewer than two editors."""
    shown = [editor for editor in audit.editors if editor.kept is not None][:SHOWN_EDITORS]
    if len(shown) < 2:
        return None
    story = "; ".join(
        f"{editor.name or 'no name'}: {100 * (editor.kept or 0):.0f} percent kept, "
        f"{100 * editor.only_append / editor.edits:.0f} percent only append"
        for editor in shown
    )
    return Chart(_rows(shown), "Editors side by side", f"{story}.")


def _scale(most: float) -> tuple[float, list[float]]:
    """The top of an axis, and its ticks."""
    step = next(
        (unit * size for size in (0.1, 1, 10, 100, 1000) for unit in (1, 2, 5) if most <= 4 * unit * size), most or 1
    )
    count = max(1, -int(-most // step))
    return step * count, [step * i for i in range(count + 1)]


def _frame(parts: list[str], top: float, ticks: Sequence[float], below: str, beside: str) -> str:
    lines = []
    for tick in ticks:
        y = _height(tick, top)
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        lines.append(_text(LEFT - 7, y + 3.5, f"{tick:g}", anchor="end"))
    names = _text(LEFT, HEIGHT - 3, below) + _text(0, 8, beside)
    inside = "".join([*lines, *parts, names])
    return f'<svg viewBox="0 -4 {WIDTH} {HEIGHT + 6}">{inside}</svg>'


def _height(value: float, top: float) -> float:
    floor = HEIGHT - BOTTOM
    return floor - (floor - TOP - 8) * value / top


def _columns(bars: Sequence[Bar], below: str, beside: str, size: float) -> str:
    top, ticks = _scale(max(height for _, height, _ in bars))
    slot = (WIDTH - LEFT) / len(bars)
    parts = []
    for i, (label, height, series) in enumerate(bars):
        parts.append(_bar(LEFT + slot * i + slot * 0.11, slot * 0.78, height, top, series))
        parts.append(_text(LEFT + slot * (i + 0.5), HEIGHT - BOTTOM + 14, label, anchor="middle", size=size))
    return _frame(parts, top, ticks, below, beside)


def _pairs(groups: Sequence[tuple[str, tuple[float, float]]], below: str, beside: str) -> str:
    top, ticks = _scale(max(value for _, values in groups for value in values))
    slot = (WIDTH - LEFT) / len(groups)
    parts = []
    for i, (label, values) in enumerate(groups):
        for j, (value, series) in enumerate(zip(values, "12", strict=True)):
            parts.append(_bar(LEFT + slot * (i + 0.14 + 0.37 * j), slot * 0.34, value, top, series))
        parts.append(_text(LEFT + slot * (i + 0.5), HEIGHT - BOTTOM + 14, label, anchor="middle"))
    return _frame(parts, top, ticks, below, beside)


def _rows(editors: Sequence[Editor]) -> str:
    high, bar = 40, 8
    parts = []
    for i, editor in enumerate(editors):
        y = i * high
        name = editor.name or "(no name)"
        parts.append(_text(0, y + 11, name if len(name) <= 40 else name[:39] + "\u2026", colour="ink"))
        for j, (share, series) in enumerate(((editor.kept or 0, "0"), (editor.only_append / editor.edits, "1"))):
            top = y + 16 + j * (bar + 1)
            width = max((WIDTH - LEFT) * share, 1)
            parts.append(
                f'<rect x="0" y="{top}" width="{width:.1f}" height="{bar}" rx="1.5" fill="var(--series-{series})"/>'
            )
            parts.append(_text(width + 6, top + 7.5, f"{100 * share:.0f} %", size=9))
    return f'<svg viewBox="0 0 {WIDTH} {len(editors) * high}">{"".join(parts)}</svg>'


def _bar(x: float, width: float, value: float, top: float, series: str) -> str:
    y = _height(value, top)
    height = HEIGHT - BOTTOM - y
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5" '
        f'fill="var(--series-{series})"/>'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "muted", size: float = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="var(--{colour})">'
        f"{html.escape(text)}</text>"
    )


def growth_label(growth: GrowthBin) -> str:
    """A bin of changes of length in few signs, such as +1 to +9."""
    if growth.low is None or growth.high is None:
        open_end = growth.high if growth.low is None else growth.low
        sign = "\N{LESS-THAN OR EQUAL TO}" if growth.low is None else "\N{GREATER-THAN OR EQUAL TO}"
        return f"{sign}{signed(open_end or 0, 0)}"
    low, high = signed(growth.low, 0), signed(growth.high, 0)
    return low if low == high else f"{low} to {high}"
