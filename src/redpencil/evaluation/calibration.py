"""Calibration of sigma(R_i - R_j) (Eq. 2): are 80 % of the pairs with a probability of 80 % ranked correctly?

A model's confidence in a pair is sigma(|margin|), the probability of the side that it prefers, so from .5 to 1. Reading
each pair in both orders gives the same.
"""

import math
from collections.abc import Hashable, Sequence
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


@dataclass(frozen=True, slots=True)
class TokenCalibration:
    """How well sigma(offset - slope * r_t) tells the probability that a token of an original is edited away.

    Slope and offset are fitted by logistic regression: the figures of each half of the prompts with those of the other
    half, `slope` and `offset` on all of them.

    Args:
        tokens: their number.
        expected_error: expected calibration error over `bins`, as in `Calibration`.
        brier: mean of (p - edited away)^2.
        brier_of_rate: that of a constant, the share of tokens that are edited away.
        slope: above 0 where a lower reward means a higher probability; about 1 for a model trained with loss=blame.
        offset: as fitted.
        bins: of equal width from 0 to 1; `accuracy` is the share that was edited away.
    """

    tokens: int
    expected_error: float
    brier: float
    brier_of_rate: float
    slope: float
    offset: float
    bins: tuple[ReliabilityBin, ...]


def calibrate_tokens(
    rewards: Sequence[npt.NDArray[Any]], changed: Sequence[Sequence[bool]], prompts: Sequence[Hashable]
) -> TokenCalibration | None:
    """Measure the calibration of token rewards; None if a half of the prompts has only one kind of token.

    Args:
        rewards: of the N originals' tokens, one [T] each.
        changed: U1 of each.
        prompts: [N]; all originals of a prompt are in the same half.
    """
    from scipy.special import expit

    order = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    half = np.repeat([order[prompt] % 2 for prompt in prompts], [len(row) for row in rewards])
    reward = np.concatenate([np.zeros(0), *rewards]).astype(np.float64)
    label = np.concatenate([np.zeros(0, dtype=bool), *(np.array(flags, dtype=bool) for flags in changed)])
    if any(len(set(label[half == side].tolist())) < 2 for side in (0, 1)):
        return None
    probability = np.zeros(len(reward))
    for side in (0, 1):
        slope, offset = _logistic(reward[half != side], label[half != side])
        probability[half == side] = expit(offset - slope * reward[half == side])
    slope, offset = _logistic(reward, label)
    bins = _bins(probability, label.astype(np.float64), np.linspace(0, 1, BINS + 1))
    return TokenCalibration(
        tokens=len(reward),
        expected_error=_expected_error(bins),
        brier=float(np.mean((probability - label) ** 2)),
        brier_of_rate=float(np.mean((label.mean() - label) ** 2)),
        slope=slope,
        offset=offset,
        bins=bins,
    )


def _logistic(rewards: npt.NDArray[np.float64], labels: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit slope and offset of sigma(offset - slope * r); a trace of a penalty keeps them finite."""
    from scipy.optimize import minimize
    from scipy.special import expit

    center, spread = float(rewards.mean()), float(rewards.std()) or 1.0
    z, y = (rewards - center) / spread, labels.astype(np.float64)

    def loss(x: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = x[1] - x[0] * z
        residual = expit(logits) - y
        value = float(np.mean(np.logaddexp(0, logits) - y * logits)) + 1e-6 * float(x @ x)
        return value, np.array([-np.mean(residual * z), np.mean(residual)]) + 2e-6 * x

    slope, offset = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    return float(slope / spread), float(offset + slope * center / spread)


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
