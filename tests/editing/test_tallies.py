"""Distributions, histograms and samples that do not depend on the order of rows."""

import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.editing.tallies import (
    QUANTILES,
    Distribution,
    GrowthBin,
    Sample,
    distribution,
    growth_bins,
    histogram,
)


def test_a_distribution_by_hand() -> None:
    # sorted 1 2 2 7; place of the quantile q is q * 3: .15, .75, 1.5, 2.25, 2.85
    found = distribution(Counter([2, 7, 1, 2]))
    assert found == Distribution(4, 3.0, 1.0, 7.0, (1.15, 1.75, 2, 3.25, pytest.approx(6.25)))
    assert found.median == 2


def test_nothing_has_no_distribution() -> None:
    empty: Counter[int] = Counter()
    assert distribution(empty) == Distribution(0)
    assert Distribution(0).median is None


@given(st.lists(st.integers(-1000, 1000), min_size=2))
def test_quantiles_are_those_of_the_standard_library(values: list[int]) -> None:
    found = distribution(Counter(values))
    assert found.mean == pytest.approx(statistics.fmean(values))
    twentieths = statistics.quantiles(values, n=20, method="inclusive")
    assert found.quantiles == pytest.approx([twentieths[round(20 * share) - 1] for share in QUANTILES])


def test_bins_hold_their_lower_end() -> None:
    assert histogram(Counter([0.0, 0.1, 0.3, 0.7, 0.99, 1.0, 1.0])) == (1, 1, 0, 1, 0, 0, 0, 1, 0, 3)


def test_bins_of_growth() -> None:
    found = growth_bins(Counter([-40, -39, -10, -9, -1, 0, 0, 1, 9, 10, 39, 40, 4000]))
    assert found == (
        GrowthBin(None, -40, 1),
        GrowthBin(-39, -10, 2),
        GrowthBin(-9, -1, 2),
        GrowthBin(0, 0, 2),
        GrowthBin(1, 9, 2),
        GrowthBin(10, 39, 2),
        GrowthBin(40, None, 2),
    )


@given(st.lists(st.integers(), max_size=50))
def test_bins_of_growth_tile(values: list[int]) -> None:
    assert sum(row.edits for row in growth_bins(Counter(values))) == len(values)


@given(st.lists(st.integers(0, 30)), st.integers(0, 5), st.randoms())
def test_a_sample_holds_the_smallest_keys_in_any_order(keys: list[int], size: int, random: st.DataObject) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    samples = [Sample(size), Sample(size)]
    for sample, order in zip(samples, (keys, shuffled), strict=True):
        for key in order:
            sample.offer(key, key)
    assert samples[0].rows == samples[1].rows == tuple(sorted(set(keys))[:size])


def test_the_first_row_of_equal_ones_stays() -> None:
    sample = Sample(2)
    for key, row in ((5, 0), (5, 1), (3, 2), (9, 3)):
        sample.offer(key, row)
    assert sample.rows == (2, 0)
