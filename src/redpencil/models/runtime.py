"""The place and precision of a computation: device, number format, threads, ranks, seeds."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import torch
import torch.distributed
from transformers.utils import (
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    is_torch_flex_attn_available,
)

from redpencil.config import Attention, ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.sections import parse_section

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Runtime:
    """A device, a number format, and this process's place among those that work on a stage together.

    Trained models keep float32 weights and compute in `dtype` under autocast, because small learning rates vanish
    in bfloat16 weights; frozen models are stored in `dtype`. `attention` is how models are to compute it, None for
    their own choice; `checkpointing` is whether trained ones keep only what enters each layer, and not all activations.
    """

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world_size: int = 1
    attention: Attention | None = None
    checkpointing: bool = False

    @property
    def writes(self) -> bool:
        """Whether this process writes files: the first of those that work on a stage together."""
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return this process's share of a batch: rows rank, rank + world_size, ..."""
        return rows if self.world_size == 1 else rows[self.rank :: self.world_size]

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up named numbers over the processes of a stage, in one reduction; all must name the same."""
        if self.world_size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which a forward pass computes in `dtype`."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)


def make_runtime(
    device: str = "auto", dtype: str = "auto", threads: int | None = 1, compute: ComputeConfig | None = None
) -> Runtime:
    """Choose the device and set the number of CPU threads.

    `auto` is a GPU in bfloat16 where there is one, else the CPU in float32. `threads=None` leaves torch's default.
    `compute` says how attention and activations are computed.

    Raises:
        RedpencilError: if there is no such device, or not here, or it has not the attention that is asked for.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    parse_section({"device": device}, ComputeConfig)
    chosen = torch.device(device)
    gpus = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(chosen.type)
    if gpus is not None and (chosen.index or 0) >= gpus:
        raise RedpencilError(
            f"device {device!r} is not on this machine ({gpus} GPUs of this kind found)",
            field="device",
            hint="--set device=auto takes what there is",
        )
    formats = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    auto = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    compute = compute or ComputeConfig()
    runtime = Runtime(
        chosen,
        formats.get(dtype, auto),
        attention=compute.attn_implementation,
        checkpointing=compute.gradient_checkpointing,
    )
    _check_attention(runtime)
    return runtime


_ATTENTION_PACKAGES: Final[Mapping[str, tuple[Callable[[], bool], str]]] = {
    "flash_attention_2": (is_flash_attn_2_available, "flash-attn"),
    "flash_attention_3": (is_flash_attn_3_available, "flash-attn-3"),
    "flex_attention": (is_torch_flex_attn_available, "torch with flex_attention"),
}


def _check_attention(runtime: Runtime) -> None:
    name = runtime.attention
    if name is None or name not in _ATTENTION_PACKAGES:
        return
    installed, package = _ATTENTION_PACKAGES[name]
    problem = None
    if runtime.device.type != "cuda":
        problem = f"{name} needs a CUDA GPU, and the device is {runtime.device.type}"
    elif not installed():
        problem = f"{name} is not there: {package} is not installed, or not for this GPU"
    elif name.startswith("flash") and runtime.dtype == torch.float32:
        problem = f"{name} does not compute in float32"
    if problem is not None:
        hint = "--set compute.attn_implementation=sdpa, which every GPU and CPU has"
        raise RedpencilError(problem, field="compute.attn_implementation", hint=hint)


def slow_format(runtime: Runtime, cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Say that bfloat16 was asked for on a processor that has to emulate it; None if all is well, or nobody knows."""
    if runtime.device.type != "cpu" or runtime.dtype != torch.bfloat16 or not cpuinfo.is_file():
        return None
    units = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's name
    lines = cpuinfo.read_text(errors="replace").splitlines()
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    if not flags or units.intersection(flags[0]):
        return None
    return "dtype bfloat16: this processor has no units for it, and is 6 to 12 times slower than in float32"


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let draws from torch's global generators depend on a seed alone, and leave the generators as they were.

    For library code that takes no generator, such as `generate`. All else has a generator of its own.
    """
    # Without `devices` the generators of every GPU of the machine are kept, with a warning where there are several.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
