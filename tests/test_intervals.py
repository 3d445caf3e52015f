"""Intervals of shares by hand, and that clusters count as what they are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.intervals import clustered_share, student, wilson_interval


def test_ties_of_three_clusters_by_hand() -> None:
    # Points 1 .5 | 0 0 | 1 1: mean 3.5 / 6; residual sums 1/3, -7/6, 5/6, squared and added 78/36.
    found = clustered_share([1, 0.5, 0, 0, 1, 1], ["a", "a", "b", "b", "c", "c"])
    assert found.value == pytest.approx(3.5 / 6)
    variance = 3 / 2 * (78 / 36) / 36
    assert found.standard_error == pytest.approx(math.sqrt(variance))
    # t with 5 and with 2 degrees of freedom: 2.5706 and 4.3027.
    cases = 6 * (2.5706 / 4.3027) ** 2 * (3.5 / 6 * 2.5 / 6 / 5) / variance
    assert (found.low, found.high) == pytest.approx(wilson_interval(3.5 / 6, cases), abs=1e-4)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=40))
def test_each_in_a_cluster_of_its_own_is_plain_wilson_or_wider(points: list[float]) -> None:
    found = clustered_share(points, range(len(points)))
    low, high = wilson_interval(sum(points) / len(points), len(points))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_cluster_says_nothing() -> None:
    found = clustered_share([1, 0, 1], "aaa")
    assert (found.low, found.high) == (0, 1)
    assert math.isnan(found.standard_error)
    assert student(4) == pytest.approx(2.7764, abs=1e-4)
