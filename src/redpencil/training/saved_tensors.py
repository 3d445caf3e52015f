"""Tensors of a training on disk, by torch.distributed.checkpoint: each process writes its own shards.

What several processes have saved another number can read, because the files say which part of a tensor each holds.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from redpencil.digests import sha256
from redpencil.errors import RedpencilError, from_system
from redpencil.models.lora import trained_parameters
from redpencil.models.parallel import local
from redpencil.models.runtime import Runtime

Tensors = dict[str, Tensor]


def weights_of(name: str, model: nn.Module) -> Tensors:
    """The trained weights of a model, by names that do not depend on how they are sharded."""
    return {f"{name}.model.{key}": value.detach() for key, value in trained_parameters(model).items()}


def moments_of(name: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """What an optimiser keeps for each weight of a model; nothing before its first step."""
    named = ((key, optimizer.state.get(value, {})) for key, value in trained_parameters(model).items())
    return {f"{name}.optimizer.{key}.{part}": value for key, state in named for part, value in state.items()}


def make_moments(
    name: str, model: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, torch.Size]
) -> None:
    """Give an optimiser zeros for all that is `saved` of it, as a first step would."""
    optimizer.state.clear()
    on_device = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for key, weight in trained_parameters(model).items():
        prefix = f"{name}.optimizer.{key}."
        for full, size in saved.items():
            part = full.removeprefix(prefix)
            if part == full or "." in part:
                continue
            device = local(weight).device if on_device else torch.device("cpu")
            zeros = torch.zeros_like(weight) if size == weight.shape and size else torch.zeros(size, device=device)
            optimizer.state[weight][part] = zeros.detach()


def write_tensors(folder: Path, tensors: Tensors, runtime: Runtime) -> dict[str, str]:
    """Write tensors into a folder, each process its shards; returns the digests of all files.

    Raises:
        RedpencilError: if they cannot be written.
    """
    try:
        with _processes(runtime) as options:
            save(tensors, checkpoint_id=folder, **options)
    except CheckpointException as failed:
        error, _ = next(iter(failed.failures.values()))
        known = from_system(error)
        raise RedpencilError(
            f"cannot write the training state ({known.problem if known else str(error).splitlines()[0]})",
            file=folder.with_suffix(""),
            hint="make room on the disk, or save fewer states (compute.save_every)",
        ) from error
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return dict(runtime.spread(names, lambda name: (name, sha256(folder / name))))


def is_sound(folder: Path, digests: Mapping[str, str], runtime: Runtime) -> bool:
    """Whether the files in a folder are those that `write_tensors` has written."""

    def same(name: str) -> bool:
        path = folder / name
        return path.is_file() and sha256(path) == digests[name]

    return all(runtime.spread(sorted(digests), same))


def sizes_in(folder: Path) -> dict[str, torch.Size]:
    """The names and sizes of the tensors in a folder."""
    found = FileSystemReader(folder).read_metadata().state_dict_metadata
    return {name: content.size for name, content in found.items() if isinstance(content, TensorStorageMetadata)}


def read_tensors(folder: Path, tensors: Tensors, runtime: Runtime) -> None:
    """Read a folder into tensors, in place."""
    with _processes(runtime) as options:
        load(tensors, checkpoint_id=folder, **options)


@contextmanager
def _processes(runtime: Runtime) -> Iterator[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        yield {"no_dist": True} if runtime.world_size == 1 else {"process_group": runtime.group}
