"""Win rates at equal length, after AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475).

A logistic regression explains the verdicts by how good the policy is and by how much longer its responses are; the
win rate that it predicts for responses of equal length is the length-controlled one:

    P(policy wins) = sigma(theta + phi * tanh(d / s))

with d the difference in characters and s the standard deviation of d over the prompts. AlpacaEval adds the difficulty
of each of its 805 instructions, estimated from all models of its leaderboard, and draws the fit towards verdicts on
two artificial models, with a penalty chosen by cross-validation. These need data that only its leaderboard has, so its
published figures come out within about a point (see the tests), not to the digit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from redpencil.errors import RedpencilError

FAR: Final = 10.0
"""Points between the plain and the length-controlled win rate from which on a reader is warned."""
TAIL: Final = 0.025
"""Share of the prompts that must be on either side of equal length; with fewer the rate would be extrapolated."""
_STEPS: Final = 100
_EXACT: Final = 1e-10
_SEPARATED: Final = 15.0
"""A coefficient beyond this means that no finite one fits: P differs from 0 or 1 by less than a millionth."""


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate at equal length, in percent, with its standard error by the delta method.

    `length_effect` is phi: above 0 where longer responses win more often; `length_effect_error` is its standard error.
    """

    value: float
    standard_error: float
    length_effect: float
    length_effect_error: float

    def is_far_from(self, win_rate: float) -> bool:
        """Whether length explains so much of a plain win rate that it should not be read alone: by more than `FAR`
        points and by more than chance.
        """
        return abs(self.value - win_rate) > max(FAR, 2 * self.standard_error)


def length_controlled(
    scores: Sequence[float], lengths: Sequence[int], other_lengths: Sequence[int]
) -> LengthControlled | None:
    """The win rate that the same verdicts predict for responses of equal length.

    Args:
        scores: of the policy, from 0 to 1, one a prompt; .5 for a draw.
        lengths: characters of the policy's responses.
        other_lengths: characters of the reference's.

    Returns:
        None where it cannot be told: where one policy is the longer one on nearly every prompt, so that nothing was
        seen near equal length, or where the verdicts follow the length (or go one way) without an exception.

    Raises:
        RedpencilError: if the three differ in number.
    """
    import numpy as np

    if not len(scores) == len(lengths) == len(other_lengths):
        raise RedpencilError(
            f"{len(scores)} scores but {len(lengths)} and {len(other_lengths)} lengths",
            hint="give both lengths for each score",
        )
    longer = np.asarray(lengths, dtype=np.float64) - np.asarray(other_lengths, dtype=np.float64)
    if len(longer) < 3 or min(np.mean(longer >= 0), np.mean(longer <= 0)) < TAIL:
        return None
    spread = float(longer.std(ddof=1))
    if spread == 0:
        return None
    y = np.asarray(scores, dtype=np.float64)
    features = np.column_stack([np.ones_like(longer), np.tanh(longer / spread)])
    coefficients = np.zeros(2)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-features @ coefficients))
        information = features.T @ (features * (p * (1 - p))[:, None])
        if np.linalg.matrix_rank(information) < 2:
            return None
        step = np.linalg.solve(information, features.T @ (y - p))
        coefficients = coefficients + np.clip(step, -1, 1)
        if float(np.abs(step).max()) < _EXACT:
            break
    if float(np.abs(coefficients).max()) > _SEPARATED:
        return None
    p = 1 / (1 + np.exp(-features @ coefficients))
    # Draws and probabilities vary less than coin flips do, so the errors come from the residuals (a sandwich).
    inverse = np.linalg.inv(features.T @ (features * (p * (1 - p))[:, None]))
    covariance = inverse @ (features.T @ (features * ((y - p) ** 2)[:, None])) @ inverse
    level = 1 / (1 + math.exp(-float(coefficients[0])))
    return LengthControlled(
        value=100 * level,
        standard_error=100 * level * (1 - level) * math.sqrt(float(covariance[0, 0])),
        length_effect=float(coefficients[1]),
        length_effect_error=math.sqrt(float(covariance[1, 1])),
    )
