"""Win rates at equal length, after AlpacaEval 2 (Dubois et al. 2024, arXiv 2404.04475).

A logistic regression explains the verdicts by the quality of the policy and by the difference in length; the win rate
that it predicts for responses of equal length is the length-controlled one:

    P(policy wins) = sigma(theta + phi * tanh(d / s))

with d the difference in characters and s the standard deviation of d over the prompts. AlpacaEval adds the difficulty
of each of its 805 instructions, estimated from all models of its leaderboard, and regularises the fit with
verdicts on two artificial models, with a penalty chosen by cross-validation. That needs data which only its leaderboard
has, so the results agree with its published figures to about a point (see the tests).
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from redpencil.errors import RedpencilError

FAR: Final = 10.0
"""Points between the plain and the length-controlled win rate above which a reader is warned."""
TAIL: Final = 0.025
"""Share of the prompts that must lie on either side of equal length; with fewer the rate would be extrapolated."""
_EXACT: Final = 1e-10
_SEPARATED: Final = 15.0
"""A larger coefficient means that no finite one fits: P differs from 0 or 1 by less than a millionth."""


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A win rate at equal length, in percent, with its standard error by the delta method.

    `length_effect` is phi, above 0 if longer responses win more often; `length_effect_error` is its standard error.
    """

    value: float
    standard_error: float
    length_effect: float
    length_effect_error: float

    def is_far_from(self, win_rate: float) -> bool:
        """True if length explains so much of a plain win rate that it should not be read alone: more than `FAR` points
        and more than chance.
        """
        return abs(self.value - win_rate) > max(FAR, 2 * self.standard_error)


def length_controlled(
    scores: Sequence[float], lengths: Sequence[int], other_lengths: Sequence[int]
) -> LengthControlled | None:
    """Estimate the win rate that the same verdicts predict for responses of equal length.

    Args:
        scores: of the policy, from 0 to 1, one a prompt; .5 for a draw.
        lengths: characters of the policy's responses.
        other_lengths: characters of the reference's.

    Returns:
        None if it cannot be estimated: one policy is the longer one on nearly every prompt, so that there are no
        verdicts near equal length, or the verdicts follow the length (or go one way) without an exception.

    Raises:
        RedpencilError: if the three differ in number.
    """
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
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_linear_model import GLM

    features = np.column_stack([np.ones_like(longer), np.tanh(longer / spread)])
    model = GLM(np.asarray(scores, dtype=np.float64), features, family=Binomial())
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about separated verdicts, for which the coefficients grow without end
            # Draws and probabilities vary less than coin flips, so the errors come from the residuals (a sandwich).
            fit = model.fit(cov_type="HC0", tol=_EXACT, tol_criterion="params")
    except np.linalg.LinAlgError:
        return None
    intercept, slope = (float(value) for value in fit.params)
    if not max(abs(intercept), abs(slope)) <= _SEPARATED:
        return None
    level = 1 / (1 + math.exp(-intercept))
    errors = [float(value) for value in fit.bse]
    return LengthControlled(
        value=100 * level,
        standard_error=100 * level * (1 - level) * errors[0],
        length_effect=slope,
        length_effect_error=errors[1],
    )
