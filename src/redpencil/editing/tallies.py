"""Counting in one pass, so that the same rows in any order give the same figures."""

import math
from bisect import insort
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BINS = 10
STEPS = (1, 10, 40)
"""Words of growth or loss at which a bin begins."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a number was over `n` edits; all but `n` are None where there was none.

    `quantiles` are those of `QUANTILES`, interpolated linearly between the two nearest values.
    """

    n: int
    mean: float | None = None
    least: float | None = None
    most: float | None = None
    quantiles: tuple[float, ...] | None = None

    @property
    def median(self) -> float | None:
        """The value in the middle."""
        return None if self.quantiles is None else self.quantiles[QUANTILES.index(0.5)]


@dataclass(frozen=True, slots=True)
class GrowthBin:
    """How many edits changed the length by `low` to `high` words, both included; None is an open end."""

    low: int | None
    high: int | None
    edits: int


def distribution(values: Counter[int] | Counter[float]) -> Distribution:
    """The distribution of values that come with how often each was seen."""
    ordered = sorted(values.items())
    count = sum(values.values())
    if not count:
        return Distribution(0)
    mean = math.fsum(value * times for value, times in ordered) / count
    quantiles = tuple(_quantile(ordered, share * (count - 1)) for share in QUANTILES)
    return Distribution(count, mean, float(ordered[0][0]), float(ordered[-1][0]), quantiles)


def _quantile(ordered: list[tuple[int, int]] | list[tuple[float, int]], place: float) -> float:
    """The value at `place` of the sorted row of all values, counted from 0."""
    below = math.floor(place)
    seen, low = 0, None
    for value, times in ordered:
        seen += times
        if low is None and seen > below:
            low = value
        if low is not None and seen > math.ceil(place):
            return low + (place - below) * (value - low)
    return float(ordered[-1][0])


def histogram(shares: Counter[float]) -> tuple[int, ...]:
    """How many shares lie in each tenth from 0 to 1; each bin holds its lower end, the last one 1 too."""
    bins = [0] * BINS
    for share, times in shares.items():
        bins[min(int(share * BINS), BINS - 1)] += times
    return tuple(bins)


def growth_bins(changes: Counter[int]) -> tuple[GrowthBin, ...]:
    """Changes of length by how large they are, from the strongest loss to the strongest growth."""
    edges: list[tuple[int | None, int | None]] = [
        (None, -STEPS[-1]),
        *((1 - b, -a) for a, b in reversed(list(pairwise(STEPS)))),
        (0, 0),
    ]
    edges += [*((a, b - 1) for a, b in pairwise(STEPS)), (STEPS[-1], None)]
    return tuple(
        GrowthBin(
            low,
            high,
            sum(
                times
                for change, times in changes.items()
                if (low is None or low <= change) and (high is None or change <= high)
            ),
        )
        for low, high in edges
    )


class Sample:
    """The rows with the smallest hashes: a sample by chance that depends neither on the order of rows nor on a seed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[tuple[int, int]] = []

    def offer(self, key: int, row: int) -> None:
        """Consider a row; of rows with one hash, which say the same, the first stays."""
        if len(self._kept) == self.size and (not self.size or key >= self._kept[-1][0]):
            return
        if all(key != other for other, _ in self._kept):
            insort(self._kept, (key, row))
            del self._kept[self.size :]

    @property
    def rows(self) -> tuple[int, ...]:
        """The rows of the sample, in the order of their hashes."""
        return tuple(row for _, row in self._kept)
