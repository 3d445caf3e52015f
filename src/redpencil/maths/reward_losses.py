r"""Eq. 1-4 of the paper: from token rewards to the Bradley-Terry loss on a pair of responses.

i is the chosen response (the edit), j the rejected one (the original). T_i counts the response tokens of i. U0 are
the tokens that the edit left alone, U1 those that it changed; each side has its own U1.

Eq. 3 puts Eq. 1 into Eq. 2. What that gives is

    R_i - R_j = [ sum_{U0} r_i / T_i - sum_{U0} r_j / T_j ] + sum_{U1} r_i / T_i - sum_{U1} r_j / T_j

and where unchanged tokens have equal rewards r on both sides, the bracket is (1/T_i - 1/T_j) sum_{U0} r. The paper
prints 1/T_i alone. Only with the second fraction does the term vanish at equal length, as the paper says it does, so
the second fraction is what is computed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor
from torch.nn import functional

from redpencil.maths.masked import at_least_float32, masked_mean, masked_select_or_zero, masked_sum


def trajectory_reward(token_rewards: Tensor, response_mask: Tensor) -> Tensor:
    """Reward of a response: R = (1/T) sum_t r_t (Eq. 1).

    Args:
        token_rewards: [B, T].
        response_mask: bool [B, T]; True = response token.

    Returns:
        [B]; 0 for an empty response.
    """
    return masked_mean(token_rewards, response_mask, dim=-1)


def bradley_terry_loss(margin: Tensor) -> Tensor:
    """Negative log-likelihood of the preferences (Eq. 2, the outer part of Eq. 3 and 4): mean of -log sigmoid(margin).

    Args:
        margin: [B], what is inside the sigmoid; see `eq3_margin` and `eq4_margin`.

    Returns:
        A scalar, in nats; ln 2 at margin 0.
    """
    return -functional.logsigmoid(at_least_float32(margin)).sum() / max(margin.numel(), 1)


def eq3_margin(chosen_rewards: Tensor, rejected_rewards: Tensor, chosen_mask: Tensor, rejected_mask: Tensor) -> Tensor:
    """Inside of Eq. 3 as Eq. 1 and 2 imply it: R_i - R_j, the difference of the mean token rewards.

    Args:
        chosen_rewards: [B, Tc].
        rejected_rewards: [B, Tr].
        chosen_mask: bool [B, Tc]; True = response token.
        rejected_mask: bool [B, Tr]; True = response token.

    Returns:
        [B].
    """
    return trajectory_reward(chosen_rewards, chosen_mask) - trajectory_reward(rejected_rewards, rejected_mask)


def eq4_margin(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    chosen_changed: Tensor,
    rejected_changed: Tensor,
    chosen_mask: Tensor,
    rejected_mask: Tensor,
) -> Tensor:
    """Inside of Eq. 4: sum_{U1} r_i / T_i - sum_{U1} r_j / T_j, the changed tokens alone.

    A pure deletion leaves the chosen side's U1 empty, a pure insertion the rejected side's; that sum is then 0.
    Shapes as in `eq3_terms`.

    Returns:
        [B].
    """
    chosen = _share(chosen_rewards, chosen_changed, chosen_mask)
    return chosen - _share(rejected_rewards, rejected_changed, rejected_mask)


@dataclass(frozen=True, slots=True)
class TokenLoss:
    """A loss on token rewards: its margin, and whether that reads which tokens were changed.

    margin: called with chosen rewards [B, Tc], rejected rewards [B, Tr], chosen_changed and rejected_changed (U1 of
    each side), chosen_mask and rejected_mask; returns [B].
    """

    margin: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    needs_changes: bool


TOKEN_LOSSES: Final[Mapping[str, TokenLoss]] = {
    "eq3": TokenLoss(lambda ri, rj, _ui, _uj, mi, mj: eq3_margin(ri, rj, mi, mj), needs_changes=False),
    "eq4": TokenLoss(eq4_margin, needs_changes=True),
}
"""The values of `reward.loss`. To add one, write its margin here and name it in `RewardConfig.loss`."""


def zero_penalty(rewards: Tensor, unchanged_mask: Tensor) -> Tensor:
    """Mean of r^2 over U0, a scalar. Eq. 4 leaves these rewards undefined; PPO pays them out all the same.

    Args:
        rewards: [B, T].
        unchanged_mask: bool [B, T], U0; True = the edit left the token alone.
    """
    return masked_mean(masked_select_or_zero(rewards, unchanged_mask).square(), unchanged_mask)


def consistency_penalty(chosen_rewards: Tensor, rejected_rewards: Tensor, unchanged_pairs: Tensor) -> Tensor:
    """Mean of (r_i - r_j)^2 over U0: an unchanged token should be worth the same before and after the edit.

    It does not come by itself: after the first change the same token stands in another context.

    Args:
        chosen_rewards: [B, Tc].
        rejected_rewards: [B, Tr].
        unchanged_pairs: int64 [N, 3], rows of (batch index, rejected index, chosen index).

    Returns:
        A scalar; 0 without pairs, still differentiable.
    """
    batch, rejected_index, chosen_index = unchanged_pairs.unbind(dim=-1)
    chosen = at_least_float32(chosen_rewards[batch, chosen_index])
    rejected = at_least_float32(rejected_rewards[batch, rejected_index])
    return (chosen - rejected).square().sum() / max(len(unchanged_pairs), 1)


def _share(rewards: Tensor, part: Tensor, response_mask: Tensor) -> Tensor:
    """What `part` of a response adds to its mean reward: sum over the part divided by T. [B]."""
    length = response_mask.sum(dim=-1).clamp(min=1)
    return masked_sum(rewards, part & response_mask, dim=-1) / length
