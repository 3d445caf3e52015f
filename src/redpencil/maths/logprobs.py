"""Log-probabilities of given tokens."""

import torch
from torch import Tensor

from redpencil.maths.masked import at_least_float32


def token_logprobs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """log p(token) = logit of the token - logsumexp of all logits.

    Args:
        logits: [B, T, V]; column t is the distribution that token t was drawn from, so already shifted by one.
        token_ids: int64 [B, T]; in padding any id of the vocabulary.

    Returns:
        [B, T] in nats; float32 also for half-precision logits.
    """
    of_tokens = at_least_float32(logits.gather(-1, token_ids[..., None]).squeeze(-1))
    return of_tokens - torch.logsumexp(at_least_float32(logits), dim=-1)
