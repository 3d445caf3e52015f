"""Calibration of sigma(R_i - R_j) (Eq. 2): are 80 % of the pairs with a probability of 80 % ranked correctly?

A model's confidence in a pair is sigma(|margin|), the probability of the side that it prefers, so from .5 to 1. Reading
each pair in both orders gives the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.errors import RedpencilError
from redpencil.intervals import wilson_interval

BINS: Final = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs whose confidence lies from `low` to `high`: mean confidence and accuracy, both from 0 to 1.

    `accuracy_low` to `accuracy_high` is Wilson's 95 % interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measures of how well a reward model's probabilities agree with its accuracy.

    Args:
        n: pairs.
        expected_error: expected calibration error (Naeini et al., 2015; Guo et al., 2017): |accuracy - confidence|,
            averaged over the pairs of `bins`; 0 is best.
        expected_error_by_count: the same over `bins_by_count`.
        brier: mean of (1 - p)^2, where p is the probability of the chosen response; .25 for a coin flip.
        negative_log_likelihood: mean of -log p, in nats; ln 2 = .693 for a coin flip.
        temperature: T with the highest likelihood of sigma(margin / T) on these pairs: above 1 the model is
            overconfident, below 1 underconfident. None if there is no maximum: it would be 0 if all pairs are ranked
            correctly, and infinite if the mean margin is 0 or less.
        negative_log_likelihood_at_temperature: with that T; None without one.
        bins: of equal width from .5 to 1, without the empty ones.
        bins_by_count: with about as many pairs each, which resolves small margins as well.
    """

    n: int
    expected_error: float
    expected_error_by_count: float
    brier: float
    negative_log_likelihood: float
    temperature: float | None
    negative_log_likelihood_at_temperature: float | None
    bins: tuple[ReliabilityBin, ...]
    bins_by_count: tuple[ReliabilityBin, ...]


def calibrate(margins: Sequence[float] | npt.NDArray[Any], bins: int = BINS) -> Calibration:
    """Measure the calibration of the preferences that margins imply.

    Args:
        margins: reward of the chosen minus reward of the rejected response, one a pair.
        bins: largest number of bins.

    Raises:
        RedpencilError: if there are no pairs.
    """
    margin = np.asarray(margins, dtype=np.float64)
    if not len(margin):
        raise RedpencilError("no pairs to calibrate on", hint="give at least one")
    from scipy.special import expit

    confidence, correct = expit(np.abs(margin)), (1 + np.sign(margin)) / 2
    by_width = _bins(confidence, correct, np.linspace(0.5, 1, bins + 1))
    by_count = _bins(confidence, correct, np.quantile(confidence, np.linspace(0, 1, bins + 1)))
    temperature = best_temperature(margin)
    return Calibration(
        n=len(margin),
        expected_error=_expected_error(by_width),
        expected_error_by_count=_expected_error(by_count),
        brier=float(np.mean(expit(-margin) ** 2)),
        negative_log_likelihood=_loss(margin),
        temperature=temperature,
        negative_log_likelihood_at_temperature=None if temperature is None else _loss(margin / temperature),
        bins=by_width,
        bins_by_count=by_count,
    )


def best_temperature(margins: npt.NDArray[Any]) -> float | None:
    """Find the T with the highest likelihood of sigma(margin / T); None if there is none (see `Calibration`).

    In a = 1 / T the likelihood is that of a logistic regression without intercept: concave, with the slope
    sum(margin * sigma(-a margin)), whose root is the maximum.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    largest = float(np.abs(margins).max(initial=0))
    if largest == 0 or margins.min() >= 0 or margins.mean() <= 0:
        return None
    scaled = margins / largest

    def slope(a: float) -> float:
        return float(np.mean(scaled * expit(-a * scaled)))

    high = 1.0
    while slope(high) > 0:
        high *= 2
    root = float(brentq(slope, 0.0, high, xtol=1e-12, rtol=1e-12))
    return largest / root


def _loss(margins: npt.NDArray[np.float64]) -> float:
    return float(np.mean(np.logaddexp(0, -margins)))


def _bins(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> tuple[ReliabilityBin, ...]:
    """Make bins that include their lower edge, and the last one both; equal edges give one bin."""
    edges = np.unique(edges)
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(place, minlength=len(edges) - 1)
    sums = [np.bincount(place, values, minlength=len(edges) - 1) for values in (confidence, correct)]
    rows = []
    for i, n in enumerate(counts.tolist()):
        if n:
            accuracy = float(sums[1][i]) / n
            low, high = wilson_interval(accuracy, n)
            rows.append(
                ReliabilityBin(float(edges[i]), float(edges[i + 1]), n, float(sums[0][i]) / n, accuracy, low, high)
            )
    return tuple(rows)


def _expected_error(bins: Sequence[ReliabilityBin]) -> float:
    return math.fsum(b.n * abs(b.accuracy - b.confidence) for b in bins) / sum(b.n for b in bins)
