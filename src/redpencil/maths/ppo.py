"""The losses of proximal policy optimisation (Schulman et al., 2017), over response tokens only.

Each loss is a mean over the response tokens of the batch it is given. Whoever splits a batch into micro-batches
weights each part by its number of response tokens.
"""

import torch
from torch import Tensor

from redpencil.maths.kl import kl_estimate
from redpencil.maths.masked import at_least_float32, masked_mean, masked_select_or_zero


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
    clipped = (old_values + (values - old_values).clamp(-cliprange_value, cliprange_value) - returns).square()
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
