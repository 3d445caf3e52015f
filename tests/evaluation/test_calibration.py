"""Calibration by hand, by the plain formulas, and the temperature against statsmodels' logistic regression."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.calibration import best_temperature, calibrate, calibrate_tokens
from redpencil.evaluation.statistics import wilson_interval

LOG = {p: math.log(p / (1 - p)) for p in (0.62, 0.68, 0.92, 0.96)}
MARGINS = st.lists(st.floats(-6, 6), min_size=1, max_size=60)


def test_by_hand() -> None:
    # Probabilities of the chosen side .68, .62, .08 (so .92 for the other), .96: sure .62 .68 .92 .96.
    # Ten bins of .05 from .5: .60-.65 one right, .65-.70 one right, .90-.95 one wrong, .95-1 one right.
    found = calibrate([LOG[0.68], LOG[0.62], -LOG[0.92], LOG[0.96]])
    assert [(round(b.low, 2), b.n, b.accuracy) for b in found.bins] == [
        (0.6, 1, 1),
        (0.65, 1, 1),
        (0.9, 1, 0),
        (0.95, 1, 1),
    ]
    assert [b.confidence for b in found.bins] == pytest.approx([0.62, 0.68, 0.92, 0.96])
    assert found.expected_error == pytest.approx((0.38 + 0.32 + 0.92 + 0.04) / 4)
    # Brier: (.32^2 + .38^2 + .92^2 + .04^2) / 4
    assert found.brier == pytest.approx((0.1024 + 0.1444 + 0.8464 + 0.0016) / 4)
    assert found.negative_log_likelihood == pytest.approx(-sum(map(math.log, (0.68, 0.62, 0.08, 0.96))) / 4)
    assert (found.bins[0].accuracy_low, found.bins[0].accuracy_high) == wilson_interval(1, 1)


def test_two_bins_by_count() -> None:
    # The quartet above in two bins of two: sure (.62 + .68) / 2 = .65, right 1; sure .94, right .5.
    found = calibrate([LOG[0.68], LOG[0.62], -LOG[0.92], LOG[0.96]], bins=2)
    assert [(b.n, b.accuracy) for b in found.bins_by_count] == [(2, 1), (2, 0.5)]
    assert found.expected_error_by_count == pytest.approx((2 * 0.35 + 2 * 0.44) / 4)


def test_a_coin() -> None:
    found = calibrate([0.0] * 7)
    assert (found.brier, found.negative_log_likelihood) == (0.25, pytest.approx(math.log(2)))
    assert (found.expected_error, found.expected_error_by_count) == (0, 0)
    assert [(b.n, b.accuracy, b.confidence) for b in found.bins] == [(7, 0.5, 0.5)]
    assert found.temperature is None
    assert found.negative_log_likelihood_at_temperature is None


def test_a_temperature_by_hand() -> None:
    # Three margins of 2 and one of -2: right three times in four, so sigma(2 / T) = .75 and 2 / T = ln 3.
    found = calibrate([2, 2, 2, -2])
    assert found.temperature == pytest.approx(2 / math.log(3))
    assert found.negative_log_likelihood_at_temperature == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)


@pytest.mark.parametrize("margins", [[1, 2], [0, 1], [0, 0], [-1, -2], [1, -1], [1, -3]])
def test_where_no_temperature_is_best(margins: list[float]) -> None:
    assert best_temperature(np.array(margins, dtype=float)) is None


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_the_temperature_is_that_of_a_logistic_regression(scale: float) -> None:
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    margins = np.random.default_rng(1).normal(0.7, 1.5, size=300)
    both = np.concatenate([margins, -margins])  # each pair in both orders: a logistic regression without intercept
    fitted = api.Logit(np.repeat([1, 0], 300), both[:, None]).fit(disp=False, tol=1e-12)
    found = best_temperature(margins * scale)
    assert found == pytest.approx(scale / fitted.params[0], rel=1e-6)
    calibrated = calibrate(margins)
    assert calibrated.negative_log_likelihood_at_temperature == pytest.approx(-fitted.llf / 600)
    assert calibrated.negative_log_likelihood_at_temperature < calibrated.negative_log_likelihood


@given(MARGINS)
def test_bins_hold_every_pair_once(margins: list[float]) -> None:
    found = calibrate(margins)
    confidence = [1 / (1 + math.exp(-abs(m))) for m in margins]
    right = [1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins]
    for bins, error in ((found.bins, found.expected_error), (found.bins_by_count, found.expected_error_by_count)):
        assert sum(b.n for b in bins) == found.n == len(margins)
        assert sum(b.n * b.confidence for b in bins) == pytest.approx(sum(confidence))
        assert sum(b.n * b.accuracy for b in bins) == pytest.approx(sum(right))
        assert all(b.low - 1e-12 <= b.confidence <= b.high + 1e-12 for b in bins)
        assert error == pytest.approx(sum(b.n * abs(b.accuracy - b.confidence) for b in bins) / len(margins))
    assert len(found.bins) <= 10


def test_equal_confidences_share_a_bin() -> None:
    found = calibrate([1.0] * 95 + [-1.0] * 5)
    assert [(b.n, b.accuracy) for b in found.bins_by_count] == [(100, 0.95)]


def test_huge_margins_overflow_nothing() -> None:
    found = calibrate([1e4, -1e4])
    assert found.negative_log_likelihood == 5e3
    assert found.brier == 0.5
    with pytest.raises(RedpencilError, match="no pairs"):
        calibrate([])


def test_token_rewards_of_a_blame_model_have_slope_one() -> None:
    rng = np.random.default_rng(0)
    rewards = [rng.normal(1, 2, 40) for _ in range(200)]
    changed = [rng.random(40) < 1 / (1 + np.exp(row)) for row in rewards]
    found = calibrate_tokens(rewards, changed, list(range(200)))
    assert found is not None
    assert (found.slope, found.offset) == pytest.approx((1, 0), abs=0.1)
    assert found.expected_error < 0.02
    assert found.brier < found.brier_of_rate - 0.05
    assert sum(one.n for one in found.bins) == found.tokens == 8000
    # another unit, shifted, gives the same probabilities
    moved = calibrate_tokens([10 * row - 3 for row in rewards], changed, list(range(200)))
    assert moved is not None
    assert moved.slope == pytest.approx(found.slope / 10, rel=1e-3)
    assert moved.brier == pytest.approx(found.brier, rel=1e-4)


def test_token_rewards_that_point_the_wrong_way_have_a_slope_below_0() -> None:
    rewards = [np.array([1.0, 0.0, 0.0, 0.2]), np.array([0.9, -0.1, 0.1, 0.0])] * 4
    changed = [[True, False, False, False], [True, False, False, True]] * 4
    found = calibrate_tokens(rewards, changed, [1, 2, 3, 4, 5, 6, 7, 8])
    assert found is not None
    assert found.slope < 0


def test_a_half_without_changes_has_no_calibration() -> None:
    rows = [np.zeros(2), np.ones(2)]
    assert calibrate_tokens(rows, [[True, False], [False, False]], ["a", "b"]) is None
    assert calibrate_tokens([], [], []) is None
    assert calibrate_tokens(rows, [[True, False], [True, False]], ["a", "a"]) is None
