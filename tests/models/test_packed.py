"""Packed weights give the numbers of the layers, and leave the layers as they were."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from redpencil.models.packed import can_pack, packed_weights
from redpencil.models.runtime import Runtime

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")


@torch.no_grad()
def test_numbers_are_the_same_and_layers_as_before(runtime: Runtime) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24, bias=False))
    inputs = torch.randn(5, 3, 24)
    expected, own = module(inputs), module[0].forward
    with packed_weights(module, runtime, 5):
        assert module[0].forward != own
        torch.testing.assert_close(module(inputs), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(module(inputs[:1, :1]), expected[:1, :1], rtol=1e-5, atol=1e-6)
        module[0].weight.zero_()  # copies, so that this changes nothing
        torch.testing.assert_close(module(inputs), expected, rtol=1e-5, atol=1e-6)
    assert module[0].forward == own
    assert "forward" not in vars(module[0])


@torch.no_grad()
def test_other_formats_and_sharded_weights_are_left_alone(runtime: Runtime) -> None:
    assert can_pack(runtime)
    for other in (
        replace(runtime, dtype=torch.bfloat16),
        replace(runtime, device=torch.device("meta")),
        replace(runtime, world_size=2, fsdp_size=2),
    ):
        assert not can_pack(other)
    module = nn.Linear(4, 4).double()
    with packed_weights(module, runtime, 2):
        assert "forward" not in vars(module)
