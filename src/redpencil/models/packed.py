"""Linear layers with weights that are laid out for small batches, as a decode loop has them.

A step of sampling multiplies each weight by as many rows as there are responses. For so few the matrix products that
torch takes on a CPU in float32 (MKL) are slow. Those that torch.compile takes (oneDNN), with weights in a layout of
their own, are 1.4 to 1.8 times as fast (64 to 16 rows, one thread of an AMD EPYC).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from redpencil.models.logprobs import in_place_of
from redpencil.models.runtime import Runtime


def can_pack(runtime: Runtime) -> bool:
    """Tell whether layers are packed: where whole float32 weights are computed with on a CPU that has oneDNN."""
    found = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return found and runtime.device.type == "cpu" and runtime.dtype == torch.float32 and not runtime.sharded


@contextmanager
def packed_weights(module: nn.Module, runtime: Runtime, rows: int) -> Iterator[None]:
    """Let the linear layers of a module compute with packed copies of their weights, for batches of about `rows`.

    The copies take as much memory as the layers. Weights must not change meanwhile; there are no gradients.
    """
    with ExitStack() as stack:
        for layer in module.modules() if can_pack(runtime) else ():
            if type(layer) is nn.Linear and _whole(layer.weight):
                packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
                stack.enter_context(in_place_of(layer, partial(_apply, packed, layer.bias)))
        yield


def _whole(weight: Tensor) -> bool:
    return not isinstance(weight, DTensor) and weight.dtype == torch.float32 and weight.is_contiguous()


def _apply(packed: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    made: Any = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    outputs: Tensor = made
    return outputs
