"""Eq. 1-4 on pairs worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redpencil.maths.reward_losses import (
    blame_loss,
    bradley_terry_loss,
    consistency_penalty,
    contrast_loss,
    contrast_weights,
    eq3_margin,
    eq4_margin,
    join_heads,
    trajectory_reward,
    zero_penalty,
)

# Rejected "a b c d", chosen "a X Y b d": c was deleted, X and Y inserted. Unchanged: a, b, d.
REJECTED = torch.tensor([[1.0, 2.0, -4.0, 3.0, math.nan]])
REJECTED_MASK = torch.tensor([[True, True, True, True, False]])
REJECTED_CHANGED = torch.tensor([[False, False, True, False, False]])
REJECTED_UNCHANGED = torch.tensor([[True, True, False, True, False]])
CHOSEN = torch.tensor([[1.0, 5.0, 4.0, 2.0, 3.0]])
CHOSEN_MASK = torch.ones(1, 5, dtype=torch.bool)
CHOSEN_CHANGED = torch.tensor([[False, True, True, False, False]])
CHOSEN_UNCHANGED = ~CHOSEN_CHANGED
ONE = torch.ones(1)
UNCHANGED_PAIRS = torch.tensor([[0, 0, 0], [0, 1, 3], [0, 3, 4]])


def eq3_terms(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    chosen_unchanged: torch.Tensor,
    rejected_unchanged: torch.Tensor,
    chosen_changed: torch.Tensor,
    rejected_changed: torch.Tensor,
    chosen_mask: torch.Tensor,
    rejected_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three terms into which Eq. 3 splits the margin: over U0 of both sides, over U1 of each."""

    def share(rewards: torch.Tensor, part: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return rewards.where(part, 0).sum(-1) / mask.sum(-1)

    unchanged = share(chosen, chosen_unchanged, chosen_mask) - share(rejected, rejected_unchanged, rejected_mask)
    return unchanged, share(chosen, chosen_changed, chosen_mask), share(rejected, rejected_changed, rejected_mask)


def all_terms(chosen: torch.Tensor, rejected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return eq3_terms(
        chosen,
        rejected,
        CHOSEN_UNCHANGED,
        REJECTED_UNCHANGED,
        CHOSEN_CHANGED,
        REJECTED_CHANGED,
        CHOSEN_MASK,
        REJECTED_MASK,
    )


def test_trajectory_reward_is_the_mean_over_response_tokens() -> None:
    # Rejected: (1 + 2 - 4 + 3) / 4 = .5. Chosen: (1 + 5 + 4 + 2 + 3) / 5 = 3.
    assert trajectory_reward(REJECTED, REJECTED_MASK).tolist() == [0.5]
    assert trajectory_reward(CHOSEN, CHOSEN_MASK).tolist() == [3]
    assert trajectory_reward(CHOSEN, torch.zeros_like(CHOSEN_MASK)).tolist() == [0]


def test_loss_is_the_negative_log_of_the_probability() -> None:
    # Eq. 2: e^1 / (e^1 + e^0) is the probability at margin 1.
    assert bradley_terry_loss(torch.tensor([1.0])).item() == pytest.approx(-math.log(math.e / (math.e + 1)))
    # Margins 0 and ln 3: probabilities 1/2 and 3/4. Loss (ln 2 + ln 4/3) / 2 = ln(8/3) / 2.
    loss = bradley_terry_loss(torch.tensor([0.0, math.log(3)]))
    assert loss.item() == pytest.approx(math.log(8 / 3) / 2)
    # A margin of -1000 costs 1000 nats, not infinity.
    assert bradley_terry_loss(torch.tensor([-1000.0])).item() == 1000
    assert bradley_terry_loss(torch.empty(0)).item() == 0


def test_eq3_margin_is_the_difference_of_means() -> None:
    assert eq3_margin(CHOSEN, REJECTED, CHOSEN_MASK, REJECTED_MASK).tolist() == [2.5]  # 3 - .5


def test_eq3_first_term_keeps_both_fractions() -> None:
    # Trap 1. Sum over U0 is 1 + 2 + 3 = 6 on both sides: (1/5 - 1/4) 6 = -.3. With 1/T_i alone it would be 1.2.
    unchanged, chosen, rejected = all_terms(CHOSEN, REJECTED)
    assert unchanged.item() == pytest.approx(-0.3)
    assert chosen.item() == pytest.approx((5 + 4) / 5)
    assert rejected.item() == pytest.approx(-4 / 4)
    # -.3 + 1.8 + 1 = 2.5, the difference of the means.
    assert (unchanged + chosen - rejected).item() == pytest.approx(2.5)


def test_eq3_first_term_vanishes_at_equal_length() -> None:
    # Trap 1: "if the two responses are of equal length, the first term can be removed".
    rewards = torch.tensor([[1.0, 7.0, 3.0]])
    other = torch.tensor([[1.0, -2.0, 3.0]])
    changed = torch.tensor([[False, True, False]])
    whole = torch.ones(1, 3, dtype=torch.bool)
    unchanged, chosen, rejected = eq3_terms(rewards, other, ~changed, ~changed, changed, changed, whole, whole)
    assert unchanged.item() == 0
    eq4 = eq4_margin(rewards, other, changed, changed, whole, whole)
    torch.testing.assert_close(eq4, chosen - rejected)
    torch.testing.assert_close(eq4, eq3_margin(rewards, other, whole, whole))
    assert eq4.item() == pytest.approx(3)  # 7/3 + 2/3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8))
def test_eq3_terms_always_add_up_to_the_difference_of_means(
    seed: int, chosen_length: int, rejected_length: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for length in (chosen_length, rejected_length):
        rewards = torch.randn(2, 8, generator=generator, dtype=torch.float64)
        response = (torch.arange(8) < length).expand(2, 8)
        changed = (torch.rand(2, 8, generator=generator) < 0.5) & response
        sides.append((rewards, ~changed & response, changed, response))
    (ri, ui, ci, mi), (rj, uj, cj, mj) = sides
    unchanged, chosen, rejected = eq3_terms(ri, rj, ui, uj, ci, cj, mi, mj)
    torch.testing.assert_close(unchanged + chosen - rejected, eq3_margin(ri, rj, mi, mj))
    torch.testing.assert_close(chosen - rejected, eq4_margin(ri, rj, ci, cj, mi, mj))


def test_eq4_counts_changed_tokens_and_divides_by_each_length() -> None:
    # (5 + 4) / 5 - (-4) / 4 = 2.8.
    margin = eq4_margin(CHOSEN, REJECTED, CHOSEN_CHANGED, REJECTED_CHANGED, CHOSEN_MASK, REJECTED_MASK)
    assert margin.item() == pytest.approx(2.8)


def test_eq4_of_a_pure_deletion_or_insertion_has_one_side_only() -> None:
    # Trap 3. Nothing changed on one side: its sum is 0.
    nothing_chosen, nothing_rejected = torch.zeros_like(CHOSEN_MASK), torch.zeros_like(REJECTED_MASK)
    deletion = eq4_margin(CHOSEN, REJECTED, nothing_chosen, REJECTED_CHANGED, CHOSEN_MASK, REJECTED_MASK)
    insertion = eq4_margin(CHOSEN, REJECTED, CHOSEN_CHANGED, nothing_rejected, CHOSEN_MASK, REJECTED_MASK)
    assert deletion.item() == 1  # -(-4) / 4
    assert insertion.item() == pytest.approx(1.8)


def test_an_empty_response_has_margin_and_gradient_without_nan() -> None:
    rewards = CHOSEN.clone().requires_grad_()
    nothing = torch.zeros_like(CHOSEN_MASK)
    margin = eq3_margin(rewards, REJECTED, nothing, REJECTED_MASK) + eq4_margin(
        rewards, REJECTED, nothing, REJECTED_CHANGED, nothing, REJECTED_MASK
    )
    bradley_terry_loss(margin).backward()
    assert margin.item() == pytest.approx(-0.5 + 1)
    assert rewards.grad is not None
    assert rewards.grad.eq(0).all()


def test_a_constant_on_every_token_leaves_eq3_alone_but_not_eq4() -> None:
    # Trap 5: Eq. 1 averages, so a constant cancels in Eq. 3. In Eq. 4 it adds c (2/5 - 1/4), here 10 * .15 = 1.5.
    shifted = eq3_margin(CHOSEN + 10, REJECTED + 10, CHOSEN_MASK, REJECTED_MASK)
    assert shifted.item() == pytest.approx(2.5)
    shifted = eq4_margin(CHOSEN + 10, REJECTED + 10, CHOSEN_CHANGED, REJECTED_CHANGED, CHOSEN_MASK, REJECTED_MASK)
    assert shifted.item() == pytest.approx(2.8 + 1.5)


def test_zero_penalty_is_the_mean_square_over_unchanged_tokens() -> None:
    # (1 + 4 + 9) / 3.
    assert zero_penalty(REJECTED, REJECTED_UNCHANGED).item() == pytest.approx(14 / 3)
    assert zero_penalty(REJECTED, torch.zeros_like(REJECTED_MASK)).item() == 0
    rewards = REJECTED.clone().requires_grad_()
    zero_penalty(rewards, REJECTED_UNCHANGED).backward()
    # d/dr of r^2 / 3 is 2 r / 3.
    torch.testing.assert_close(rewards.grad, torch.tensor([[2 / 3, 4 / 3, 0.0, 2.0, 0.0]]))


def test_consistency_penalty_pairs_tokens_by_index() -> None:
    # Equal rewards at the paired positions, though not at equal positions: 0 (trap 2).
    assert consistency_penalty(CHOSEN, REJECTED, UNCHANGED_PAIRS).item() == 0
    # Off by 1 on b and by 2 on d: (0 + 1 + 4) / 3.
    drifted = CHOSEN + torch.tensor([[0.0, 9.0, 9.0, 1.0, -2.0]])
    assert consistency_penalty(drifted, REJECTED, UNCHANGED_PAIRS).item() == pytest.approx(5 / 3)


def test_consistency_penalty_without_pairs_is_a_differentiable_zero() -> None:
    rewards = CHOSEN.clone().requires_grad_()
    penalty = consistency_penalty(rewards, REJECTED, torch.empty(0, 3, dtype=torch.int64))
    penalty.backward()
    assert penalty.item() == 0
    assert rewards.grad is not None
    assert rewards.grad.eq(0).all()


def test_padding_changes_nothing_and_a_batch_is_its_rows() -> None:
    garbage = torch.full((1, 3), math.inf)
    off = torch.zeros(1, 3, dtype=torch.bool)

    def pad(values: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, off if values.dtype == torch.bool else garbage], dim=1)

    plain = (CHOSEN, REJECTED, CHOSEN_CHANGED, REJECTED_CHANGED, CHOSEN_MASK, REJECTED_MASK)
    padded = tuple(map(pad, plain))
    assert torch.equal(eq4_margin(*plain), eq4_margin(*padded))
    assert torch.equal(eq3_margin(CHOSEN, REJECTED, CHOSEN_MASK, REJECTED_MASK), eq3_margin(*padded[:2], *padded[4:]))
    doubled = tuple(torch.cat([tensor, tensor]) for tensor in plain)
    assert torch.equal(eq4_margin(*doubled), eq4_margin(*plain).repeat(2))


def test_gradients_agree_with_finite_differences() -> None:
    chosen = CHOSEN.double().requires_grad_()
    rejected = REJECTED.nan_to_num().double().requires_grad_()

    def loss(i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        eq3 = bradley_terry_loss(eq3_margin(i, j, CHOSEN_MASK, REJECTED_MASK))
        eq4 = bradley_terry_loss(eq4_margin(i, j, CHOSEN_CHANGED, REJECTED_CHANGED, CHOSEN_MASK, REJECTED_MASK))
        return eq3 + eq4 + zero_penalty(j, REJECTED_UNCHANGED) + consistency_penalty(i, j, UNCHANGED_PAIRS)

    assert torch.autograd.gradcheck(loss, (chosen, rejected))


def test_half_precision_gives_float32() -> None:
    margin = eq3_margin(CHOSEN.bfloat16(), REJECTED.bfloat16(), CHOSEN_MASK, REJECTED_MASK)
    assert (margin.dtype, margin.item()) == (torch.float32, 2.5)
    assert consistency_penalty(CHOSEN.bfloat16(), REJECTED.bfloat16(), UNCHANGED_PAIRS).dtype == torch.float32


def nll(x: float) -> float:
    """-log sigmoid(x), worked without torch."""
    return math.log1p(math.exp(-x))


def test_blame_is_the_cross_entropy_of_sigmoid_minus_r() -> None:
    # Of "a b c d" c was taken out: sigmoid(-r) should be 1 at c (r = -4) and 0 at a, b, d.
    expected = (nll(1) + nll(2) + nll(4) + nll(3)) / 4
    assert float(blame_loss(REJECTED, REJECTED_CHANGED, REJECTED_MASK.float())) == pytest.approx(expected, rel=1e-6)
    weights = torch.tensor([[1.0, 0.0, 0.5, 0.0, 0.0]])
    expected = (nll(1) + 0.5 * nll(4)) / 1.5
    assert float(blame_loss(REJECTED, REJECTED_CHANGED, weights)) == pytest.approx(expected, rel=1e-6)
    assert float(blame_loss(REJECTED, REJECTED_CHANGED, torch.zeros(1, 5))) == 0


def test_contrast_compares_kept_with_changed_tokens_of_one_text() -> None:
    expected = (nll(1 + 4) + nll(2 + 4) + nll(3 + 4)) / 3
    assert float(contrast_loss(REJECTED, REJECTED_CHANGED, REJECTED_MASK, ONE)) == pytest.approx(expected, rel=1e-6)
    expected = (nll(2 + 4) + nll(3 + 4)) / 2  # b and d stand beside c, a does not
    assert float(contrast_loss(REJECTED, REJECTED_CHANGED, REJECTED_MASK, ONE, 1)) == pytest.approx(expected, rel=1e-6)


def test_contrast_counts_responses_not_tokens() -> None:
    rewards = torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 7.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    changed = torch.tensor([[True, False, False, False], [False, True, False, False], [False] * 4])
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True] * 4])
    # the third response has nothing to contrast, and no pair leads out of a response
    expected = ((nll(1) + nll(2) + nll(3)) / 3 + nll(-2)) / 2
    assert float(contrast_loss(rewards, changed, mask, torch.ones(3))) == pytest.approx(expected, rel=1e-6)
    weights = torch.tensor([1.0, 0.25, 3.0])
    expected = ((nll(1) + nll(2) + nll(3)) / 3 + nll(-2) / 4) / 1.25
    assert float(contrast_loss(rewards, changed, mask, weights)) == pytest.approx(expected, rel=1e-6)
    assert contrast_weights(changed, mask, weights).tolist() == [1, 0.25, 0]
    alone = torch.tensor([[True, False, False]])
    assert contrast_weights(alone, alone, ONE).tolist() == [0]
    far, near = torch.tensor([[True, False, True]]), torch.tensor([[True, True, True]])
    assert contrast_weights(far & torch.tensor([[True, False, False]]), far, ONE, 1).tolist() == [0]
    assert contrast_weights(far, near, ONE, 1).tolist() == [1]
    assert float(contrast_loss(rewards[2:], changed[2:], mask[2:], ONE)) == 0


@pytest.mark.parametrize("loss", ["blame", "contrast"])
def test_padding_has_no_gradient_even_where_it_is_nan(loss: str) -> None:
    rewards = REJECTED.clone().requires_grad_()
    if loss == "blame":
        blame_loss(rewards, REJECTED_CHANGED, REJECTED_MASK.float()).backward()
    else:
        contrast_loss(rewards, REJECTED_CHANGED, REJECTED_MASK, ONE).backward()
    assert rewards.grad is not None
    assert rewards.grad[0, 4] == 0
    assert rewards.grad[0, 2] > 0  # the changed token's reward goes down
    assert (rewards.grad[0, [0, 1, 3]] < 0).all()


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=6),
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    st.floats(-3, 3),
)
def test_one_head_tells_the_tokens_apart_and_the_other_the_texts(
    within: list[float], overall: list[float], constant: float
) -> None:
    length = len(within)
    padded = torch.tensor([within + [math.nan] * (6 - length)], dtype=torch.float64)
    mask = torch.tensor([[True] * length + [False] * (6 - length)])
    second = torch.tensor([overall], dtype=torch.float64)
    joined = join_heads(padded, second, mask)[0, :length]
    assert float(joined.mean()) == pytest.approx(sum(overall[:length]) / length, abs=1e-9)
    differences = joined - joined[0]
    torch.testing.assert_close(differences, padded[0, :length] - padded[0, 0])
    torch.testing.assert_close(join_heads(padded + constant, second, mask)[0, :length], joined)
    # so Eq. 3 says nothing to the first head, and the contrast nothing to the second
    changed = torch.zeros_like(mask)
    changed[0, 0] = True
    both = [contrast_loss(rewards, changed, mask, ONE) for rewards in (padded, join_heads(padded, second, mask))]
    torch.testing.assert_close(both[0], both[1])
