"""The place and precision of a computation: device, number format, threads, ranks, seeds."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed

from redpencil.config import ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.sections import parse_section

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Runtime:
    """A device, a number format, and this process's place among those that work on a stage together.

    Trained models keep float32 weights and compute in `dtype` under autocast, because small learning rates vanish
    in bfloat16 weights; frozen models are stored in `dtype`.
    """

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world_size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files: the first of those that work on a stage together."""
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return this process's share of a batch: rows rank, rank + world_size, ..."""
        return rows if self.world_size == 1 else rows[self.rank :: self.world_size]

    def gather(self, rows: Sequence[Row]) -> list[Row]:
        """Put the results of all shares in the order of the rows that were shared."""
        return list(rows)

    def tell(self, value: Row) -> Row:
        """Return what the first process has: that is how it decides for all."""
        return value

    def together(self, work: Callable[[], Row]) -> Row:
        """Do something of which all processes must know if it failed in one: its error is raised in all."""
        return work()

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


def make_runtime(device: str = "auto", dtype: str = "auto", threads: int | None = 1) -> Runtime:
    """Choose the device and set the number of CPU threads.

    `auto` is a GPU in bfloat16 where there is one, else the CPU in float32. `threads=None` leaves torch's default.

    Raises:
        RedpencilError: if there is no such device, or not here.
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
    return Runtime(chosen, formats.get(dtype, auto))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let draws from torch's global generators depend on a seed alone, and leave the generators as they were.

    For library code that takes no generator, such as `generate`. All else has a generator of its own.
    """
    # Without `devices` the generators of every GPU of the machine are kept, with a warning where there are several.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
