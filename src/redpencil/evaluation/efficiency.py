"""How much sooner the token arm gets as far as the sequence arm ever does (Table 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from redpencil.errors import RedpencilError

Curve = Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class Efficiency:
    """The step and second at which each arm reaches the sequence arm's best win rate.

    `ratio` is token_step / sequence_step; it and what else is the token arm's is None where that arm never got there.
    """

    token_step: int | None
    sequence_step: int
    ratio: float | None
    token_seconds: float | None
    sequence_seconds: float


def time_to_reach(token_curve: Curve, sequence_curve: Curve) -> Efficiency:
    """When the token arm first reaches the best win rate of the sequence arm.

    An evaluation at step 0 shows the policy before any training. It is left out of both curves: it is neither a
    best that training reached, nor something reached in no time. Where the sequence arm never beats its own step 0,
    the target is its best evaluation after training began, and the ratio says little; the curves show that.

    Args:
        token_curve: (step, seconds of training so far, win rate) at each evaluation, in any order.
        sequence_curve: the same for the sequence arm.

    Raises:
        RedpencilError: if the sequence arm has no evaluation after step 0.
    """
    token = sorted(point for point in token_curve if point[0] > 0)
    sequence = sorted(point for point in sequence_curve if point[0] > 0)
    if not sequence:
        raise RedpencilError(
            "the sequence arm has no evaluation after step 0",
            field="ppo.eval_steps",
            way_out="make eval_steps at most total_steps",
        )
    # max() keeps the first of equal maxima: the earliest step.
    sequence_step, sequence_seconds, target = max(sequence, key=lambda point: point[2])
    reached = next(((step, seconds) for step, seconds, rate in token if rate >= target), None)
    if reached is None:
        return Efficiency(None, sequence_step, None, None, sequence_seconds)
    return Efficiency(reached[0], sequence_step, reached[0] / sequence_step, reached[1], sequence_seconds)
