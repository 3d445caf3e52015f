"""Win rates at equal length: against statsmodels, by hand, and beside AlpacaEval's published figures."""

import csv
import math
import random
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.evaluation.length_control import FAR, LengthControlled, length_controlled
from redpencil.evaluation.win_rate import read_cases

ALPACA_EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"


def verdicts(theta: float, phi: float, n: int, seed: int) -> tuple[list[float], list[int], list[int]]:
    rng = random.Random(seed)
    ours, theirs = [[rng.randrange(50, 800) for _ in range(n)] for _ in range(2)]
    spread = float(np.std(np.subtract(ours, theirs), ddof=1))
    chances = [
        1 / (1 + math.exp(-(theta + phi * math.tanh((a - b) / spread)))) for a, b in zip(ours, theirs, strict=True)
    ]
    return [float(rng.random() < chance) for chance in chances], ours, theirs


@pytest.mark.parametrize("n", [12, 500])
def test_statsmodels_finds_the_same_coefficients_and_errors(n: int) -> None:
    scores, ours, theirs = verdicts(0.4, 1.2, n, seed=1)
    found = length_controlled(scores, ours, theirs)
    assert found is not None
    longer = np.subtract(ours, theirs)
    features = sm.add_constant(np.tanh(longer / longer.std(ddof=1)))
    fit = sm.GLM(np.asarray(scores), features, family=sm.families.Binomial()).fit(cov_type="HC0")
    level = 1 / (1 + math.exp(-fit.params[0]))
    assert found.value == pytest.approx(100 * level, abs=1e-6)
    assert found.length_effect == pytest.approx(fit.params[1], abs=1e-6)
    assert found.length_effect_error == pytest.approx(fit.bse[1], rel=1e-5)
    assert found.standard_error == pytest.approx(100 * level * (1 - level) * fit.bse[0], rel=1e-5)


def test_it_takes_out_what_length_alone_has_won() -> None:
    # As good as the reference at equal length (theta = 0), liked for length, and longer on nearly every prompt.
    rng = random.Random(2)
    theirs = [rng.randrange(100, 300) for _ in range(3000)]
    ours = [length + rng.randrange(-50, 400) for length in theirs]
    spread = float(np.std(np.subtract(ours, theirs), ddof=1))
    chances = [1 / (1 + math.exp(-1.5 * math.tanh((a - b) / spread))) for a, b in zip(ours, theirs, strict=True)]
    scores = [float(rng.random() < chance) for chance in chances]
    plain = 100 * sum(scores) / len(scores)
    found = length_controlled(scores, ours, theirs)
    assert found is not None
    assert plain > 70
    assert abs(found.value - 50) < 3 * found.standard_error
    assert found.is_far_from(plain)


def test_mirrored_verdicts_give_the_mirrored_rate() -> None:
    scores, ours, theirs = verdicts(0.7, -0.8, 200, seed=3)
    found = length_controlled(scores, ours, theirs)
    mirrored = length_controlled([1 - score for score in scores], theirs, ours)
    assert found is not None
    assert mirrored is not None
    assert mirrored.value == pytest.approx(100 - found.value)
    assert mirrored.length_effect == pytest.approx(found.length_effect)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=30))
def test_any_verdicts_give_a_rate_or_none(rows: list[tuple[float, int, int]]) -> None:
    found = length_controlled(*([row[i] for row in rows] for i in range(3)))  # type: ignore[arg-type]
    if found is not None:
        assert 0 <= found.value <= 100
        assert math.isfinite(found.standard_error)
        assert math.isfinite(found.length_effect)


@pytest.mark.parametrize(("ours", "theirs"), [((2000, 300), (300, 100)), ((2000, 400), (450, 200))])
def test_far_from_equal_length_nothing_is_told(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    # Length has no effect here; but all differences are large, so the fit cannot tell it from being better.
    rng = random.Random(0)
    lengths = [[max(1, round(rng.gauss(*side))) for _ in range(805)] for side in (ours, theirs)]
    assert length_controlled([float(rng.random() < 0.88) for _ in range(805)], *lengths) is None


def test_near_equal_length_the_error_is_the_spread_over_samples() -> None:
    rng = random.Random(0)
    found = []
    for _ in range(60):
        lengths = [[max(1, round(rng.gauss(*side))) for _ in range(400)] for side in ((700, 300), (450, 200))]
        found.append(length_controlled([float(rng.random() < 0.88) for _ in range(400)], *lengths))
    values = [row.value for row in found if row is not None]
    assert len(values) == 60
    assert float(np.mean(values)) == pytest.approx(88, abs=1)
    errors = [row.standard_error for row in found if row is not None]
    assert float(np.std(values)) == pytest.approx(float(np.mean(errors)), rel=0.3)


def test_verdicts_that_follow_the_length_or_go_one_way_tell_nothing() -> None:
    lengths = [300 + i for i in range(20)] + [100 + i for i in range(20)], [200] * 40
    assert length_controlled([1.0] * 20 + [0.0] * 20, *lengths) is None
    assert length_controlled([1.0] * 40, *lengths) is None
    assert length_controlled([1.0] * 19 + [0.0] * 20 + [1.0], *lengths) is not None


def test_it_cannot_be_told_without_differences_in_length() -> None:
    assert length_controlled([1.0, 0.0, 1.0], [10, 20, 30], [5, 15, 25]) is None
    assert length_controlled([1.0, 0.0], [10, 20], [5, 25]) is None
    assert length_controlled([], [], []) is None
    with pytest.raises(RedpencilError, match="3 scores but 2 and 3 lengths"):
        length_controlled([1.0, 0.0, 1.0], [1, 2], [1, 2, 3])


def test_far_is_ten_points() -> None:
    assert FAR == 10
    found = LengthControlled(30.0, 1.0, 1.0, 0.1)
    assert found.is_far_from(40.1)
    assert not found.is_far_from(40.0)
    assert found.is_far_from(19.9)
    assert not LengthControlled(30.0, 6.0, 1.0, 0.1).is_far_from(41.9)
    assert LengthControlled(30.0, 6.0, 1.0, 0.1).is_far_from(42.1)


@pytest.mark.parametrize("model", ["alpaca-7b", "alpaca-farm-ppo-human"])
def test_it_comes_within_a_point_of_the_published_figures(model: str) -> None:
    """AlpacaEval also knows how hard each instruction is, which its files do not say; see the module's text."""
    path = ALPACA_EVAL / f"{model}.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with (ALPACA_EVAL / "leaderboard.csv").open(newline="") as file:
        published = {row[""]: float(row["length_controlled_winrate"]) for row in csv.DictReader(file)}[model]
    cases = read_cases(path, "alpaca-eval")
    scores = [case.score for case in cases if case.score is not None]
    found = length_controlled(scores, [len(case.response) for case in cases], [len(case.other) for case in cases])
    assert found is not None
    assert abs(found.value - published) < 1
