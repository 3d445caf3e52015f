"""Whether the end of a training is below what a constant model gets."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.training.learned import how_it_ended

LN2 = math.log(2)


def test_the_last_quarter_counts_by_hand() -> None:
    ended = how_it_ended([9.0] * 48 + [0.5, 0.7] * 8, LN2)
    assert (ended.steps, ended.loss, ended.constant) == (16, pytest.approx(0.6), LN2)
    # sixteen losses .1 away from their mean: s = .1 * sqrt(16 / 15), over sqrt(16)
    assert ended.standard_error == pytest.approx(0.1 * math.sqrt(16 / 15) / 4)
    assert ended.learned  # .093 below, and 1.753 standard errors are .045


@pytest.mark.parametrize(("steps", "counted"), [(1, 1), (5, 5), (8, 8), (20, 8), (32, 8), (33, 9), (400, 100)])
def test_a_short_training_counts_eight_steps(steps: int, counted: int) -> None:
    assert how_it_ended([0.5] * steps, LN2).steps == counted


@pytest.mark.parametrize(
    ("losses", "learned"),
    [
        ([LN2] * 15, False),  # as AlpacaFarm's values leave a small model
        ([LN2 - 1e-6] * 15, False),  # sure, and nothing
        ([LN2 - 0.006] * 15, False),
        ([LN2 - 0.008] * 15, True),
        ([0.65, 0.64] * 8, True),
        ([0.2, 1.1] * 8, False),  # .04 below, but as far from each other as 1.1 and .2
        ([0.9] * 16, False),  # worse than nothing
        ([0.1], False),  # one step tells nothing
        ([0.1, 0.1], True),
        ([0.69, 0.4], False),
        ([0.1] * 30 + [LN2] * 10, False),  # what it once knew does not count
        ([LN2] * 30 + [0.5] * 10, True),
    ],
)
def test_below_by_more_than_noise_and_by_a_hundredth(losses: list[float], learned: bool) -> None:
    ended = how_it_ended(losses, LN2)
    assert ended.learned == learned
    assert f"{ended.loss:.4f}" in ended.in_words()
    assert "nan" not in ended.in_words()
    assert "inf" not in ended.in_words()


def test_noise_alone_is_taken_for_learning_less_often_than_one_time_in_twenty() -> None:
    rng = random.Random(0)
    fooled = [how_it_ended([rng.gauss(LN2, 0.1) for _ in range(40)], LN2).learned for _ in range(2000)]
    assert 0.03 < statistics.fmean(fooled) < 0.06


@given(st.lists(st.floats(0, 5), min_size=2, max_size=60), st.floats(0.1, 5), st.floats(0.1, 10))
def test_it_does_not_depend_on_the_unit_of_the_loss(losses: list[float], constant: float, unit: float) -> None:
    ended, other = (how_it_ended([loss * factor for loss in losses], constant * factor) for factor in (1, unit))
    gap = constant - ended.loss
    if abs(gap - 0.01 * constant) > 1e-6:  # not at the very border
        assert other.loss == pytest.approx(unit * ended.loss)
        assert other.standard_error == pytest.approx(unit * ended.standard_error, abs=1e-9)
