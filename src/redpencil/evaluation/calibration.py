"""Whether sigma(R_i - R_j) means what it says (Eq. 2): of the pairs that get 80 %, are 80 % ranked right?

A model's confidence in a pair is sigma(|margin|), the probability of the side that it prefers, so from .5 to 1. The
same follows from reading each pair in both orders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from redpencil.errors import RedpencilError
from redpencil.evaluation.statistics import wilson_interval

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
    """How far the probabilities of a reward model can be believed.

    Args:
        n: pairs.
        expected_error: expected calibration error (Naeini et al., 2015; Guo et al., 2017): |accuracy - confidence|,
            averaged over `bins` by their pairs; 0 is best.
        expected_error_by_count: the same over `bins_by_count`.
        brier: mean of (1 - p)^2, where p is the probability of the chosen response; .25 for tossing a coin.
        negative_log_likelihood: mean of -log p, in nats; ln 2 = .693 for tossing a coin.
        temperature: T for which sigma(margin / T) is likeliest on these very pairs: above 1 the model is too sure,
            below 1 not sure enough. None where no T is likeliest: if all pairs are ranked right it would be 0, and if
            the margins are 0 or less on average, without end.
        negative_log_likelihood_at_temperature: with that T; None without one.
        bins: of equal width from .5 to 1; those without pairs are left out.
        bins_by_count: with about as many pairs each, so that small margins are told apart as well.
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
    """Calibration of the preferences that margins imply.

    Args:
        margins: reward of the chosen minus reward of the rejected response, one a pair.
        bins: how many bins there are at most.

    Raises:
        RedpencilError: if there are no pairs.
    """
    margin = np.asarray(margins, dtype=np.float64)
    if not len(margin):
        raise RedpencilError("no pairs to calibrate on", hint="give at least one")
    from scipy.special import expit

    confidence, right = expit(np.abs(margin)), (1 + np.sign(margin)) / 2
    by_width = _bins(confidence, right, np.linspace(0.5, 1, bins + 1))
    by_count = _bins(confidence, right, np.quantile(confidence, np.linspace(0, 1, bins + 1)))
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
    """T that makes sigma(margin / T) likeliest; None where there is none (see `Calibration`).

    In a = 1 / T the likelihood is that of a logistic regression without intercept: concave, with the slope
    sum(margin * sigma(-a margin)), whose root is looked for.
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
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> tuple[ReliabilityBin, ...]:
    """Bins with their lower edge in them, the last one with both; equal edges give one bin."""
    edges = np.unique(edges)
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    place = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(place, minlength=len(edges) - 1)
    sure, good = (np.bincount(place, values, minlength=len(edges) - 1) for values in (confidence, right))
    found = []
    for i, n in enumerate(counts.tolist()):
        if n:
            accuracy = float(good[i]) / n
            low, high = wilson_interval(accuracy, n)
            found.append(
                ReliabilityBin(float(edges[i]), float(edges[i + 1]), n, float(sure[i]) / n, accuracy, low, high)
            )
    return tuple(found)


def _expected_error(bins: Sequence[ReliabilityBin]) -> float:
    return math.fsum(b.n * abs(b.accuracy - b.confidence) for b in bins) / sum(b.n for b in bins)
