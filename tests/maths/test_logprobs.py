"""Log-probabilities of tokens by hand and against torch's log_softmax."""

import math

import torch

from redpencil.maths.logprobs import token_logprobs


def test_by_hand() -> None:
    # Logits ln 1, ln 2, ln 5 are probabilities 1/8, 2/8, 5/8.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(1, 3, 3)
    expected = torch.tensor([[1 / 8, 2 / 8, 5 / 8]]).log()
    torch.testing.assert_close(token_logprobs(logits, torch.tensor([[0, 1, 2]])), expected)


def test_agrees_with_log_softmax_also_far_from_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 7, generator=generator) * 10 + 1000
    ids = torch.randint(7, (2, 4), generator=generator)
    expected = torch.log_softmax(logits, dim=-1).gather(-1, ids[..., None])[..., 0]
    torch.testing.assert_close(token_logprobs(logits, ids), expected, atol=2e-4, rtol=0)


def test_forbidden_tokens_take_no_probability() -> None:
    logits = torch.tensor([[[0.0, -math.inf]]])
    assert token_logprobs(logits, torch.tensor([[0]])).item() == 0
    assert token_logprobs(logits, torch.tensor([[1]])).item() == -math.inf


def test_half_precision_is_summed_in_float32() -> None:
    # 1000 equal logits: -ln 1000 = -6.907755; bfloat16 would keep two digits of it.
    logits = torch.zeros(1, 1, 1000, dtype=torch.bfloat16)
    result = token_logprobs(logits, torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(result, torch.tensor([[-math.log(1000)]]))


def test_gradient_agrees_with_finite_differences() -> None:
    logits = torch.tensor([[[0.5, -1.0, 2.0], [0.0, 0.3, -0.2]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, torch.tensor([[2, 0]])), (logits,))
