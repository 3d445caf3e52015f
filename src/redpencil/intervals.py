"""Intervals of shares: Wilson's, and for cases that come in clusters, such as several pairs of one prompt."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

CONFIDENCE: Final = 0.95


def wilson_interval(share: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Compute Wilson's score interval (1927) of a share of `n` cases; unlike the normal one it stays within 0 and 1.

    Args:
        share: 0 to 1.
        n: effective number of cases; a fraction where dependent cases count as fewer.
        confidence: share of such intervals that cover the truth, if the cases are independent.

    Returns:
        Low and high end; not a number (nan) for no cases, or if `share` is not from 0 to 1.
    """
    from scipy.stats import norm

    if not n or not 0 <= share <= 1:
        return math.nan, math.nan
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def points_of(margins: Sequence[float]) -> list[float]:
    """Return 1 for each pair that is ranked right, .5 for equal rewards, 0 for a pair that is ranked wrong."""
    return [1.0 if m > 0 else 0.5 if m == 0 else 0.0 for m in margins]


@dataclass(frozen=True, slots=True)
class ClusteredShare:
    """A share from 0 to 1, its standard error clustered, and the ends of its interval."""

    value: float
    standard_error: float
    low: float
    high: float


def clustered_share(
    points: Sequence[float], clusters: Sequence[Hashable], confidence: float = CONFIDENCE
) -> ClusteredShare:
    """Compute a share of cases that are independent only between clusters.

    The interval is Wilson's (1927) for the effective number of independent cases as Korn and Graubard (1998) define it
    for surveys: the number with the same standard error, reduced if that is estimated from few clusters. If every
    cluster has one case, it is plain Wilson.

    Args:
        points: [N], N at least 1, each from 0 to 1: 1 for a case in the share, .5 for a tie.
        clusters: [N], the cluster of each case, such as its prompt.
        confidence: share of such intervals that cover the truth.
    """
    n, mean = len(points), math.fsum(points) / len(points)
    residuals: defaultdict[Hashable, float] = defaultdict(float)
    for point, cluster in zip(points, clusters, strict=True):
        residuals[cluster] += point - mean
    groups = len(residuals)
    if groups == 1:
        return ClusteredShare(mean, math.nan, 0.0, 1.0)
    variance = groups / (groups - 1) * math.fsum(value**2 for value in residuals.values()) / n**2
    low, high = wilson_interval(mean, _independent_cases(mean, variance, n, groups, confidence), confidence)
    return ClusteredShare(mean, math.sqrt(variance), low, high)


def _independent_cases(mean: float, variance: float, n: int, groups: int, confidence: float) -> float:
    """Return the effective number of independent cases of n cases in `groups` clusters; n at most."""
    if mean in (0, 1):
        return groups  # all cases are equal, so their correlation cannot be estimated
    alone = mean * (1 - mean) / (n - 1)
    # The variance of a few clusters is itself uncertain: Korn and Graubard's factor for the degrees of freedom.
    certain = (student(n - 1, confidence) / student(groups - 1, confidence)) ** 2
    return n * min(1.0, certain * alone / variance) if variance > 0 else n


def student(freedom: int, confidence: float = CONFIDENCE) -> float:
    """Return the half-width of an interval by Student's t, in standard errors."""
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, freedom))
