"""Several seeds summarised, with the arithmetic on paper."""

import math
from typing import Any

import pytest

from redpencil.pipeline.study import summarise


def run(rate: float, accuracy: float, auroc: float | None, ratio: float | None) -> dict[str, Any]:
    token_step = None if ratio is None else round(20 * ratio)
    steps = {"token_step": token_step, "sequence_step": 20, "ratio": ratio}
    return {
        "win_rate": {"token": {"value": rate, "mean_length": rate / 2}},
        "win_rate_difference": {"token-edits": {"value": rate - 50}},
        "reward_accuracy": {"token_edits": {"edits": {"value": accuracy}}},
        "localisation": {"token_edits": {"auroc": auroc}},
        "efficiency": steps,
        "efficiency_preference": {**steps, "ratio": None, "token_step": None},
        "stages": {"sft": {"seconds": 1.0}},
    }


@pytest.fixture
def summary() -> dict[str, Any]:
    """Ratios .2, .6, never: the seed that never got there is the slowest of the three."""
    return summarise([run(50, 80, 0.7, 0.2), run(52, 80, None, 0.6), run(57, 80, 0.9, None)])


def test_means_have_students_intervals_over_seeds(summary: dict[str, Any]) -> None:
    # Mean (50 + 52 + 57) / 3 = 53; deviations -3, -1, 4; variance 26 / 2 = 13; t(.975, 2) = 4.3027.
    half = 4.302653 * math.sqrt(13 / 3)
    entry = summary["win_rate"]["token"]
    assert entry["value"] == pytest.approx(53)
    assert (entry["low"], entry["high"]) == (pytest.approx(53 - half), pytest.approx(53 + half))
    assert entry["per_seed"] == [50, 52, 57]
    assert summary["win_rate_difference"]["token-edits"]["value"] == pytest.approx(3)
    assert summary["win_rate_difference"]["token-edits"]["low"] == pytest.approx(3 - half)
    assert summary["mean_length"]["token"]["value"] == pytest.approx(26.5)


def test_equal_values_have_an_interval_of_no_width(summary: dict[str, Any]) -> None:
    entry = summary["reward_accuracy"]["token_edits"]["edits"]
    assert (entry["low"], entry["value"], entry["high"]) == (80, 80, 80)


def test_a_measure_that_a_seed_lacks_has_no_mean(summary: dict[str, Any]) -> None:
    assert summary["localisation"]["token_edits"]["auroc"] is None


def test_a_seed_without_a_ratio_counts_as_slower_than_any_that_has_one(summary: dict[str, Any]) -> None:
    assert summary["efficiency"] == {
        "ratio_median": 0.6,
        "ratios": [0.2, 0.6, None],
        "token_steps": [4, 12, None],
        "sequence_steps": [20, 20, 20],
    }


def test_where_half_of_the_seeds_or_more_never_got_there_the_median_is_never(summary: dict[str, Any]) -> None:
    assert summary["efficiency_preference"]["ratio_median"] is None
    # Of two seeds, .2 and never: the middle of a number and infinity is infinity.
    two = summarise([run(50, 80, 0.7, 0.2), run(57, 80, 0.9, None)])
    assert two["efficiency"]["ratio_median"] is None
