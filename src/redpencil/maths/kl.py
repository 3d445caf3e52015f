"""The KL divergence between policy and reference: estimates from samples, and the coefficient's controller."""

import torch
from torch import Tensor

from redpencil.config import KLEstimator
from redpencil.maths.masked import at_least_float32

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
        Same shape, in nats. Padding has to be masked by whoever reads it.
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
