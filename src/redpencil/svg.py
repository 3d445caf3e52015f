"""Charts as inline SVG in the colours and type of the page around them, in light and in dark.

The page defines the colours as custom properties: `--ink`, `--muted`, `--line`, `--page`, and `--series-0` to
`--series-5`. They are used in attributes, since the content security policy of the web service forbids `style`.
Distances are in the units of a drawing that is `WIDTH` wide; the page scales it to its column.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 440
HEIGHT: Final = 220
SERIES: Final = 6
"""Colours, dashes and marks that differ; a seventh series looks like the first."""
DASHES: Final = ("", "8 2.6", "2 2.3", "9.6 2.4 2 2.4", "12.8 4.8", "4.8 4.8")
FONT: Final = 11.0
_CHARACTER: Final = 0.57
"""Mean width of a character, as a share of the font size."""
_LARGE: Final = 13.0
"""Largest font size that a page may give to texts that are not of the class `small`, as on a narrow screen."""
_ROOM: Final = 7.2
"""Room for a character at the ends of a plot."""
_ROW: Final = 42
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its SVG, a title, and a sentence with its numbers for those who cannot see it."""

    svg: Markup
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a line, with the ends of its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """The range of an axis, its title, and the values that are marked on it with their labels."""

    low: float
    high: float
    title: str = ""
    ticks: tuple[tuple[float, str], ...] = ()

    @classmethod
    def between(cls, low: float, high: float, title: str, *, most: int = 5) -> "Axis":
        """Reach from `low` to `high`, with ticks on round values, at most `most` + 1."""
        if low == high:
            low, high = low - 1, high + 1
        step = _step(high - low, most)
        return cls(low, high, title, _ticks(step, math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)))

    @classmethod
    def around(cls, values: Iterable[float], title: str, *, most: int = 5) -> "Axis":
        """Reach from the round value below all `values` (at least one) to the round value above them."""
        known = list(values)
        low, high = min(known), max(known)
        if low == high:
            low, high = low - 1, high + 1
        step = _step(high - low, most)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(step * first, step * last, title, _ticks(step, first, last))

    @classmethod
    def upwards(cls, values: Iterable[float], title: str, *, whole: bool = False) -> "Axis":
        """Reach from 0 to a round value above all `values`; ticks are whole numbers where these are counts."""
        most = max(values, default=0.0)
        step = _step(most if most > 1e-300 else 1.0, 4)
        step = max(step, 1.0) if whole else step
        count = max(1, math.ceil(most / step - 1e-9))
        return cls(0, step * count, title, _ticks(step, 0, count))

    @classmethod
    def named(cls, names: Sequence[str], title: str) -> "Axis":
        """Give each name a place of width 1, the first around 0."""
        return cls(-0.5, max(len(names), 1) - 0.5, title, tuple(enumerate(names)))


def _step(span: float, most: int) -> float:
    """Return the smallest of 1, 2, 5, 10, ... that divides `span` into at most `most` parts."""
    unit = 10.0 ** math.floor(math.log10(span / most))
    return next(unit * size for size in (1, 2, 5, 10, 20) if span <= most * unit * size * (1 + 1e-9))


def _ticks(step: float, first: int, last: int) -> tuple[tuple[float, str], ...]:
    """Write the multiples of `step` from `first` to `last`, all with as many digits after the point."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    form = f",.{digits}f" if 1e-4 <= step < 1e9 else ".3g"
    values = [step * i + 0.0 for i in range(first, last + 1)]
    return tuple((value, format(value, form).replace("-", "\N{MINUS SIGN}")) for value in values)


class Plot:
    """A pair of axes to draw on. Values outside an axis are drawn at its end.

    Args:
        x: the axis below.
        y: the axis on the left; its title is written above the drawing.
        height: of the drawing.
        names: names that will be written at the ends of lines, for which there is room on the right.
        grid: the axis whose ticks get a line through the drawing.
    """

    def __init__(self, x: Axis, y: Axis, *, height: float = HEIGHT, names: Iterable[str] = (), grid: str = "y") -> None:
        self._x, self._y, self._grid = x, y, grid
        self.left = 8 + _ROOM * max(len(label) for _, label in y.ticks) if y.ticks else 8
        self.right = WIDTH - max((12 + _ROOM * len(name) for name in names), default=10)
        self.top = 24.0 if y.title else 8.0
        self.height = height
        self.bottom = height - (20 if x.ticks else 2) - (17 if x.title else 0)
        self._parts: list[str] = []

    def x(self, value: float) -> float:
        return self.left + (self.right - self.left) * _share(value, self._x)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * _share(value, self._y)

    def line(
        self, points: Sequence[Point], series: int, *, marks: bool = True, shift: float = 0.0, faint: bool = False
    ) -> None:
        """Draw points from left to right as a line, with their intervals.

        Args:
            points: in the values of the axes.
            series: number of its colour, dashes and mark.
            marks: whether each point has a mark.
            shift: distance to the right, so that intervals of several lines do not hide each other.
            faint: whether it is a thin line in the background, such as one of many seeds.
        """
        colour, dashes = colour_of(series), DASHES[series % SERIES]
        places = [(self.x(point.x) + shift, self.y(point.y), point) for point in points]
        if len(places) > 1:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in places)
            look = 'stroke-width="0.9" opacity="0.4"' if faint else 'stroke-width="1.8"'
            look += f' stroke-dasharray="{dashes}"' if dashes and not faint else ""
            self._parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" {look}/>')
        for x, y, point in places if not faint else ():
            if point.low is not None and point.high is not None:
                ends = f"M{x:.1f} {self.y(point.low):.1f}V{self.y(point.high):.1f}"
                self._parts.append(f'<path d="{ends}" stroke="{colour}" stroke-width="1.2" opacity="0.75"/>')
            if marks:
                self._parts.append(f'<path d="{mark(series, x, y)}" fill="{colour}"/>')

    def bar(self, low: float, high: float, value: float, series: int, *, gap: float = 0.0) -> None:
        """Draw an upright bar up to `value` from `low` to `high` of the axis below, less a `gap` between neighbours."""
        left, right, top = self.x(low) + gap / 2, self.x(high) - gap / 2, self.y(value)
        self._parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.5):.1f}" '
            f'height="{self.bottom - top:.1f}" rx="1" fill="{colour_of(series)}"/>'
        )

    def rule(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draw a dotted line for reference between two points."""
        path = f"M{self.x(x1):.1f} {self.y(y1):.1f}L{self.x(x2):.1f} {self.y(y2):.1f}"
        self._parts.append(f'<path d="{path}" stroke="var(--muted)" stroke-width="1" stroke-dasharray="2 3"/>')

    def span(
        self, low: float, high: float, value: float, y: float, *, series: int | None = None, hollow: bool = False
    ) -> None:
        """Draw a level interval with a mark at `value`, `y` in the units of the drawing; muted without a `series`."""
        colour = "var(--muted)" if series is None else colour_of(series)
        width = 1 if hollow else 2.4
        shape = mark(2 if hollow else series or 0, self.x(value), y)
        fill = f'fill="var(--page)" stroke="{colour}"' if hollow else f'fill="{colour}"'
        self._parts.append(
            f'<path d="M{self.x(low):.1f} {y:.1f}H{self.x(high):.1f}" stroke="{colour}" stroke-width="{width}"/>'
            f'<path d="{shape}" {fill}/>'
        )

    def text(self, x: float, y: float, text: str, *, colour: str = "var(--muted)", anchor: str = "start") -> None:
        """Write a text, its place in the units of the drawing."""
        self._parts.append(_text(x, y, text, colour=colour, anchor=anchor))

    def name_ends(self, ends: Sequence[tuple[float, float, str, int]]) -> None:
        """Write names at the ends of lines, each (x, y, name, series), moved apart where they would touch."""
        apart = FONT + 2.5
        ordered = sorted((self.y(y), name, series) for _, y, name, series in ends)
        places: list[float] = []
        for y, _, _ in ordered:
            places.append(max(y, places[-1] + apart) if places else y)
        shift = sum(place - y for place, (y, _, _) in zip(places, ordered, strict=True)) / max(len(places), 1)
        right = max((self.x(x) for x, _, _, _ in ends), default=self.right)
        for place, (_, name, series) in zip(places, ordered, strict=True):
            self._parts.append(_text(right + 8, place - shift + 4, name, colour=colour_of(series), weight=600))

    def svg(self) -> Markup:
        """Write the drawing."""
        lines, texts = [], []
        for value, label in self._y.ticks:
            place = self.y(value)
            if "y" in self._grid:
                lines.append(_line(self.left, place, self.right, place))
            texts.append(_text(self.left - 7, place + 3.8, label, anchor="end"))
        labels, size = _fitting([label for _, label in self._x.ticks], self.right - self.left)
        for (value, _), label in zip(self._x.ticks, labels, strict=True):
            place = self.x(value)
            if "x" in self._grid:
                lines.append(_line(place, self.top, place, self.bottom))
            if label:
                texts.append(_text(place, self.bottom + 15, label, anchor="middle", size=size))
        if self._x.title:
            texts.append(_text(self.left, self.height - 4, self._x.title))
        if self._y.title:
            texts.append(_text(0, 9, self._y.title))
        return _svg([*lines, *self._parts, *texts], self.height)


def _share(value: float, axis: Axis) -> float:
    return min(1.0, max(0.0, (value - axis.low) / (axis.high - axis.low)))


def _fitting(labels: Sequence[str], width: float) -> tuple[list[str], float]:
    """Choose a font size, or leave out labels, counted from the last one, so that none touches the next."""
    room = width / max(len(labels), 1)
    longest = max(map(len, labels), default=0) + 1.2
    for size in (_LARGE, 10.0, 9.2):
        if _CHARACTER * size * longest <= room:
            return list(labels), min(size, FONT)
    every = math.ceil(_CHARACTER * _LARGE * longest / room)
    return [label if (len(labels) - 1 - i) % every == 0 else "" for i, label in enumerate(labels)], FONT


@dataclass(frozen=True, slots=True)
class Column:
    """A place on the axis below with a bar or several, each a height and the number of its colour."""

    label: str
    bars: tuple[tuple[float, int], ...]


def draw_columns(places: Sequence[Column], *, x: str, y: str, whole: bool = False) -> Markup:
    """Draw upright bars side by side, under the axis titles `x` and `y`; with `whole` the heights are counts."""
    heights = [height for place in places for height, _ in place.bars]
    plot = Plot(Axis.named([place.label for place in places], x), Axis.upwards(heights, y, whole=whole), height=200)
    for number, place in enumerate(places):
        width = 0.78 / max(len(place.bars), 1)
        for n, (height, series) in enumerate(place.bars):
            left = number - 0.39 + n * width
            plot.bar(left, left + width * (0.96 if len(place.bars) > 1 else 1), height, series)
    return plot.svg()


@dataclass(frozen=True, slots=True)
class Row:
    """A name with a level bar or several below it: each a length from 0 to 1, a note behind it, and its colour."""

    name: str
    bars: tuple[tuple[float, str, int], ...]


def draw_rows(named: Sequence[Row]) -> Markup:
    """Draw level bars below each other."""
    parts, y = [], 0.0
    for row in named:
        name = row.name if len(row.name) <= _LONGEST_NAME else row.name[: _LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
        parts.append(_text(0, y + 11, name, colour="var(--ink)"))
        high, size = (11, FONT) if len(row.bars) == 1 else (8, 9.2)
        for n, (length, note, series) in enumerate(row.bars):
            top, width = y + 17 + n * (high + 1.5), max((WIDTH - 90) * length, 1)
            parts.append(
                f'<rect x="0" y="{top:.1f}" width="{width:.1f}" height="{high}" rx="1" fill="{colour_of(series)}"/>'
            )
            parts.append(_text(width + 7, top + high / 2 + 0.35 * size, note, size=size))
        y += _ROW
    return _svg(parts, max(y, _ROW))


def colour_of(series: int) -> str:
    """Return the colour of a series, as a property of the page."""
    return f"var(--series-{series % SERIES})"


def swatch(series: int, *, marked: bool = True) -> Markup:
    """Draw the line of a series, and its mark, for the legend of a page."""
    dashes = DASHES[series % SERIES]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    line = f'<path d="M1 5H33" fill="none" stroke="{colour_of(series)}" stroke-width="2"{dashed}/>'
    shape = f'<path d="{mark(series, 17, 5)}" fill="{colour_of(series)}"/>' if marked else ""
    return Markup(f'<svg viewBox="0 0 34 10" aria-hidden="true">{line}{shape}</svg>')


def mark(series: int, x: float, y: float) -> str:
    """Return the path of a series' mark: disc, square, diamond, triangle up, triangle down or cross."""
    shapes = (
        f"M{x - 3.4:.1f} {y:.1f}a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0z",
        f"M{x - 3.1:.1f} {y - 3.1:.1f}h6.2v6.2h-6.2z",
        f"M{x:.1f} {y - 4.4:.1f}l4.4 4.4l-4.4 4.4l-4.4 -4.4z",
        f"M{x:.1f} {y - 4.2:.1f}l4.2 7.4h-8.4z",
        f"M{x:.1f} {y + 4.2:.1f}l4.2 -7.4h-8.4z",
        f"M{x - 1.3:.1f} {y - 4:.1f}h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
    )
    return shapes[series % SERIES]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="var(--line)"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    colour: str = "var(--muted)",
    anchor: str = "start",
    size: float = FONT,
    weight: int = 400,
) -> str:
    look = (f' font-weight="{weight}"' if weight != 400 else "") + (' class="small"' if size < FONT else "")
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}"{look}'
    return f'<text {place} fill="{colour}">{escape(text)}</text>'


def _svg(parts: Iterable[str], height: float) -> Markup:
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height:g}">{"".join(parts)}</svg>')
