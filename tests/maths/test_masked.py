"""Masked sums, means, variance and whitening, against arithmetic on the marked values alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.maths.masked import (
    at_least_float32,
    masked_mean,
    masked_select_or_zero,
    masked_sum,
    masked_var,
    masked_whiten,
    token_logprobs,
)

VALUES = torch.tensor([[1.0, 3.0, math.nan], [5.0, math.inf, -math.inf], [math.nan] * 3])
MASK = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])


def test_only_marked_values_count_and_garbage_elsewhere_does_not() -> None:
    # Marked: 1, 3 | 5 | nothing. Sums 4, 5, 0; means 2, 5, 0; all: 9 and 9 / 3 = 3.
    assert masked_sum(VALUES, MASK, dim=-1).tolist() == [4, 5, 0]
    assert masked_mean(VALUES, MASK, dim=-1).tolist() == [2, 5, 0]
    assert masked_sum(VALUES, MASK).item() == 9
    assert masked_mean(VALUES, MASK).item() == 3
    # Deviations from 3: -2, 0, 2; squares 4, 0, 4; population variance 8 / 3.
    assert masked_var(VALUES, MASK).item() == pytest.approx(8 / 3)


def test_nothing_marked_gives_zero() -> None:
    nothing = torch.zeros_like(MASK)
    for function in (masked_sum, masked_mean, masked_var):
        assert function(VALUES, nothing).item() == 0
    assert masked_whiten(VALUES, nothing).eq(0).all()
    assert masked_mean(torch.empty(2, 0), torch.empty(2, 0, dtype=torch.bool), dim=-1).tolist() == [0, 0]


def test_whitening_counts_marked_positions_only() -> None:
    # Trap 7. Marked 1, 3, 5: mean 3, std sqrt(8/3) = 1.63299; (1 - 3) / 1.63299 = -1.22474.
    expected = [[-1.2247449, 0.0, 0.0], [1.2247449, 0.0, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(masked_whiten(VALUES, MASK), torch.tensor(expected))
    # Without the shift: 1, 3, 5 over 1.63299.
    expected = [[0.6123724, 1.8371173, 0.0], [3.0618622, 0.0, 0.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(masked_whiten(VALUES, MASK, shift_mean=False), torch.tensor(expected))


@pytest.mark.parametrize("shift_mean", [True, False])
def test_padding_columns_change_nothing_in_whitening(shift_mean: bool) -> None:
    # Trap 7: whitening over padding would move both mean and variance.
    values = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.0, 9.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    padded = torch.cat([values, torch.full((2, 4), 1e6)], dim=1)
    padded_mask = torch.cat([mask, torch.zeros(2, 4, dtype=torch.bool)], dim=1)
    whitened = masked_whiten(padded, padded_mask, shift_mean)
    assert torch.equal(whitened[:, :3], masked_whiten(values, mask, shift_mean))
    assert whitened[~padded_mask].eq(0).all()


def test_whitening_of_equal_values_neither_divides_by_zero_nor_blows_up() -> None:
    equal = torch.full((1, 3), 2.0)
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert masked_whiten(equal, mask).tolist() == [[0, 0, 0]]
    assert masked_whiten(equal, mask, shift_mean=False).tolist() == [[2, 2, 2]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-100, 100), st.booleans()), min_size=1, max_size=20))
def test_agrees_with_plain_python(rows: list[tuple[float, bool]]) -> None:
    values = torch.tensor([value for value, _ in rows], dtype=torch.float64)
    mask = torch.tensor([counts for _, counts in rows])
    kept = [value for value, counts in rows if counts]
    mean = sum(kept) / len(kept) if kept else 0.0
    variance = sum((value - mean) ** 2 for value in kept) / len(kept) if kept else 0.0
    assert masked_mean(values, mask).item() == pytest.approx(mean, abs=1e-9)
    assert masked_var(values, mask).item() == pytest.approx(variance, abs=1e-6)
    if variance > 1e-6:
        whitened = masked_whiten(values, mask)
        assert masked_mean(whitened, mask).item() == pytest.approx(0, abs=1e-6)
        assert masked_var(whitened, mask).item() == pytest.approx(1, abs=1e-6)


def test_half_precision_is_summed_in_float32() -> None:
    # In bfloat16, 256 + 1 is 256: a running sum of 1000 ones would stop there.
    ones = torch.ones(1000, dtype=torch.bfloat16)
    total = masked_sum(ones, torch.ones(1000, dtype=torch.bool))
    assert (total.dtype, total.item()) == (torch.float32, 1000)
    assert at_least_float32(torch.ones(1, dtype=torch.float64)).dtype == torch.float64
    assert at_least_float32(torch.ones(1, dtype=torch.bool)).dtype == torch.float32


def test_gradient_of_masked_positions_is_zero_even_for_garbage() -> None:
    values = VALUES.clone().requires_grad_()
    masked_whiten(values, MASK).square().sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert values.grad[~MASK].eq(0).all()


def test_a_mask_has_to_be_boolean() -> None:
    with pytest.raises(RuntimeError):
        masked_select_or_zero(torch.ones(2), torch.ones(2, dtype=torch.int64))


def test_by_hand() -> None:
    # Logits ln 1, ln 2, ln 5 are probabilities 1/8, 2/8, 5/8.
    logits = torch.tensor([1.0, 2.0, 5.0]).log().expand(1, 3, 3)
    expected = torch.tensor([[1 / 8, 2 / 8, 5 / 8]]).log()
    torch.testing.assert_close(token_logprobs(logits, torch.tensor([[0, 1, 2]])), expected)


def test_agrees_with_the_sum_of_exponentials_also_far_from_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 7, generator=generator) * 10 + 1000
    ids = torch.randint(7, (2, 4), generator=generator)
    exact = logits.double()
    expected = exact.gather(-1, ids[..., None])[..., 0] - exact.logsumexp(dim=-1)
    torch.testing.assert_close(token_logprobs(logits, ids).double(), expected, atol=2e-4, rtol=0)


def test_forbidden_tokens_take_no_probability() -> None:
    logits = torch.tensor([[[0.0, -math.inf]]])
    assert token_logprobs(logits, torch.tensor([[0]])).item() == 0
    assert token_logprobs(logits, torch.tensor([[1]])).item() == -math.inf


def test_half_precision_is_summed_in_float32_logprobs() -> None:
    # 1000 equal logits: -ln 1000 = -6.907755; bfloat16 would keep two digits of it.
    logits = torch.zeros(1, 1, 1000, dtype=torch.bfloat16)
    result = token_logprobs(logits, torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(result, torch.tensor([[-math.log(1000)]]))


def test_gradient_agrees_with_finite_differences() -> None:
    logits = torch.tensor([[[0.5, -1.0, 2.0], [0.0, 0.3, -0.2]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: token_logprobs(x, torch.tensor([[2, 0]])), (logits,))
