"""Generalised advantage estimation (Schulman et al., 2015, Eq. 11 and 16)."""

import torch
from torch import Tensor

from redpencil.maths.masked import masked_select_or_zero


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
        values: [B, T]; column t is V(s_t), read before token t (see `redpencil.maths.rewards`).
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
