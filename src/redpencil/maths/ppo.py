"""Proximal policy optimisation over response tokens: losses, KL, advantages, and the reward of each token.

Schulman et al., 2017; GAE after Schulman et al., 2015, Eq. 11 and 16; group advantages after Shao et al., 2024. Each
loss is a mean over the response tokens of its batch; micro-batches are weighted by their number of response tokens.

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

import math
from typing import Literal

import torch
from torch import Tensor

from redpencil.config.methods import KLEstimator, RewardKind
from redpencil.maths.masked import VARIANCE_FLOOR, at_least_float32, masked_mean, masked_select_or_zero, masked_sum
from redpencil.maths.reward_losses import trajectory_reward

MAX_PROPORTIONAL_ERROR = 0.2


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KLEstimator = "k1") -> Tensor:
    """Estimate KL(policy || reference) at each token, from tokens that the policy sampled.

    With d = log policy(a_t | s_t) - log reference(a_t | s_t):

        k1 = d                     unbiased; single values are often negative
        k2 = d^2 / 2               biased, low variance
        k3 = exp(-d) - 1 + d       unbiased, never negative

    (Schulman, "Approximating KL divergence", 2020.) Nothing is clamped: AlpacaFarm clamps k1 at 0, which keeps the
    positive half of the noise and about doubles the estimate.

    Args:
        logprobs: any shape, such as [B, T]; log-probabilities under the policy that sampled, in nats.
        ref_logprobs: same shape; under the reference.
        estimator: k1, k2 or k3.

    Returns:
        Same shape, in nats. Padding has to be masked by the caller.
    """
    difference = at_least_float32(logprobs) - at_least_float32(ref_logprobs)
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    if estimator == "k3":
        return torch.expm1(-difference) + difference
    raise ValueError(f"unknown KL estimator {estimator!r}: k1, k2 or k3")


def next_kl_coef(kl_coef: float, observed_kl: float, kl_target: float, kl_horizon: int, n_responses: int) -> float:
    """Move the KL coefficient towards the one that holds `observed_kl` at `kl_target`.

    A proportional controller (Ziegler et al., "Fine-tuning language models from human preferences", 2019, 2.2):

        error = clip(observed_kl / kl_target - 1, -.2, .2)
        next = kl_coef * (1 + error * n_responses / kl_horizon)

    Args:
        kl_coef: the current coefficient.
        observed_kl: mean KL of a response, summed over its tokens, in nats.
        kl_target: the KL to hold, in nats.
        kl_horizon: responses over which a full error moves the coefficient by 20 %.
        n_responses: responses that `observed_kl` was measured on. A batch beyond the horizon counts as the horizon,
            so that the coefficient cannot turn negative.
    """
    error = min(max(observed_kl / kl_target - 1, -MAX_PROPORTIONAL_ERROR), MAX_PROPORTIONAL_ERROR)
    return kl_coef * (1 + error * min(n_responses / kl_horizon, 1.0))


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, response_mask: Tensor, cliprange: float
) -> tuple[Tensor, Tensor]:
    """Clipped surrogate, to be minimised (Schulman et al., 2017, Eq. 7):

        ratio_t = exp(logprobs_t - old_logprobs_t)
        loss = -mean_t min(ratio_t A_t, clip(ratio_t, 1 - cliprange, 1 + cliprange) A_t)

    Args:
        logprobs: [B, T], of the sampled tokens under the policy that is trained.
        old_logprobs: [B, T], under the policy that sampled; carries no gradient.
        advantages: [B, T]; carries no gradient.
        response_mask: bool [B, T]; True = response token.
        cliprange: how far the ratio may move from 1 and still be paid for.

    Returns:
        The loss and the share of response tokens where the clip was active, both scalars.
    """
    log_ratio = masked_select_or_zero(at_least_float32(logprobs) - at_least_float32(old_logprobs), response_mask)
    advantages = masked_select_or_zero(advantages, response_mask)
    ratio = log_ratio.exp()
    plain = ratio * advantages
    clipped = ratio.clamp(1 - cliprange, 1 + cliprange) * advantages
    loss = -masked_mean(torch.minimum(plain, clipped), response_mask)
    return loss, masked_mean((clipped < plain).detach(), response_mask)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, response_mask: Tensor, cliprange_value: float
) -> tuple[Tensor, Tensor]:
    """Clipped squared error of the values:

        clipped_t = old_values_t + clip(values_t - old_values_t, -cliprange_value, cliprange_value)
        loss = mean_t 1/2 max((values_t - returns_t)^2, (clipped_t - returns_t)^2)

    as in OpenAI's baselines and AlpacaFarm; the 2017 paper has no clip.

    Args:
        values: [B, T], under the value model that is trained.
        old_values: [B, T], at sampling time; carries no gradient.
        returns: [B, T]; carries no gradient.
        response_mask: bool [B, T]; True = response token.
        cliprange_value: how far a value may move in one batch of rollouts.

    Returns:
        The loss and the share of response tokens where the clip was active, both scalars.
    """
    values = masked_select_or_zero(values, response_mask)
    old_values = masked_select_or_zero(old_values, response_mask)
    returns = masked_select_or_zero(returns, response_mask)
    plain = (values - returns).square()
    # What is within the range stays as it is, to the last bit: else rounding would count as clipping.
    clipped = (values.clamp(old_values - cliprange_value, old_values + cliprange_value) - returns).square()
    loss = masked_mean(torch.maximum(plain, clipped), response_mask) / 2
    return loss, masked_mean((clipped > plain).detach(), response_mask)


def entropy_from_logits(logits: Tensor) -> Tensor:
    """Entropy of each next-token distribution, -sum_v p_v log p_v: [B, T, V] -> [B, T], in nats.

    A logit of minus infinity (a forbidden token) adds nothing.
    """
    logprobs = torch.log_softmax(at_least_float32(logits), dim=-1)
    probabilities = logprobs.exp()
    return -(probabilities * logprobs.masked_fill(probabilities == 0, 0.0)).sum(dim=-1)


def approx_kl(logprobs: Tensor, old_logprobs: Tensor, response_mask: Tensor) -> Tensor:
    """How far an update moved the policy: mean over response tokens of k3 for KL(old || new), a scalar in nats.

    Args:
        logprobs: [B, T], under the new policy.
        old_logprobs: [B, T], under the policy that sampled.
        response_mask: bool [B, T]; True = response token.
    """
    return masked_mean(kl_estimate(old_logprobs, logprobs, "k3"), response_mask)


def gae(
    rewards: Tensor, values: Tensor, response_mask: Tensor, gamma: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of each token.

        delta_t = r_t + gamma V(s_{t+1}) - V(s_t),       V after the last response token = 0
        A_t = sum_{j >= t} (gamma lambda)^{j - t} delta_j
        return_t = A_t + V(s_t)

    The sum is one product with the [T, T] matrix of decays, not a loop over tokens.

    Args:
        rewards: [B, T].
        values: [B, T]; column t is V(s_t), read before token t (see the drawing above).
        response_mask: bool [B, T]; True = response token. Each row's response is one unbroken stretch, with padding
            on either side.
        gamma: discount.
        gae_lambda: decay of the trace.

    Returns:
        Advantages and returns, each [B, T], 0 outside `response_mask`.
    """
    rewards = masked_select_or_zero(rewards, response_mask)
    values = masked_select_or_zero(values, response_mask)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = masked_select_or_zero(rewards + gamma * next_values - values, response_mask)
    position = torch.arange(deltas.shape[1], device=deltas.device)
    distance = position[None, :] - position[:, None]
    decay = torch.triu(torch.pow(gamma * gae_lambda, distance.clamp(min=0).to(deltas.dtype)))
    with torch.autocast(deltas.device.type, enabled=False):  # it would round the sums to half precision
        advantages = masked_select_or_zero(deltas @ decay.T, response_mask)
    return advantages, advantages + values


def group_advantages(
    rewards: Tensor,
    response_mask: Tensor,
    group_size: int,
    *,
    kind: Literal["return_to_go", "end"],
    gamma: float = 1.0,
    normalise_std: bool = True,
) -> Tensor:
    """Advantages of each token without a value model, from groups of answers to one prompt (GRPO).

    For each group g of answers i, with G_it = sum_{j >= t} gamma^{j - t} r_ij, the return from token t on:

        end            A_it = (G_i1 - mean_g G_1) / std_g G_1           one number for all tokens of an answer
        return_to_go   A_it = (G_it - mean_g G_t) / std_g               std over all tokens of the group

    `end` is GRPO with outcome supervision (Shao et al., 2024, section 4.1.2). `return_to_go` compares each token with
    its group at the same place, where an answer that has ended earns 0: the mean does not depend on the token, so that
    the gradient stays unbiased, but it is noisy where few answers are left. With one reward at the end take `end`.

    Args:
        rewards: [B, T]; answers to one prompt are neighbours, B is a multiple of `group_size`.
        response_mask: bool [B, T]; True = response token. Responses start in the first column.
        group_size: answers to each prompt.
        kind: `return_to_go` or `end`.
        gamma: discount.
        normalise_std: divide by the standard deviation of the group (without Bessel's correction); a group whose
            answers are practically equal gets 0 either way.

    Returns:
        [B, T], 0 outside `response_mask`.
    """
    rewards = masked_select_or_zero(rewards, response_mask)
    returns, _ = gae(rewards, torch.zeros_like(rewards), torch.ones_like(response_mask), gamma, 1.0)
    counted = response_mask
    if kind == "end":  # an answer counts once, however long it is
        returns, counted = returns[:, :1], torch.ones_like(response_mask[:, :1])
    groups, counted = (tensor.reshape(-1, group_size, tensor.shape[-1]) for tensor in (returns, counted))
    centred = groups - groups.mean(dim=1, keepdim=True)
    if normalise_std:
        variance = masked_sum(centred.square(), counted, dim=(1, 2)) / counted.sum(dim=(1, 2)).clamp(min=1)
        centred = centred / torch.where(variance > VARIANCE_FLOOR, variance, 1.0).sqrt()[:, None, None]
    return masked_select_or_zero(centred.reshape_as(returns).expand_as(rewards), response_mask)


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
        increments          token with r_t = R(x, y_1 .. y_t) - R(x, y_1 .. y_t-1) of a sequence model, which sum to
                            R of the whole response less R of an empty one (Li et al., "RED", 2024)

    with KL_t = kl_coef * kl_t. The paper's [R_1, ..., R_n] does not say whether the KL stays; `kl_term` says it.

    Args:
        reward: which of the five.
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
    if reward in ("token", "both", "increments"):
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


def best_of_n_kl_bound(n: int) -> float:
    """Upper bound of KL(best of n || policy) per response, in nats: log n - (n - 1) / n.

    Exact where no two responses score alike and none is likely, too high otherwise (Stiennon et al., "Learning to
    summarize from human feedback", 2020, appendix G.3; Beirami et al., "Theoretical guarantees on the best-of-n
    alignment policy", 2024, which shows that it is a bound).
    """
    return math.log(n) - (n - 1) / n
