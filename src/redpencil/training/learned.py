"""Whether a reward model has learned: its last training losses against the loss of a model that rewards all alike."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.stats import t

_LAST: Final = 0.25
"""Share of the steps whose losses count."""
_FEWEST: Final = 8
"""Steps that count in a short training, as far as it has them."""
_CONFIDENCE: Final = 0.95
_LEAST: Final = 0.01
"""Share of the constant loss that the loss must have fallen by. A fall can be sure, as where every pair gained a
millionth, and still be nothing to be paid by."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How a training ended.

    Args:
        loss: mean loss of the last steps, each taken before its update.
        standard_error: of it; infinite for a single step.
        steps: how many steps that is.
        constant: loss of a model that rewards every response alike.
    """

    loss: float
    standard_error: float
    steps: int
    constant: float

    @property
    def learned(self) -> bool:
        """Whether the loss is below the constant one by more than noise (a one-sided t-test) and by a hundredth."""
        if self.steps < 2:
            return False
        noise = float(t.ppf(_CONFIDENCE, self.steps - 1)) * self.standard_error
        return self.constant - self.loss > max(noise, _LEAST * self.constant)

    def in_words(self) -> str:
        """Say that it has not learned, and what to do."""
        error = f", standard error {self.standard_error:.2g}" if math.isfinite(self.standard_error) else ""
        return (
            f"it has not learned: its loss at the end is {self.loss:.4f} (last {self.steps} steps{error}), and a model "
            f"that rewards all alike has {self.constant:.4f}. Raise reward.learning_rate or reward.num_train_epochs, "
            "give more pairs, or check that their better side is the chosen one"
        )


def how_it_ended(losses: Sequence[float], constant: float) -> Learning:
    """Measure the end of a training from its losses, one a step and oldest first."""
    count = min(len(losses), max(_FEWEST, math.ceil(_LAST * len(losses))))
    last = losses[-count:]
    error = statistics.stdev(last) / math.sqrt(count) if count > 1 else math.inf
    return Learning(statistics.fmean(last), error, count, constant)
