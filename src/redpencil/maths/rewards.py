"""The reward of each token in PPO: dense, terminal, or both; the KL penalty; the penalty for not ending.

The convention, fixed here once. Response tokens a_1 .. a_T follow the prompt x. A model reads tokens and gives one
output at each position:

    token read at a position     x_n      a_1      a_2     ...    a_T (end of sequence)
    state after reading it       s_1      s_2      s_3     ...    -
                                  |        |        |
    policy: log p(a_t | s_t)     of a_1   of a_2   of a_3  ...    unused
    value:  V(s_t)               V(s_1)   V(s_2)   V(s_3)  ...    unused
    reward: r(s_t, a_t)          unused   r_1      r_2     ...    r_T

So the reward of a_t is read where a_t is consumed: the reward model has to have seen the token it judges. The
value of s_t and the log-probability of a_t are read one position earlier, where a_t is still to come. Every [B, T]
tensor in this room is already cut that way: column t belongs to a_t, in `token_rewards`, `values`, `logprobs`, `kl`
and `response_mask` alike.
"""

from typing import Literal

import torch
from torch import Tensor

from redpencil.config import RewardKind
from redpencil.maths.bradley_terry import trajectory_reward
from redpencil.maths.masked import at_least_float32, masked_select_or_zero, masked_sum

KLTerm = Literal["per_token", "terminal", "none"]


def last_response_token(response_mask: Tensor) -> Tensor:
    """Where each response ends: bool [B, T] -> bool [B, T] with one True a row, none where the response is empty.

    It is read off the mask. Searching for a pad or end-of-sequence id goes wrong where the two are one token, where
    the response was cut off, or where the id occurs inside it.
    """
    from_the_right = response_mask.flip(-1).cumsum(dim=-1).flip(-1)
    return response_mask & (from_the_right == 1)


def standardise(token_rewards: Tensor, center: float, scale: float) -> Tensor:
    """(r - center) / scale for each token; same shape.

    Eq. 1 averages over a response while PPO's return sums. A constant added to every token's reward leaves the
    Bradley-Terry loss as it is, but pays PPO for length (or punishes it), so it is taken out. The sum of dense
    rewards is also about T times the sequence reward, so that the same `kl_coef` would mean something else; with
    `scale` the standard deviation of that sum, a response's reward has unit variance at either level.

    Args:
        token_rewards: [B, T]; or [B] for rewards of whole responses.
        center: mean reward of a token (or response) on samples of the reference policy.
        scale: standard deviation, over those samples, of a response's centred reward summed over its tokens; above 0.
    """
    if scale <= 0:
        raise ValueError(f"scale must be above 0, not {scale}")
    return (at_least_float32(token_rewards) - center) / scale


def ppo_rewards(
    reward: RewardKind,
    *,
    token_rewards: Tensor | None,
    sequence_reward: Tensor | None,
    kl: Tensor,
    kl_coef: float,
    kl_term: KLTerm,
    response_mask: Tensor,
    finished: Tensor,
    missing_eos_penalty: float,
) -> Tensor:
    """The reward vector of a response (section 2.2); for the alignment of columns see the module's text.

        sequence            [-KL_1, -KL_2, ..., R - KL_T]             traditional PPO-RLHF
        token               [r_1 - KL_1, r_2 - KL_2, ..., r_T - KL_T]
        both                token, and R at the last token
        token_mean_at_end   sequence with R = (r_1 + ... + r_T) / T    (Eq. 1)

    with KL_t = kl_coef * kl_t. The paper's [R_1, ..., R_n] does not say whether the KL stays; `kl_term` says it.

    Args:
        reward: which of the four.
        token_rewards: [B, T], for all kinds but `sequence`.
        sequence_reward: [B], for `sequence` and `both`.
        kl: [B, T], the KL estimate at each token, in nats.
        kl_coef: weight of the KL penalty.
        kl_term: `per_token`, or `terminal` (their sum, at the last token), or `none`.
        response_mask: bool [B, T]; True = response token, the end-of-sequence token included.
        finished: bool [B]; False = the response was cut off.
        missing_eos_penalty: subtracted at the last token where `finished` is False.

    Returns:
        [B, T], exactly 0 outside `response_mask`. An empty response gets nothing.

    Raises:
        ValueError: if the tensor that `reward` pays out is None.
    """
    last = last_response_token(response_mask)
    kl_penalty = kl_coef * masked_select_or_zero(kl, response_mask)
    dense = torch.zeros_like(kl_penalty)
    terminal = kl_penalty.new_zeros(len(kl_penalty))
    if reward in ("token", "both"):
        dense = dense + _required(token_rewards, "token_rewards", reward)
    if reward in ("sequence", "both"):
        terminal = terminal + _required(sequence_reward, "sequence_reward", reward)
    if reward == "token_mean_at_end":
        terminal = terminal + trajectory_reward(_required(token_rewards, "token_rewards", reward), response_mask)
    if kl_term == "per_token":
        dense = dense - kl_penalty
    elif kl_term == "terminal":
        terminal = terminal - masked_sum(kl_penalty, response_mask, dim=-1)
    terminal = terminal - missing_eos_penalty * (~finished).to(terminal.dtype)
    return masked_select_or_zero(dense, response_mask) + masked_select_or_zero(terminal[:, None].expand_as(dense), last)


def _required(tensor: Tensor | None, name: str, reward: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"reward={reward!r} needs {name}")
    return at_least_float32(tensor)
