"""The charts of the microscope: reliability, margins, and accuracy by size of the edit, as inline SVG."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from redpencil.evaluation.reward_eval import Microscope, Reading
from redpencil.report.charts import SVG_DASHES, Chart
from redpencil.report.run_data import plain

WIDTH, HEIGHT = 440, 250
LEFT, BOTTOM, TOP, RIGHT = 44, 40, 14, 10
SERIES: Final = 6
MOST: Final = 12
"""Histograms of a page."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From figures to places on the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a figure."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """Round figures on it, at most so many and one."""
        span = self.high - self.low
        unit = 10 ** math.floor(math.log10(span / most))
        step = next(unit * size for size in (1, 2, 5, 10) if span <= most * unit * size * (1 + 1e-9))
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        return [step * i for i in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Point:
    """A value with its interval, over a figure on the axis below; the point of no interval has equal ends."""

    x: float
    y: float
    low: float
    high: float


def legend(models: Sequence[str]) -> list[dict[str, str]]:
    """Of each model its name, colour, dashes and mark, for the legend of the page."""
    return [
        {
            "name": name,
            "colour": f"var(--series-{i % SERIES})",
            "dashes": SVG_DASHES[i % SERIES],
            "mark": _mark(i, 17, 5),
        }
        for i, name in enumerate(models)
    ]


def reliability_charts(found: Microscope) -> list[Chart]:
    """For each test set how often each model is right where it is how sure, in bins of as many pairs each."""
    charts = []
    for test in found.tests:
        lines = [
            [
                Point(100 * b.confidence, 100 * b.accuracy, 100 * b.accuracy_low, 100 * b.accuracy_high)
                for b in model.readings[test].calibration.bins_by_count
            ]
            for model in found.models.values()
        ]
        most = max(point.x for line in lines for point in line)
        right = next(edge for edge in (55, 60, 70, 80, 90, 100) if most <= edge + 1e-9)
        low = 10 * math.floor(min(50.0, *(point.low for line in lines for point in line)) / 10)
        across, up = Scale(50, right, LEFT, WIDTH - RIGHT), Scale(low, 100, HEIGHT - BOTTOM, TOP + 8)
        diagonal = f'<path d="M{across(50):.1f} {up(50):.1f}L{across(right):.1f} {up(right):.1f}" {_REFERENCE}/>'
        story = [
            f"{name}: {'; '.join(f'{p.x:.1f} sure, {p.y:.1f} right' for p in line)}"
            for name, line in zip(found.models, lines, strict=True)
        ]
        charts.append(
            Chart(
                _frame(
                    [diagonal, *_lines(lines, across, up, apart=0)],
                    across,
                    up,
                    below="how sure the model is, %",
                    beside="pairs ranked right, %",
                ),
                f"Reliability on {test}",
                f"Percent of pairs ranked right by confidence in percent. {'. '.join(story)}.",
            )
        )
    return charts


def margin_charts(found: Microscope) -> list[Chart]:
    """A histogram of the margins for each model and test set; of the first `MOST`."""
    every = [(name, test, r) for name, model in found.models.items() for test, r in model.readings.items()]
    return [_histogram(name, test, reading) for name, test, reading in every[:MOST]]


def _histogram(name: str, test: str, reading: Reading) -> Chart:
    edges, counts = reading.margins.edges, reading.margins.counts
    across = Scale(edges[0], edges[-1], LEFT, WIDTH - RIGHT)
    up = Scale(0, max(counts), HEIGHT - BOTTOM, TOP + 8)
    parts = []
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        y = up(count)
        series = 1 if (low + high) / 2 < 0 else 0
        parts.append(
            f'<rect x="{across(low) + 0.5:.1f}" y="{y:.1f}" width="{max(across(high) - across(low) - 1, 0.5):.1f}" '
            f'height="{HEIGHT - BOTTOM - y:.1f}" fill="var(--series-{series})"/>'
        )
    if edges[0] < 0 < edges[-1]:
        parts.append(f'<path d="M{across(0):.1f} {TOP + 8}V{HEIGHT - BOTTOM}" {_REFERENCE}/>')
    share = reading.accuracy.value
    return Chart(
        _frame(parts, across, up, below="R chosen \N{MINUS SIGN} R rejected", beside="pairs"),
        f"Margins of {name} on {test}",
        f"Margins from {edges[0]:.3g} to {edges[-1]:.3g}, {reading.mean_margin:.3g} on average; {share:.1f} percent of "
        "pairs are ranked right.",
    )


def size_chart(found: Microscope, test: str) -> Chart | None:
    """Accuracy of each model by the share of words that the edit changes; None where that does not vary."""
    groups = [model.readings[test].by_size for model in found.models.values()]
    names = list(dict.fromkeys(group.name for of_model in groups for group in of_model))
    if len(names) < 2:
        return None
    lines = [
        [
            Point(names.index(g.name), g.accuracy.value, g.accuracy.low, g.accuracy.high)
            for g in of_model
        ]
        for of_model in groups
    ]  # fmt: skip
    across = Scale(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT)
    low = 10 * math.floor(min(50.0, *(point.low for line in lines for point in line)) / 10)
    up = Scale(low, 100, HEIGHT - BOTTOM, TOP + 8)
    coin = f'<path d="M{LEFT} {up(50):.1f}H{WIDTH - RIGHT}" {_REFERENCE}/>'
    story = [
        f"{name}: {'; '.join(f'{names[int(p.x)]} {p.y:.1f}' for p in line)}"
        for name, line in zip(found.models, lines, strict=True)
    ]
    return Chart(
        _frame(
            [coin, *_lines(lines, across, up, apart=5)],
            across,
            up,
            below="share of the words that the edit changes",
            beside="edits ranked right, %",
            names=names,
        ),
        f"Accuracy by size of the edit on {test}",
        f"Percent of edits ranked right by share of words changed. {'. '.join(story)}.",
    )


_REFERENCE: Final = 'fill="none" stroke="var(--muted)" stroke-width="1" stroke-dasharray="2 3"'


def _lines(lines: Sequence[Sequence[Point]], across: Scale, up: Scale, *, apart: float) -> list[str]:
    """Lines with marks and whiskers; those of several models stand `apart` from each other."""
    parts = []
    for i, line in enumerate(lines):
        shift = apart * (i - (len(lines) - 1) / 2)
        places = [(across(point.x) + shift, point) for point in line]
        colour = f"var(--series-{i % SERIES})"
        path = "L".join(f"{x:.1f} {up(point.y):.1f}" for x, point in places)
        dashes = f' stroke-dasharray="{SVG_DASHES[i % SERIES]}"' if SVG_DASHES[i % SERIES] else ""
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dashes}/>')
        for x, point in places:
            parts.append(
                f'<path d="M{x:.1f} {up(point.low):.1f}V{up(point.high):.1f}" stroke="{colour}" stroke-width="1"/>'
            )
            parts.append(f'<path d="{_mark(i, x, up(point.y))}" fill="{colour}"/>')
    return parts


def _mark(series: int, x: float, y: float) -> str:
    """A shape of its own for each series: disc, square, diamond, triangle up, triangle down, cross."""
    shapes: tuple[Callable[[], str], ...] = (
        lambda: f"M{x - 3.4:.1f} {y:.1f}a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0z",
        lambda: f"M{x - 3.1:.1f} {y - 3.1:.1f}h6.2v6.2h-6.2z",
        lambda: f"M{x:.1f} {y - 4.4:.1f}l4.4 4.4l-4.4 4.4l-4.4 -4.4z",
        lambda: f"M{x:.1f} {y - 4.2:.1f}l4.2 7.4h-8.4z",
        lambda: f"M{x:.1f} {y + 4.2:.1f}l4.2 -7.4h-8.4z",
        lambda: f"M{x - 1.3:.1f} {y - 4:.1f}h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
    )
    return shapes[series % SERIES]()


def _frame(
    parts: Sequence[str], across: Scale, up: Scale, *, below: str, beside: str, names: Sequence[str] | None = None
) -> str:
    lines = []
    for tick in up.ticks():
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}" stroke="var(--line)"/>'
        )
        lines.append(_text(LEFT - 7, up(tick) + 3.5, _shown(tick), anchor="end"))
    ticks = [(i, name) for i, name in enumerate(names)] if names else [(t, _shown(t)) for t in across.ticks()]
    for place, name in ticks:
        lines.append(_text(across(place), HEIGHT - BOTTOM + 15, name, anchor="middle", size=9.4 if names else 11))
    titles = _text(LEFT, HEIGHT - 5, below) + _text(0, 8, beside)
    return f'<svg viewBox="0 -4 {WIDTH} {HEIGHT + 4}">{"".join([*lines, *parts, titles])}</svg>'


def _shown(tick: float) -> str:
    text = f"{tick:.6g}"
    return plain(float(text), max(0, len(text.partition(".")[2]))) if "e" not in text else text


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: float = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="var(--muted)">'
        f"{html.escape(text)}</text>"
    )
