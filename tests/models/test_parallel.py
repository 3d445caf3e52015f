"""Norms and gradients in one process; `tests/training/test_ranks.py` has those of several."""

import math

import pytest
import torch
from torch import nn

from redpencil.models.parallel import as_forward, by_mesh, clip_gradients, sum_gradients, total_norm, whole_weights
from redpencil.models.runtime import Runtime


def model() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    made(torch.randn(5, 3)).square().sum().backward()
    return made


def test_the_norm_of_several_tensors_is_that_of_all_their_numbers() -> None:
    tensors = [torch.tensor([3.0]), torch.tensor([[0.0, -4.0]])]
    assert float(total_norm(tensors)) == 5
    assert float(total_norm(tensors, math.inf)) == 4


@pytest.mark.parametrize("largest", [1e-3, 1e9])
def test_gradients_are_clipped_as_torch_does(largest: float) -> None:
    ours, theirs = model(), model()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), largest)
    assert torch.equal(clip_gradients(list(ours.parameters()), largest), expected)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_one_process_adds_nothing_up_and_gathers_nothing() -> None:
    ours, theirs = model(), model()
    sum_gradients(ours.parameters(), Runtime(torch.device("cpu"), torch.float32))
    with whole_weights(ours):
        assert torch.equal(as_forward(ours, lambda it, x: it(x), torch.ones(1, 3)), theirs(torch.ones(1, 3)))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    assert [list(map(id, group)) for group in by_mesh(ours.parameters())] == [list(map(id, ours.parameters()))]
