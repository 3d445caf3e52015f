"""The PPO losses by hand, their gradients, and their blindness to padding."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from redpencil.maths.masked import masked_sum
from redpencil.maths.ppo import (
    approx_kl,
    best_of_n_kl_bound,
    entropy_from_logits,
    gae,
    group_advantages,
    kl_estimate,
    last_response_token,
    next_kl_coef,
    policy_loss,
    ppo_rewards,
    standardise,
    value_loss,
)
from redpencil.maths.reward_losses import bradley_terry_loss, eq3_margin

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


def test_rounding_is_no_clipping() -> None:
    """In float32 old + (new - old) is often not new."""
    generator = torch.Generator().manual_seed(0)
    old, values, returns = torch.randn(3, 4, 500, generator=generator).clamp(-2, 2) * 0.04
    assert not torch.equal(old + (values - old), values)
    assert float(value_loss(values, old, returns, torch.ones(4, 500, dtype=torch.bool), 0.2)[1]) == 0


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


def by_loop(
    rewards: list[float], values: list[float], mask: list[bool], gamma: float, gae_lambda: float
) -> list[float]:
    """A_t = delta_t + gamma lambda A_{t+1}, from the back, over one row."""
    advantages = [0.0] * len(rewards)
    running = next_value = 0.0
    for t in reversed(range(len(rewards))):
        if not mask[t]:
            running = next_value = 0.0
            continue
        running = rewards[t] + gamma * next_value - values[t] + gamma * gae_lambda * running
        next_value = values[t]
        advantages[t] = running
    return advantages


def test_by_hand() -> None:
    # gamma .5, lambda .5, rewards 1 2 4, values 2 4 8, padding after.
    # delta = 1 + .5*4 - 2 = 1;  2 + .5*8 - 4 = 2;  4 + 0 - 8 = -4  (no value after the last token)
    # A_3 = -4;  A_2 = 2 + .25 * -4 = 1;  A_1 = 1 + .25 * 1 = 1.25;  returns = A + V.
    mask = torch.tensor([[True, True, True, False]])
    advantages, returns = gae(
        torch.tensor([[1.0, 2.0, 4.0, math.nan]]), torch.tensor([[2.0, 4.0, 8.0, 99.0]]), mask, 0.5, 0.5
    )
    assert advantages.tolist() == [[1.25, 1.0, -4.0, 0.0]]
    assert returns.tolist() == [[3.25, 5.0, 4.0, 0.0]]


def test_closed_form_of_a_terminal_reward() -> None:
    # Constant value v, reward R at the end, gamma 1: delta is 0 but for the last, R - v.
    # So A_t = lambda^(T - t) (R - v): with R = 3, v = 1, lambda = .5 and T = 4: 2 * (1/8, 1/4, 1/2, 1).
    rewards = torch.tensor([[0.0, 0.0, 0.0, 3.0]])
    advantages, _ = gae(rewards, torch.ones(1, 4), torch.ones(1, 4, dtype=torch.bool), 1.0, 0.5)
    assert advantages.tolist() == [[0.25, 0.5, 1.0, 2.0]]


def test_lambda_one_gives_reward_to_go_and_lambda_zero_one_step_errors() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 20.0, 30.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    # Returns at lambda 1: 1+2+3, 2+3, 3, whatever the values are.
    assert gae(rewards, values, mask, 1.0, 1.0)[1].tolist() == [[6, 5, 3]]
    # Errors: 1+20-10, 2+30-20, 3-30.
    assert gae(rewards, values, mask, 1.0, 0.0)[0].tolist() == [[11, 12, -27]]


def test_value_stands_one_position_before_the_reward_of_its_token() -> None:
    # Trap 8. A value model that knows the future: V(s_t) is what a_t and its successors will be paid. Then nothing is
    # a surprise and every advantage is 0. Were the columns shifted by one against each other, they would not be.
    mask = torch.tensor([[True, True, True, False]])
    rewards = ppo_rewards(
        "token",
        token_rewards=torch.tensor([[1.0, 2.0, 4.0, 9.0]]),
        sequence_reward=None,
        kl=torch.zeros(1, 4),
        kl_coef=0.0,
        kl_term="none",
        response_mask=mask,
        finished=torch.tensor([True]),
        missing_eos_penalty=0.0,
    )
    perfect = torch.tensor([[7.0, 6.0, 4.0, 123.0]])
    assert gae(rewards, perfect, mask, 1.0, 0.9)[0].tolist() == [[0, 0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=4),
    st.floats(0.5, 1),
    st.floats(0, 1),
)
def test_agrees_with_the_loop_under_any_padding(
    seed: int, spans: list[tuple[int, int]], gamma: float, gae_lambda: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(spans), 12)
    rewards = torch.randn(shape, generator=generator, dtype=torch.float64)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    mask = torch.zeros(shape, dtype=torch.bool)
    for row, (start, length) in enumerate(spans):
        mask[row, start : start + length] = True
    advantages, returns = gae(rewards, values, mask, gamma, gae_lambda)
    expected = torch.tensor(
        [
            by_loop(r.tolist(), v.tolist(), m.tolist(), gamma, gae_lambda)
            for r, v, m in zip(rewards, values, mask, strict=True)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, torch.where(mask, expected + values, 0.0))


def test_padding_columns_and_batch_splits_change_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 5, generator=generator), torch.randn(2, 5, generator=generator)
    mask = torch.arange(5) < torch.tensor([[3], [5]])
    whole = gae(rewards, values, mask, 0.9, 0.8)
    garbage = torch.full((2, 3), math.nan)
    padded = gae(
        torch.cat([garbage, rewards, garbage], dim=1),
        torch.cat([garbage, values, garbage], dim=1),
        torch.cat([garbage == 0, mask, garbage == 0], dim=1),
        0.9,
        0.8,
    )
    for tensor, wider in zip(whole, padded, strict=True):
        torch.testing.assert_close(wider[:, 3:8], tensor)
        assert wider[:, :3].eq(0).all()
        assert wider[:, 8:].eq(0).all()
    for row in range(2):
        alone = gae(rewards[row : row + 1], values[row : row + 1], mask[row : row + 1], 0.9, 0.8)
        torch.testing.assert_close(alone[0][0], whole[0][row])


@pytest.mark.parametrize("columns", [0, 3])
def test_an_empty_response_gets_zeros(columns: int) -> None:
    nothing = torch.zeros(2, columns, dtype=torch.bool)
    advantages, returns = gae(torch.ones(2, columns), torch.ones(2, columns), nothing, 1.0, 0.95)
    assert advantages.eq(0).all()
    assert returns.eq(0).all()


def test_half_precision_gives_float32_gae() -> None:
    ones = torch.ones(1, 2, dtype=torch.bfloat16)
    assert gae(ones, ones, torch.ones(1, 2, dtype=torch.bool), 1.0, 1.0)[0].dtype == torch.float32


def test_autocast_does_not_round_the_sums() -> None:
    # Thirty rewards of .01 and no values: .3 at the first token; the nearest bfloat16 is .30078.
    rewards, mask = torch.full((1, 30), 0.01), torch.ones(1, 30, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        advantages, _ = gae(rewards, torch.zeros(1, 30), mask, 1.0, 1.0)
    assert advantages.dtype == torch.float32
    assert advantages[0, 0].item() == pytest.approx(0.3, abs=1e-6)


POLICY = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
REFERENCE = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_estimators_by_hand() -> None:
    # d = ln 2: k1 = ln 2, k2 = (ln 2)^2 / 2, k3 = 1/2 - 1 + ln 2. d = -ln 2: k3 = 2 - 1 - ln 2.
    logprobs, reference = torch.log(torch.tensor([[0.5, 0.25]])), torch.log(torch.tensor([[0.25, 0.5]]))
    log2 = math.log(2)
    torch.testing.assert_close(kl_estimate(logprobs, reference, "k1"), torch.tensor([[log2, -log2]]))
    torch.testing.assert_close(kl_estimate(logprobs, reference, "k2"), torch.full((1, 2), log2**2 / 2))
    torch.testing.assert_close(kl_estimate(logprobs, reference, "k3"), torch.tensor([[log2 - 0.5, 1 - log2]]))
    with pytest.raises(ValueError, match="k4"):
        kl_estimate(logprobs, reference, "k4")  # type: ignore[arg-type]


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_expected_under_the_policy_is_the_exact_divergence(estimator: str) -> None:
    # Trap 7: k1 is never clamped at 0; clamped, its mean would be .5 ln 2.5 = .458 instead of .3 ln 2.5 = .275.
    exact = (POLICY * (POLICY / REFERENCE).log()).sum()
    assert exact.item() == pytest.approx(0.3 * math.log(2.5))
    expected = (POLICY * kl_estimate(POLICY.log(), REFERENCE.log(), estimator)).sum()  # type: ignore[arg-type]
    torch.testing.assert_close(expected, exact)


def test_k1_keeps_its_negative_values_and_k3_has_none() -> None:
    assert kl_estimate(POLICY.log(), REFERENCE.log(), "k1").min() < 0
    assert kl_estimate(POLICY.log(), REFERENCE.log(), "k3").min() >= 0


def test_half_precision_is_subtracted_in_float32() -> None:
    assert kl_estimate(POLICY.bfloat16(), REFERENCE.bfloat16()).dtype == torch.float32


def test_controller_by_hand() -> None:
    # 6.6 against 6: error .1, 512 of 10240 responses: factor 1 + .1 * .05 = 1.005.
    assert next_kl_coef(0.2, 6.6, 6.0, 10_240, 512) == pytest.approx(0.2 * 1.005)
    # Ten times the target, and none at all: the error is clipped to .2 and -.2.
    assert next_kl_coef(0.2, 60.0, 6.0, 10_240, 512) == pytest.approx(0.2 * 1.01)
    assert next_kl_coef(0.2, 0.0, 6.0, 10_240, 512) == pytest.approx(0.2 * 0.99)
    assert next_kl_coef(0.2, 6.0, 6.0, 10_240, 512) == 0.2


def test_controller_never_turns_negative() -> None:
    # A batch of 100 horizons would give 1 - .2 * 100 = -19; it counts as one horizon: .8.
    assert next_kl_coef(1.0, 0.0, 6.0, 10, 1000) == pytest.approx(0.8)


# Three responses: two tokens and padding, three tokens cut off, none at all. Garbage in the padding.
TOKEN_REWARDS = torch.tensor([[1.0, 2.0, math.nan], [3.0, -1.0, 4.0], [math.inf, 7.0, 7.0]])
KL = torch.tensor([[0.5, -0.1, math.nan], [0.1, 0.2, 0.3], [math.nan, 1.0, 1.0]])
SEQUENCE_REWARD = torch.tensor([10.0, 20.0, 30.0])
RESPONSE_MASK = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
FINISHED = torch.tensor([True, False, False])


def rewards_of(reward: str, **changes: object) -> torch.Tensor:
    arguments: dict[str, object] = {
        "token_rewards": TOKEN_REWARDS,
        "sequence_reward": SEQUENCE_REWARD,
        "kl": KL,
        "kl_coef": 0.0,
        "kl_term": "per_token",
        "response_mask": RESPONSE_MASK,
        "finished": FINISHED,
        "missing_eos_penalty": 0.0,
    }
    return ppo_rewards(reward, **{**arguments, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("token", [[1.0, 2.0, 0.0], [3.0, -1.0, 4.0], [0.0, 0.0, 0.0]]),
        ("sequence", [[0.0, 10.0, 0.0], [0.0, 0.0, 20.0], [0.0, 0.0, 0.0]]),
        ("both", [[1.0, 12.0, 0.0], [3.0, -1.0, 24.0], [0.0, 0.0, 0.0]]),
        # Means (1 + 2) / 2 and (3 - 1 + 4) / 3.
        ("token_mean_at_end", [[0.0, 1.5, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]),
        ("increments", [[1.0, 2.0, 0.0], [3.0, -1.0, 4.0], [0.0, 0.0, 0.0]]),
    ],
)
def test_each_kind_pays_where_it_should(reward: str, expected: list[list[float]]) -> None:
    # Traps 8 and 9: column t belongs to a_t; what is paid at the end lands on the last token of the mask.
    assert rewards_of(reward).tolist() == expected


@pytest.mark.parametrize(
    ("kl_term", "expected"),
    [
        # -2 * kl at each token.
        ("per_token", [[-1.0, 0.2, 0.0], [-0.2, -0.4, -0.6], [0.0, 0.0, 0.0]]),
        # -2 * (.5 - .1) and -2 * (.1 + .2 + .3), at the last token.
        ("terminal", [[0.0, -0.8, 0.0], [0.0, 0.0, -1.2], [0.0, 0.0, 0.0]]),
        ("none", [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ],
)
def test_each_kl_term_by_hand(kl_term: str, expected: list[list[float]]) -> None:
    rewards = rewards_of("sequence", sequence_reward=torch.zeros(3), kl_coef=2.0, kl_term=kl_term)
    torch.testing.assert_close(rewards, torch.tensor(expected))


def test_missing_eos_penalty_falls_on_the_last_token_of_cut_off_responses() -> None:
    rewards = rewards_of("token", missing_eos_penalty=5.0)
    assert rewards.tolist() == [[1.0, 2.0, 0.0], [3.0, -1.0, -1.0], [0.0, 0.0, 0.0]]


def test_the_last_token_is_found_by_the_mask_whatever_the_padding_is() -> None:
    # Trap 9. Left padding, right padding, both, full, empty, one token; ids play no part.
    masks = [[0, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    last = [[0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert last_response_token(torch.tensor(masks).bool()).int().tolist() == last


def test_every_unit_paid_is_accounted_for() -> None:
    # A row sums to R - kl_coef * sum(kl) - penalty wherever the KL is paid: 10 - .8 = 9.2; 20 - 1.2 - 5 = 13.8.
    for kl_term in ("per_token", "terminal"):
        rewards = rewards_of("sequence", kl_coef=2.0, kl_term=kl_term, missing_eos_penalty=5.0)
        torch.testing.assert_close(rewards.sum(dim=1), torch.tensor([9.2, 13.8, 0.0]))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["token", "sequence", "both", "token_mean_at_end"]),
    st.sampled_from(["per_token", "terminal", "none"]),
    st.integers(0, 4),
)
def test_padding_columns_and_batch_splits_change_nothing_rewards(reward: str, kl_term: str, extra: int) -> None:
    whole = rewards_of(reward, kl_coef=0.3, kl_term=kl_term, missing_eos_penalty=1.0)
    garbage = torch.full((3, extra), math.nan)
    padded = rewards_of(
        reward,
        kl_coef=0.3,
        kl_term=kl_term,
        missing_eos_penalty=1.0,
        token_rewards=torch.cat([garbage, TOKEN_REWARDS, garbage], dim=1),
        kl=torch.cat([garbage, KL, garbage], dim=1),
        response_mask=torch.cat([garbage == 0, RESPONSE_MASK, garbage == 0], dim=1),
    )
    torch.testing.assert_close(padded[:, extra : extra + 3], whole)
    assert padded[:, :extra].eq(0).all()
    assert padded[:, extra + 3 :].eq(0).all()
    rows = [
        rewards_of(
            reward,
            kl_coef=0.3,
            kl_term=kl_term,
            missing_eos_penalty=1.0,
            token_rewards=TOKEN_REWARDS[i : i + 1],
            sequence_reward=SEQUENCE_REWARD[i : i + 1],
            kl=KL[i : i + 1],
            response_mask=RESPONSE_MASK[i : i + 1],
            finished=FINISHED[i : i + 1],
        )
        for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(rows), whole)


def test_no_columns_at_all() -> None:
    nothing = torch.empty(3, 0)
    assert rewards_of("sequence", kl=nothing, response_mask=nothing.bool()).shape == (3, 0)


@pytest.mark.parametrize(
    ("reward", "absent"),
    [("token", "token_rewards"), ("token_mean_at_end", "token_rewards"), ("both", "sequence_reward")],
)
def test_a_missing_tensor_is_named(reward: str, absent: str) -> None:
    with pytest.raises(ValueError, match=absent):
        rewards_of(reward, **{absent: None})


def test_half_precision_gives_float32_rewards() -> None:
    rewards = rewards_of("both", token_rewards=TOKEN_REWARDS.bfloat16(), sequence_reward=SEQUENCE_REWARD.bfloat16())
    assert rewards.dtype == torch.float32


def test_standardise_takes_out_a_constant_that_the_loss_cannot_see() -> None:
    # Trap 5. Two responses, rewards 1, 1 and -1, -1, -1, -1; another model adds 3 to every token.
    rewards = torch.tensor([[1.0, 1.0, 0.0, 0.0], [-1.0, -1.0, -1.0, -1.0]])
    mask = torch.tensor([[True, True, False, False], [True] * 4])
    shifted = rewards + 3
    losses = [bradley_terry_loss(eq3_margin(r[:1], r[1:], mask[:1], mask[1:])).item() for r in (rewards, shifted)]
    assert losses[0] == pytest.approx(losses[1])
    # What PPO sums: 2 and -4; shifted 8 and 8, so that the longer, worse response has caught up.
    assert masked_sum(rewards, mask, dim=1).tolist() == [2, -4]
    assert masked_sum(shifted, mask, dim=1).tolist() == [8, 8]
    # The mean token is (2 - 4) / 6 = -1/3, shifted 8/3; centred sums 2 + 2/3 and -4 + 4/3, the same for both.
    for r, center in ((rewards, -1 / 3), (shifted, 8 / 3)):
        sums = masked_sum(standardise(r, center, 1.0), mask, dim=1)
        torch.testing.assert_close(sums, torch.tensor([8 / 3, -8 / 3]))
        # Their standard deviation is 8/3; as scale it gives the sums unit variance.
        sums = masked_sum(standardise(r, center, 8 / 3), mask, dim=1)
        torch.testing.assert_close(sums, torch.tensor([1.0, -1.0]))


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_scale_has_to_be_positive(scale: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        standardise(TOKEN_REWARDS, 0.0, scale)


@pytest.mark.parametrize("n", [1, 2, 4, 16, 100])
def test_it_is_the_divergence_of_the_maximum_of_n_uniform_numbers(n: int) -> None:
    # The best of n has the density n u^(n-1), the policy the density 1 in the rank u of the score.
    def integrand(u: float) -> float:
        density = n * u ** (n - 1)
        return density * math.log(density) if density else 0.0

    assert best_of_n_kl_bound(n) == pytest.approx(quad(integrand, 0, 1)[0], abs=1e-7)


def test_of_one_nothing_is_chosen_and_of_16_it_is_as_told() -> None:
    assert best_of_n_kl_bound(1) == 0
    assert best_of_n_kl_bound(16) == pytest.approx(2.7726 - 0.9375, abs=1e-4)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=6), st.integers(1, 50))
def test_no_policy_of_few_responses_moves_further(weights: list[float], n: int) -> None:
    # Response i is picked if all n are no better than i, and not all are worse: F_i^n - F_(i-1)^n.
    shares = [weight / sum(weights) for weight in weights]
    below, divergence = 0.0, 0.0
    for share in shares:
        picked = min(1.0, below + share) ** n - below**n
        divergence += picked * math.log(picked / share) if picked > 0 else 0.0
        below += share
    assert divergence <= best_of_n_kl_bound(n) + 1e-9


def group_of_two() -> tuple[torch.Tensor, torch.Tensor]:
    """Two answers to one prompt: rewards 1, 2 and then the end; rewards 0, 1, 3. The padding is garbage."""
    rewards = torch.tensor([[1.0, 2.0, 99.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
    return rewards, torch.tensor([[True, True, False], [True, True, True]])


def test_group_advantages_of_whole_answers_by_hand() -> None:
    # Sums 3 and 4; mean 3.5, standard deviation .5. The length of an answer weighs nothing.
    advantages = group_advantages(*group_of_two(), 2, kind="end")
    assert advantages.tolist() == [[-1, -1, 0], [1, 1, 1]]
    plain = group_advantages(*group_of_two(), 2, kind="end", normalise_std=False)
    assert plain.tolist() == [[-0.5, -0.5, 0], [0.5, 0.5, 0.5]]


def test_the_length_of_an_answer_weighs_nothing_in_the_spread_of_its_group() -> None:
    # Sums 0, 0 and 3; mean 1, variance (1 + 1 + 4) / 3 = 2. By tokens it would be (1 + 1 + 4 * 4) / 6 = 3.
    rewards = torch.tensor([[0.0, 0, 0, 0], [0.0, 0, 0, 0], [3.0, 0, 0, 0]], dtype=torch.float64)
    mask = torch.tensor([[True, False, False, False], [True, False, False, False], [True] * 4])
    advantages = group_advantages(rewards, mask, 3, kind="end")
    assert advantages[:, 0].tolist() == pytest.approx([-(2**-0.5), -(2**-0.5), 2**0.5])


def test_group_advantages_of_returns_to_go_by_hand() -> None:
    # Returns 3, 2, (0) and 4, 4, 3; means at each place 3.5, 3, 1.5.
    plain = group_advantages(*group_of_two(), 2, kind="return_to_go", normalise_std=False)
    assert plain.tolist() == [[-0.5, -1, 0], [0.5, 1, 1.5]]
    # The five tokens' squares are .25 + 1 + .25 + 1 + 2.25 = 4.75; their mean .95.
    scaled = group_advantages(*group_of_two(), 2, kind="return_to_go")
    torch.testing.assert_close(scaled, plain / 0.95**0.5)
    # Discounted by 1/2: 1 + 2/2 = 2, 2 and 0 + 1/2 + 3/4 = 1.25, 1 + 3/2 = 2.5, 3.
    halved = group_advantages(*group_of_two(), 2, kind="return_to_go", gamma=0.5, normalise_std=False)
    torch.testing.assert_close(halved, torch.tensor([[0.375, -0.25, 0], [-0.375, 0.25, 1.5]], dtype=torch.float64))


@pytest.mark.parametrize("kind", ["return_to_go", "end"])
def test_a_group_of_equals_and_a_constant_for_all_earn_nothing(kind: Literal["return_to_go", "end"]) -> None:
    rewards, mask = torch.full((4, 5), 0.3), torch.ones(4, 5, dtype=torch.bool)
    assert group_advantages(rewards, mask, 4, kind=kind).abs().max() < 1e-6
    torch.manual_seed(0)
    drawn = torch.randn(4, 5)
    torch.testing.assert_close(
        group_advantages(drawn + 2, mask, 4, kind=kind), group_advantages(drawn, mask, 4, kind=kind)
    )


@pytest.mark.parametrize("kind", ["return_to_go", "end"])
def test_groups_do_not_see_each_other(kind: Literal["return_to_go", "end"]) -> None:
    torch.manual_seed(0)
    rewards, lengths = torch.randn(6, 7), torch.tensor([7, 3, 5, 1, 7, 2])
    mask = torch.arange(7) < lengths[:, None]
    together = group_advantages(rewards, mask, 3, kind=kind)
    for group in (slice(0, 3), slice(3, 6)):
        width = int(lengths[group].max())
        alone = group_advantages(rewards[group, :width], mask[group, :width], 3, kind=kind)
        torch.testing.assert_close(together[group, :width], alone)
    assert float(together[~mask].abs().max()) == 0
