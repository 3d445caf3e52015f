r"""Losses that teach a policy from pairs of responses directly: DPO and FIGA.

DPO (Rafailov et al., "Direct Preference Optimization", 2023) on whole responses. With the log ratio
h = sum over tokens of log policy - log reference, the chosen response i and the rejected one j:

    sigmoid        -log sigmoid(beta (h_i - h_j))                                              Eq. 7
    sigmoid_norm   the same with h / T, the mean over the response's tokens
    hinge          max(0, 1 - beta (h_i - h_j))
    ipo            (h_i / T_i - h_j / T_j - 1 / (2 beta))^2                                    Azar et al., 2023, Eq. 17
    robust         [(1 - e) -log sigmoid(m) - e -log sigmoid(-m)] / (1 - 2 e), m = beta (h_i - h_j)
                                                                                               Chowdhury et al., 2024
    apo_zero       sigmoid(-beta h_i) + sigmoid(beta h_j)                                      APO
    apo_down       sigmoid(beta h_i) + sigmoid(-beta (h_i - h_j))                              APO

The two of APO (D'Oosterlinck et al., "Anchored Preference Optimization and Contrastive Revisions", 2024, arXiv
2408.06266) say where each response goes by itself, not only the margin: apo_zero raises h_i and lowers h_j, apo_down
lowers both. Each is the paper's plus 1, so that it is never negative.

FIGA's weighted likelihood (Guo et al., "Beyond Imitation: Leveraging Fine-grained Quality Signals for Alignment",
ICLR 2024, section 3.3; constants and the window of unlearning from its released code) reads both texts of an edit.
Tokens of the edited text that were put in are imitated, tokens of the original that were taken out are unlearned:

    loss = 1/N * sum over the tokens of both texts of weight * -log p(token | prompt, tokens before it)

    edited text:    alpha where inserted or substituted, and at EOS; `kept` elsewhere
    original text:  -beta where deleted or substituted;              0 elsewhere

N counts the tokens whose weight is not 0. The likelihood of a token could be pushed down without end, at the cost of
everything else, so only tokens whose -log p lies in a window are unlearned.
"""

import torch
from torch import Tensor
from torch.nn import functional

from redpencil.config.methods import DPOLoss
from redpencil.maths.masked import at_least_float32, masked_sum


def dpo_loss(
    chosen_log_ratio: Tensor,
    rejected_log_ratio: Tensor,
    chosen_mask: Tensor,
    rejected_mask: Tensor,
    *,
    beta: float,
    loss_type: DPOLoss = "sigmoid",
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Compute the DPO loss of pairs; the forms of `loss_type` are in the module's text.

    Args:
        chosen_log_ratio, rejected_log_ratio: [B, T], log policy - log reference of each token, in nats.
        chosen_mask, rejected_mask: bool [B, T]; True = response token.
        beta: how strongly the policy is held to the reference.
        loss_type: one of the forms above.
        label_smoothing: e of `robust`, below 1/2: the share of labels that are wrong.

    Returns:
        The mean loss, a scalar, and beta (h_i - h_j), [B], the margin of the implicit rewards.

    Raises:
        ValueError: if `loss_type` is unknown.
    """
    chosen, rejected = masked_sum(chosen_log_ratio, chosen_mask, -1), masked_sum(rejected_log_ratio, rejected_mask, -1)
    margin = beta * (chosen - rejected)
    chosen_mean = chosen / at_least_float32(chosen_mask.sum(-1)).clamp(min=1)
    rejected_mean = rejected / at_least_float32(rejected_mask.sum(-1)).clamp(min=1)
    if loss_type == "sigmoid":
        losses = -functional.logsigmoid(margin)
    elif loss_type == "sigmoid_norm":
        losses = -functional.logsigmoid(beta * (chosen_mean - rejected_mean))
    elif loss_type == "hinge":
        losses = torch.relu(1 - margin)
    elif loss_type == "ipo":
        losses = (chosen_mean - rejected_mean - 1 / (2 * beta)).square()
    elif loss_type == "robust":
        clean, flipped = -functional.logsigmoid(margin), -functional.logsigmoid(-margin)
        losses = ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)
    elif loss_type == "apo_zero":
        losses = torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)
    elif loss_type == "apo_down":
        losses = torch.sigmoid(beta * chosen) + torch.sigmoid(-margin)
    else:
        raise ValueError(f"unknown DPO loss {loss_type!r}")
    return losses.mean(), margin


def figa_weights(
    chosen_changed: Tensor,
    rejected_changed: Tensor,
    chosen_mask: Tensor,
    chosen_eos: Tensor,
    *,
    alpha: float,
    beta: float,
    kept: float,
) -> tuple[Tensor, Tensor]:
    """Weigh each token of the edited and of the original text; 0 on padding.

    Args:
        chosen_changed, rejected_changed: bool [B, T], U1 of each side.
        chosen_mask: bool [B, T], tokens of the edited text.
        chosen_eos: bool [B, T], where the edited text ends with an end-of-sequence token.

    Returns:
        Two of [B, T], float32: (chosen, rejected).
    """
    imitated = chosen_changed | chosen_eos
    chosen = torch.where(imitated, alpha, kept) * chosen_mask
    return chosen.float(), torch.where(rejected_changed, -beta, 0.0).float()


def in_window(logprobs: Tensor, min_nll: float, max_nll: float) -> Tensor:
    """Mark tokens that may be unlearned: those with min_nll <= -log p <= max_nll. Bool, of `logprobs`' shape."""
    nll = -logprobs.detach()
    return (nll >= min_nll) & (nll <= max_nll)


def figa_loss(logprobs: Tensor, weights: Tensor, window: Tensor) -> Tensor:
    """Average weight * -log p over the tokens that have a weight.

    Blamed tokens outside the window add nothing to the sum and stay in the count, so that the count is known before the
    forward pass. (The released code leaves them out of the count as well.)

    Args:
        logprobs: [N, T] of the tokens of both texts, in nats.
        weights: [N, T] of `figa_weights`; 0 on padding.
        window: bool [N, T] of `in_window`; it applies to negative weights only.

    Returns:
        A scalar; 0 where no token has a weight.
    """
    learned = (weights > 0) | ((weights < 0) & window)
    return masked_sum(-weights * logprobs, learned) / (weights != 0).sum().clamp(min=1)
