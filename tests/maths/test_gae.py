"""Advantages against a closed form on paper and against the loop that the matrix replaces."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.maths.gae import gae
from redpencil.maths.rewards import ppo_rewards


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


def test_half_precision_gives_float32() -> None:
    ones = torch.ones(1, 2, dtype=torch.bfloat16)
    assert gae(ones, ones, torch.ones(1, 2, dtype=torch.bool), 1.0, 1.0)[0].dtype == torch.float32


def test_autocast_does_not_round_the_sums() -> None:
    # Thirty rewards of .01 and no values: .3 at the first token; the nearest bfloat16 is .30078.
    rewards, mask = torch.full((1, 30), 0.01), torch.ones(1, 30, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        advantages, _ = gae(rewards, torch.zeros(1, 30), mask, 1.0, 1.0)
    assert advantages.dtype == torch.float32
    assert advantages[0, 0].item() == pytest.approx(0.3, abs=1e-6)
