"""The teacher's target and the loss of self-distillation, by hand and in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redpencil.maths.distillation import guided, reverse_kl, weighted_mean


def logits_of(*shares: float) -> torch.Tensor:
    """Logits of these probabilities, shifted, which changes nothing."""
    return torch.tensor(shares, dtype=torch.float64).log() + 3


def test_reverse_kl_by_hand() -> None:
    student, teacher = logits_of(0.5, 0.25, 0.25), logits_of(0.25, 0.25, 0.5)
    # .5 ln 2 + .25 ln 1 + .25 ln (1/2) = .25 ln 2; the other way around it is as much here, so a third case tells
    assert reverse_kl(student, teacher).item() == pytest.approx(0.25 * math.log(2))
    skewed = logits_of(0.9, 0.05, 0.05)
    expected = 0.9 * math.log(0.9 / 0.25) + 0.05 * math.log(0.05 / 0.25) + 0.05 * math.log(0.05 / 0.5)
    assert reverse_kl(skewed, teacher).item() == pytest.approx(expected)
    assert reverse_kl(teacher, skewed).item() != pytest.approx(expected, rel=0.1)


def test_what_the_student_cannot_say_adds_nothing() -> None:
    student = torch.tensor([0.0, 0.0, -math.inf])
    teacher = torch.tensor([0.0, 0.0, -math.inf], requires_grad=False)
    assert reverse_kl(student, teacher).item() == pytest.approx(0)
    assert reverse_kl(student, torch.zeros(3)).item() == pytest.approx(math.log(1.5))
    assert reverse_kl(torch.zeros(3), teacher).item() == math.inf


@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_it_is_never_negative_and_nought_for_equals_only(numbers: list[float]) -> None:
    student, teacher = torch.tensor(numbers, dtype=torch.float64).view(2, 3)
    assert reverse_kl(student, teacher).item() >= -1e-12
    assert reverse_kl(student, student + 2).item() == pytest.approx(0, abs=1e-12)


def test_its_gradient_is_p_times_the_excess_of_the_log_ratio() -> None:
    student, teacher = logits_of(0.6, 0.3, 0.1).requires_grad_(), logits_of(0.2, 0.3, 0.5)
    kl = reverse_kl(student, teacher)
    kl.backward()  # type: ignore[no-untyped-call]
    shares, ratios = [0.6, 0.3, 0.1], [math.log(3), 0.0, math.log(0.2)]
    expected = [p * (ratio - kl.item()) for p, ratio in zip(shares, ratios, strict=True)]
    assert student.grad is not None
    assert student.grad.tolist() == pytest.approx(expected)


def test_guidance_exaggerates_what_the_edit_changes() -> None:
    hinted, plain = logits_of(0.6, 0.3, 0.1), logits_of(0.3, 0.6, 0.1)
    assert torch.equal(guided(hinted, plain, 0.0), hinted)
    # (.6^2 / .3, .3^2 / .6, .1), normalised: 1.2, .15 and .1 of 1.45
    shares = torch.softmax(guided(hinted, plain, 1.0), dim=-1)
    assert shares.tolist() == pytest.approx([1.2 / 1.45, 0.15 / 1.45, 0.1 / 1.45])


def test_a_mean_by_weights_leaves_padding_out() -> None:
    values = torch.tensor([[1.0, 4.0], [10.0, math.nan]])
    weights = torch.tensor([[1.0, 2.0], [0.5, 0.0]])
    assert weighted_mean(values, weights).item() == pytest.approx((1 + 8 + 5) / 3.5)
    assert weighted_mean(values, torch.zeros(2, 2)).item() == 0
