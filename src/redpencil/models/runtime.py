"""The place and precision of a computation: device, number format, threads, seeds, and the processes that share it.

Several processes (ranks) run the same code on the same inputs and share the work in a few places: `Runtime.spread`
does items apart and gives every rank all results, `Runtime.share` picks the rows that a rank trains on, and
`models.parallel` adds up gradients. All else is computed alike by every rank.
"""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._pytree import tree_map_only
from transformers.utils.import_utils import (
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    is_torch_flex_attn_available,
)

from redpencil.config.compute import Attention, ComputeConfig
from redpencil.errors import RedpencilError
from redpencil.sections import parse_section

Row = TypeVar("Row")
Result = TypeVar("Result")
_FORMATS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_WAIT: Final = timedelta(hours=2)
"""How long a rank waits for tensors of others, as while a large model is read."""
_WAIT_FOR_DECISIONS: Final = timedelta(days=7)
"""How long a rank waits for what another one does alone, such as asking a hosted judge."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A device, a number format, and this process's place among those that work on a stage together.

    Trained models keep float32 weights and compute in `dtype` under autocast, because small learning rates vanish
    in bfloat16 weights; frozen models are stored in `dtype`.

    Args:
        device: where this process computes.
        dtype: in which format.
        rank: the number of this process, from 0.
        world_size: how many there are.
        tp_size: neighbouring processes that compute one row together (tensor parallelism); they get the same rows.
        fsdp_size: processes over which a model's weights are sharded (FSDP2); 1 keeps them whole in each process.
        offload: keep the weights of frozen sharded models in main memory.
        checkpoint_dtype: the format in which trained weights are written.
        group: the processes, for what is decided and gathered; None for torch's default group.
        attention: how models compute it; None for their own choice.
        checkpointing: whether trained models keep only what enters each layer, and not all activations.
    """

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world_size: int = 1
    tp_size: int = 1
    fsdp_size: int = 1
    offload: bool = False
    checkpoint_dtype: torch.dtype = torch.float32
    group: Any = field(default=None, repr=False, compare=False)
    attention: Attention | None = None
    checkpointing: bool = False

    @property
    def writes(self) -> bool:
        """Whether this process writes files: the first of those that work on a stage together."""
        return self.rank == 0

    @property
    def alone(self) -> "Runtime":
        """The same place and format for work that this process does while the others wait."""
        return replace(self, rank=0, world_size=1, tp_size=1, fsdp_size=1, group=None)

    @property
    def data_size(self) -> int:
        """Into how many shares rows are divided."""
        return self.world_size // self.tp_size

    @property
    def data_rank(self) -> int:
        """The number of this process's share."""
        return self.rank // self.tp_size

    @property
    def sharded(self) -> bool:
        """Whether no process holds a model's weights whole."""
        return self.fsdp_size > 1 or self.tp_size > 1

    def share(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return this process's share of a batch: rows data_rank, data_rank + data_size, ..."""
        return rows if self.data_size == 1 else rows[self.data_rank :: self.data_size]

    def gather(self, rows: Sequence[Row]) -> list[Row]:
        """Put the results of all shares in the order of the rows that were shared; tensors come on the CPU."""
        if self.data_size == 1:
            return list(rows)
        shares = self.everyone(tree_map_only(Tensor, lambda tensor: tensor.cpu(), list(rows)))[:: self.tp_size]
        gathered: list[Any] = [None] * sum(map(len, shares))
        for number, part in enumerate(shares):
            gathered[number :: self.data_size] = part
        return gathered

    def spread(self, items: Sequence[Row], work: Callable[[Row], Result]) -> list[Result]:
        """Work on each item in one of the shares, and give all results to every process, in the items' order.

        All processes work the same number of times, since sharded weights are gathered in every forward pass: one
        with fewer items repeats its first or the first of all, and throws the result away.
        """
        if self.data_size == 1:
            return [work(item) for item in items]
        mine = self.share(items)
        rounds = -(-len(items) // self.data_size)
        done = [work(item) for item in (*mine, *items[: rounds - len(mine)])]
        return self.gather(done[: len(mine)])

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add up named numbers over the shares, in one reduction; all must name the same."""
        if self.world_size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device) / self.tp_size
        dist.all_reduce(total)
        return dict(zip(values, total.tolist(), strict=True))

    def everyone(self, value: Result) -> list[Result]:
        """Return what each process has, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def tell(self, value: Result) -> Result:
        """Return what the first process has: that is how it decides for all."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def together(self, work: Callable[[], Result]) -> Result:
        """Do something of which all processes must know if it failed in one: its error is raised in all.

        Only for work in which no process waits for another.
        """
        if self.world_size == 1:
            return work()
        result, problem = None, None
        try:
            result = work()
        except RedpencilError as error:
            problem = error
        for found in self.everyone(problem):
            if found is not None:
                raise found
        return result  # type: ignore[return-value]

    def autocast(self, *, cached: bool = False) -> AbstractContextManager[object]:
        """Return the context in which a forward pass computes in `dtype`.

        With `cached` weights are cast once for all passes inside, and their copies kept until the end.
        """
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype, cache_enabled=cached)


def ranks() -> tuple[int, int]:
    """Return this process's rank and the number of processes, as torchrun's environment says; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@cache
def join_group(device: torch.device) -> Any:
    """Join the processes that torchrun's environment names; returns the group for decisions, None in one process."""
    if ranks()[1] == 1:
        return None
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if dist.is_initialized():
        pass
    elif device.type == "cuda":
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=_WAIT, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=_WAIT)
    atexit.register(dist.destroy_process_group)
    return dist.new_group(backend="gloo", timeout=_WAIT_FOR_DECISIONS)


def make_runtime(
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = 1,
    compute: ComputeConfig | None = None,
    *,
    checkpoint_dtype: str = "float32",
) -> Runtime:
    """Choose the device, set the number of CPU threads, and join the other processes of torchrun's environment.

    `auto` is a GPU in bfloat16 where there is one, else the CPU in float32. `threads=None` leaves torch's default.
    `compute` says how several processes hold a model, and how attention and activations are computed.

    Raises:
        RedpencilError: if there is no such device, or not here, or it has not the attention that is asked for, or the
            processes cannot be divided as asked.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    rank, world_size = ranks()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    parse_section({"device": device}, ComputeConfig)
    chosen = torch.device(device)
    if world_size > 1 and chosen.type == "cuda":
        chosen = _own_gpu(chosen)
    gpus = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(chosen.type)
    if gpus is not None and (chosen.index or 0) >= gpus:
        raise RedpencilError(
            f"device {device!r} is not on this machine ({gpus} GPUs of this kind found)"
            if world_size == 1
            else f"process {os.environ.get('LOCAL_RANK')} of this machine finds no GPU of its own ({gpus} found)",
            field="device",
            hint="--set device=auto takes what there is"
            if world_size == 1
            else "start as many processes on a machine as it has GPUs",
        )
    auto = torch.bfloat16 if chosen.type == "cuda" else torch.float32
    compute = compute or ComputeConfig()
    tp_size, fsdp_size = sizes_of(compute, world_size)
    runtime = Runtime(
        *(chosen, _FORMATS.get(dtype, auto), rank, world_size, tp_size, fsdp_size),
        offload=compute.fsdp_offload,
        checkpoint_dtype=_FORMATS[checkpoint_dtype],
        group=join_group(chosen),
        attention=compute.attn_implementation,
        checkpointing=compute.gradient_checkpointing,
    )
    _check_attention(runtime)
    return runtime


def peak_memory(device: torch.device) -> float | None:
    """Return the most memory that this process has taken so far, in GiB.

    On a GPU it is what torch had allocated there since `forget_peak_memory`; else what the process had in main memory
    since it began, with its libraries, or None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    status = Path("/proc/self/status")
    if status.is_file():  # Elsewhere a process starts with the peak of the one that started it.
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 2**20
    try:
        import resource
    except ModuleNotFoundError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def forget_peak_memory(device: torch.device) -> None:
    """Let the peak of a GPU begin anew, for a stage of its own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


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


def sizes_of(compute: ComputeConfig, world_size: int) -> tuple[int, int]:
    """Return over how many processes rows (tensor parallelism) and weights (FSDP2) are divided.

    Raises:
        RedpencilError: if the processes of a stage cannot be divided so.
    """
    if world_size == 1:  # A recipe for many GPUs can be tried in one process.
        return 1, 1
    if compute.tp_size > 1:
        if compute.tp_size != world_size or compute.fsdp:
            raise RedpencilError(
                f"tensor parallelism over {compute.tp_size} of {world_size} processes"
                + (", with fsdp," if compute.fsdp else "")
                + " does not give the gradients of one process",
                field="compute.tp_size",
                hint=f"set compute.tp_size={world_size} and compute.fsdp=false, or compute.tp_size=1",
            )
        return compute.tp_size, 1
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size)))
    shards = local_size if compute.fsdp is True else int(compute.fsdp or 1)
    if world_size % shards:
        raise RedpencilError(
            f"{world_size} processes cannot be divided into groups of {shards}",
            field="compute.fsdp",
            hint="choose a number that divides the number of processes, or fsdp=true",
        )
    return 1, shards


def _own_gpu(device: torch.device) -> torch.device:
    if device.index is not None:
        raise RedpencilError(
            f"several processes cannot share {device}",
            field="compute.device",
            hint="set compute.device=cuda: each process takes the GPU of its number on its machine",
        )
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let draws from torch's global generators depend on a seed alone, and leave the generators as they were.

    For library code that takes no generator, such as `generate`. All else has a generator of its own.
    """
    # Without `devices` the generators of every GPU of the machine are kept, with a warning where there are several.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
