"""Sums, means and whitening that count only what a boolean mask marks with True.

Values outside a mask never matter, not even NaN or infinity: they are replaced before any arithmetic, so their
gradients are 0 too. Half precision is computed in float32; float64 stays float64.
"""

import torch
from torch import Tensor

VARIANCE_FLOOR = 1e-8


def at_least_float32(values: Tensor) -> Tensor:
    """The same values in float32, or in float64 where they already are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def masked_select_or_zero(values: Tensor, mask: Tensor) -> Tensor:
    """Values where `mask` is True, exactly 0 elsewhere; same shape, at least float32."""
    values = at_least_float32(values)
    return torch.where(mask, values, torch.zeros_like(values))


def masked_sum(values: Tensor, mask: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Sum of the values that count.

    Args:
        values: any shape, such as [B, T].
        mask: bool, same shape; True = counts.
        dim: the dimension to sum over; all of them if None.

    Returns:
        `values`' shape without `dim`, or a scalar.
    """
    return masked_select_or_zero(values, mask).sum(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of the values that count; 0, not NaN, where nothing counts. Shapes as in `masked_sum`."""
    count = mask.expand_as(values).sum(dim).clamp(min=1)
    return masked_sum(values, mask, dim) / count


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """Population variance (divided by n) of the values that count, as a scalar; 0 where nothing counts."""
    deviations = masked_select_or_zero(values, mask) - masked_mean(values, mask)
    return masked_mean(deviations.square(), mask)


def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale to unit variance over the values that count; 0 elsewhere.

    Mean and variance are those of the marked values alone. AlpacaFarm takes them over padding as well, which
    pays reward after the end of a response.

    Args:
        values: any shape, such as [B, T].
        mask: bool, same shape; True = counts.
        shift_mean: True gives (x - mean) / std. False gives x / std: a reward of 0 stays 0. (AlpacaFarm adds the
            unscaled mean back instead. That adds a constant to every token, which pays or punishes length.)

    Returns:
        Same shape. Where the variance is practically 0 there is no scale to remove: the values are only shifted,
        or with `shift_mean=False` returned as they are.
    """
    variance = masked_var(values, mask)
    std = torch.where(variance > VARIANCE_FLOOR, variance, torch.ones_like(variance)).sqrt()
    kept = masked_select_or_zero(values, mask)
    shifted = kept - masked_mean(values, mask) if shift_mean else kept
    return masked_select_or_zero(shifted / std, mask)


def token_logprobs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """log p(token) = logit of the token - logsumexp of all logits.

    Args:
        logits: [B, T, V]; column t is the distribution that token t was drawn from, so already shifted by one.
        token_ids: int64 [B, T]; in padding any id of the vocabulary.

    Returns:
        [B, T] in nats; float32 also for half-precision logits.
    """
    # Not by logsumexp, which is slower on a CPU, forward and backward.
    return torch.log_softmax(at_least_float32(logits), dim=-1).gather(-1, token_ids[..., None]).squeeze(-1)
