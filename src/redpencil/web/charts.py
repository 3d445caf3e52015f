"""Charts of the dashboard: inline SVG in the page's own colours and type, in light and in dark.

Colours stand in attributes, not in `style`, which the pages' content security policy forbids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 190
LEFT, BOTTOM, TOP = 44, 36, 12
ROW = 40
LONGEST_NAME = 34


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its SVG, a title, and a sentence for those who cannot see it."""

    svg: Markup
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Point:
    """A value on a line, with its interval where it has one; None breaks the line."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A named line, drawn in the page's colour of that number."""

    name: str
    points: Sequence[Point]
    series: int


def columns(
    bars: Sequence[tuple[str, float]], *, title: str, below: str, beside: str, series: int = 0, ticks_every: int = 1
) -> Chart:
    """Bars side by side, each with its label; of many labels only every so many is written.

    Args:
        bars: label and height of each.
        title: of the chart.
        below: what the labels are.
        beside: what the heights are.
        series: the page's colour of the bars.
        ticks_every: how many bars share one written label, counted from the last bar.
    """
    top, ticks = _scale(max((height for _, height in bars), default=0))
    slot = (WIDTH - LEFT) / max(len(bars), 1)
    parts = []
    for i, (label, height) in enumerate(bars):
        y = _height(height, 0, top)
        parts.append(
            f'<rect x="{LEFT + slot * (i + 0.11):.1f}" y="{y:.1f}" width="{slot * 0.78:.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}" rx="1.5" fill="var(--series-{series})"/>'
        )
        if (len(bars) - 1 - i) % ticks_every == 0:
            parts.append(_text(LEFT + slot * (i + 0.5), HEIGHT - BOTTOM + 14, label, anchor="middle"))
    story = ", ".join(f"{label}: {height:g}" for label, height in bars if height) or "nothing yet"
    return Chart(_frame(parts, 0, top, ticks, below, beside), title, f"{title}, by {below}. {story}.")


def rows(bars: Sequence[tuple[str, float, str]], *, title: str, whole: float, series: int = 0) -> Chart:
    """Bars below each other: name, length out of `whole`, and what is written behind the bar."""
    parts = []
    for i, (name, length, note) in enumerate(bars):
        y = i * ROW
        width = max((WIDTH - 90) * length / whole, 1) if whole else 1
        parts.append(
            _text(0, y + 12, name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\u2026", ink=True)
        )
        parts.append(
            f'<rect x="0" y="{y + 19}" width="{width:.1f}" height="11" rx="1.5" fill="var(--series-{series})"/>'
        )
        parts.append(_text(width + 7, y + 28.5, note))
    story = "; ".join(f"{name}: {note}" for name, _, note in bars) or "nothing yet"
    svg = Markup(f'<svg viewBox="0 0 {WIDTH} {max(len(bars), 1) * ROW}">{"".join(parts)}</svg>')
    return Chart(svg, title, f"{title}. {story}.")


def lines(drawn: Sequence[Line], *, title: str, below: str, beside: str, ticks: Sequence[float]) -> Chart:
    """Lines over the same labels, with their intervals as whiskers; the axis goes from the first tick to the last."""
    count = max((len(line.points) for line in drawn), default=0)
    slot = (WIDTH - LEFT) / max(count, 1)
    low, high = ticks[0], ticks[-1]
    parts, stories = [], []
    for number, line in enumerate(drawn):
        shift = 7 * (number - (len(drawn) - 1) / 2)
        places = [
            (LEFT + slot * (i + 0.5) + shift, point) for i, point in enumerate(line.points) if point.value is not None
        ]
        parts += _line(places, low, high, line.series, dashed=number > 0)
        told = ", ".join(f"{point.label}: {point.value:.2f}" for _, point in places) or "nothing yet"
        stories.append(f"{line.name}: {told}")
    if drawn:
        every = -(-count // 8)
        for i, point in enumerate(drawn[0].points):
            if (count - 1 - i) % every == 0:
                parts.append(_text(LEFT + slot * (i + 0.5), HEIGHT - BOTTOM + 14, point.label, anchor="middle"))
    return Chart(_frame(parts, low, high, ticks, below, beside), title, f"{title}, by {below}. {'. '.join(stories)}.")


def _line(places: Sequence[tuple[float, Point]], low: float, high: float, series: int, *, dashed: bool) -> list[str]:
    colour = f"var(--series-{series})"
    spots = [(x, _height(max(low, min(high, point.value or 0)), low, high), point) for x, point in places]
    parts = []
    for x, _, point in spots:
        if point.low is not None and point.high is not None:
            ends = [_height(max(low, min(high, value)), low, high) for value in (point.low, point.high)]
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}" stroke="{colour}" '
                'stroke-width="1.2" opacity="0.6"/>'
            )
    if len(spots) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
    for x, y, _ in spots:
        if dashed:
            parts.append(f'<rect x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6" fill="{colour}"/>')
        else:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>')
    return parts


def _scale(most: float) -> tuple[float, list[float]]:
    """The top of an axis of counts, and its ticks."""
    unit = 1
    while most > 4 * unit:
        unit = unit * 5 // 2 if str(unit).startswith("2") else unit * 2
    count = max(1, -int(-most // unit))
    return unit * count, [unit * i for i in range(count + 1)]


def _frame(parts: Sequence[str], low: float, high: float, ticks: Sequence[float], below: str, beside: str) -> Markup:
    drawn = []
    for tick in ticks:
        y = _height(tick, low, high)
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        drawn.append(_text(LEFT - 7, y + 3.5, f"{tick:g}".replace("-", "\N{MINUS SIGN}"), anchor="end"))
    names = _text(LEFT, HEIGHT - 3, below) + _text(0, 8, beside)
    return Markup(f'<svg viewBox="0 -4 {WIDTH} {HEIGHT + 6}">{"".join([*drawn, *parts, names])}</svg>')


def _height(value: float, low: float, high: float) -> float:
    floor = HEIGHT - BOTTOM
    return floor - (floor - TOP - 8) * (value - low) / (high - low)


def _text(x: float, y: float, text: str, *, anchor: str = "start", ink: bool = False) -> str:
    colour = "ink" if ink else "muted"
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="11"'
    return f'<text {place} fill="var(--{colour})">{escape(text)}</text>'
