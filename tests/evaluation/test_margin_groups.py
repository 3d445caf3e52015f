"""Groups of margins, by hand and beside statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.evaluation.margin_groups import margin_groups, quantile_groups, quantile_names
from redpencil.evaluation.statistics import accuracy_interval

VALUES = st.lists(st.integers(0, 9), min_size=1, max_size=40)


def test_groups_by_hand() -> None:
    margins = np.array([1.0, 3.0, -1.0, 2.0, 0.5])
    found = {group.name: group for group in margin_groups(margins, ["a", "b", "a", "b", "c"])}
    assert list(found) == ["a", "b", "c"]
    assert found["a"].accuracy == accuracy_interval([1, -1])
    assert found["a"].margin == 0
    # b: 3 and 2, mean 2.5, standard error .5; t with one degree of freedom is 12.706
    assert (found["b"].margin_low, found["b"].margin_high) == (
        pytest.approx(2.5 - 6.3531, abs=1e-3),
        pytest.approx(2.5 + 6.3531, abs=1e-3),
    )
    assert (found["c"].accuracy.n, math.isnan(found["c"].margin_low)) == (1, True)


def test_margins_of_groups_agree_with_statsmodels() -> None:
    weights = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    margins = np.random.default_rng(0).normal(size=30)
    (group,) = margin_groups(margins, ["all"] * 30)
    assert (group.margin_low, group.margin_high) == pytest.approx(weights.DescrStatsW(margins).tconfint_mean())


def test_an_order_may_be_given() -> None:
    margins = np.array([1.0, -1.0, 1.0])
    assert [g.name for g in margin_groups(margins, ["b", "a", "x"], ["a", "b", "c"])] == ["a", "b"]


def test_quantiles_by_hand() -> None:
    assert quantile_names(np.array([1, 2, 3, 4]), bins=2) == ["1 to 2", "1 to 2", "3 to 4", "3 to 4"]
    assert quantile_names(np.array([0.1, 0.25, 0.25, 0.25]), percent=True, bins=2) == [
        *("10.0 to 25.0 %",) * 4,
    ]
    assert quantile_names(np.array([5, 5]), bins=3) == ["5", "5"]
    assert quantile_names(np.array([]), bins=3) == []
    found = quantile_groups(np.array([1.0, -1.0, 1.0, 1.0]), np.array([30, 4, 5, 20]), bins=2)
    assert [(g.name, g.accuracy.value) for g in found] == [("4 to 5", 50), ("20 to 30", 100)]


@given(VALUES, st.integers(1, 6))
def test_bins_are_in_order_and_part_no_equal_values(values: list[int], bins: int) -> None:
    names = quantile_names(np.array(values), bins=bins)
    by_value = dict(zip(values, names, strict=True))
    assert [by_value[value] for value in values] == names
    found = quantile_groups(np.zeros(len(values)), np.array(values), bins=bins)
    assert len(found) <= bins
    assert sum(group.accuracy.n for group in found) == len(values)
    lows = [int(group.name.split(" to ")[0]) for group in found]
    assert lows == sorted(lows)
