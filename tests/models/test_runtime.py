"""Device, number format, threads, seeds."""

import random

import numpy as np
import pytest
import torch

from redpencil.errors import RedpencilError
from redpencil.models.runtime import make_runtime, set_seed


def test_auto_takes_what_there_is() -> None:
    runtime = make_runtime()
    if torch.cuda.is_available():
        assert (runtime.device.type, runtime.dtype) == ("cuda", torch.bfloat16)
    else:
        assert (runtime.device.type, runtime.dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_format_is_used_in_forward_passes(dtype: str) -> None:
    runtime = make_runtime("cpu", dtype)
    with runtime.autocast():
        out = torch.nn.Linear(2, 2)(torch.ones(1, 2))
    assert out.dtype == runtime.dtype == getattr(torch, dtype)


def test_threads_are_set() -> None:
    before = torch.get_num_threads()
    try:
        make_runtime("cpu", threads=2)
        assert torch.get_num_threads() == 2
        make_runtime("cpu", threads=None)
        assert torch.get_num_threads() == 2
        make_runtime("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["gpu", "", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(RedpencilError, match="device") as raised:
        make_runtime(device)
    assert raised.value.field == "device"


def test_every_source_of_randomness_is_seeded() -> None:
    def draw() -> tuple[float, ...]:
        set_seed(2**33 + 5)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw() == draw()


@pytest.mark.parametrize("device", ["meta", "mps"])
def test_a_device_that_torch_knows_and_redpencil_does_not(device: str) -> None:
    with pytest.raises(RedpencilError, match="unknown device"):
        make_runtime(device)
