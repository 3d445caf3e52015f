"""What policies are like round by round: arms that each learned from edits of the answers of the one before."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Final

from redpencil.report.markup import bounds, plain
from redpencil.report.run_data import Run
from redpencil.results import ArmCosts, Figure
from redpencil.svg import Axis, Chart, Plot, Point

SHIFT = 3.0
"""Distance between the intervals of two lines at one round, in the units of the drawing."""


NEEDS: Final = (
    ("accepted", "Answers that stand as they are", "% of the answers"),
    ("edits", "Edits still needed", "edits in 100 words"),
    ("words", "Words still changed", "words in 100"),
)


def lines_of_rounds(costs: Mapping[str, ArmCosts]) -> list[tuple[str, ...]]:
    """List the arms of each line of rounds, before them the policy from which the first one started.

    A further round starts from an arm and learns on the answers of that arm.
    """
    following: dict[str, list[str]] = {}
    for name, arm in costs.items():
        if arm.start is not None and arm.on == arm.start:
            following.setdefault(arm.start, []).append(name)
    later = set(chain.from_iterable(following.values()))
    waiting: list[tuple[str, ...]] = [(costs[first].start or "sft", first) for first in following if first not in later]
    lines: list[tuple[str, ...]] = []
    while waiting:
        line = waiting.pop(0)
        longer = [(*line, name) for name in following.get(line[-1], ())]
        waiting = [*longer, *waiting]
        lines += [] if longer else [line]
    return lines


def round_charts(run: Run, series: Callable[[str], int]) -> list[Chart]:
    """Draw each measure of the policies' answers by round; nothing without rounds.

    `series` gives the number of an arm's colour.
    """
    lines = lines_of_rounds(run.costs)
    charts = (_chart(lines, values, title, axis, series) for title, axis, values in _measures(run))
    return [chart for chart in charts if chart is not None]


def _measures(run: Run) -> list[tuple[str, str, Mapping[str, Figure]]]:
    """Title, axis and values by policy of each measure."""
    needs = [
        (f"{title} by round", axis, {name: row[key] for name, row in run.needs.items() if key in row})
        for key, title, axis in NEEDS
    ]
    rates = {name: row.share for name, row in run.win_rates.items()}
    return [*needs, ("GLEU by round", "GLEU", run.gleu), ("Win rate by round", "win rate, %", rates)]


def _chart(
    lines: Sequence[tuple[str, ...]], values: Mapping[str, Figure], title: str, axis: str, series: Callable[[str], int]
) -> Chart | None:
    shown = [line for line in lines if all(name in values for name in line)]
    if not shown:
        return None
    every = [value for line in shown for name in line for value in (bounds(values[name]) or (values[name].value,))]
    names = ["before", *(f"round {number}" for number in range(1, max(map(len, shown))))]
    titles = _titles(shown)
    plot = Plot(Axis.named(names, ""), Axis.around(every, axis), names=titles)
    ends, story = [], []
    for place, (line, title_of_line) in enumerate(zip(shown, titles, strict=True)):
        rows = [values[name] for name in line]
        points = [Point(x, row.value, *(bounds(row) or (None, None))) for x, row in enumerate(rows)]
        colour = series(title_of_line)
        plot.line(points, colour, shift=SHIFT * place)
        ends.append((len(line) - 1, rows[-1].value, title_of_line, colour))
        story.append(f"{title_of_line} {', '.join(plain(row.value) for row in rows)}")
    plot.name_ends(ends)
    return Chart(plot.svg(), title, f"{title} ({axis}), from before the first round: {'; '.join(story)}.")


def _titles(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """Name each line after its first arm, or, where several begin with that one, after its last."""
    begins = Counter(line[1] for line in lines)
    return [line[1] if begins[line[1]] == 1 else line[-1] for line in lines]
