"""Win rates and errors by hand, and against AlpacaEval's published figures."""

import csv
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar

from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import (
    accuracy,
    accuracy_interval,
    bootstrap_interval,
    correlate,
    mean_interval,
    paired,
    paired_difference,
    ratio_interval,
    scores_of,
    sign_test,
    wilson_interval,
    win_rate,
)
from redpencil.evaluation.win_rate import Interval
from redpencil.records import Preference

ALPACA_EVAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_eval"
FIRST, SECOND, TIE = Preference.FIRST, Preference.SECOND, Preference.TIE


def test_win_rate_by_hand() -> None:
    # Scores 1, 1, .5, 0: mean 2.5 / 4 = .625. Deviations .375, .375, -.125, -.625; squares .140625 twice, .015625,
    # .390625; sum .6875; over 3 = .2291667; over 4 = .0572917; root .2393568.
    result = win_rate([FIRST, FIRST, TIE, SECOND], [10, 20, 30, 45])
    assert result.value == 62.5
    assert result.standard_error == pytest.approx(23.93568, abs=1e-5)
    assert (result.n, result.wins, result.losses, result.draws) == (4, 2, 1, 1)
    assert result.mean_length == 26.25


def test_805_even_instructions_have_a_standard_error_of_1_76_points() -> None:
    # Trap 17: .5 / sqrt(804) = 1.763 points (sample deviation), so that 51.6 and 51.2 are not told apart.
    result = win_rate([FIRST] * 402 + [SECOND] * 402 + [TIE], [1] * 805)
    assert result.value == 50
    assert result.standard_error == pytest.approx(1.76, abs=0.005)


@pytest.mark.parametrize("model", ["alpaca-7b", "alpaca-farm-ppo-human"])
def test_agrees_with_the_published_leaderboard(model: str) -> None:
    path = ALPACA_EVAL / f"{model}.json"
    if not path.is_file():
        pytest.skip(f"real annotations are not here: {path}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    # There output_2 is the model and output_1 is text-davinci-003.
    verdict = {1: SECOND, 2: FIRST, 0: TIE, 1.5: TIE}
    result = win_rate([verdict[row["preference"]] for row in rows], [len(row["output_2"]) for row in rows])
    with (ALPACA_EVAL / "leaderboard.csv").open(encoding="utf-8", newline="") as lines:
        published = {row[""]: row for row in csv.DictReader(lines)}[model]
    assert result.value == pytest.approx(float(published["win_rate"]), abs=1e-9)
    assert result.standard_error == pytest.approx(float(published["standard_error"]), abs=1e-9)
    assert [result.wins, result.losses, result.draws, result.n] == [
        int(published[key]) for key in ("n_wins", "n_wins_base", "n_draws", "n_total")
    ]
    assert int(result.mean_length) == int(published["avg_length"])


def test_paired_difference_by_hand() -> None:
    # Differences 1, 0, 0, 1: mean .5; deviations all .5; variance 4 * .25 / 3 = 1/3; error sqrt(1/12) = .288675.
    result = paired_difference([1, 1, 0, 1], [0, 1, 0, 0])
    assert result.value == 50
    assert result.standard_error == pytest.approx(28.8675, abs=1e-4)
    assert result.n == 4


def test_pairing_sees_what_two_separate_errors_hide() -> None:
    # Trap 17. 100 prompts; the arms agree on all but four, where the first is better: +4 points, error about 2.
    # Unpaired, the two errors of about 5 each would make 7.
    first = [1.0] * 52 + [0.0] * 48
    second = [1.0] * 48 + [0.0] * 52
    paired = paired_difference(first, second)
    separate = [win_rate([FIRST if s else SECOND for s in scores], [1] * 100) for scores in (first, second)]
    assert paired.value == pytest.approx(4)
    assert paired.standard_error == pytest.approx(1.97, abs=0.01)
    assert math.hypot(*(rate.standard_error for rate in separate)) == pytest.approx(7.1, abs=0.05)


def test_accuracy_counts_ties_one_half() -> None:
    # 1, 0, .5, 1: mean .625, as above.
    result = accuracy([0.3, -0.1, 0.0, 7.0])
    assert (result.value, result.n) == (62.5, 4)
    assert result.standard_error == pytest.approx(23.93568, abs=1e-5)
    with pytest.raises(RedpencilError, match="not a number"):
        accuracy([0.1, math.nan])


def test_mean_interval_by_hand() -> None:
    # 1, 2, 3: mean 2, error 1 / sqrt(3) = .57735; t with 2 degrees of freedom at .975 is 4.302653; half 2.484138.
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 2.484138, 2 + 2.484138), abs=1e-5)
    # One degree of freedom is the Cauchy distribution, whose .75 quantile is 1: mean 5, error 1, so 4 to 6.
    assert mean_interval([4.0, 6.0], confidence=0.5) == pytest.approx((5, 4, 6))


def test_one_value_has_no_error() -> None:
    assert math.isnan(win_rate([FIRST], [3]).standard_error)
    mean, low, high = mean_interval([7.0])
    assert mean == 7
    assert math.isnan(low)
    assert math.isnan(high)


@given(st.lists(st.sampled_from([FIRST, SECOND, TIE]), min_size=2, max_size=30))
def test_swapping_the_sides_mirrors_the_win_rate(preferences: list[Preference]) -> None:
    mirror = {FIRST: SECOND, SECOND: FIRST, TIE: TIE}
    lengths = [1] * len(preferences)
    one, other = win_rate(preferences, lengths), win_rate([mirror[p] for p in preferences], lengths)
    assert one.value + other.value == pytest.approx(100)
    assert one.standard_error == pytest.approx(other.standard_error)
    assert one.wins + one.losses + one.draws == one.n
    nothing = paired_difference(scores_of(preferences), scores_of(preferences))
    assert (nothing.value, nothing.standard_error) == (0, 0)


def test_comparisons_without_a_verdict_count_for_nothing_but_are_counted() -> None:
    # 1 and 0 remain: mean one half, standard deviation .7071, over the root of 2: one half.
    found = win_rate([FIRST, Preference.NONE, SECOND, Preference.NONE], [1, 2, 3, 6])
    assert (found.value, found.n, found.wins, found.losses, found.draws, found.unparsed) == (50, 2, 1, 1, 0, 2)
    assert found.standard_error == pytest.approx(50)
    assert found.mean_length == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: win_rate([Preference.NONE], [1]),
        lambda: scores_of([FIRST, Preference.NONE]),
        lambda: win_rate([], []),
        lambda: win_rate([FIRST], [1, 2]),
        lambda: paired_difference([1.0], [1.0, 0.0]),
        lambda: accuracy([]),
        lambda: mean_interval([]),
    ],
)
def test_nothing_to_count_or_to_pair_is_an_error_with_a_hint(call: object) -> None:
    with pytest.raises(RedpencilError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.hint


def test_by_hand() -> None:
    # x 1 2 3 4, y 1 3 2 9: means 2.5 and 3.75; products 4.125 + .375 - .875 + 7.875 = 11.5, squares 5 and 38.75.
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = .8.
    found = correlate(np.array([1, 2, 3, 4]), np.array([1, 3, 2, 9]))
    assert found is not None
    assert (found.n, found.pearson) == (4, pytest.approx(11.5 / (5 * 38.75) ** 0.5))
    assert found.spearman == pytest.approx(0.8)


def test_p_is_that_of_the_slope() -> None:
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    generator = np.random.default_rng(3)
    x = generator.normal(size=40)
    y = 0.4 * x + generator.normal(size=40)
    found = correlate(x, y)
    assert found is not None
    assert found.pearson_p == pytest.approx(api.OLS(y, api.add_constant(x)).fit().pvalues[1])
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (x, y)]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found.spearman_p == pytest.approx(api.OLS(ranks[1], api.add_constant(ranks[0])).fit().pvalues[1])


def test_what_never_varies_correlates_with_nothing() -> None:
    assert correlate(np.array([1, 1, 1]), np.array([1, 2, 3])) is None
    assert correlate(np.array([1, 2, 3]), np.array([2, 2, 2])) is None
    assert correlate(np.array([1, 2]), np.array([1, 2])) is None
    assert correlate(np.array([]), np.array([])) is None


def test_accuracy_by_hand() -> None:
    # Margins 1, 2, -1, 0: right 1 + 1 + 0 + .5 = 2.5 of 4. z = 1.959964, z^2 = 3.841459:
    # middle (.625 + .480182) / 1.960365 = .563763; half 1.959964 / 1.960365 * sqrt(.058594 + .060023) = .344339
    found = accuracy_interval([1, 2, -1, 0])
    assert (found.value, found.n) == (62.5, 4)
    assert (found.low, found.high) == (pytest.approx(21.9424, abs=1e-3), pytest.approx(90.8102, abs=1e-3))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_wilson_agrees_with_statsmodels(case: tuple[int, int], confidence: float) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion", reason="statsmodels is not installed")
    right, n = case
    expected = proportion.proportion_confint(right, n, alpha=1 - confidence, method="wilson")
    assert wilson_interval(right / n, n, confidence) == pytest.approx(expected, abs=1e-12)


def test_cases_need_not_be_whole() -> None:
    # z^2 = 3.841459: at n = 2.5 the middle of a half is a half, the ends z / (1 + z^2 / n) * sqrt(.1 + z^2 / 25) away.
    half = 1.959964 / (1 + 3.841459 / 2.5) * math.sqrt(0.25 / 2.5 + 3.841459 / 25)
    assert wilson_interval(0.5, 2.5) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_nothing_has_no_interval() -> None:
    assert all(map(math.isnan, wilson_interval(0.5, 0)))
    assert all(math.isnan(end) for share in (-0.1, 1.1, math.nan) for end in wilson_interval(share, 4))
    with pytest.raises(RedpencilError, match="no pairs"):
        accuracy_interval([])


def test_a_ratio_is_resampled_by_groups() -> None:
    # Two groups, 1 of 1 and 0 of 3: a draw is both first (1), one each (1/4), or both second (0), so 0 to 1.
    assert ratio_interval(np.array([1.0, 0.0]), np.array([1, 3])) == (0, 1)
    # 100 groups of equal size, half of them 1: as the mean of coins, whose standard error is .05.
    low, high = ratio_interval(np.repeat([0.0, 2.0], 50), np.full(100, 2))
    assert (low, high) == (pytest.approx(0.4, abs=0.02), pytest.approx(0.6, abs=0.02))
    # Groups without pairs have no say: the same draws, the same ends.
    padded = ratio_interval(np.append(np.repeat([0.0, 2.0], 50), [0, 0]), np.append(np.full(100, 2), [0, 0]))
    assert padded == (low, high)


def test_large_and_small_chunks_draw_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    values, sizes = np.repeat([0.0, 1.0], 20), np.ones(40)
    whole = ratio_interval(values, sizes, resamples=900)
    monkeypatch.setattr("redpencil.evaluation.statistics._NUMBERS_AT_ONCE", 400)
    assert ratio_interval(values, sizes, resamples=900) == whole
    assert all(map(math.isnan, ratio_interval(np.array([1.0, 0.0]), np.array([2, 0]))))


def test_a_sign_test_by_hand() -> None:
    # Seven of eight: (8 + 1) / 256 on one side, twice that on both.
    assert sign_test(7, 1) == pytest.approx(18 / 256)
    assert sign_test(1, 7) == pytest.approx(18 / 256)
    assert sign_test(3, 3) == 1.0
    assert sign_test(0, 0) == 1.0


def test_without_draws_it_is_mcnemars_exact_test() -> None:
    first = [1.0] * 40 + [1.0] * 12 + [0.0] * 3 + [0.0] * 20
    second = [1.0] * 40 + [0.0] * 12 + [1.0] * 3 + [0.0] * 20
    found = paired(first, second)
    assert (found.better, found.worse, found.n) == (12, 3, 75)
    assert found.p_value == pytest.approx(mcnemar([[40, 12], [3, 20]], exact=True).pvalue)
    assert found.value == pytest.approx(100 * 9 / 75)
    assert found.low < found.value < found.high


def test_a_draw_against_a_loss_counts_as_better() -> None:
    found = paired([0.5, 0.5, 1.0, 0.0], [0.0, 0.5, 0.5, 0.5])
    assert (found.better, found.worse) == (2, 1)
    assert found.value == 12.5


def test_swapping_the_two_turns_the_sign() -> None:
    first, second = [1.0, 0.5, 1.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.5, 1.0, 0.5, 0.0]
    there, back = paired(first, second), paired(second, first)
    assert (back.value, back.standard_error) == (-there.value, there.standard_error)
    assert (back.better, back.worse, back.p_value) == (there.worse, there.better, there.p_value)
    assert back.low == pytest.approx(-there.high, abs=3)


@pytest.mark.parametrize("difference", [0.0, 1.0, -1.0, 0.5])
def test_differences_that_are_all_the_same_have_no_interval(difference: float) -> None:
    found = paired([0.5 + difference / 2] * 30, [0.5 - difference / 2] * 30)
    assert found.value == 100 * difference
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_intervals_of_means_and_of_ratios_have_their_own_number_of_samples() -> None:
    rng = random.Random(5)
    first, second = ([rng.choice([0.0, 0.5, 1.0]) for _ in range(40)] for _ in range(2))
    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval = bootstrap_interval(differences, resamples=10_000)
    assert interval != bootstrap_interval(differences, resamples=2_000)
    assert bootstrap_interval(differences) == interval
    found = paired(first, second)
    assert (found.low, found.high) == (100 * interval[0], 100 * interval[1])
    assert Interval().resamples == 10_000
    counts = np.array([rng.randrange(9) for _ in range(40)])
    assert ratio_interval(counts, counts + 1) == ratio_interval(counts, counts + 1, resamples=2_000)


def test_different_numbers_cannot_be_paired() -> None:
    with pytest.raises(RedpencilError, match="cannot be paired"):
        paired([1.0], [1.0, 0.0])


def test_many_values_give_the_normal_interval() -> None:
    # 600 ones and 400 zeros: mean .6, standard error sqrt(.24 / 1000) = .01549, so .6 -+ 1.96 * .01549 = .5696, .6304.
    low, high = bootstrap_interval([1.0] * 600 + [0.0] * 400)
    assert low == pytest.approx(0.5696, abs=0.003)
    assert high == pytest.approx(0.6304, abs=0.003)


def test_a_lower_confidence_is_narrower_and_the_seed_decides() -> None:
    values = [random.Random(3).random() for _ in range(1)] + [0.0, 1.0, 0.5, 1.0, 0.2, 0.9]
    wide, narrow = (bootstrap_interval(values, confidence=c) for c in (0.95, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval([float(rng.random() < 0.3) for _ in range(100)], resamples=500, seed=trial)
        hits += low <= 0.3 <= high
    assert 178 <= hits <= 200  # 95 % of 200 is 190; the binomial's own spread is 3


@pytest.mark.parametrize("value", [1.0, 0.0, -0.5])
def test_there_is_no_interval_of_values_that_are_all_the_same(value: float) -> None:
    assert all(map(math.isnan, bootstrap_interval([value])))
    assert all(map(math.isnan, bootstrap_interval([value] * 30)))
    with pytest.raises(RedpencilError, match="no values"):
        bootstrap_interval([])
