r"""Losses of reward models on a pair of responses: Eq. 1-4 of the paper, and two within one response.

i is the chosen response (the edit), j the rejected one (the original). T_i counts the response tokens of i. U0 are
the tokens that the edit left alone, U1 those that it changed; each side has its own U1.

Eq. 3 puts Eq. 1 into Eq. 2. What that gives is

    R_i - R_j = [ sum_{U0} r_i / T_i - sum_{U0} r_j / T_j ] + sum_{U1} r_i / T_i - sum_{U1} r_j / T_j

and where unchanged tokens have equal rewards r on both sides, the bracket is (1/T_i - 1/T_j) sum_{U0} r. The paper
prints 1/T_i alone. Only with the second fraction does the term vanish at equal length, as the paper says it does, so
the second fraction is what is computed here.

Eq. 3 and 4 compare a text with its edit. Nothing in them compares a token with its neighbour in the same text, so
where an edit changes half of the words, a model does as well by telling the two texts apart and giving all tokens the
same reward. `blame_loss` and `contrast_loss` compare tokens of the original: U1 against U0. A model that is to rank
texts as well has two heads, see `join_heads`: any margin of the mean rewards can be had with any differences within.
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


def blame_loss(rewards: Tensor, changed: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of sigmoid(-r) on whether a token was edited away, a weighted mean over tokens, in nats.

    So sigmoid(-r) is the probability that an editor takes the token out.

    Args:
        rewards: [B, T].
        changed: bool [B, T], U1.
        weights: [B, T], 0 on padding.

    Returns:
        A scalar; 0 where all weights are 0.
    """
    # -log sigmoid(-r) on changed tokens, -log sigmoid(r) on the others.
    margins = masked_select_or_zero(torch.where(changed, -rewards, rewards), weights > 0)
    return -(functional.logsigmoid(margins) * weights).sum() / weights.sum().clamp(min=1e-9)


def contrast_loss(
    rewards: Tensor, changed: Tensor, response_mask: Tensor, weights: Tensor, window: int | None = None
) -> Tensor:
    """Mean of -log sigmoid(r_k - r_c) over pairs of a kept token k and a changed token c of one response.

    A constant in a response's rewards changes nothing. The mean is over the pairs of a response first and then over the
    responses that have a pair, so that long ones do not outweigh the others.

    Args:
        rewards: [B, T].
        changed: bool [B, T], U1.
        response_mask: bool [B, T]; True = response token.
        weights: [B], of the responses in the last mean.
        window: most places between k and c; None for any.

    Returns:
        A scalar, in nats; 0 without pairs.
    """
    pairs = _contrasts(changed, response_mask, window)
    rewards = masked_select_or_zero(rewards, response_mask)
    gaps = rewards[:, :, None] - rewards[:, None, :]
    losses = masked_sum(-functional.logsigmoid(gaps), pairs, dim=(1, 2)) / pairs.sum((1, 2)).clamp(min=1)
    counted = contrast_weights(changed, response_mask, weights, window)
    return (losses * counted).sum() / counted.sum().clamp(min=1e-9)


def contrast_weights(changed: Tensor, response_mask: Tensor, weights: Tensor, window: int | None = None) -> Tensor:
    """The weights [B] of responses that have a pair of tokens to contrast, 0 for others; see `contrast_loss`."""
    return weights * _contrasts(changed, response_mask, window).any(2).any(1)


def _contrasts(changed: Tensor, response_mask: Tensor, window: int | None) -> Tensor:
    """Pairs of a kept token (dimension 1) and a changed one (dimension 2), bool [B, T, T]."""
    pairs = (~changed & response_mask)[:, :, None] & (changed & response_mask)[:, None, :]
    if window is None:
        return pairs
    places = torch.arange(changed.shape[1], device=changed.device)
    return pairs & ((places[:, None] - places[None, :]).abs() <= window)


def join_heads(within: Tensor, overall: Tensor, response_mask: Tensor) -> Tensor:
    """Token rewards whose differences within a response are those of one head, and whose mean is that of the other.

    Args:
        within: [B, T].
        overall: [B, T].
        response_mask: bool [B, T]; True = response token.

    Returns:
        [B, T]: within - mean(within) + mean(overall), means over the response; without meaning on padding.
    """
    level = masked_mean(overall, response_mask, dim=-1) - masked_mean(within, response_mask, dim=-1)
    return within + level[:, None]


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
