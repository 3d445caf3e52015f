"""Models on several processes: gradients that are added up, and weights that are sharded.

Every rank computes the loss of its own rows as its part of the sum over all rows, so gradients are summed over ranks,
never averaged.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import MethodType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor

from redpencil.models.runtime import Runtime

P = ParamSpec("P")
Result = TypeVar("Result")
Module = TypeVar("Module", bound=nn.Module)

BUCKET: Final = 2**25
"""Numbers that are added up over processes at once: 128 MB in float32."""


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts that other processes hold; they call this too."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def by_mesh(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Group tensors by the processes and the way in which they are sharded; operations on lists do not mix them."""
    groups: dict[object, list[Tensor]] = {}
    for tensor in tensors:
        layout = (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None
        groups.setdefault(layout, []).append(tensor)
    return list(groups.values())


def total_norm(tensors: Iterable[Tensor], order: float = 2.0) -> Tensor:
    """The norm of all tensors together, of sharded ones over all shards: a number, the same on every rank."""
    norms = [_norm_of_all_shards(group, order) for group in by_mesh(tensors)]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms), order)


@torch.no_grad()
def _norm_of_all_shards(tensors: Sequence[Tensor], order: float) -> Tensor:
    """The norm of tensors of one layout. A process may hold an empty part of some, which have no infinity norm."""
    first, parts = tensors[0], [part for part in map(local, tensors) if part.numel()]
    norm = nn.utils.get_total_norm(parts, order) if parts else torch.zeros((), device=first.device)
    if isinstance(first, DTensor):
        for dimension, placement in enumerate(first.placements):
            if placement.is_shard():
                norm = norm if order == math.inf else norm**order
                dist.all_reduce(
                    norm,
                    dist.ReduceOp.MAX if order == math.inf else dist.ReduceOp.SUM,
                    group=first.device_mesh.get_group(dimension),
                )
                norm = norm if order == math.inf else norm ** (1 / order)
    return norm


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm of `max_norm` if theirs is larger; returns the norm before."""
    norm = total_norm(parameter.grad for parameter in parameters if parameter.grad is not None)
    for group in by_mesh(parameters):
        nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return norm


@torch.no_grad()
def sum_gradients(parameters: Iterable[nn.Parameter], runtime: Runtime) -> None:
    """Add up the gradients of weights that every process holds whole; those of sharded weights are added up already."""
    if runtime.data_size == 1:
        return
    whole = [each.grad for each in parameters if each.grad is not None and not isinstance(each, DTensor)]
    for bucket in _buckets(whole):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat)
        parts = (flat / runtime.tp_size).split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Put neighbours of one format together until a bucket is full."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


# Sharded weights (FSDP2).


def distributed_options(runtime: Runtime, *, trained: bool, reference: bool = False) -> dict[str, Any]:
    """Return the options of `from_pretrained` with which each process reads its shard of a model; none for a whole one.

    Trained weights are float32 and gathered in the runtime's format, as are those of a `reference`, which computes as
    what is trained does; gradients are added up in float32.
    """
    if not runtime.sharded:
        return {}
    from transformers.distributed import DistributedConfig

    config = DistributedConfig(
        fsdp_size=runtime.fsdp_size,
        dp_replicate_size=runtime.world_size // (runtime.fsdp_size * runtime.tp_size),
        tp_size=runtime.tp_size,
        fsdp_mixed_precision=(trained or reference) and runtime.dtype == torch.bfloat16,
        fsdp_cpu_offload=runtime.offload and not trained,
    )
    return {"distributed_config": config}


@cache
def _mesh(device_type: str, copies: int, shards: int) -> DeviceMesh:
    if copies == 1:
        return init_device_mesh(device_type, (shards,), mesh_dim_names=("shard",))
    return init_device_mesh(device_type, (copies, shards), mesh_dim_names=("copy", "shard"))


def shard(module: nn.Module, runtime: Runtime, *, trained: bool) -> None:
    """Shard a model whose weights every process holds whole and alike, as one with new adapters: layers, then the rest.

    One that `from_pretrained` has sharded, or a runtime that does not shard, is left as it is.
    """
    if runtime.fsdp_size == 1 or isinstance(module, FSDPModule):
        return
    options: dict[str, Any] = {
        "mesh": _mesh(runtime.device.type, runtime.world_size // runtime.fsdp_size, runtime.fsdp_size)
    }
    if trained and runtime.dtype == torch.bfloat16:
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    if runtime.offload and not trained:
        options["offload_policy"] = CPUOffloadPolicy()
    config: Any = module.config
    for layers in module.modules():
        if isinstance(layers, nn.ModuleList) and len(layers) == config.num_hidden_layers:
            for layer in layers:
                fully_shard(layer, **options)
            break
    fully_shard(module, **options)


def prepare(module: nn.Module) -> None:
    """Let a sharded model add up gradients instead of averaging them, and run other functions as its forward."""
    if not isinstance(module, FSDPModule):
        return
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # nothing here writes into it
    for part in _parts(module):
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(enable=True)  # other operations are not there on a CPU
    module.as_forward = MethodType(lambda self, function, *args, **kwargs: function(self, *args, **kwargs), module)
    register_fsdp_forward_method(module, "as_forward")


def as_forward(
    module: Module, function: Callable[Concatenate[Module, P], Result], *args: P.args, **kwargs: P.kwargs
) -> Result:
    """Call a function that uses parts of a model, such as its backbone and its head, as if it were the model's forward.

    Sharded weights are gathered by the hooks of the model's own forward, which a call of its parts would go around.
    """
    through = getattr(module, "as_forward", None)
    return function(module, *args, **kwargs) if through is None else through(function, *args, **kwargs)


def root_of(module: nn.Module) -> nn.Module:
    """Return what is sharded as a whole: the model itself, or the base that it is a view of."""
    root: nn.Module = getattr(module, "root", module)
    return root


def _parts(module: nn.Module) -> list[FSDPModule]:
    return [part for part in module.modules() if isinstance(part, FSDPModule)]


def synchronise(module: nn.Module, *, wanted: bool) -> None:
    """Say whether `backward` adds up a sharded model's gradients over processes, or keeps them for a later one."""
    root = root_of(module)
    if isinstance(root, FSDPModule):
        root.set_requires_gradient_sync(wanted)


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Gather the weights of a sharded model once for many forward passes, whose number may differ between processes."""
    root = root_of(module)
    parts = _parts(root)
    for part in parts:
        part.set_reshard_after_forward(reshard_after_forward=False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(reshard_after_forward=part is not root, recurse=False)


def whole_state(module: nn.Module) -> dict[str, Tensor]:
    """Return all weights of a model; of a sharded one on the CPU, in the first process, and nothing in the others."""
    if not any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        return module.state_dict()
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
