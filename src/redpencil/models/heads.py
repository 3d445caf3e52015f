"""The heads of reward and value models, and how much of a backbone they keep and train."""

from typing import Any, Final

from torch import nn

from redpencil.errors import RedpencilError

HEADS: Final = {1: {0: "LABEL_0"}, 2: {0: "within", 1: "overall"}}
"""`id2label` of a reward model by the number of its heads; `redpencil.maths.reward_losses.join_heads` says what the
two of a token model mean. LABEL_0 is what transformers calls a single label."""


def head_of(model: nn.Module) -> nn.Linear:
    """Return the last linear layer, which turns hidden states into rewards or values.

    Raises:
        RedpencilError: if the architecture keeps it under an unknown name.
    """
    for name in ("score", "classifier"):
        head = getattr(model, name, None)
        if isinstance(head, nn.Linear) and head.out_features in HEADS:
            return head
    raise RedpencilError(
        f"{type(model).__name__} has no linear head called score or classifier",
        hint="use an architecture such as Llama, Qwen, Mistral, Gemma, GPT-2 or BERT",
    )


def keep_layers(model: nn.Module, layers: int) -> None:
    """Cut a backbone behind its first `layers` layers; its configuration says so.

    Raises:
        RedpencilError: if it has fewer.
    """
    config: Any = model.config
    stack = _layers(model, layers, "reward.layers")
    del stack[layers:]
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]


def freeze_layers(model: nn.Module, layers: int) -> None:
    """Take the embeddings and the first `layers` layers of a backbone out of training.

    Raises:
        RedpencilError: if it has fewer layers.
    """
    frozen = _layers(model, layers, "reward.frozen_layers")[:layers]
    backbone: Any = model.base_model
    for name, parameter in backbone.named_parameters():
        if "embed" in name or name.startswith(("wte.", "wpe.")):
            parameter.requires_grad_(requires_grad=False)
    frozen.requires_grad_(requires_grad=False)


def _layers(model: nn.Module, needed: int, field: str) -> nn.ModuleList:
    """The layers of a backbone, of which `needed` are asked for."""
    config: Any = model.config
    total: int = config.num_hidden_layers
    stack = next((m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == total), None)
    if stack is None:
        raise RedpencilError(
            f"{type(model).__name__} does not keep its layers in one list",
            field=field,
            hint="leave the key out, or use an architecture such as Llama, Qwen, Mistral, Gemma, GPT-2 or BERT",
        )
    if needed > total:
        raise RedpencilError(f"{needed} layers are asked for, the backbone has {total}", field=field, hint="lower it")
    return stack
