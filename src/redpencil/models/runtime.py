"""Where and how precisely a stage computes: device, number format, threads, seeds."""

import contextlib
import random
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from redpencil.errors import RedpencilError


@dataclass(frozen=True, slots=True)
class Runtime:
    """A device and a number format.

    Trained models keep float32 weights and compute in `dtype` under autocast, because small learning rates vanish
    in bfloat16 weights; frozen models are stored in `dtype`.
    """

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which a forward pass computes in `dtype`."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def make_runtime(device: str = "auto", dtype: str = "auto", threads: int | None = 1) -> Runtime:
    """Choose the device and set the number of CPU threads.

    `auto` is a GPU in bfloat16 where there is one, else the CPU in float32. `threads=None` leaves torch's default.

    Raises:
        RedpencilError: if the device does not exist here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        if chosen.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise RedpencilError(f"unknown device {device!r}", field="device", hint="auto, cpu, cuda or cuda:0") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise RedpencilError(
            f"device {device!r} is not on this machine ({torch.cuda.device_count()} GPUs found)",
            field="device",
            hint="--set device=auto takes what there is",
        )
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    auto = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    return Runtime(chosen, formats.get(dtype, auto))


def set_seed(seed: int) -> None:
    """Seed every source of randomness that a stage uses."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
