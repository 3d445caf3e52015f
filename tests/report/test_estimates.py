"""Values and intervals, read and put into words."""

import math

import pytest

from redpencil.errors import RedpencilError
from redpencil.report.estimates import (
    Estimate,
    duration,
    estimate,
    mapping,
    percent_interval,
    plain,
    points,
    points_interval,
    signed,
)


def test_interval_is_two_standard_errors_by_hand() -> None:
    # 51.6 -+ 1.959964 * 1.76 = 51.6 -+ 3.4495
    found = estimate({"value": 51.6, "standard_error": 1.76, "n": 805}, "win_rate.token")
    assert found is not None
    assert found.low == pytest.approx(48.1505, abs=1e-3)
    assert found.high == pytest.approx(55.0495, abs=1e-3)
    assert percent_interval(found) == "48.2 to 55.0"
    assert found.n == 805


def test_a_share_stays_within_0_and_100_but_a_difference_does_not() -> None:
    # 99 + 1.96 * 2 = 102.9; -1 - 3.9 = -4.9
    share = estimate({"value": 99.0, "standard_error": 2.0}, "x")
    gap = estimate({"value": -1.0, "standard_error": 2.0}, "x", whole=None)
    assert share is not None
    assert share.high == 100.0
    assert gap is not None
    assert gap.low == pytest.approx(-4.92, abs=0.01)
    over_two_seeds = estimate({"value": 0.8, "low": -0.1, "high": 1.7}, "x", whole=1.0)
    assert over_two_seeds == Estimate(0.8, 0.0, 1.0)


def test_given_ends_are_kept_and_nan_is_no_interval() -> None:
    assert estimate({"value": 1.0, "low": 0.5, "high": 2.0, "standard_error": 9.0}, "x") == Estimate(1.0, 0.5, 2.0)
    bare = estimate({"value": 1.0, "low": math.nan, "high": math.nan}, "x")
    assert bare == Estimate(1.0)
    assert percent_interval(bare) == ""
    assert estimate({"value": None}, "x") is None
    assert estimate(None, "x") is None


def test_zero_counts_as_covered_where_nothing_excludes_it() -> None:
    assert Estimate(2.0).covers_zero
    assert not Estimate(2.0).above_zero
    assert Estimate(2.0, 0.0, 4.0).covers_zero
    assert not Estimate(2.0, 0.0, 4.0).above_zero
    assert Estimate(2.0, 0.1, 4.0).above_zero
    assert not Estimate(-2.0, -4.0, -0.1).covers_zero


def test_signs() -> None:
    assert signed(1.26) == "+1.3"
    assert signed(-1.26) == "\N{MINUS SIGN}1.3"
    assert signed(-0.04) == "0.0"
    assert plain(-2.0) == "\N{MINUS SIGN}2.0"
    assert plain(None) == "\N{EN DASH}"
    assert points(Estimate(-1.0)) == "\N{MINUS SIGN}1.0"
    assert points_interval(Estimate(0.5, -0.5, 1.5)) == "\N{MINUS SIGN}0.5 to +1.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.13, "4.1 s"), (99.96, "1 min 40 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (None, "\N{EN DASH}")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_what_is_no_mapping_names_its_field() -> None:
    assert mapping(None, "flaws") == {}
    with pytest.raises(RedpencilError, match="found list") as caught:
        mapping([], "flaws")
    assert caught.value.field == "flaws"
