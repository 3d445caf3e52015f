r"""Eq. 1-4 of the paper: from token rewards to the Bradley-Terry loss on a pair of responses.

i is the chosen response (the edit), j the rejected one (the original). T_i counts the response tokens of i. U0 are
the tokens that the edit left alone, U1 those that it changed; each side has its own U1.

Eq. 3 puts Eq. 1 into Eq. 2. What that gives is

    R_i - R_j = [ sum_{U0} r_i / T_i - sum_{U0} r_j / T_j ] + sum_{U1} r_i / T_i - sum_{U1} r_j / T_j

and where unchanged tokens have equal rewards r on both sides, the bracket is (1/T_i - 1/T_j) sum_{U0} r. The paper
prints 1/T_i alone. Only with the second fraction does the term vanish at equal length, as the paper says it does, so
the second fraction is what is computed here.
"""

import torch
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


def preference_probability(chosen_reward: Tensor, rejected_reward: Tensor) -> Tensor:
    """Probability that the chosen response is preferred: sigmoid(R_i - R_j) (Eq. 2). [B], [B] -> [B]."""
    return torch.sigmoid(at_least_float32(chosen_reward) - at_least_float32(rejected_reward))


def bradley_terry_loss(margin: Tensor) -> Tensor:
    """Negative log-likelihood of the preferences: mean of -log sigmoid(margin) (the outer part of Eq. 3 and 4).

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


def eq3_terms(
    chosen_rewards: Tensor,
    rejected_rewards: Tensor,
    chosen_unchanged: Tensor,
    rejected_unchanged: Tensor,
    chosen_changed: Tensor,
    rejected_changed: Tensor,
    chosen_mask: Tensor,
    rejected_mask: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms into which Eq. 3 splits the margin; see the module's text.

    Where U0 and U1 together are the whole response on each side, first + second - third is `eq3_margin`.

    Args:
        chosen_rewards: [B, Tc].
        rejected_rewards: [B, Tr].
        chosen_unchanged: bool [B, Tc], U0 on the chosen side.
        rejected_unchanged: bool [B, Tr], U0 on the rejected side.
        chosen_changed: bool [B, Tc], U1 of the chosen side.
        rejected_changed: bool [B, Tr], U1 of the rejected side.
        chosen_mask: bool [B, Tc]; True = response token.
        rejected_mask: bool [B, Tr]; True = response token.

    Returns:
        Unchanged term, sum_{U0} r_i / T_i - sum_{U0} r_j / T_j; chosen term, sum_{U1} r_i / T_i; rejected term,
        sum_{U1} r_j / T_j; each [B].
    """
    unchanged = _share(chosen_rewards, chosen_unchanged, chosen_mask) - _share(
        rejected_rewards, rejected_unchanged, rejected_mask
    )
    chosen = _share(chosen_rewards, chosen_changed, chosen_mask)
    rejected = _share(rejected_rewards, rejected_changed, rejected_mask)
    return unchanged, chosen, rejected


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
