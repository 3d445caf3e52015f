"""KL estimators against exact divergences, and the coefficient's controller by hand."""

import math

import pytest
import torch

from redpencil.maths.kl import kl_estimate, next_kl_coef

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
