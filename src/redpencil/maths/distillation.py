r"""Edit-conditioned self-distillation: the policy that has seen an edit in its context teaches the one that has not.

A policy that reads a prompt x, an original o and how it was edited, e, gives other next-token distributions than one
that reads x alone. At every token of a response y to x, the student p is drawn towards the teacher q:

    q_t(v)  proportional to  exp(l_e(v) + c (l_e(v) - l_o(v)))
    loss    sum_t w_t KL(p_t || q_t) / sum_t w_t,      KL(p || q) = sum_v p(v) (log p(v) - log q(v))

l_e are the frozen policy's logits behind x, o, e and y before t; l_o those where o stands in the place of e as well, so
that what the hint does that is not the edit's cancels out (Ho and Salimans, "Classifier-Free Diffusion Guidance",
2022). The whole vocabulary counts, not only the token that was drawn. With context distillation (Snell et al.,
"Learning by Distilling Context", 2022) it shares the teacher, with on-policy distillation (Agarwal et al., 2023) the
direction and the student's own answers; the edit as the hint is new here.
"""

import torch
from torch import Tensor

from redpencil.maths.masked import at_least_float32, masked_sum


def reverse_kl(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL(student || teacher) of next-token distributions, [..., V] -> [...], in nats.

    A token that the student cannot say (a logit of minus infinity) adds nothing.
    """
    student = torch.log_softmax(at_least_float32(student_logits), dim=-1)
    teacher = torch.log_softmax(at_least_float32(teacher_logits), dim=-1)
    probabilities = student.exp()
    return (probabilities * (student - teacher).masked_fill(probabilities == 0, 0.0)).sum(dim=-1)


def guided(hinted_logits: Tensor, plain_logits: Tensor, guidance: float) -> Tensor:
    """The teacher's logits l_e + c (l_e - l_o), of any shape: what the edit changes, exaggerated."""
    return hinted_logits + guidance * (hinted_logits - plain_logits)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Average values [B, T] by weights [B, T], 0 on padding; 0 where nothing has a weight."""
    total = weights.sum()
    return masked_sum(values * weights, weights > 0) / torch.where(total > 0, total, 1.0)
