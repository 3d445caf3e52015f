"""Charts as inline SVG whose colours and type are those of the page around them, in light and in dark."""

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from redpencil.report.paper import ARM_LABELS, TABLE_1, label
from redpencil.report.run_data import NORMAL_95, Rows, Run, number, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Matplotlib draws with these; the SVG then gets the page's custom properties in their place.
INK, MUTED, GRID, PAGE = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
SERIES = tuple(f"#0a0c{index:02x}" for index in range(6))
PROPERTIES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PAGE: "var(--page)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.5, 1.2, 1.5)), (0, (8, 3)), (0, (3, 3)))
SVG_DASHES = ("", "8 2.6", "2 2.3", "9.6 2.4 2 2.4", "12.8 4.8", "4.8 4.8")
MARKERS = ("o", "s", "D", "^", "v", "P")
SERIES_ORDER = ("token", "edits", "preference")
FONT_SIZE = 9.0


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: its SVG, a title, and a sentence for those who cannot see it."""

    svg: str
    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of the PPO metrics and how to draw it."""

    key: str
    title: str
    reference: float | None = None


QUANTITIES = (
    Quantity("eval/win_rate", "Win rate on validation prompts, %", 50),
    Quantity("kl", "KL to the SFT policy, nats a response", 0),
    Quantity("length", "Length of the rollouts, tokens"),
    Quantity("reward", "Reward of a response, scaled", 0),
)


def series_index(arm: str, arms: Sequence[str]) -> int:
    """The colour, line and marker of an arm: fixed for the paper's three, in order for others."""
    if arm in SERIES_ORDER:
        return SERIES_ORDER.index(arm)
    others = [name for name in arms if name not in SERIES_ORDER]
    return (len(SERIES_ORDER) + others.index(arm)) % len(SERIES)


def learning_curves(run: Run) -> list[Chart]:
    """A chart for each quantity that at least one arm logged."""
    drawn = (_curve(run.curves, quantity, index) for index, quantity in enumerate(QUANTITIES))
    return [chart for chart in drawn if chart is not None]


def _curve(curves: Mapping[str, Mapping[int, Rows]], quantity: Quantity, index: int) -> Chart | None:
    lines = {arm: _lines(of_seed, quantity) for arm, of_seed in curves.items()}
    lines = {arm: of_arm for arm, of_arm in lines.items() if of_arm}
    if not lines:
        return None
    figure, axes = _figure(4.5, 2.75)
    if quantity.reference is not None:
        axes.axhline(quantity.reference, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    ends, story = {}, []
    for arm, of_arm in lines.items():
        series = series_index(arm, list(curves))
        mean = _mean_line(of_arm)
        if len(of_arm) > 1:
            for line in of_arm:
                axes.plot(*_columns(line), color=SERIES[series], linewidth=0.7, alpha=0.35, zorder=2)
        sparse = len(mean) <= 20
        axes.plot(
            *_columns(mean),
            color=SERIES[series],
            linestyle=DASHES[series],
            linewidth=1.7,
            marker=MARKERS[series] if sparse else None,
            markersize=3.4,
            zorder=3,
        )
        last = max(mean)
        ends[arm] = (last, mean[last], SERIES[series])
        story.append(f"{arm} from {mean[min(mean)]:.3g} to {mean[last]:.3g}")
    _label_ends(axes, ends)
    axes.set_xlabel("PPO step", color=MUTED, fontsize=FONT_SIZE, loc="left")
    averaged = " Means over seeds." if any(len(of_arm) > 1 for of_arm in lines.values()) else ""
    description = f"{quantity.title}, by PPO step: {'; '.join(story)}.{averaged}"
    return Chart(_svg(figure, f"curve{index}"), quantity.title, description)


def _lines(of_seed: Mapping[int, Rows], quantity: Quantity) -> list[dict[float, float]]:
    lines = [
        {row["step"]: value for row in rows if (value := number(row.get(quantity.key))) is not None}
        for rows in of_seed.values()
    ]
    return [line for line in lines if line]


def _mean_line(lines: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """The mean over seeds at the steps that all of them have."""
    shared = sorted(set.intersection(*(set(line) for line in lines)))
    steps = shared or sorted(lines[0])
    used = lines if shared else lines[:1]
    return {step: sum(line[step] for line in used) / len(used) for step in steps}


def _columns(line: Mapping[float, float]) -> tuple[list[float], list[float]]:
    return list(line), list(line.values())


def _label_ends(axes: "Axes", ends: Mapping[str, tuple[float, float, str]]) -> None:
    """Each line's name at its end, moved apart where names would touch."""
    low, high = axes.get_ylim()
    apart = 0.085 * (high - low)
    ordered = sorted(ends, key=lambda arm: ends[arm][1])
    places: list[float] = []
    for arm in ordered:
        places.append(max(ends[arm][1], places[-1] + apart) if places else ends[arm][1])
    shift = sum(place - ends[arm][1] for place, arm in zip(places, ordered, strict=True)) / max(len(places), 1)
    right = max(end[0] for end in ends.values())
    left = axes.get_xlim()[0]
    for place, arm in zip(places, ordered, strict=True):
        axes.annotate(
            arm,
            (right + 0.03 * (right - left), place - shift),
            color=ends[arm][2],
            fontsize=FONT_SIZE,
            fontweight="bold",
            va="center",
            annotation_clip=False,
            parse_math=False,
        )
    axes.set_ylim(low, high)


def win_rate_chart(run: Run) -> Chart | None:
    """Table 1 as dots with intervals; hollow diamonds are the paper's figures."""
    arms = [arm for arm in run.win_rates if arm != "reference"]
    if not arms:
        return None
    figure, axes = _figure(4.5, 0.75 + 0.5 * len(arms), left=0.04, right=0.96, top=0.97, bottom=0.42)
    axes.axvline(50, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    story = []
    for place, arm in enumerate(arms):
        share = run.win_rates[arm].share
        index = series_index(arm, arms) if arm != "sft" else None
        colour = MUTED if index is None else SERIES[index]
        low = share.value if share.low is None else share.low
        high = share.value if share.high is None else share.high
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round", zorder=3)
        marker = "o" if index is None else MARKERS[index]
        axes.plot([share.value], [place], marker=marker, color=colour, markersize=6.5, zorder=4)
        story.append(f"{arm} {percent(share)} percent")
        printed = TABLE_1.get(arm)
        if printed is not None:
            error = NORMAL_95 * (printed.spread or 0)
            ends = [printed.value - error, printed.value + error]
            axes.plot(ends, [place + 0.27] * 2, color=MUTED, linewidth=0.9, zorder=2)
            axes.plot(
                [printed.value], [place + 0.27], marker="d", markersize=5, markerfacecolor=PAGE, color=MUTED, zorder=3
            )
    low, high = axes.get_xlim()
    for place, arm in enumerate(arms):
        axes.text(
            0,
            place - 0.33,
            label(arm, ARM_LABELS),
            color=INK,
            fontsize=FONT_SIZE,
            va="center",
            parse_math=False,
            transform=axes.get_yaxis_transform(),
        )
    axes.set_xlim(low, high)
    axes.set_ylim(len(arms) - 0.45, -0.65)
    axes.set_yticks([])
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.6)
    axes.set_xlabel("Win rate, %", color=MUTED, fontsize=FONT_SIZE, loc="left")
    description = f"Win rates with 95 percent intervals: {'; '.join(story)}."
    return Chart(_svg(figure, "winrates"), "Win rates with 95 % intervals", description)


def _figure(
    width: float, height: float, *, left: float = 0.08, right: float = 0.82, top: float = 0.96, bottom: float = 0.45
) -> tuple[Figure, "Axes"]:
    """A bare figure. `bottom` is in inches, the other margins are shares."""
    figure = Figure(figsize=(width, height), dpi=72)
    FigureCanvasSVG(figure)
    axes = figure.add_axes((left, bottom / height, right - left, top - bottom / height))
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=FONT_SIZE, length=0, pad=4)
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(nbins=6)
    return figure, axes


def _svg(figure: Figure, prefix: str) -> str:
    """The figure as SVG to stand within HTML: ids unique to the chart, no namespaces, nothing global."""
    out = io.StringIO()
    # The salt makes ids, and so the whole file, the same each time.
    with (
        warnings.catch_warnings(),
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "redpencil", "axes.unicode_minus": True}),
    ):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        # The page's fonts are used, so it does not matter which glyphs Matplotlib's own lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r"<svg \1>", svg, count=1)
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = _without_fonts(svg)
    for colour, value in PROPERTIES.items():
        svg = svg.replace(colour, value)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _without_fonts(svg: str) -> str:
    """Text keeps its size and weight and takes the page's font. Matplotlib 3.10 writes the `font` shorthand."""
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)
    return re.sub(r"font: (?:(bold|\d+) )?([\d.]+)px [^;\"]*", _size_and_weight, svg)


def _size_and_weight(match: re.Match[str]) -> str:
    weight = f"font-weight: {match[1]}; " if match[1] else ""
    return f"{weight}font-size: {match[2]}px"


def legend_lines(arms: Sequence[str]) -> list[dict[str, str]]:
    """For each arm what the page's legend shows: its name, label, colour and dashes."""
    rows = []
    for arm in arms:
        index = series_index(arm, arms)
        rows.append(
            {
                "arm": arm,
                "label": label(arm, ARM_LABELS),
                "colour": f"var(--series-{index})",
                "dashes": SVG_DASHES[index],
            }
        )
    return rows
