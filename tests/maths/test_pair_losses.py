"""APO's losses, and FIGA's weights and loss, by hand."""

import math

import pytest
import torch

from redpencil.config.methods import DPOLoss
from redpencil.maths.pair_losses import dpo_loss, figa_loss, figa_weights, in_window

T, F = True, False
CHOSEN_CHANGED = torch.tensor([[F, T, F, F]])
REJECTED_CHANGED = torch.tensor([[F, T, F, F]])
CHOSEN_MASK = torch.tensor([[T, T, T, F]])
CHOSEN_EOS = torch.tensor([[F, F, T, F]])


def weights(**options: float) -> torch.Tensor:
    given = {"alpha": 1.0, "beta": 0.5, "kept": 0.0, **options}
    return torch.cat(figa_weights(CHOSEN_CHANGED, REJECTED_CHANGED, CHOSEN_MASK, CHOSEN_EOS, **given))


def logs(*shares: float) -> list[float]:
    """Log-probabilities, and garbage in the padding."""
    return [*map(math.log, shares), math.nan]


def test_weights_are_those_of_the_paper() -> None:
    # Edited text: kept, inserted, EOS, padding. Original: kept, deleted, EOS, padding.
    assert weights().tolist() == [[0, 1, 1, 0], [0, -0.5, 0, 0]]
    assert weights(alpha=2, beta=0.25, kept=0.5).tolist() == [[0.5, 2, 2, 0], [0, -0.25, 0, 0]]


def test_loss_by_hand() -> None:
    # Three tokens have a weight: -ln .25 = 1.3863 and -ln .8 = .2231 are imitated, -ln .5 = .6931 counts -.5.
    # loss = (1.3863 + .2231 - .5 * .6931) / 3 = .42096
    logprobs = torch.tensor([logs(0.5, 0.25, 0.8), logs(0.5, 0.5, 0.9)])
    window = in_window(logprobs, 0.6, 1.0)
    assert window.tolist() == [[T, F, F, F], [T, T, F, F]]
    assert figa_loss(logprobs, weights(), window).item() == pytest.approx(0.420955, abs=1e-6)


@pytest.mark.parametrize("share", [0.2, 0.7])  # -ln p is 1.6 and .36: beyond the window of .6 to 1, and below it
def test_a_blamed_token_outside_the_window_is_spared_and_still_counted(share: float) -> None:
    # loss = (1.3863 + .2231) / 3 = .53648
    logprobs = torch.tensor([logs(0.5, 0.25, 0.8), logs(0.5, share, 0.9)], requires_grad=True)
    loss = figa_loss(logprobs, weights(), in_window(logprobs, 0.6, 1.0))
    assert loss.item() == pytest.approx(0.536479, abs=1e-6)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad[1].tolist() == [0, 0, 0, 0]


def test_the_gradient_raises_what_was_put_in_and_lowers_what_was_taken_out() -> None:
    logprobs = torch.tensor([logs(0.5, 0.25, 0.8), logs(0.5, 0.5, 0.9)], requires_grad=True)
    figa_loss(logprobs, weights(), in_window(logprobs, 0.6, 1.0)).backward()
    # -weight / 3
    expected = torch.tensor([[0, -1 / 3, -1 / 3, 0], [0, 0.5 / 3, 0, 0]])
    torch.testing.assert_close(logprobs.grad, expected)


def test_with_equal_weights_and_no_blame_it_is_the_mean_negative_log_likelihood_of_the_edit() -> None:
    logprobs = torch.tensor([logs(0.5, 0.25, 0.8), logs(0.5, 0.5, 0.9)])
    loss = figa_loss(logprobs, weights(kept=1, beta=0), in_window(logprobs, 0, 1e9))
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.25) + math.log(0.8)) / 3)


def test_where_nothing_has_a_weight_the_loss_is_nought() -> None:
    logprobs = torch.tensor([logs(0.5, 0.25, 0.8), logs(0.5, 0.5, 0.9)])
    assert figa_loss(logprobs, weights(alpha=0, beta=0), in_window(logprobs, 0, 1e9)).item() == 0


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def ratios(chosen: float, rejected: float) -> tuple[torch.Tensor, ...]:
    """Log ratios that sum to these over two tokens and over one, with garbage in the padding, and the masks."""
    sides = torch.tensor([[chosen - 1, 1.0]]), torch.tensor([[rejected, math.nan]])
    return (*(side.requires_grad_() for side in sides), torch.tensor([[T, T]]), torch.tensor([[T, F]]))


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [(0.0, 0.0), (1.0, -1.0), (-1.0, 1.0), (2.0, 2.0), (-3.0, -3.0), (40.0, -40.0), (-40.0, -80.0)],
)
@pytest.mark.parametrize("loss_type", ["apo_zero", "apo_down"])
def test_apo_and_its_gradient_by_hand(loss_type: DPOLoss, chosen: float, rejected: float) -> None:
    beta = 0.5
    up, down, gap = sigmoid(beta * chosen), sigmoid(beta * rejected), sigmoid(beta * (chosen - rejected))
    slopes = [beta * s * (1 - s) for s in (up, down, gap)]
    # The paper's: zero = -s(r_w) + s(r_l), down = s(r_w) - s(r_w - r_l), here plus 1.
    expected = 1 - up + down if loss_type == "apo_zero" else 1 + up - gap
    pulls = (-slopes[0], slopes[1]) if loss_type == "apo_zero" else (slopes[0] - slopes[2], slopes[2])
    one, other, *masks = ratios(chosen, rejected)
    loss, margin = dpo_loss(one, other, *masks, beta=beta, loss_type=loss_type)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert margin.item() == pytest.approx(beta * (chosen - rejected))
    loss.backward()  # type: ignore[no-untyped-call]
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad[0].tolist() == pytest.approx([pulls[0]] * 2, abs=1e-6)
    assert other.grad[0].tolist() == pytest.approx([pulls[1], 0], abs=1e-6)


def test_apo_zero_lifts_the_chosen_side_and_apo_down_lowers_both() -> None:
    # At the start both log ratios are 0; behind a margin, apo_down pushes the chosen side down as well.
    for loss_type, at, signs in (("apo_zero", (0, 0), (-1, 1)), ("apo_down", (0.5, -2), (1, 1))):
        one, other, *masks = ratios(*at)
        dpo_loss(one, other, *masks, beta=1.0, loss_type=loss_type)[0].backward()  # type: ignore[no-untyped-call]
        assert one.grad is not None
        assert other.grad is not None
        assert (math.copysign(1, one.grad[0, 0]), math.copysign(1, other.grad[0, 0])) == signs
