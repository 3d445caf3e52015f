"""Win rates, accuracies and their uncertainty, in percent (Tables 1 and 2)."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.errors import RedpencilError
from redpencil.intervals import CONFIDENCE, clustered_share, points_of, wilson_interval
from redpencil.records import Preference

SCORES = {Preference.FIRST: 1.0, Preference.TIE: 0.5, Preference.SECOND: 0.0}
"""Score of a verdict for the first response; a missing verdict has none."""


@dataclass(frozen=True)
class Estimate:
    """A mean over n cases and its standard error, both in percent (or percent points)."""

    value: float
    standard_error: float
    n: int


@dataclass(frozen=True)
class WinRate(Estimate):
    """A win rate in percent, draws counted one half, with the mean length, because judges favour long responses."""

    wins: int
    losses: int
    draws: int
    mean_length: float
    unparsed: int = 0
    """Comparisons without a verdict; they count in the mean length only."""


def scores_of(preferences: Sequence[Preference]) -> list[float]:
    """Score verdicts: 1 where the first response (the policy's) wins, .5 for a draw, 0 where it loses.

    Raises:
        RedpencilError: if one has no verdict.
    """
    if Preference.NONE in preferences:
        raise RedpencilError("a comparison has no verdict", hint="leave such comparisons out")
    return [SCORES[preference] for preference in preferences]


def win_rate(preferences: Sequence[Preference], lengths: Sequence[int]) -> WinRate:
    """Compute the share of comparisons that the first response, the policy's, wins; a draw is one half.

    The standard error is the sample standard deviation of the scores 0, .5 and 1 over the root of n, as in AlpacaEval:
    up to 1.76 points for 805 instructions.

    Args:
        preferences: one a prompt; `first` = the policy's response is better.
        lengths: length of each of the policy's responses, in any unit.

    Raises:
        RedpencilError: if no comparison has a verdict, or the two differ in number.
    """
    if len(preferences) != len(lengths):
        raise RedpencilError(
            f"{len(preferences)} comparisons but {len(lengths)} lengths", hint="give one length for each comparison"
        )
    decided = [preference for preference in preferences if preference is not Preference.NONE]
    estimate, counts = mean_in_percent(scores_of(decided), "comparisons"), Counter(preferences)
    return WinRate(
        **asdict(estimate),
        wins=counts[Preference.FIRST],
        losses=counts[Preference.SECOND],
        draws=counts[Preference.TIE],
        mean_length=math.fsum(lengths) / len(lengths),
        unparsed=len(preferences) - len(decided),
    )


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Compute the difference of two arms' win rates on the same prompts, in percent points.

    Both arms answered the same prompts against the same reference, so the standard error is that of the differences
    within prompts, which is smaller than two separate win rates suggest.

    Args:
        first: scores of one arm (see `scores_of`), one a prompt.
        second: scores of the other arm, for the same prompts in the same order.

    Raises:
        RedpencilError: if the two differ in number, or are empty.
    """
    if len(first) != len(second):
        raise RedpencilError(
            f"{len(first)} scores against {len(second)}: they cannot be paired",
            hint="compare arms that were judged on the same prompts",
        )
    return mean_in_percent([a - b for a, b in zip(first, second, strict=True)], "paired scores")


def accuracy(margins: Sequence[float]) -> Estimate:
    """Compute the share of pairs in which a reward model prefers the chosen response; equal rewards are one half.

    Args:
        margins: reward of the chosen minus reward of the rejected response, one a pair.

    Raises:
        RedpencilError: if there are no pairs, or a margin is not a number.
    """
    if any(math.isnan(margin) for margin in margins):
        raise RedpencilError("a reward is not a number", hint="train the reward model again, more slowly")
    return mean_in_percent(points_of(margins), "pairs")


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Compute the mean and its confidence interval over seeds by Student's t with n - 1 degrees of freedom.

    Args:
        values: one a seed.
        confidence: share of such intervals that cover the true mean.

    Returns:
        Mean, low end, high end; the ends are not a number (nan) for a single seed.

    Raises:
        RedpencilError: if there are no values.
    """
    from scipy.stats import t

    mean, standard_error = _mean_and_error(values, "values")
    half = standard_error * float(t.ppf((1 + confidence) / 2, len(values) - 1)) if len(values) > 1 else math.nan
    return mean, mean - half, mean + half


def mean_in_percent(values: Sequence[float], what: str) -> Estimate:
    """Compute the mean of shares and its standard error, in percent; `what` names the shares in the error for none."""
    mean, standard_error = _mean_and_error(values, what)
    return Estimate(100 * mean, 100 * standard_error, len(values))


def _mean_and_error(values: Sequence[float], what: str) -> tuple[float, float]:
    """Return the mean and its standard error (standard deviation with n - 1, over the root of n; nan for one value)."""
    n = len(values)
    if n == 0:
        raise RedpencilError(f"no {what} to take a mean of", hint="give at least one")
    mean = math.fsum(values) / n
    if n == 1:
        return mean, math.nan
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, math.sqrt(variance / n)


_FEWEST: Final = 3


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's r and Spearman's rank correlation of n cases, with two-sided p-values for independent cases."""

    n: int
    pearson: float
    pearson_p: float
    spearman: float
    spearman_p: float


def correlate(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Correlation | None:
    """Correlate two lists of numbers; None with fewer than three cases, or if one of them is constant."""
    if len(first) < _FEWEST or first.min() == first.max() or second.min() == second.max():
        return None
    from scipy.stats import pearsonr, spearmanr

    linear, ranked = pearsonr(first, second), spearmanr(first, second)
    return Correlation(
        len(first), float(linear.statistic), float(linear.pvalue), float(ranked.statistic), float(ranked.pvalue)
    )


RESAMPLES: Final = 10_000
"""Bootstrap samples for the interval of a mean."""
RATIO_RESAMPLES: Final = 2_000
"""Bootstrap samples for the interval of a ratio."""
_NUMBERS_AT_ONCE: Final = 10_000_000
"""Most resampled numbers in memory at a time."""


@dataclass(frozen=True)
class Accuracy(Estimate):
    """Share of pairs that are ranked correctly, in percent, with its standard error and Wilson's interval."""

    low: float
    high: float


def accuracy_interval(
    margins: Sequence[float], confidence: float = CONFIDENCE, clusters: Sequence[Hashable] | None = None
) -> Accuracy:
    """Compute the accuracy with Wilson's interval; a margin of 0 counts one half.

    Args:
        margins: reward of the chosen minus reward of the rejected response, one a pair.
        confidence: share of such intervals that cover the truth.
        clusters: the prompt of each pair; where pairs share one, they are not independent, and standard error and
            interval are those of `clustered_share`.

    Raises:
        RedpencilError: if there are no pairs, or a margin is not a number.
    """
    share = accuracy(margins)
    if clusters is None or len(set(clusters)) == share.n:
        low, high = wilson_interval(share.value / 100, share.n, confidence)
        return Accuracy(**asdict(share), low=100 * low, high=100 * high)
    clustered = clustered_share(points_of(margins), clusters, confidence)
    error, low, high = (100 * part for part in (clustered.standard_error, clustered.low, clustered.high))
    return Accuracy(share.value, error, share.n, low, high)


def ratio_interval(
    numerators: npt.NDArray[Any],
    denominators: npt.NDArray[Any],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    resamples: int = RATIO_RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of sum(numerators) / sum(denominators) over groups.

    The tokens of one response depend on each other, so responses are resampled and not tokens; and where responses
    share a prompt, prompts with all their responses.

    Args:
        numerators: [N], one a group.
        denominators: [N], at least 0.
        clusters: [N], the prompt of each group, if several may share one.
        confidence: share of such intervals that cover the truth.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Low and high end; not a number (nan) with fewer than two groups whose denominator is above 0.
    """
    if clusters is not None:
        numbers: dict[Hashable, int] = {}
        places = [numbers.setdefault(cluster, len(numbers)) for cluster in clusters]
        numerators, denominators = (np.bincount(places, weights=side) for side in (numerators, denominators))
    counted = denominators > 0
    numerators, denominators = numerators[counted].astype(float), denominators[counted].astype(float)
    if len(numerators) < 2:
        return math.nan, math.nan
    tops, bottoms = resampled_sums([numerators, denominators], resamples, seed)
    low, high = np.quantile(tops / bottoms, ((1 - confidence) / 2, (1 + confidence) / 2))
    return float(low), float(high)


def resampled_sums(
    columns: Sequence[npt.NDArray[Any]], resamples: int = RATIO_RESAMPLES, seed: int = 0
) -> list[npt.NDArray[np.float64]]:
    """Draw bootstrap samples of N groups and add up each column over them: a list of [resamples], one a column.

    Args:
        columns: each [N], a number for each group; a sample counts a group as often in all of them.
        resamples: number of bootstrap samples.
        seed: of the resampling.
    """
    n = len(columns[0])
    generator, share = np.random.default_rng(seed), np.full(n, 1 / n)
    sums: list[list[npt.NDArray[np.float64]]] = [[] for _ in columns]
    left = resamples
    while left:
        draws = min(left, max(1, _NUMBERS_AT_ONCE // n))
        counts = generator.multinomial(n, share, size=draws)
        for parts, column in zip(sums, columns, strict=True):
            parts.append(counts @ column)
        left -= draws
    return [np.concatenate(parts) for parts in sums]


def percentile_interval(values: npt.NDArray[np.float64], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the ends of the percentile bootstrap interval of a measure, given its value in each sample.

    They are not a number (nan) if all are equal: resampling cannot show a value that was not observed.
    """
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2))
    return (math.nan, math.nan) if values.min() == values.max() else (float(low), float(high))


def bootstrap_interval(
    values: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the interval of the mean by the percentile bootstrap (Efron 1979) of scipy.

    If all values are equal there is none: resampling cannot show a value that was not observed.

    Args:
        values: one a prompt.
        confidence: share of such intervals that cover the true mean.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        Low and high end; not a number (nan) if there is no interval, as for a single value.

    Raises:
        RedpencilError: if there are no values.
    """
    if not values:
        raise RedpencilError("no values to resample", hint="give at least one")
    if min(values) == max(values):
        return math.nan, math.nan
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_ONCE // len(values)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True, slots=True)
class Paired:
    """One policy against another, prompt by prompt; `value`, `low` and `high` in percent points.

    `better` and `worse` count the prompts on which the first policy scored higher and lower. `p_value` is that of the
    two-sided sign test on them, which is McNemar's exact test if there are no draws.
    """

    value: float
    standard_error: float
    low: float
    high: float
    n: int
    better: int
    worse: int
    p_value: float


def paired(
    first: Sequence[float],
    second: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare two policies' win rates against one reference, from scores on the same prompts in the same order.

    Raises:
        RedpencilError: if the two differ in number, or are empty.
    """
    estimate = paired_difference(first, second)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    low, high = bootstrap_interval(differences, confidence=confidence, resamples=resamples, seed=seed)
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    sign = sign_test(better, worse)
    return Paired(**asdict(estimate), low=100 * low, high=100 * high, better=better, worse=worse, p_value=sign)


def sign_test(better: int, worse: int) -> float:
    """Return the p-value of the two-sided sign test: the probability of so uneven a split if neither is better.

    Draws are left out; without any case it is 1.
    """
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
