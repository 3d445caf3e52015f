"""The PPO losses by hand, their gradients, and their blindness to padding."""

import math

import pytest
import torch

from redpencil.maths.ppo import approx_kl, entropy_from_logits, policy_loss, value_loss

MASK = torch.tensor([[True, True, True, True, False]])


def ratios(*values: float) -> torch.Tensor:
    """Log-probabilities that have these ratios to 0, and garbage in the padding."""
    return torch.tensor([[*map(math.log, values), math.nan]])


def test_policy_loss_by_hand() -> None:
    # Ratios 1.5, 1.5, .5, .5; advantages 1, -1, 1, -1; clip .2, so clipped ratios 1.2, 1.2, .8, .8.
    #   min( 1.5,  1.2) =  1.2   clipped: no reward for going further up
    #   min(-1.5, -1.2) = -1.5   not clipped: the mistake is still corrected
    #   min(  .5,   .8) =   .5   not clipped
    #   min( -.5,  -.8) =  -.8   clipped
    # loss = -(1.2 - 1.5 + .5 - .8) / 4 = .15; two of four clipped.
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0, math.inf]])
    loss, clip_fraction = policy_loss(ratios(1.5, 1.5, 0.5, 0.5), ratios(1, 1, 1, 1), advantages, MASK, 0.2)
    assert loss.item() == pytest.approx(0.15)
    assert clip_fraction.item() == 0.5


def test_policy_gradient_at_the_first_step_is_minus_the_advantage() -> None:
    # At ratio 1 the gradient of -ratio * A / n with respect to logprobs is -A / n.
    logprobs = torch.tensor([[-1.0, -2.0, -0.5, -3.0, math.nan]], requires_grad=True)
    advantages = torch.tensor([[4.0, -8.0, 0.0, 2.0, math.nan]])
    loss, _ = policy_loss(logprobs, logprobs.detach(), advantages, MASK, 0.2)
    loss.backward()
    torch.testing.assert_close(logprobs.grad, torch.tensor([[-1.0, 2.0, 0.0, -0.5, 0.0]]))


def test_value_loss_by_hand() -> None:
    # Old value 0, clip .2. New values 1, 1, .1, -1 and returns 2, .5, 1, .1.
    #   value 1 -> clipped .2, return 2:    max((1 - 2)^2, (.2 - 2)^2)    = 3.24  clipped
    #   value 1 -> clipped .2, return .5:   max(.25, .09)                 =  .25
    #   value .1 -> .1,        return 1:    .81 both                      =  .81
    #   value -1 -> -.2,       return .1:   max(1.21, .09)                = 1.21
    # loss = (3.24 + .25 + .81 + 1.21) / 4 / 2 = .68875; one of four clipped.
    values = torch.tensor([[1.0, 1.0, 0.1, -1.0, math.nan]])
    returns = torch.tensor([[2.0, 0.5, 1.0, 0.1, math.nan]])
    loss, clip_fraction = value_loss(values, torch.zeros(1, 5), returns, MASK, 0.2)
    assert loss.item() == pytest.approx(0.68875)
    assert clip_fraction.item() == 0.25


def test_losses_ignore_padding_columns() -> None:
    # Trap 7: the mean is over response tokens.
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(2, 4, generator=generator) for _ in range(3)]
    mask = torch.arange(4) < torch.tensor([[2], [4]])
    padded = [torch.cat([t, torch.full((2, 3), math.nan)], dim=1) for t in tensors]
    padded_mask = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    for function in (policy_loss, value_loss):
        torch.testing.assert_close(function(*padded, padded_mask, 0.2), function(*tensors, mask, 0.2))


def test_parts_weighted_by_their_tokens_give_the_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(2, 4, generator=generator) for _ in range(3)]
    mask = torch.arange(4) < torch.tensor([[1], [4]])
    for function in (policy_loss, value_loss):
        parts = [function(*(t[i : i + 1] for t in tensors), mask[i : i + 1], 0.2)[0] for i in range(2)]
        whole = function(*tensors, mask, 0.2)[0]
        torch.testing.assert_close((parts[0] * 1 + parts[1] * 4) / 5, whole)


def test_gradients_agree_with_finite_differences() -> None:
    new = torch.tensor([[0.3, -0.4, 0.05, 0.6]], dtype=torch.float64, requires_grad=True)
    old, target = torch.zeros(1, 4, dtype=torch.float64), torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True, False]])
    assert torch.autograd.gradcheck(lambda x: policy_loss(x, old, target, mask, 0.2)[0], (new,))
    assert torch.autograd.gradcheck(lambda x: value_loss(x, old, target, mask, 0.2)[0], (new,))
    logits = torch.tensor([[[0.1, 2.0, -1.0]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(entropy_from_logits, (logits,))


def test_entropy_by_hand() -> None:
    # Uniform over four: ln 4. Two of three allowed, 3/4 and 1/4: 3/4 ln 4/3 + 1/4 ln 4.
    assert entropy_from_logits(torch.zeros(1, 1, 4)).item() == pytest.approx(math.log(4))
    logits = torch.tensor([[[math.log(3), 0.0, -math.inf]]], requires_grad=True)
    entropy = entropy_from_logits(logits)
    assert entropy.item() == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))
    entropy.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_approx_kl_by_hand() -> None:
    # Ratios new / old 2 and 1/2: k3 = 2 - 1 - ln 2 and 1/2 - 1 + ln 2; mean 1/4. Padding is garbage.
    mask = torch.tensor([[True, True, False]])
    new, old = ratios(2, 0.5), torch.zeros(1, 3)
    assert approx_kl(new, old, mask).item() == pytest.approx(0.25)
    assert approx_kl(old, old, mask).item() == 0


def test_empty_responses_give_zero_not_nan() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    values = torch.ones(2, 3, requires_grad=True)
    for function in (policy_loss, value_loss):
        loss, clip_fraction = function(values, torch.zeros(2, 3), torch.ones(2, 3), nothing, 0.2)
        loss.backward()
        assert (loss.item(), clip_fraction.item()) == (0, 0)
    assert values.grad is not None
    assert values.grad.eq(0).all()
    assert approx_kl(values, values, nothing).item() == 0


def test_half_precision_gives_float32() -> None:
    half = torch.ones(1, 5, dtype=torch.bfloat16)
    assert policy_loss(half, half, half, MASK, 0.2)[0].dtype == torch.float32
    assert value_loss(half, half, half, MASK, 0.2)[0].dtype == torch.float32
    assert entropy_from_logits(half[..., None]).dtype == torch.float32
