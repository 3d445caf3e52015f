"""Where each reward lands, by hand; centre and scale; the convention of columns."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.maths.bradley_terry import bradley_terry_loss, eq3_margin
from redpencil.maths.masked import masked_sum
from redpencil.maths.rewards import last_response_token, ppo_rewards, standardise

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
def test_padding_columns_and_batch_splits_change_nothing(reward: str, kl_term: str, extra: int) -> None:
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


def test_half_precision_gives_float32() -> None:
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
